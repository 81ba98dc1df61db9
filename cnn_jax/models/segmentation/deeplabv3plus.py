"""DeepLabV3+: DeepLabV3 with a small decoder that sharpens the edges."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ConvNormAct, batch_norm, conv
from cnn_jax.layers.resize import resize_linear
from cnn_jax.models.backbones import stage, stages_of
from cnn_jax.models.registry import register, row
from cnn_jax.models.segmentation.deeplabv3 import ASPP, RATES
from cnn_jax.typing import Array

TABLE = {
    # The paper's backbones are ResNet-101 and a modified Xception. The low-level features have
    # stride 4, "Conv2 before striding" (section 4.1). No parameter counts are published.
    "deeplabv3plus_resnet18": row(None, backbone="resnet18", low_stage="layer1"),
    "deeplabv3plus_resnet50": row(None, backbone="resnet50", low_stage="layer1"),
    "deeplabv3plus_resnet101": row(None, backbone="resnet101", low_stage="layer1"),
    "deeplabv3plus_mobilenet_v3_large": row(
        None, backbone="mobilenet_v3_large", low_stage="block03"
    ),
}


class DeepLabV3Plus(nn.Module):
    """Chen et al. 2018 on any backbone with dilation, with full instead of separable convolutions.

    Stages: the backbone's.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        backbone: a classification network of the registry.
        low_stage: stage of stride 4 for the decoder.
        output_stride: stride of the backbone, 16 (for training in the paper) or 8; None leaves it
            as it is.
        rates: dilations of the parallel convolutions; None for those of DeepLabV3.
        features: channels of the parallel convolutions and of the decoder.
        low_features: number of channels to which low-level features are reduced (table 1: 48).
        drop_rate: dropout rate after the parallel convolutions.
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether the backbone is recomputed in the backward pass.
    """

    num_classes: int | None
    backbone: str
    low_stage: str
    output_stride: int | None = 16
    rates: Sequence[int] | None = None
    features: int = 256
    low_features: int = 48
    drop_rate: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        stages = stages_of(self, x, train=train, output_stride=self.output_stride)
        if self.num_classes is None:
            return stages

        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        unit = {"norm": norm, "dtype": self.dtype}
        y = ASPP(
            self.rates or RATES.get(self.output_stride, RATES[16]),
            self.features,
            norm,
            self.drop_rate,
            train,
            self.dtype,
            name="aspp",
        )(stage(stages, None, backbone=self.backbone))  # [B, H/16, W/16, 256]
        low = stage(stages, self.low_stage, backbone=self.backbone)  # [B, H/4, W/4, C]
        low = ConvNormAct(self.low_features, 1, **unit, name="reduce_low")(low)
        y = jnp.concatenate([resize_linear(y, low.shape[1:-1]), low], -1)  # [B, H/4, W/4, 304]
        for i in (1, 2):  # table 2: two 3x3 convolutions of 256 channels
            y = ConvNormAct(self.features, 3, **unit, name=f"conv{i}")(y)
        y = conv(y, self.num_classes, 1, use_bias=True, dtype=self.dtype, name="scores")
        return resize_linear(y, x.shape[1:-1])  # [B, H, W, K]


register(
    DeepLabV3Plus,
    TABLE,
    paper="Chen et al. 2018, Encoder-Decoder with Atrous Separable Convolution for Semantic Image "
    "Segmentation, arXiv:1802.02611",
    source="not published for these backbones",
    input_shape=(513, 513, 3),
    num_classes=21,
    task="segmentation",
)
