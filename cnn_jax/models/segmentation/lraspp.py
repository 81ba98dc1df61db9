"""LR-ASPP: the small segmentation head of MobileNetV3."""

from typing import Any

import flax.linen as nn

from cnn_jax.layers import ConvNormAct, batch_norm, conv
from cnn_jax.layers.resize import resize_linear
from cnn_jax.models import mobilenet_v3
from cnn_jax.models.backbones import backbone_rules, stage, stages_of
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # torchvision's, with 21 classes.
    "lraspp_mobilenet_v3_large": row(
        3_221_538, 2.086, backbone="mobilenet_v3_large", low_stage="block04"
    ),
    "lraspp_mobilenet_v3_small": row(None, backbone="mobilenet_v3_small", low_stage="block01"),
}


class LRASPP(nn.Module):
    """Howard et al. 2019, section 6.4 and figure 10, on any backbone.

    The gate averages the whole image, as in torchvision; the paper has windows of 49x49 pixels at
    strides of 16 and 20, which suit Cityscapes.

    Stages: the backbone's.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone: a classification network of the registry.
        low_stage: stage of stride 8 (or 4), whose scores are added to those of the deepest stage.
        output_stride: stride of the backbone; None leaves it as it is.
        features: channels of the head; 128 in the paper.
        drop_rate: dropout rate before the scores; none in the paper.
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether the backbone is recomputed in the backward pass.
    """

    num_classes: int | None
    backbone: str
    low_stage: str
    output_stride: int | None = 16
    features: int = 128
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        stages = stages_of(self, x, train=train, output_stride=self.output_stride)
        if self.num_classes is None:
            return stages

        high = stage(stages, None, backbone=self.backbone)  # [B, H/16, W/16, C]
        low = stage(stages, self.low_stage, backbone=self.backbone)  # [B, H/8, W/8, c]
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        y = ConvNormAct(self.features, 1, norm=norm, dtype=self.dtype, name="project")(high)
        gate = high.mean(tuple(range(1, high.ndim - 1)), keepdims=True)  # [B, 1, 1, C]
        gate = nn.sigmoid(conv(gate, self.features, 1, dtype=self.dtype, name="gate"))
        y = resize_linear(y * gate, low.shape[1:-1])
        y = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(y)
        scores = {"use_bias": True, "dtype": self.dtype}
        y = conv(low, self.num_classes, 1, **scores, name="low_scores") + conv(
            y, self.num_classes, 1, **scores, name="high_scores"
        )
        return resize_linear(y, x.shape[1:-1])  # [B, H, W, K]


TORCHVISION_RULES = (
    *backbone_rules(
        mobilenet_v3.torchvision_rules(mobilenet_v3.LARGE), drop=("fc1", "fc2"), strip="features."
    ),
    ("classifier.cbr.0", "project/conv"),
    ("classifier.cbr.1", "project/norm"),
    ("classifier.scale.1", "gate"),
    ("classifier.low_classifier", "low_scores"),
    ("classifier.high_classifier", "high_scores"),
)

register(
    LRASPP,
    TABLE,
    paper="Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
    source="torchvision 0.29, for 520x520 pixels",
    input_shape=(520, 520, 3),
    num_classes=21,
    task="segmentation",
    rules={"torchvision": TORCHVISION_RULES},
)
