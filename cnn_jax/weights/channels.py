"""Kernels of images in colour, for images of another number of channels."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import flax.core
import flax.traverse_util
import jax
import numpy as np

from cnn_jax.weights.errors import WeightsError


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel [*k, C, O] for images of another number of channels: [*k, channels, O].

    The rule of timm (`adapt_input_conv`): for one channel the kernels of all colours are added, so
    that a grey image gives what it gave as three equal colours. For more, the colours are taken in
    turn (R, G, B, R, ...) and scaled by C / channels, which keeps the size of the response.

    Args:
        kernel: kernel of a convolution without groups.
        channels: number of channels of the images, 1 or more.

    Raises:
        ValueError: it is no kernel of a convolution, or there is no such number of channels.
    """
    if kernel.ndim < 3 or channels < 1:
        raise ValueError(
            f"a kernel of the shape {list(kernel.shape)} for {channels} channels: wanted that of a "
            "convolution, [*k, C, O], and 1 channel or more."
        )
    have = kernel.shape[-2]
    if channels == have:
        return kernel
    if channels == 1:
        return kernel.sum(-2, keepdims=True)
    repeated = np.concatenate([kernel] * math.ceil(channels / have), -2)[..., :channels, :]
    return (repeated * (have / channels)).astype(kernel.dtype)


def with_published_channels(
    template: Mapping[str, Any], published: Mapping[str, Any], firsts: Collection[str]
) -> dict[str, Any]:
    """The template, with the shapes of `published` for the kernels that see the image.

    Args:
        template: variables, or their shapes, for the images at hand.
        published: shapes of the variables for the published images.
        firsts: paths of the leaves that depend on the number of channels: 'params/conv1/kernel'.

    Raises:
        WeightsError: one of them is no kernel of a convolution that sees all channels.
    """
    leaves, others = _flat(template), _flat(published)
    for path in firsts:
        mine, theirs = leaves[path].shape, others[path].shape
        whole = len(mine) > 2 and mine[:-2] == theirs[:-2] and mine[-1] == theirs[-1]
        if not path.endswith("/kernel") or not whole:
            raise WeightsError(
                f"adapt_input: {path} {list(mine)} depends on the channels of the image and is no "
                "kernel of a convolution over all of them: it cannot be adapted."
            )
        leaves[path] = jax.ShapeDtypeStruct(theirs, leaves[path].dtype)
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def adapted(
    variables: Mapping[str, Any], template: Mapping[str, Any], firsts: Collection[str]
) -> dict[str, Any]:
    """The variables, with the kernels `firsts` for as many channels as those of the template."""
    leaves, wanted = _flat(variables), _flat(template)
    for path in firsts:
        leaves[path] = adapt_channels(np.asarray(leaves[path]), wanted[path].shape[-2])
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def _flat(variables: Mapping[str, Any]) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(dict(variables)), sep="/")
