"""LeNet-5 (LeCun et al. 1998), as published and as it is usually written today."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.layers import conv, lecun_uniform, require_size
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # As written today: C3 sees all maps of S2, S2 and S4 are means, ReLU: 61,706 with ten classes.
    "lenet5": row(61_706),
    # Figure 2 and section II.B: the layers C1..F6 have 156 + 12 + 1,516 + 32 + 48,120 + 10,164
    # = 60,000 trainable parameters. The fixed RBF output is a dense layer here, with 850 more.
    "lenet5_1998": row(60_850, as_published=True),
}

# Table I: row i lists the maps of C3 (0..15) that map i of S2 is connected to.
TABLE_I = (
    (0, 4, 5, 6, 9, 10, 11, 12, 14, 15),
    (0, 1, 5, 6, 7, 10, 11, 12, 13, 15),
    (0, 1, 2, 6, 7, 8, 11, 13, 14, 15),
    (1, 2, 3, 6, 7, 8, 9, 12, 14, 15),
    (2, 3, 4, 7, 8, 9, 10, 12, 13, 15),
    (3, 4, 5, 8, 9, 10, 11, 13, 14, 15),
)

# Input, kernel and output, by the number of spatial axes.
AXES = {
    1: ("NWC", "WIO", "NWC"),
    2: ("NHWC", "HWIO", "NHWC"),
    3: ("NDHWC", "DHWIO", "NDHWC"),
}

INPUT_SIZE = 32  # a 28x28 digit is centred in a 32x32 field, section II.B
MIN_SIZE = 28


class LeNet5(nn.Module):
    """C1 6@5x5, S2, C3 16@5x5, S4, C5 120@5x5, F6 84, output.

    Sides of 28 to 31 pixels are padded to 32. For 32 pixels C5 has one position, as in the paper;
    for more it has several, which are averaged.

    Stages: 'c1' [B, 28, 28, 6], 'c3' [B, 10, 10, 16], 'f6' [B, 84].

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        as_published: whether to use the connections of Table I in C3, trainable subsampling and the
            scaled tanh 1.7159 tanh(2/3 a); otherwise full connections, means and ReLU.
        axis_name, remat: accepted as in every model, without effect.
    """

    num_classes: int | None
    as_published: bool = False
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        act = scaled_tanh if self.as_published else nn.relu
        layer = {"padding": 0, "use_bias": True, "dtype": self.dtype, "kernel_init": lecun_uniform}
        x = _centre(x)  # [B, 32, 32, C]
        c1 = act(conv(x, 6, 5, name="c1", **layer))  # [B, 28, 28, 6]
        x = self._subsample(c1, "s2")  # [B, 14, 14, 6]
        if self.as_published:
            x = PartialConv(dtype=self.dtype, name="c3")(x)
        else:
            x = conv(x, 16, 5, name="c3", **layer)
        c3 = act(x)  # [B, 10, 10, 16]
        x = self._subsample(c3, "s4")  # [B, 5, 5, 16]
        x = act(conv(x, 120, 5, name="c5", **layer))  # [B, 1, 1, 120]
        x = x.mean(tuple(range(1, x.ndim - 1)))  # [B, 120]
        x = nn.Dense(84, dtype=self.dtype, kernel_init=lecun_uniform, name="f6")(x)
        x = act(x)
        if self.num_classes is None:
            return {"c1": c1, "c3": c3, "f6": x}
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="output")(x)  # [B, K]

    def _subsample(self, x: Array, name: str) -> Array:
        rank = x.ndim - 2
        x = nn.avg_pool(x, (2,) * rank, (2,) * rank)
        if not self.as_published:
            return x
        # The sum of four inputs, times a coefficient, plus a bias, through a sigmoid unit.
        coefficient = self.param(f"{name}_coefficient", nn.initializers.ones, (x.shape[-1],))
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (x.shape[-1],))
        return scaled_tanh(x * coefficient.astype(x.dtype) + bias.astype(x.dtype))


class PartialConv(nn.Module):
    """C3: a convolution with the connections of Table I only, "to break the symmetry"."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, *space, 6] -> [B, *space, 16]
        rank = x.ndim - 2
        connected = np.zeros((6, 16), bool)
        for i, maps in enumerate(TABLE_I):
            connected[i, list(maps)] = True
        # One kernel for each of the 60 connections; the others are zero and have no parameters.
        kernel = self.param("kernel", _uniform_25, (5,) * rank + (int(connected.sum()),))
        bias = self.param("bias", nn.initializers.zeros, (16,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        full = jnp.zeros((5,) * rank + (6, 16), kernel.dtype)
        full = full.at[(..., *np.nonzero(connected))].set(kernel)
        strides = (1,) * rank
        axes = jax.lax.conv_dimension_numbers(x.shape, full.shape, AXES[rank])
        return jax.lax.conv_general_dilated(x, full, strides, "VALID", None, None, axes) + bias


def scaled_tanh(a: Array) -> Array:
    """1.7159 tanh(2/3 a): f(1) = 1 and f(-1) = -1 (Appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * a)


def _uniform_25(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    # Each map of C3 has 3 to 6 inputs; the scale is that of the average, four.
    return nn.initializers.uniform(2 / np.sqrt(4 * 25))(key, shape, dtype) - 1 / np.sqrt(4 * 25)


def _centre(x: Array) -> Array:
    require_size(x, MIN_SIZE, "lenet5")
    missing = [max(INPUT_SIZE - n, 0) for n in x.shape[1:-1]]
    return jnp.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])


register(
    LeNet5,
    TABLE,
    paper="LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, "
    "doi:10.1109/5.726791",
    source="section II.B of the paper, layer by layer",
    input_shape=(32, 32, 1),
    num_classes=10,
    min_size=MIN_SIZE,
)
