"""A classifier of WaveNet's layers (van den Oord et al. 2016, arXiv:1609.03499).

WaveNet generates sound sample by sample. Its layers are gated, causal and dilated, with a residual
and a skip output each. Section 3.4 adds a mean over time to recognise speech.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from cnn_jax.layers import require_sequence
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # The dilations of section 2.1, doubled up to a limit and then repeated. In the paper the limit
    # is 512, and the widths are not given. This network sees 64 steps, for short sequences.
    "wavenet": row(48_874, dilations=(1, 2, 4, 8, 16, 32)),
    "wavenet_512": row(151_466, dilations=tuple(2**i for i in range(10)) * 2),
}


class GatedLayer(nn.Module):
    """tanh(filter * x) sigmoid(gate * x), then 1x1 convolutions for the residual and the skip.

    Figure 4 of the paper.

    Attributes:
        features: residual channels, as many as x has.
        skip_features: channels of the skip output.
        kernel, dilation: length and dilation of the causal kernels.
    """

    features: int
    skip_features: int
    kernel: int
    dilation: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:  # [B, L, C] -> [B, L, C], [B, L, skip]
        z = nn.Conv(
            2 * self.features,
            (self.kernel,),
            kernel_dilation=self.dilation,
            padding="CAUSAL",
            dtype=self.dtype,
            name="conv",
        )(x)
        filtered, gate = z[..., : self.features], z[..., self.features :]
        z = nn.tanh(filtered) * nn.sigmoid(gate)
        skip = nn.Conv(self.skip_features, (1,), dtype=self.dtype, name="skip")(z)
        return x + nn.Conv(self.features, (1,), dtype=self.dtype, name="residual")(z), skip


class WaveNet(nn.Module):
    """Gated layers; the sum of their skips, two 1x1 layers, and the mean over time.

    Stages: 'layer01' [B, L, features], 'layer02', ...

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        dilations: dilation of each layer. The receptive field is 1 + (kernel - 1) sum(dilations)
            steps.
        features: residual channels.
        skip_features: channels of the skips.
        kernel: length of the kernels.
        drop_rate: dropout rate before the last layer.
        axis_name: accepted as in every model, without effect: there is no BatchNorm.
        remat: whether to recompute the layers in the backward pass.
    """

    num_classes: int | None
    dilations: Sequence[int] = (1, 2, 4, 8, 16, 32)
    features: int = 32
    skip_features: int = 64
    kernel: int = 2
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_sequence(x, "wavenet")
        layer = nn.remat(GatedLayer) if self.remat else GatedLayer
        x = nn.Conv(
            self.features, (self.kernel,), padding="CAUSAL", dtype=self.dtype, name="conv1"
        )(x)
        stages: dict[str, Array] = {}
        skips: Any = 0.0
        for i, dilation in enumerate(self.dilations, start=1):
            x, skip = layer(
                self.features,
                self.skip_features,
                self.kernel,
                dilation,
                dtype=self.dtype,
                name=f"layer{i:02}",
            )(x)
            skips += skip
            stages[f"layer{i:02}"] = x
        if self.num_classes is None:
            return stages
        x = nn.relu(skips)
        x = nn.relu(nn.Conv(self.skip_features, (1,), dtype=self.dtype, name="conv2")(x))
        x = x.mean(1)  # [B, skip]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)  # [B, K]


register(
    WaveNet,
    TABLE,
    paper="van den Oord et al. 2016, WaveNet: A Generative Model for Raw Audio, arXiv:1609.03499",
    source="figure 4 of the paper, layer by layer, at widths of our own",
    input_shape=(1024, 1),
    num_classes=10,
)
