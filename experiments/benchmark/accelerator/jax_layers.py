"""XLA's own convolutions beside `cnn_jax.gpu`'s methods, a pass of a layer at a time."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.gpu import registry, tuning
from experiments.benchmark.accelerator import layers
from experiments.benchmark.layer import Layer

PLATFORMS = {"gpu": ("cuda", "rocm"), "cpu": ("cpu",), "tpu": ("tpu",)}


def forward(layer: Layer) -> Callable[[Any, Any], Any]:
    """The layer as a function of its input and kernel."""
    space = "DHW"[-layer.rank :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    steps, padding = (layer.stride,) * layer.rank, [(layer.padding,) * 2] * layer.rank

    def convolve(x, w):
        if layer.transposed:
            # the pixels of PyTorch's ConvTranspose: those whose convolution has this padding
            reach = layer.window - 1 - layer.padding
            return lax.conv_general_dilated(
                x,
                w,
                (1,) * layer.rank,
                [(reach, reach)] * layer.rank,
                lhs_dilation=steps,
                dimension_numbers=numbers,
            )
        return lax.conv_general_dilated(
            x,
            w,
            steps,
            padding,
            rhs_dilation=(layer.dilation,) * layer.rank,
            dimension_numbers=numbers,
            feature_group_count=layer.groups,
        )

    return convolve


def shapes(layer: Layer, dtype: Any) -> tuple[Any, Any, Any]:
    """Of the input, the kernel and the output."""
    x = jax.ShapeDtypeStruct((layer.batch, *(layer.size,) * layer.rank, layer.channels), dtype)
    window = (layer.window,) * layer.rank
    w = jax.ShapeDtypeStruct((*window, layer.channels // layer.groups, layer.features), dtype)
    return x, w, jax.eval_shape(forward(layer), x, w)


def passes(layer: Layer) -> dict[str, Callable[..., Any]]:
    """The three passes, each a function of input, kernel and gradient of the output."""
    f = forward(layer)
    functions: tuple[Callable[..., Any], ...] = (
        lambda x, w, dy: f(x, w),
        lambda x, w, dy: jax.vjp(lambda x: f(x, w), x)[1](dy)[0],
        lambda x, w, dy: jax.vjp(lambda w: f(x, w), w)[1](dy)[0],
    )
    return dict(zip(layers.PASSES, functions, strict=True))


def rows(
    dtype: str, platform: str, file: str, *, tiny: bool, without: Collection[tuple[str, str]] = ()
) -> Iterator[dict[str, Any]]:
    """A row for each pass; the verdicts go to a file, '' for the user's cache.

    Args:
        without: (layer, pass) of rows that are there already.
    """
    (lowered, *_) = PLATFORMS[platform]
    if platform == "gpu" and "rocm" in str(jax.devices()[0].client.platform_version).lower():
        lowered = "rocm"
    for layer in layers.table(tiny=tiny):
        for name, function in passes(layer).items():
            if (layer.name, name) in without:
                continue
            operands = shapes(layer, jnp.dtype(dtype))
            for one in registry.operations_of(function, *operands, platform=lowered):
                timing = tuning.measure(one)
                tuning.keep(timing, file or None)
                yield {
                    "layer": layer.name,
                    "pass": name,
                    "milliseconds": timing.milliseconds,
                    "chosen": timing.chosen,
                    "wrong": timing.wrong,
                }
