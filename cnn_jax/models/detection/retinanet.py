"""RetinaNet: one stage, nine anchors per cell, and the focal loss against so much background."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import losses
from cnn_jax.boxes import anchors, coding, matching
from cnn_jax.models import resnet
from cnn_jax.models.detection.dense_head import DenseHead, prior_bias
from cnn_jax.models.detection.feature_pyramid import detector_rules, pyramid_levels
from cnn_jax.models.detection.postprocess import suppress
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets


def torchvision_rules(*, use_norm: bool) -> tuple:
    """torchvision's names. It counts the layers of each head from 0, in sequences."""
    rules = detector_rules(resnet.TORCHVISION_RULES, drop=("fc",))
    for theirs, ours in (("classification", "class"), ("regression", "box")):
        for i in range(4):
            rules.append((f"head.{theirs}_head.conv.{i}.0", f"{ours}_head/conv{i + 1}"))
            if use_norm:
                rules.append((f"head.{theirs}_head.conv.{i}.1", f"{ours}_head/norm{i + 1}"))
    return (
        *rules,
        ("head.classification_head.cls_logits", "class_head/logits"),
        ("head.regression_head.bbox_reg", "box_head/deltas"),
    )


TABLE = {
    # torchvision's figures are for its 91 columns of COCO's classes; its 34,014,999 leave out the
    # 53,120 of the BatchNorms, which it freezes.
    "retinanet_resnet50_fpn": row(
        34_068_119, 151.54, changes={"rules": {"torchvision": torchvision_rules(use_norm=False)}}
    ),
    # "v2" after Zhang et al. 2020, arXiv:1912.02424, table 1: GroupNorm, GIoU, and P6 from C5.
    "retinanet_resnet50_fpn_v2": row(
        38_198_935,
        152.238,
        extra="c6c7",
        head_groups=32,
        box_loss="giou",
        changes={"rules": {"torchvision": torchvision_rules(use_norm=True)}},
    ),
}

STRIDES = (8, 16, 32, 64, 128)  # of the levels "p3" to "p7"

BOX_LOSSES = ("l1", "giou")


class RetinaNet(nn.Module):
    """Lin et al. 2017, arXiv:1708.02002, with torchvision's settings where the two differ.

    Returns {'class_logits': [B, A, K], 'box_deltas': [B, A, 4], 'anchors': [A, 4]} for the A
    anchors of all levels, fine to coarse.

    Stages: the levels of the pyramid, 'p3' to 'p7'.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone: a classification network of the registry.
        stages: stages of the backbone with strides 8, 16 and 32.
        features: channels of the pyramid and of the heads.
        extra: see `FeaturePyramid`.
        head_groups: number of groups of GroupNorm in the heads; 0 for no normalisation.
        box_loss: 'l1' on the deltas, as in torchvision; 'giou' on the boxes.
        max_detections, score_threshold, iou_threshold, candidates: arguments of `suppress`;
            section 4 has 1,000 candidates per level.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    backbone: str = "resnet50"
    stages: Sequence[str] = ("layer2", "layer3", "layer4")
    features: int = 256
    extra: str = "p6p7"
    head_groups: int = 0
    box_loss: str = "l1"
    max_detections: int = 300
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    candidates: int = 1000
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        levels = pyramid_levels(self, x, train=train, extra=self.extra)
        if self.num_classes is None:
            return {f"p{i}": level for i, level in enumerate(levels, start=3)}
        head = partial(
            DenseHead,
            groups=self.head_groups,
            biased=not self.head_groups,
            dtype=self.dtype,
        )
        per_place = len(anchors.RATIOS) * len(anchors.RETINANET_SIZES[0])
        zeros = nn.initializers.zeros
        (logits,) = head((("logits", per_place, self.num_classes, prior_bias),), name="class_head")(
            levels
        )
        (deltas,) = head((("deltas", per_place, 4, zeros),), name="box_head")(levels)
        grids = [level.shape[1:3] for level in levels]
        boxes = anchors.grid_anchors(x.shape[1:3], grids, sizes=anchors.RETINANET_SIZES)
        return {
            "class_logits": logits.astype(jnp.float32),
            "box_deltas": deltas.astype(jnp.float32),
            "anchors": jnp.asarray(boxes),
        }

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """Focal and box loss, of each image divided by its matched anchors (section 4.1)."""
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(f"box_loss={self.box_loss!r}: choose from {', '.join(BOX_LOSSES)}.")
        boxes = outputs["anchors"]
        matched = jax.vmap(
            lambda b, valid: matching.match_by_iou(boxes, b, valid, high=0.5, low=0.4)
        )(targets.boxes, targets.labels >= 0)  # [B, A]
        found = matched >= 0
        index = jnp.maximum(matched, 0)
        wanted = jnp.take_along_axis(targets.boxes, index[..., None], axis=1)  # [B, A, 4]
        label = jnp.where(found, jnp.take_along_axis(targets.labels, index, axis=1), -1)
        one_hot = jax.nn.one_hot(label, outputs["class_logits"].shape[-1])
        focal = losses.sigmoid_focal(outputs["class_logits"], one_hot).sum(-1)
        focal = jnp.where(matched != matching.IGNORED, focal, 0).sum(1)  # [B]
        if self.box_loss == "l1":
            deltas = coding.encode(wanted, boxes)
            distance = jnp.abs(outputs["box_deltas"] - deltas).sum(-1)
        else:
            predicted = coding.decode(outputs["box_deltas"], boxes)
            distance = losses.giou(predicted, wanted)
        distance = jnp.where(found, distance, 0).sum(1)
        count = jnp.maximum(found.sum(1), 1)
        real, weight = mask > 0, mask.sum()
        return {
            "class": Mean(jnp.where(real, focal / count, 0).sum(), weight),
            "box": Mean(jnp.where(real, distance / count, 0).sum(), weight),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """The best boxes after suppression within each class."""
        return suppress(
            coding.decode(outputs["box_deltas"], outputs["anchors"]),
            nn.sigmoid(outputs["class_logits"]),
            size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            candidates=self.candidates,
            level_sizes=level_sizes(size, len(outputs["anchors"])),
        )


def level_sizes(size: tuple[int, int], total: int) -> list[int]:
    """The number of anchors on each level of strides 8, 16 ... 128, `total` in all.

    `size` is that of the image. A layer with a stride of 2 halves its input, rounded up.
    """
    places = [-(-size[0] // stride) * -(-size[1] // stride) for stride in STRIDES]
    return [total // sum(places) * n for n in places]


register(
    RetinaNet,
    TABLE,
    paper="Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002",
    source="torchvision 0.29, for images of about 800x1066",
    input_shape=(800, 1066, 3),
    num_classes=91,
    min_size=32,
    task="detection",
)
