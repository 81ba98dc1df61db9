"""The network of the CIFAR-10 speed records of Jordan 2024 (arXiv:2404.00498, section 3).

Its first layer is not trained. It whitens patches of 2x2 pixels, with a kernel that
`models.describe("airbench").from_data` computes from training images before training begins.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.layers import ModuleFactory, batch_norm, conv, lecun_uniform, max_pool, require_size
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

# Trained parameters, counted from the listing of appendix A: without the whitening kernel (288) and
# the scales of the batch norms, which stay 1.
TABLE = {
    "airbench": row(1_971_352),
}

WINDOW = 2  # side of the whitened patches, in pixels
EPSILON = 5e-4  # added to the eigenvalues, so that directions with little variance stay small
NORM_MOMENTUM, NORM_EPSILON = 0.6, 1e-12
LOGIT_SCALE = 1 / 9

MIN_SIZE = 9  # 8 after the whitening, then three 2x2 pools


def whitening(images: np.ndarray) -> np.ndarray:
    """The kernel that whitens patches: each channel is an eigenvector of their second moments.

    Section 3.1: every eigenvector is divided by the root of its eigenvalue, so that all channels
    have the same variance. Its negative is there too, because the activation that follows keeps
    about half of its input.

    Args:
        images: [N, *space, C], normalised as in training.

    Returns:
        float32 [2, ..., C, 2 * K] for the K = 2 * 2 * C numbers of a patch, the direction of the
        largest variance first.
    """
    axes = tuple(range(1, images.ndim - 1))
    windows = (WINDOW,) * len(axes)
    size = WINDOW ** len(axes) * images.shape[-1]
    moments, count = np.zeros((size, size)), 0
    for some in np.array_split(images, -(-len(images) // 500)):  # few enough patches at a time
        patches = np.lib.stride_tricks.sliding_window_view(some, windows, axis=axes)  # type: ignore[call-overload]
        patches = np.moveaxis(patches, len(axes) + 1, -1).reshape(-1, size)  # [P, 2 * 2 * C]
        moments += patches.T @ patches
        count += len(patches)
    values, vectors = np.linalg.eigh(moments / count)  # ascending
    scaled = (vectors / np.sqrt(values + EPSILON))[:, ::-1]  # [K, K], one filter per column
    kernel = np.concatenate([scaled, -scaled], axis=1)
    return kernel.reshape(*windows, images.shape[-1], 2 * size).astype(np.float32)


def from_data(images: np.ndarray) -> dict[str, Any]:
    """Computes the collection 'whitening' from training images [N, *space, C]."""
    return {"whitening": {"layer0": {"kernel": whitening(images)}}}


def dirac(remaining: Callable) -> Callable:
    """An initialiser whose first outputs are the inputs; `remaining` draws the others.

    Section 3.2: the layer passes its input on at first, as with a residual connection.
    """

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        *window, before, after = shape
        kernel = remaining(key, shape, dtype)
        same = min(before, after)
        identity = jnp.zeros((*window, before, same), dtype)
        centre = tuple(side // 2 for side in window)
        identity = identity.at[centre].set(jnp.eye(before, same, dtype=dtype))
        return kernel.at[..., :same].set(identity)

    return init


class Whitening(nn.Module):
    """A convolution whose kernel is not a parameter: it is in the collection 'whitening'.

    No optimiser, weight decay or average touches it there. Without `from_data` it is a random
    rotation of the patches, and its negative. The bias is trained.
    """

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, *space, C] -> [B, *(space - 1), 2 * K]
        rank = x.ndim - 2
        window = (WINDOW,) * rank
        size = WINDOW**rank * x.shape[-1]

        def rotation() -> Array:
            half = nn.initializers.orthogonal()(self.make_rng("params"), (size, size))
            kernel = jnp.concatenate([half, -half], axis=1)
            return kernel.reshape(*window, x.shape[-1], 2 * size)

        kernel = self.variable("whitening", "kernel", rotation).value
        bias = self.param("bias", nn.initializers.zeros, (2 * size,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        space = "DHW"[-rank:]
        layout = (f"N{space}C", f"{space}IO", f"N{space}C")
        return bias + jax.lax.conv_general_dilated(
            x, kernel, (1,) * rank, "VALID", dimension_numbers=layout
        )


class Group(nn.Module):
    """Two 3x3 convolutions, the first followed by a 2x2 max pool; each with norm and GELU."""

    features: int
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i in (1, 2):
            x = conv(
                x,
                self.features,
                3,
                kernel_init=dirac(lecun_uniform),
                dtype=self.dtype,
                name=f"conv{i}",
            )
            if i == 1:
                x = max_pool(x, 2, stride=2)
            x = self.norm(use_scale=False, name=f"norm{i}")(x)
            x = nn.gelu(x, approximate=False)
        return x


class Airbench(nn.Module):
    """A whitening convolution and three groups, each of which halves the resolution.

    Stages: 'layer0' (stride 1, one pixel smaller), 'layer1' (2), 'layer2' (4), 'layer3' (8).

    The global pool takes the maximum, over 3x3 positions for images of 32 pixels, as in the paper.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        widths: channels of the groups.
        norm_momentum: momentum of the running statistics; the paper's is for batches of
            1,024 images.
        drop_rate: dropout rate before the last layer; the paper has none.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.

    Raises:
        ValueError: if a side is shorter than 9 pixels.
    """

    num_classes: int | None
    widths: Sequence[int] = (64, 256, 256)
    norm_momentum: float = NORM_MOMENTUM
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | Mapping[str, Array]:
        require_size(x, MIN_SIZE, "airbench")
        norm = batch_norm(
            train,
            momentum=self.norm_momentum,
            epsilon=NORM_EPSILON,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        group = nn.remat(Group) if self.remat else Group
        x = nn.gelu(Whitening(dtype=self.dtype, name="layer0")(x), approximate=False)
        stages = {"layer0": x}
        for i, width in enumerate(self.widths, start=1):
            x = group(width, norm=norm, dtype=self.dtype, name=f"layer{i}")(x)
            stages[f"layer{i}"] = x
        if self.num_classes is None:
            return stages

        x = x.max(tuple(range(1, x.ndim - 1)))  # [B, 256]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(
            self.num_classes,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=lecun_uniform,
            name="linear",
        )
        return LOGIT_SCALE * head(x)  # [B, K]


register(
    Airbench,
    TABLE,
    paper="Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv:2404.00498",
    source="counted from the listing in the paper's appendix",
    input_shape=(32, 32, 3),
    num_classes=10,
    min_size=MIN_SIZE,
    from_data=from_data,
)
