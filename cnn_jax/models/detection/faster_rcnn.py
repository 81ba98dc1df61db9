"""Faster R-CNN: one network proposes boxes, another classifies and refines them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax import losses
from cnn_jax.boxes import anchors, coding
from cnn_jax.boxes.roi_align import multilevel_roi_align
from cnn_jax.layers import batch_norm, conv
from cnn_jax.models import mobilenet_v3, resnet
from cnn_jax.models.detection.feature_pyramid import detector_rules, pyramid_levels
from cnn_jax.models.detection.postprocess import suppress_by_class
from cnn_jax.models.detection.region_proposals import (
    Drawn,
    Proposals,
    RegionProposalHead,
    draw,
    propose,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets
from cnn_jax.weights.layouts import flattened

GRID = 7  # bins along each side of RoIAlign
BETA = 1 / 9  # parameter of smooth L1 in torchvision, after Detectron


class BoxHead(nn.Module):
    """Features of proposals [R, 7, 7, C] -> [R, hidden].

    Attributes:
        hidden: width of the dense layers.
        convolutions: number of 3x3 convolutions with BatchNorm before one dense layer
            (arXiv:1803.08494, section 5.1); without any there are two dense layers.
        train, axis_name: settings of the BatchNorm.
    """

    train: bool
    hidden: int = 1024
    convolutions: int = 0
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, valid: Array) -> Array:
        norm = batch_norm(self.train, dtype=self.dtype, axis_name=self.axis_name)
        for i in range(self.convolutions):
            x = conv(x, x.shape[-1], 3, dtype=self.dtype, name=f"conv{i}")
            # padding does not count in the statistics
            x = nn.relu(norm(name=f"bn{i}")(x, mask=valid[:, None, None, None]))
        x = x.reshape(x.shape[0], -1)
        for i in range(1 if self.convolutions else 2):
            x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name=f"fc{i}")(x))
        return x


class FasterRCNN(nn.Module):
    """Ren et al. 2015, arXiv:1506.01497, on a feature pyramid (Lin et al. 2017, arXiv:1612.03144).

    Where torchvision differs from the papers, its settings are used.

    With `targets` the network returns what the losses need. For the R sampled proposals that is
    {'class_logits': [B, R, K + 1], the background first, 'box_deltas': [B, R, K + 1, 4],
    'proposals': [B, R, 4], 'labels': [B, R], 'wanted': [B, R, 4]}; for the first stage it is
    'objectness', 'anchor_deltas', 'anchors', 'anchor_labels' and 'anchor_wanted'. Labels are as in
    `region_proposals.Drawn`. Without `targets` it returns {'class_logits', 'box_deltas',
    'proposals', 'valid': [B, P]} for the P best proposals.

    Stages: the levels of the pyramid, 'p0', 'p1' ...

    Attributes:
        num_classes: number of classes K, without the background; None to return the stages.
        backbone: a classification network of the registry.
        backbone_options: fields of the backbone that differ from the registry.
        stages, strides: stages of the backbone for the pyramid, and their strides.
        sizes: anchor sizes of each level; the last level is added by the pyramid, at half the size.
        roi_levels: number of levels that the second stage pools from.
        features: channels of the pyramid.
        pyramid_norm: whether the pyramid has BatchNorm.
        proposal_depth: depth of the `RegionProposalHead`.
        box_convolutions: number of convolutions of the `BoxHead`.
        candidates: number of boxes per level before the first suppression, (in training, in
            prediction).
        proposals: number of boxes of all levels after it, likewise.
        proposal_threshold: least objectness of a proposal.
        anchors_drawn, proposals_drawn: numbers of samples per image to learn from.
        max_detections, score_threshold, iou_threshold: arguments of `suppress_by_class`.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    wants_targets: ClassVar[bool] = True  # see `cnn_jax.typing.Detector`

    num_classes: int | None
    backbone: str = "resnet50"
    backbone_options: Any = ()
    stages: Sequence[str] = ("layer1", "layer2", "layer3", "layer4")
    strides: Sequence[int] = (4, 8, 16, 32)
    sizes: Sequence[Sequence[int]] = anchors.FASTER_RCNN_FPN_SIZES
    roi_levels: int = 4
    features: int = 256
    pyramid_norm: bool = False
    proposal_depth: int = 1
    box_convolutions: int = 0
    candidates: tuple[int, int] = (2000, 1000)
    proposals: tuple[int, int] = (2000, 1000)
    proposal_threshold: float = 0.0
    anchors_drawn: int = 256
    proposals_drawn: int = 512
    max_detections: int = 100
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Array, *, train: bool, targets: Targets | None = None
    ) -> dict[str, Array]:
        levels = pyramid_levels(
            self,
            x,
            train=train,
            extra="pool",
            use_norm=self.pyramid_norm,
            **dict(self.backbone_options),
        )
        if self.num_classes is None:
            return {f"p{i}": level for i, level in enumerate(levels)}
        learning = targets is not None
        if train and not learning:
            raise ValueError("Faster R-CNN samples from the targets: give targets in training.")
        size = (x.shape[1], x.shape[2])
        per_place = len(anchors.RATIOS) * len(self.sizes[0])
        head = RegionProposalHead(per_place, self.proposal_depth, dtype=self.dtype, name="rpn")
        heads = head(levels)
        grids = [level.shape[1:3] for level in levels]
        boxes = [
            jnp.asarray(anchors.grid_anchors(size, [grid], sizes=[own]))
            for grid, own in zip(grids, self.sizes, strict=True)
        ]
        proposals = propose(
            heads,
            boxes,
            size,
            candidates=self.candidates[0 if learning else 1],
            count=self.proposals[0 if learning else 1],
            iou_threshold=0.7,
            score_threshold=self.proposal_threshold,
        )
        if targets is None:
            logits, deltas = self._second_stage(levels, *proposals, train)
            return {
                "class_logits": logits,
                "box_deltas": deltas,
                "proposals": proposals.boxes,
                "valid": proposals.valid,
            }
        return self._learn(levels, heads, jnp.concatenate(boxes), proposals, targets, train)

    def _learn(self, levels, heads, boxes, proposals: Proposals, targets, train) -> dict:
        keys = jax.random.split(self.make_rng("dropout"), 2)
        batch = proposals.valid.shape[0]
        everywhere = jnp.broadcast_to(boxes, (batch, *boxes.shape))
        first = draw(
            keys[0],
            everywhere,
            jnp.ones(everywhere.shape[:2], bool),
            targets,
            high=0.7,  # section 3.1.2
            low=0.3,
            keep_best=True,
            size=self.anchors_drawn,
            share=0.5,
        )
        objectness, deltas = (jnp.concatenate(parts, 1) for parts in zip(*heads, strict=True))
        # The objects themselves are proposals too: at first there would hardly be a good one.
        pool = Proposals(
            jnp.concatenate([proposals.boxes, targets.boxes], 1),
            jnp.concatenate([proposals.valid, targets.labels >= 0], 1),
        )
        second: Drawn = draw(
            keys[1],
            *pool,
            targets,
            high=0.5,  # arXiv:1504.08083, section 2.3
            low=0.5,
            keep_best=False,
            size=self.proposals_drawn,
            share=0.25,
        )
        chosen = jnp.take_along_axis(pool.boxes, second.indices[..., None], axis=1)
        logits, box_deltas = self._second_stage(levels, chosen, second.labels >= -1, train)
        return {
            "objectness": jnp.take_along_axis(objectness, first.indices, axis=1),
            "anchor_deltas": jnp.take_along_axis(deltas, first.indices[..., None], axis=1),
            "anchors": boxes[first.indices],
            "anchor_labels": first.labels,
            "anchor_wanted": first.wanted,
            "class_logits": logits,
            "box_deltas": box_deltas,
            "proposals": chosen,
            "labels": second.labels,
            "wanted": second.wanted,
        }

    def _second_stage(
        self, levels: Sequence[Array], boxes: Array, valid: Array, train: bool
    ) -> tuple[Array, Array]:
        """Class logits [B, P, K + 1] and deltas [B, P, K + 1, 4] of boxes [B, P, 4]."""
        assert self.num_classes is not None

        def pool(example: tuple[list[Array], Array]) -> Array:
            own, boxes = example
            return multilevel_roi_align(
                own, boxes, strides=self.strides[: self.roi_levels], size=(GRID, GRID)
            )

        batch, count = boxes.shape[:2]
        pooled = jax.lax.map(pool, (list(levels[: self.roi_levels]), boxes))
        pooled = pooled.reshape(batch * count, GRID, GRID, -1)
        shared = {"dtype": self.dtype, "axis_name": self.axis_name}
        head = BoxHead(train, convolutions=self.box_convolutions, **shared, name="box_head")
        y = head(pooled, valid.reshape(-1))  # [B * P, 1024]
        columns = self.num_classes + 1
        logits = nn.Dense(columns, dtype=self.dtype, name="class_logits")(y)
        deltas = nn.Dense(4 * columns, dtype=self.dtype, name="box_deltas")(y)
        return (
            logits.reshape(batch, count, columns).astype(jnp.float32),
            deltas.reshape(batch, count, columns, 4).astype(jnp.float32),
        )

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """Cross-entropy and smooth L1 of both stages, over the samples of all images."""
        real = mask[:, None] > 0
        drawn, found = outputs["anchor_labels"] >= -1, outputs["anchor_labels"] >= 0
        entropy = losses.binary_cross_entropy(outputs["objectness"], found)
        deltas = coding.encode(outputs["anchor_wanted"], outputs["anchors"])
        distance = losses.smooth_l1(outputs["anchor_deltas"], deltas, beta=BETA).sum(-1)
        count = (drawn & real).sum(dtype=jnp.float32)

        drawn2, label = outputs["labels"] >= -1, jnp.maximum(outputs["labels"] + 1, 0)
        found2 = outputs["labels"] >= 0
        entropy2 = optax.softmax_cross_entropy_with_integer_labels(outputs["class_logits"], label)
        deltas2 = coding.encode(
            outputs["wanted"], outputs["proposals"], weights=coding.SECOND_STAGE_WEIGHTS
        )
        own = jnp.take_along_axis(outputs["box_deltas"], label[..., None, None], axis=2)[:, :, 0]
        distance2 = losses.smooth_l1(own, deltas2, beta=BETA).sum(-1)
        count2 = (drawn2 & real).sum(dtype=jnp.float32)
        return {
            "objectness": Mean(jnp.where(drawn & real, entropy, 0).sum(), count),
            "proposal": Mean(jnp.where(found & real, distance, 0).sum(), count),
            "class": Mean(jnp.where(drawn2 & real, entropy2, 0).sum(), count2),
            "box": Mean(jnp.where(found2 & real, distance2, 0).sum(), count2),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """The best boxes after suppression within each class."""
        boxes = coding.decode(
            outputs["box_deltas"],
            outputs["proposals"][:, :, None],
            weights=coding.SECOND_STAGE_WEIGHTS,
        )
        scores = jnp.where(outputs["valid"][..., None], nn.softmax(outputs["class_logits"]), 0)
        return suppress_by_class(
            boxes[:, :, 1:],
            scores[..., 1:],
            size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            candidates=boxes.shape[1],
            smallest_side=1e-2,
        )


def _rules(below: Sequence[tuple], *, v2: bool = False) -> dict:
    rules = [
        *below,
        ("rpn.head.conv.{i}.0", "rpn/conv{i}"),
        ("rpn.head.cls_logits", "rpn/objectness"),
        ("rpn.head.bbox_pred", "rpn/deltas"),
        ("roi_heads.box_predictor.cls_score", "class_logits"),
        ("roi_heads.box_predictor.bbox_pred", "box_deltas"),
    ]
    first = flattened(GRID, GRID, 256)
    if v2:
        for i in range(4):
            rules.append((f"roi_heads.box_head.{i}.0", f"box_head/conv{i}"))
            rules.append((f"roi_heads.box_head.{i}.1", f"box_head/bn{i}"))
        rules.append(("roi_heads.box_head.5", "box_head/fc0", first))
    else:
        rules.append(("roi_heads.box_head.fc6", "box_head/fc0", first))
        rules.append(("roi_heads.box_head.fc7", "box_head/fc1"))
    return {"torchvision": tuple(rules)}


_RESNET = detector_rules(resnet.TORCHVISION_RULES, drop=("fc",))
_MOBILE = detector_rules(
    mobilenet_v3.torchvision_rules(mobilenet_v3.LARGE), drop=("fc1", "fc2"), strip="features."
)
_MOBILE_FIELDS = {
    "backbone": "mobilenet_v3_large",
    "backbone_options": (("bn_epsilon", 1e-5),),  # torchvision's detector has PyTorch's default
    "stages": ("block13", "block16"),
    "strides": (32, 32),
    "sizes": anchors.FASTER_RCNN_MOBILENET_SIZES,
    "roi_levels": 1,  # torchvision takes the first of two levels with the same stride
    "proposal_threshold": 0.05,
}

# torchvision's figures, for 90 classes and the background. Except for the second network they leave
# out the BatchNorms of the backbone, which torchvision freezes: 53,120 and 24,400.
TABLE = {
    "fasterrcnn_resnet50_fpn": row(41_808_406, 134.38, changes={"rules": _rules(_RESNET)}),
    # "v2" after Li et al. 2021, arXiv:2111.11429, section 3
    "fasterrcnn_resnet50_fpn_v2": row(
        43_712_278,
        280.371,
        pyramid_norm=True,
        proposal_depth=2,
        box_convolutions=4,
        changes={"rules": _rules(_RESNET, v2=True)},
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": row(
        19_410_754, 4.494, **_MOBILE_FIELDS, changes={"rules": _rules(_MOBILE)}
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": row(
        19_410_754,
        0.719,
        **_MOBILE_FIELDS,
        candidates=(2000, 150),
        proposals=(2000, 150),
        changes={"rules": _rules(_MOBILE), "input_shape": (320, 426, 3)},
    ),
}

register(
    FasterRCNN,
    TABLE,
    paper="Ren et al. 2015, Faster R-CNN, arXiv:1506.01497; Lin et al. 2017, Feature Pyramid "
    "Networks for Object Detection, arXiv:1612.03144",
    source="torchvision 0.29, for images of about 800x1066",
    input_shape=(800, 1066, 3),
    num_classes=90,
    min_size=64,
    task="detection",
)
