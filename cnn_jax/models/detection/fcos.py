"""FCOS: no anchors. Every point predicts its distances to the sides, and its centreness."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import losses
from cnn_jax.models import resnet
from cnn_jax.models.detection.centres import centres, match_centres
from cnn_jax.models.detection.dense_head import DenseHead, prior_bias
from cnn_jax.models.detection.feature_pyramid import detector_rules, pyramid_levels
from cnn_jax.models.detection.postprocess import suppress
from cnn_jax.models.detection.retinanet import STRIDES, level_sizes
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets

# torchvision's 32,269,600 leave out the 53,120 of the BatchNorms, which torchvision freezes.
TABLE = {"fcos_resnet50_fpn": row(32_322_720, 128.207)}


class FCOS(nn.Module):
    """Tian et al. 2019, arXiv:1904.01355, with torchvision's settings where the two differ.

    Returns {'class_logits': [B, P, K], 'distances': [B, P, 4] to the sides of the box, in strides,
    'centreness': [B, P] logits, 'points': [P, 2], 'strides': [P]} for the P points of all levels,
    fine to coarse.

    Stages: the levels of the pyramid, 'p3' to 'p7'.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone, stages, features, extra: see `RetinaNet`.
        offset: position of the first point, in strides: 0 in torchvision, 0.5 in the paper.
        centre_radius: radius of centre sampling, in strides (arXiv:2006.09214, section 2.3).
        max_detections, score_threshold, iou_threshold, candidates: arguments of `suppress`.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    backbone: str = "resnet50"
    stages: Sequence[str] = ("layer2", "layer3", "layer4")
    features: int = 256
    extra: str = "p6p7"
    offset: float = 0.0
    centre_radius: float = 1.5
    max_detections: int = 100
    score_threshold: float = 0.2
    iou_threshold: float = 0.6
    candidates: int = 1000
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        levels = pyramid_levels(self, x, train=train, extra=self.extra)
        if self.num_classes is None:
            return {f"p{i}": level for i, level in enumerate(levels, start=3)}
        zeros = nn.initializers.zeros
        head = partial(DenseHead, groups=32, dtype=self.dtype)
        (logits,) = head((("logits", 1, self.num_classes, prior_bias),), name="class_head")(levels)
        sides, central = head(
            (("distances", 1, 4, zeros), ("centreness", 1, 1, zeros)), name="box_head"
        )(levels)
        grids = [level.shape[1:3] for level in levels]
        points = [
            centres(height, width, stride, offset=self.offset)
            for (height, width), stride in zip(grids, STRIDES, strict=True)
        ]
        strides = [
            jnp.full(len(own), stride, jnp.float32)
            for own, stride in zip(points, STRIDES, strict=True)
        ]
        return {
            "class_logits": logits.astype(jnp.float32),
            "distances": nn.relu(sides).astype(jnp.float32),
            "centreness": central[..., 0].astype(jnp.float32),
            "points": jnp.concatenate(points),
            "strides": jnp.concatenate(strides),
        }

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """Focal loss, GIoU and centreness, divided by the number of points that have an object."""
        points, strides = outputs["points"], outputs["strides"]
        # Each level gets objects of its size: the largest distance is 4 to 8 strides.
        lower = jnp.where(strides == STRIDES[0], 0.0, 4 * strides)
        upper = jnp.where(strides == STRIDES[-1], jnp.inf, 8 * strides)
        matched = match_centres(
            points, strides, targets, radius=self.centre_radius, lower=lower, upper=upper
        )  # [B, P]
        found = (matched >= 0) & (mask[:, None] > 0)
        index = jnp.maximum(matched, 0)
        wanted = jnp.take_along_axis(targets.boxes, index[..., None], axis=1)
        label = jnp.where(found, jnp.take_along_axis(targets.labels, index, axis=1), -1)
        one_hot = jax.nn.one_hot(label, outputs["class_logits"].shape[-1])
        focal = losses.sigmoid_focal(outputs["class_logits"], one_hot).sum(-1)
        places = losses.giou(boxes_of(outputs), wanted)
        central = losses.binary_cross_entropy(
            outputs["centreness"], jnp.where(found, centreness(points, wanted), 0)
        )
        count = found.sum(dtype=jnp.float32)
        return {
            "class": Mean(jnp.where(mask[:, None] > 0, focal, 0).sum(), count),
            "box": Mean(jnp.where(found, places, 0).sum(), count),
            "centreness": Mean(jnp.where(found, central, 0).sum(), count),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """The best boxes after suppression; scores are geometric means of class and centreness."""
        central = nn.sigmoid(outputs["centreness"])[..., None]
        return suppress(
            boxes_of(outputs),
            jnp.sqrt(nn.sigmoid(outputs["class_logits"]) * central),
            size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            candidates=self.candidates,
            level_sizes=level_sizes(size, len(outputs["points"])),
        )


def boxes_of(outputs: Outputs) -> Array:
    """The boxes [B, P, 4] from the points and distances (in strides) of the outputs."""
    points = outputs["points"]
    sides = outputs["distances"] * outputs["strides"][:, None]
    return jnp.concatenate([points - sides[..., :2], points + sides[..., 2:]], axis=-1)


def centreness(points: Array, boxes: Array) -> Array:
    """Centreness of points [P, 2] in boxes [B, P, 4]: [B, P], 1 in the middle, 0 at the border.

    arXiv:1904.01355, equation 3; 0 outside the box.
    """
    low, high = points - boxes[..., :2], boxes[..., 2:] - points
    short, long = jnp.minimum(low, high), jnp.maximum(low, high)
    inside = (short > 0).all(-1)
    ratio = jnp.where(inside[..., None], short, 0) / jnp.where(inside[..., None], long, 1)
    return jnp.sqrt(ratio.prod(-1))


def _torchvision_rules() -> tuple:
    rules = detector_rules(resnet.TORCHVISION_RULES, drop=("fc",))
    for theirs, ours in (("classification", "class"), ("regression", "box")):
        for i in range(4):  # a convolution, its GroupNorm, a ReLU
            rules.append((f"head.{theirs}_head.conv.{3 * i}", f"{ours}_head/conv{i + 1}"))
            rules.append((f"head.{theirs}_head.conv.{3 * i + 1}", f"{ours}_head/norm{i + 1}"))
    return (
        *rules,
        ("head.classification_head.cls_logits", "class_head/logits"),
        ("head.regression_head.bbox_reg", "box_head/distances"),
        ("head.regression_head.bbox_ctrness", "box_head/centreness"),
    )


register(
    FCOS,
    TABLE,
    paper="Tian et al. 2019, FCOS: Fully Convolutional One-Stage Object Detection, "
    "arXiv:1904.01355",
    source="torchvision 0.29, for images of about 800x1066",
    input_shape=(800, 1066, 3),
    num_classes=91,
    min_size=32,
    task="detection",
    rules={"torchvision": _torchvision_rules()},
)
