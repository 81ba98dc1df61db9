"""InceptionTime (Ismail Fawaz et al. 2019, arXiv:1909.04939): parallel long kernels.

The paper's classifier is an ensemble of five such networks with different initial values.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ModuleFactory, batch_norm, global_mean, require_sequence
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # Section 3: six modules of 32 filters with kernels 10, 20 and 40, a shortcut every three.
    "inception_time": row(421_482),
}

MODULES_PER_SHORTCUT = 3


class InceptionModule(nn.Module):
    """Parallel convolutions of several lengths and a max pool on the same input (figure 2).

    Attributes:
        features: channels of each of the len(kernels) + 1 branches.
        kernels: lengths of the kernels.
        bottleneck: number of channels to which the convolutions' input is reduced, if it has more
            than one.
        norm: factory of the normalisation.
    """

    features: int
    kernels: Sequence[int]
    bottleneck: int
    norm: ModuleFactory
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, L, C] -> [B, L, features * (len(kernels) + 1)]
        narrow = x
        if x.shape[-1] > 1:
            narrow = self._conv(x, self.bottleneck, 1, "bottleneck")
        branches = [
            self._conv(narrow, self.features, kernel, f"conv{kernel}") for kernel in self.kernels
        ]
        pooled = nn.max_pool(x, (3,), padding="SAME")
        branches.append(self._conv(pooled, self.features, 1, "conv_pool"))
        return nn.relu(self.norm(name="bn")(jnp.concatenate(branches, axis=-1)))

    def _conv(self, x: Array, features: int, kernel: int, name: str) -> Array:
        # TensorFlow's padding, as in the authors' code: the kernels have even lengths.
        return nn.Conv(
            features, (kernel,), padding="SAME", use_bias=False, dtype=self.dtype, name=name
        )(x)


class InceptionTime(nn.Module):
    """Inception modules with shortcuts, the mean over time, and one dense layer.

    Stages: 'module1' [B, L, 4 * features], 'module2', ...

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        depth: number of modules.
        features, kernels, bottleneck: see `InceptionModule`.
        drop_rate: dropout rate before the last layer; the paper has none.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the modules in the backward pass.
    """

    num_classes: int | None
    depth: int = 6
    features: int = 32
    kernels: Sequence[int] = (40, 20, 10)
    bottleneck: int = 32
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_sequence(x, "inception_time")
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        module = nn.remat(InceptionModule) if self.remat else InceptionModule
        stages, shortcut = {}, x
        for i in range(1, self.depth + 1):
            x = module(
                self.features,
                self.kernels,
                self.bottleneck,
                norm=norm,
                dtype=self.dtype,
                name=f"module{i}",
            )(x)
            if i % MODULES_PER_SHORTCUT == 0:
                width = x.shape[-1]
                name = f"shortcut{i // MODULES_PER_SHORTCUT}"
                shortcut = nn.Conv(
                    width, (1,), use_bias=False, dtype=self.dtype, name=f"{name}_conv"
                )(shortcut)
                x = shortcut = nn.relu(x + norm(name=f"{name}_bn")(shortcut))
            stages[f"module{i}"] = x
        if self.num_classes is None:
            return stages
        x = global_mean(x)  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)  # [B, K]


register(
    InceptionTime,
    TABLE,
    paper="Ismail Fawaz et al. 2019, InceptionTime: Finding AlexNet for Time Series "
    "Classification, arXiv:1909.04939",
    source="section 3 of the paper, layer by layer, for one channel and ten classes",
    input_shape=(128, 1),
    num_classes=10,
)
