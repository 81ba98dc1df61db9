"""Flax modules that several papers share. What Flax has is used as it is."""

from cnn_jax.layers.conv import (
    ConvNormAct,
    ModuleFactory,
    conv,
    he_normal_fan_out,
    lecun_uniform,
    per_axis,
    variance_scaling,
)
from cnn_jax.layers.inverted_residual import InvertedResidual, round_channels
from cnn_jax.layers.norm import BatchNorm, Moments, batch_norm, moments
from cnn_jax.layers.pool import adaptive_mean, global_mean, max_pool
from cnn_jax.layers.size import require_sequence, require_size
from cnn_jax.layers.squeeze_excite import SqueezeExcite
from cnn_jax.layers.stochastic_depth import StochasticDepth, linear_rates

__all__ = [
    "BatchNorm",
    "ConvNormAct",
    "InvertedResidual",
    "ModuleFactory",
    "Moments",
    "SqueezeExcite",
    "StochasticDepth",
    "adaptive_mean",
    "batch_norm",
    "conv",
    "global_mean",
    "he_normal_fan_out",
    "lecun_uniform",
    "linear_rates",
    "max_pool",
    "moments",
    "per_axis",
    "require_sequence",
    "require_size",
    "round_channels",
    "variance_scaling",
]


def __dir__() -> list[str]:
    return __all__
