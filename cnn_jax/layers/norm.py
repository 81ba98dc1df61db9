"""Batch normalisation with fewer passes over its input."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from cnn_jax.typing import Array


def batch_norm(
    train: bool,
    *,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    dtype: Any = None,
    axis_name: str | None = None,
) -> Callable[..., "BatchNorm"]:
    """`BatchNorm` (arXiv:1502.03167), ready to be given to blocks: `norm(name='bn1')(x)`.

    Args:
        train: normalise by the statistics of the batch (and update the running ones), rather
            than by the running ones.
        momentum: of the running statistics: new = momentum * old + (1 - momentum) * batch.
            PyTorch's `momentum` is one minus this.
        axis_name: the pmap axis over which the statistics are averaged.
    """
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name,
    )


Moments = tuple[Array, Array]


def moments(x: Array, *, axis_name: str | None = None, mask: Array | None = None) -> Moments:
    """Of each channel of x [B, *space, C] the mean, and the mean of the squares, each [C].

    In float32, or in x's own type where that is wider.

    Args:
        axis_name: the pmap axis whose devices hold parts of the batch: means over all of it.
        mask: bool, broadcastable to x: which positions count.
    """
    wide = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    mean, square = (a.mean(tuple(range(x.ndim - 1)), where=mask) for a in (wide, wide * wide))
    if axis_name is not None:
        both = jnp.stack([mean, square])  # one message between devices, and one back
        mean, square = lax.pmean(both, axis_name)
    return mean, square


class BatchNorm(nn.BatchNorm):
    """`nn.BatchNorm`, written as x * a + b with one a and one b for each channel.

    The fields, the parameters and the statistics are Flax's, and so is the result up to rounding.
    Flax subtracts the mean first. Then x - mean, as large as x, is kept for the backward pass,
    which has three sums over arrays of that size, one for each of mean, scale and bias; of
    x * a + b it has two, sum(dy) and sum(dy * x). (Ioffe and Szegedy 2015, arXiv:1502.03167,
    algorithm 1: y = scale * (x - mean) / sqrt(var + epsilon) + bias.)

    Where a channel's mean is large beside its deviation, mean * a cancels against x * a, and the
    error of y grows as mean / deviation, as that of the variance, mean(x^2) - mean(x)^2, does in
    both versions already.
    """

    @nn.compact
    def __call__(
        self,
        x: Array,
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
        known: Moments | None = None,
    ) -> Array:
        """x [B, *space, C] -> [B, *space, C].

        Args:
            x: channels last.
            use_running_average: as in Flax, in place of the field.
            mask: bool, broadcastable to x: which positions the statistics are of.
            known: `moments` of x, which are then not computed again; not used with running ones.

        Raises:
            ValueError: a field of Flax's asks for another axis than the last, for groups of
                devices, slow variance or half-precision sums; `nn.BatchNorm` has them. Or there
                are both a mask and known moments.
        """
        if mask is not None and known is not None:
            raise ValueError(
                "BatchNorm got both known moments and a mask, which would not be used: give the "
                "mask to `moments`, or leave the moments to BatchNorm."
            )
        fixed = (self.axis, self.axis_index_groups, self.use_fast_variance)
        if fixed != (-1, None, True) or not self.force_float32_reductions:
            raise ValueError(
                "This BatchNorm takes channels last and no axis_index_groups, slow variance or "
                f"half-precision sums, and is {self}; use nn.BatchNorm."
            )
        running = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        channels = x.shape[-1:]
        kept_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        kept_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        wide = jnp.asarray(x, jnp.promote_types(self.dtype or x.dtype, jnp.float32))
        if running:
            mean, var = kept_mean.value, kept_var.value
        else:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, square = known or moments(wide, axis_name=axis_name, mask=mask)
            var = jnp.maximum(0, square - mean * mean)
            if not self.is_initializing():
                kept_mean.value = self._blend(kept_mean.value, mean)
                kept_var.value = self._blend(kept_var.value, var)

        a = lax.rsqrt(var + self.epsilon)
        arguments = [x]
        if self.use_scale:
            arguments.append(self.param("scale", self.scale_init, channels, self.param_dtype))
            a = a * arguments[-1]
        b = -mean * a
        if self.use_bias:
            arguments.append(self.param("bias", self.bias_init, channels, self.param_dtype))
            b = b + arguments[-1]
        dtype = nn.dtypes.canonicalize_dtype(*arguments, dtype=self.dtype)
        return (wide * a + b).astype(dtype)

    def _blend(self, old: Array, new: Array) -> Array:
        return self.momentum * old + (1 - self.momentum) * new
