"""A small detector for small machines: every cell of one feature map may hold one object.

Its parts and their sources: a cell predicts its distances to the four sides of the box (FCOS, Tian
et al. 2019, arXiv:1904.01355); one feature map serves all sizes, and the deeper ones are added to
it (Lin et al. 2017, arXiv:1612.03144); a score stands for both class and quality of the box (Li et
al. 2020, arXiv:2006.04388), so that there is no third branch.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax import losses
from cnn_jax.layers import ConvNormAct, batch_norm, conv
from cnn_jax.layers.resize import resize_linear
from cnn_jax.models.backbones import stage, stages_of
from cnn_jax.models.detection.centres import centres, match_centres
from cnn_jax.models.detection.postprocess import suppress
from cnn_jax.models.registry import register, row
from cnn_jax.models.resnet import BasicBlock
from cnn_jax.typing import Array, Detections, Mean, Outputs, Targets

TABLE = {
    "detector_small": row(None, stages=("stage2", "stage3", "stage4")),
    # For photographs: B0 of arXiv:1905.11946 without squeeze-and-excitation.
    "detector_efficientnet_lite0": row(
        None,
        backbone="efficientnet_lite0",
        stages=("stage3", "stage5", "stage7"),
        features=96,
    ),
}

PRIOR = 0.01  # initial probability of an object: arXiv:1708.02002, section 3.3
LARGEST = 6.0  # largest log distance in strides: e^6 strides exceed any image


class SmallTrunk(nn.Module):
    """Four stages of basic residual blocks: 'stage1' (stride 2) to 'stage4' (16).

    Attributes:
        widths, depths: channels and number of blocks of each stage.
    """

    widths: Sequence[int] = (24, 48, 96, 128)
    depths: Sequence[int] = (0, 2, 2, 1)
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        block = nn.remat(BasicBlock) if self.remat else BasicBlock
        stages = {}
        for i, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            x = ConvNormAct(width, 3, stride=2, norm=norm, dtype=self.dtype, name=f"stage{i}_down")(
                x
            )
            for j in range(depth):
                x = block(planes=width, norm=norm, dtype=self.dtype, name=f"stage{i}_{j}")(x)
            stages[f"stage{i}"] = x
        return stages


class SingleLevelDetector(nn.Module):
    """A trunk, its stages added at the resolution of the first, and one head.

    Returns {'class_logits': [B, P, K], 'distances': [B, P, 4] from the cell to the sides of its
    box, 'points': [P, 2] the positions of the cells, 'strides': [P]} for the P cells of the map,
    all in pixels.

    Stages: the trunk's.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        stages: stages of the trunk, shallow to deep; the head has the resolution of the first.
        backbone: a classification network of the registry; None for `SmallTrunk`.
        features: channels of the head.
        depth: number of 3x3 convolutions in the head, before the predictions.
        centre_radius: radius of centre sampling, in strides: cells so near to the middle of a box
            learn to find it (1.5 in FCOS).
        box_weight: weight of the GIoU loss (2 in arXiv:2006.04388, section 4).
        max_detections, score_threshold, iou_threshold: arguments of `suppress`.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    stages: Sequence[str]
    backbone: str | None = None
    features: int = 64
    depth: int = 2
    centre_radius: float = 1.5
    box_weight: float = 2.0
    max_detections: int = 100
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Array]:
        shared = {"dtype": self.dtype, "axis_name": self.axis_name}
        if self.backbone is None:
            stages = SmallTrunk(**shared, remat=self.remat, name="backbone")(x, train=train)
        else:
            stages = stages_of(self, x, train=train)
        if self.num_classes is None:
            return stages

        unit = partial(ConvNormAct, norm=batch_norm(train, **shared), dtype=self.dtype)
        y: Array | None = None
        for name in reversed(self.stages):
            lateral = stage(stages, name, backbone=self.backbone or "the small trunk")
            lateral = unit(self.features, 1, act=None, name=f"lateral_{name}")(lateral)
            y = lateral if y is None else lateral + resize_linear(y, lateral.shape[1:-1])
        assert y is not None  # `stages` names at least one
        y = nn.relu(y)
        for i in range(1, self.depth + 1):
            y = unit(self.features, 3, name=f"head{i}")(y)  # [B, h, w, features]
        predict = partial(
            conv,
            use_bias=True,
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.dtype,
        )
        prior = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        logits = predict(y, self.num_classes, 3, bias_init=prior, name="class_logits")
        logs = predict(y, 4, 3, bias_init=nn.initializers.constant(0.7), name="box_logs")
        batch, height, width, _ = y.shape
        stride = -(-x.shape[1] // height)
        logs = jnp.minimum(logs.astype(jnp.float32), LARGEST).reshape(batch, -1, 4)
        return {
            "class_logits": logits.reshape(batch, -1, self.num_classes),
            "distances": stride * jnp.exp(logs),
            "points": centres(height, width, stride),
            "strides": jnp.full(height * width, stride, jnp.float32),
        }

    @nn.nowrap
    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> dict[str, Mean]:
        """Quality focal loss and GIoU, both divided by the number of cells that have an object."""
        logits, boxes = outputs["class_logits"], boxes_of(outputs)
        matched = match_centres(
            outputs["points"], outputs["strides"], targets, radius=self.centre_radius
        )  # [B, P], -1 for none
        found = (matched >= 0) & (mask[:, None] > 0)
        index = jnp.maximum(matched, 0)
        wanted = jnp.take_along_axis(targets.boxes, index[..., None], axis=1)  # [B, P, 4]
        label = jnp.take_along_axis(targets.labels, index, axis=1)
        quality = jnp.where(found, box_ops.iou(boxes, wanted), 0)  # [B, P]
        classes = jnp.arange(logits.shape[-1])
        soft = jnp.where(label[..., None] == classes, quality[..., None], 0)  # [B, P, K]
        scores = losses.quality_focal(logits, soft).sum(-1)
        places = losses.giou(boxes, wanted)
        count = found.sum(dtype=jnp.float32)
        return {
            "class": Mean(jnp.where(mask[:, None] > 0, scores, 0).sum(), count),
            "box": Mean(self.box_weight * jnp.where(found, places, 0).sum(), count),
        }

    @nn.nowrap
    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """The best boxes after suppression within each class."""
        return suppress(
            boxes_of(outputs),
            nn.sigmoid(outputs["class_logits"]),
            size,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )


def boxes_of(outputs: Outputs) -> Array:
    """The boxes [B, P, 4] from the points and distances of the outputs."""
    points, sides = outputs["points"], outputs["distances"]
    return jnp.concatenate([points - sides[..., :2], points + sides[..., 2:]], axis=-1)


register(
    SingleLevelDetector,
    TABLE,
    paper="after Tian et al. 2019, FCOS, arXiv:1904.01355, and Li et al. 2020, arXiv:2006.04388",
    source="no figures are published",
    input_shape=(64, 64, 3),
    num_classes=10,
    min_size=32,
    task="detection",
)
