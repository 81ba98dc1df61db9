"""The head of RetinaNet and FCOS: a tower of convolutions that slides over every level."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.typing import Array

PRIOR = 0.01  # initial probability of an object: arXiv:1708.02002, section 4.1
prior_bias = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
small_normal = nn.initializers.normal(0.01)  # same section


class DenseHead(nn.Module):
    """The same convolutions on all levels: levels [B, H, W, C] -> each of `outputs` [B, P, n].

    P counts the anchors of all levels: by level, then by row, then by cell.

    Attributes:
        outputs: (name, anchors per cell, columns n, bias initialiser) of the last convolutions.
        depth: number of 3x3 convolutions before them, 4 in both papers.
        groups: number of groups of GroupNorm after each (arXiv:1803.08494); 0 for no normalisation.
        biased: whether those convolutions have a bias.
    """

    outputs: Sequence[tuple[str, int, int, Any]]
    depth: int = 4
    groups: int = 0
    biased: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, levels: Sequence[Array]) -> list[Array]:
        channels = levels[0].shape[-1]

        def convolution(features: int, name: str, **options: Any) -> nn.Conv:
            options = {"kernel_init": small_normal, "dtype": self.dtype, **options}
            return nn.Conv(features, (3, 3), padding=1, name=name, **options)

        tower = [
            convolution(channels, f"conv{i}", use_bias=self.biased)
            for i in range(1, self.depth + 1)
        ]
        norms = [
            nn.GroupNorm(self.groups, epsilon=1e-5, dtype=self.dtype, name=f"norm{i}")
            for i in range(1, self.depth + 1)
            if self.groups
        ]
        last = [
            convolution(anchors * columns, name, bias_init=bias)
            for name, anchors, columns, bias in self.outputs
        ]
        found: list[list[Array]] = [[] for _ in last]
        for x in levels:
            for i, layer in enumerate(tower):
                x = layer(x)
                x = nn.relu(norms[i](x) if norms else x)
            for parts, layer, (_, _, columns, _) in zip(found, last, self.outputs, strict=True):
                parts.append(layer(x).reshape(x.shape[0], -1, columns))
        return [jnp.concatenate(parts, axis=1) for parts in found]
