"""SegNet: the decoder unpools to the places of the encoder's maxima."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import ModuleFactory, batch_norm, conv
from cnn_jax.layers.unpool import max_pool_with_winners, max_unpool
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # Section 3.1: four encoders and decoders of one 7x7 convolution to 64 channels each, no bias,
    # no ReLU in the decoder. Table 1 of the paper says 1.425 million.
    "segnet_basic": row(
        1_416_075,
        stages=((64,), (64,), (64,), (64,)),
        kernel=7,
        head_kernel=1,
        decoder_act=False,
    ),
    # Section 3: the 13 convolutions of VGG-16 and their mirror image.
    "segnet": row(
        29_441_419,
        stages=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    ),
}


class SegNet(nn.Module):
    """Badrinarayanan et al. 2015, in as many dimensions as x has, for images of any size.

    Stages: 'encoder1' (stride 1), 'encoder2' (2), ... each before its pooling.

    Attributes:
        num_classes: number of classes K; None to return the stages.
        stages: widths of the convolutions of each encoder, shallow to deep; the decoders mirror
            them.
        kernel: kernel size of all convolutions but the last.
        head_kernel: kernel size of the last one, which gives the classes. It replaces the last
            convolution of the decoders, or follows it if it is 1x1.
        decoder_act: whether the decoder has ReLU.
        drop_rate: dropout rate after the deepest encoder and decoder (Bayesian SegNet,
            arXiv:1511.02680).
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute each stage in the backward pass instead of keeping its
            activations.
    """

    num_classes: int | None
    stages: Sequence[Sequence[int]]
    kernel: int = 3
    head_kernel: int = 3
    decoder_act: bool = True
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        module = nn.remat(ConvStack) if self.remat else ConvStack
        stack = partial(module, kernel=self.kernel, norm=norm, dtype=self.dtype)
        drop = partial(nn.Dropout, self.drop_rate, deterministic=not train)

        maps, pooled = {}, []
        for i, widths in enumerate(self.stages, start=1):
            x = maps[f"encoder{i}"] = stack(widths, name=f"encoder{i}")(x)
            x, winners = max_pool_with_winners(x)
            pooled.append((winners, maps[f"encoder{i}"].shape[1:-1]))
        if self.num_classes is None:
            return maps

        x = drop(name="drop_encoder")(x)
        for i in reversed(range(1, len(self.stages) + 1)):
            winners, space = pooled[i - 1]
            x = max_unpool(x, winners, space)
            # Each decoder ends with the width of the next pooling up, so that its winners fit.
            widths = [*self.stages[i - 1][1:][::-1], self.stages[max(i - 2, 0)][-1]]
            if i == 1 and self.head_kernel > 1:
                widths = widths[:-1]
            x = stack(widths, act=self.decoder_act, name=f"decoder{i}")(x)
            if i == len(self.stages):
                x = drop(name="drop_decoder")(x)
        return conv(
            x, self.num_classes, self.head_kernel, use_bias=True, dtype=self.dtype, name="head"
        )  # [B, *space, K]


class ConvStack(nn.Module):
    """Convolutions with BatchNorm and, unless `act` is False, ReLU."""

    widths: Sequence[int]
    kernel: int
    norm: ModuleFactory
    act: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, *space, C] -> [B, *space, widths[-1]]
        for i, features in enumerate(self.widths, start=1):
            x = conv(x, features, self.kernel, dtype=self.dtype, name=f"conv{i}")
            x = self.norm(name=f"bn{i}")(x)
            x = nn.relu(x) if self.act else x
        return x


register(
    SegNet,
    TABLE,
    paper="Badrinarayanan et al. 2015, SegNet: A Deep Convolutional Encoder-Decoder Architecture "
    "for Image Segmentation, arXiv:1511.00561",
    source="counted from section 3: 7x7 or 3x3 convolutions without bias, BatchNorm, an output "
    "layer with bias",
    input_shape=(360, 480, 3),
    num_classes=11,
    task="segmentation",
)
