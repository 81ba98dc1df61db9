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
    """A factory of `BatchNorm` (arXiv:1502.03167) for blocks: `norm(name='bn1')(x)`.

    Args:
        train: whether to normalise by the statistics of the batch and update the running ones;
            otherwise the running statistics are used.
        momentum: momentum of the running statistics, new = momentum * old + (1 - momentum) * batch.
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
    """The mean and the mean square of each channel of x [B, *space, C]: two arrays [C].

    They are computed in float32, or in the type of x if that is wider.

    Args:
        x: [B, *space, C].
        axis_name: the pmap axis whose devices hold parts of the batch; the means are over all.
        mask: bool, broadcastable to x: the positions that count.
    """
    wide = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    mean, square = (a.mean(tuple(range(x.ndim - 1)), where=mask) for a in (wide, wide * wide))
    if axis_name is not None:
        both = jnp.stack([mean, square])  # one message between devices, and one in return
        mean, square = lax.pmean(both, axis_name)
    return mean, square


class BatchNorm(nn.BatchNorm):
    """`nn.BatchNorm`, written as x * a + b with one a and one b for each channel.

    The fields, parameters and statistics are those of Flax, and the result is the same up to
    rounding. (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1:
    y = scale * (x - mean) / sqrt(var + epsilon) + bias.)

    Flax subtracts the mean first. Then x - mean, which is as large as x, is kept for the backward
    pass, and three sums over arrays of that size follow, for mean, scale and bias. With x * a + b
    there are two: sum(dy) and sum(dy * x).

    If the mean of a channel is large compared with its deviation, mean * a cancels against x * a,
    and the error of y grows as mean / deviation. In both versions the error of the variance,
    mean(x^2) - mean(x)^2, does so anyway.
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
            use_running_average: overrides the field, as in Flax.
            mask: bool, broadcastable to x: the positions that count in the statistics.
            known: `moments` of x, to save computing them again; unused with running statistics.

        Raises:
            ValueError: if there are both a mask and known moments; or if a field asks for an axis
                other than the last, for groups of devices, slow variance or half-precision sums,
                which only `nn.BatchNorm` has.
        """
        if mask is not None and known is not None:
            raise ValueError(
                "BatchNorm got known moments and a mask, which it would not use: give the mask to "
                "`moments`, or leave the moments to BatchNorm."
            )
        fixed = (self.axis, self.axis_index_groups, self.use_fast_variance)
        if fixed != (-1, None, True) or not self.force_float32_reductions:
            raise ValueError(
                f"cnn_jax's BatchNorm got {self}. It has no axis but the last, axis_index_groups, "
                "slow variance or half-precision sums: use nn.BatchNorm for these."
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
