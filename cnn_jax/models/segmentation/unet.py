"""U-Net: a contracting path, an expanding one, and shortcuts between them at every scale."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ModuleFactory, batch_norm, conv, max_pool
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # Figure 1: 64 to 1024 channels, four poolings, 3x3 convolutions without padding: 572 -> 388.
    # "23 convolutional layers in total" (section 2), with biases.
    "unet": row(31_030_658),
    # The same padded, so that the output is as large as the input, and with BatchNorm.
    "unet_same": row(
        31_036_546, padding="same", use_norm=True, changes={"input_shape": (256, 256, 1)}
    ),
    # For small images and small machines: narrow at the high resolutions.
    "unet_small": row(
        267_723,
        padding="same",
        use_norm=True,
        width=(8, 24, 48, 96),
        depth=3,
        changes={"input_shape": (64, 64, 3), "num_classes": 11},
    ),
}

PADDINGS = ("valid", "same")


class UNet(nn.Module):
    """Ronneberger et al. 2015, in one, two or three dimensions (3-D: arXiv:1606.06650).

    Stages: 'encoder0' (stride 1), 'encoder1' (2), ... 'encoder<depth>' (2^depth).

    Attributes:
        num_classes: number of classes K; None to return the stages.
        width: channels of the first level, which double with each level below; or a sequence of the
            channels of all depth + 1 levels.
        depth: number of times that the resolution is halved.
        padding: 'valid', as published: every convolution loses a pixel at each border, and the
            output is smaller than the input; or 'same', for an output as large as the input.
        use_norm: whether BatchNorm follows every 3x3 convolution, which then has no bias. There is
            none in the paper, which is as old as BatchNorm.
        drop_rate: dropout rate on the two deepest levels: "Drop-out layers at the end of the
            contracting path" (section 3.1).
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute each level in the backward pass instead of keeping its
            activations.
    """

    num_classes: int | None
    width: int | Sequence[int] = 64
    depth: int = 4
    padding: str = "valid"
    use_norm: bool = False
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        """[B, *space, C] -> [B, *space, K], smaller with padding='valid'.

        Raises:
            ValueError: the image is too small, or with 'valid' a level has an odd size.
        """
        if self.padding not in PADDINGS:
            raise ValueError(f"padding={self.padding!r}: choose from {', '.join(PADDINGS)}.")
        widths = self.width
        if isinstance(widths, int):
            widths = [widths * 2**i for i in range(self.depth + 1)]
        if len(widths) != self.depth + 1:
            raise ValueError(
                f"width={tuple(widths)} has {len(widths)} entries for {self.depth + 1} levels: "
                "give one per level."
            )
        valid = self.padding == "valid"
        _check_size(x.shape[1:-1], self.depth, valid=valid)
        norm = None
        if self.use_norm:
            norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        module = nn.remat(DoubleConv) if self.remat else DoubleConv
        level = partial(module, padding=0 if valid else 1, norm=norm, dtype=self.dtype)
        drop = partial(nn.Dropout, self.drop_rate, deterministic=not train)

        stages = {}
        for i in range(self.depth + 1):
            if i > 0:
                x = max_pool(x, 2, stride=2)
            x = level(widths[i], name=f"encoder{i}")(x)
            if i >= self.depth - 1:
                x = drop(name=f"drop{i}")(x)
            stages[f"encoder{i}"] = x  # [B, *space / 2^i, widths[i]]
        if self.num_classes is None:
            return stages

        for i in reversed(range(self.depth)):
            skip, features = stages[f"encoder{i}"], widths[i]
            x = _up_convolution(x, features, self.dtype, name=f"up{i}")
            skip, x = (_centre(skip, x.shape), x) if valid else (skip, _padded(x, skip.shape))
            x = jnp.concatenate([skip, x], -1)  # [B, *space / 2^i, 2 * features]
            x = level(features, name=f"decoder{i}")(x)
        return conv(x, self.num_classes, 1, use_bias=True, dtype=self.dtype, name="head")


class DoubleConv(nn.Module):
    """Two 3x3 convolutions with ReLU, and with BatchNorm before it if `norm` is given."""

    features: int
    padding: int
    norm: ModuleFactory | None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, *space, C] -> [B, *space (- 4), features]
        for i in (1, 2):
            x = conv(
                x,
                self.features,
                3,
                padding=self.padding,
                use_bias=self.norm is None,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = nn.relu(x if self.norm is None else self.norm(name=f"bn{i}")(x))
        return x


def _up_convolution(x: Array, features: int, dtype: Any, *, name: str) -> Array:
    """The paper's 2x2 "up-convolution": twice the size, half the channels."""
    rank = x.ndim - 2
    up = nn.ConvTranspose(
        features, (2,) * rank, strides=(2,) * rank, padding="VALID", dtype=dtype, name=name
    )
    return up(x)


def _centre(x: Array, shape: tuple[int, ...]) -> Array:
    """The middle of x, cropped to the spatial part of `shape`."""
    margins = [(have - want) // 2 for have, want in zip(x.shape, shape, strict=True)][1:-1]
    space = zip(margins, shape[1:-1], strict=True)
    return x[(slice(None), *(slice(start, start + size) for start, size in space))]


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    """x with zeros at the end of each side that lost an odd pixel in pooling."""
    missing = [(0, want - have) for have, want in zip(x.shape, shape, strict=True)][1:-1]
    return jnp.pad(x, [(0, 0), *missing, (0, 0)])


def _check_size(space: tuple[int, ...], depth: int, *, valid: bool) -> None:
    if not valid:
        if min(space) < 2**depth:
            raise ValueError(
                f"A U-Net of depth {depth} takes images with sides of {2**depth} pixels or more; "
                f"got {'x'.join(map(str, space))}. Enlarge them, or give a smaller depth."
            )
        return
    for side in space:
        if not fits_valid(side, depth):
            fitting = [n for n in range(1, side + 2**depth * 16) if fits_valid(n, depth)]
            nearest = min(fitting, key=lambda n: abs(n - side))
            raise ValueError(
                f"A U-Net without padding got a side of {side} pixels, with which a level has an "
                f"odd size or none. The nearest side that works is {nearest}; with padding='same' "
                "all work."
            )


def fits_valid(side: int, depth: int) -> bool:
    """Whether every level of a U-Net without padding has an even size before its pooling."""
    for _ in range(depth):
        side -= 4
        if side <= 0 or side % 2:
            return False
        side //= 2
    return side > 4


register(
    UNet,
    TABLE,
    paper="Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation, arXiv:1505.04597",
    source="counted from figure 1 with biases: 3x3 convolutions, 2x2 up-convolutions, 1x1 output",
    input_shape=(572, 572, 1),
    num_classes=2,
    min_size=16,
    task="segmentation",
)
