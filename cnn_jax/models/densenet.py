"""DenseNet: every layer of a block gets the maps of all layers before it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.layers import (
    ModuleFactory,
    Moments,
    batch_norm,
    conv,
    global_mean,
    lecun_uniform,
    max_pool,
    moments,
    require_size,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # arXiv:1608.06993, Table 1: layers in each block at growth rate 32. 161 is from the authors'
    # code, with growth rate 48 and a stem of 96 maps.
    "densenet121": row(7_978_856, 2.834, depths=(6, 12, 24, 16)),
    "densenet161": row(28_681_000, 7.728, depths=(6, 12, 36, 24), growth_rate=48, stem_width=96),
    "densenet169": row(14_149_480, 3.360, depths=(6, 12, 32, 32)),
    "densenet201": row(20_013_928, 4.291, depths=(6, 12, 48, 32)),
}

BOTTLENECK = 4  # the 1x1 convolution gives 4 k maps, section 3 ("DenseNet-B")
COMPRESSION = 2  # a transition halves the maps: theta = 0.5, section 3 ("DenseNet-C")
MIN_SIZE = 29


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution: growth_rate new maps."""

    growth_rate: int
    drop_rate: float
    train: bool
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, known: Moments | None) -> Array:
        """x [B, H, W, C], and in training its moments -> [B, H, W, growth_rate]."""
        layer = partial(conv, dtype=self.dtype, kernel_init=nn.initializers.he_normal())
        x = nn.relu(self.norm(name="norm1")(x, known=known))
        x = layer(x, BOTTLENECK * self.growth_rate, 1, name="conv1")
        x = nn.relu(self.norm(name="norm2")(x))
        x = layer(x, self.growth_rate, 3, name="conv2")
        return nn.Dropout(self.drop_rate, deterministic=not self.train, name="drop")(x)


class DenseNet(nn.Module):
    """Dense blocks, with transitions between them that halve the maps and the resolution.

    Each layer of a block normalises all maps before it. The statistics of a map are the same in
    all layers, and are computed once.

    Stages: 'block0' (stride 2), 'block1' (4), 'block2' (8), 'block3' (16), 'block4' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        depths: number of layers in each block.
        growth_rate: number of maps that each layer adds (k).
        stem_width: number of maps of the first convolution.
        drop_rate: dropout rate after every layer; 0.2 in the paper without augmentation (4.2).
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the layers in the backward pass. The memory of
            the concatenated maps grows with the square of a block's depth (arXiv:1707.06990).
    """

    num_classes: int | None
    depths: Sequence[int]
    growth_rate: int = 32
    stem_width: int = 64
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "DenseNet")
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        dense_layer = nn.remat(DenseLayer) if self.remat else DenseLayer
        layer = partial(conv, dtype=self.dtype, kernel_init=nn.initializers.he_normal())
        stages = {}

        def measured(x: Array) -> Moments | None:
            axis_name = None if self.is_initializing() else self.axis_name
            return moments(x, axis_name=axis_name) if train else None

        x = layer(x, self.stem_width, 7, stride=2, name="conv0")
        x = stages["block0"] = nn.relu(norm(name="norm0")(x))
        x = max_pool(x, 3, stride=2, padding=1)
        for i, depth in enumerate(self.depths, start=1):
            known = measured(x)
            for j in range(1, depth + 1):
                new = dense_layer(
                    growth_rate=self.growth_rate,
                    drop_rate=self.drop_rate,
                    train=train,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"block{i}_layer{j}",
                )(x, known)
                x = jnp.concatenate([x, new], axis=-1)
                known = jax.tree.map(lambda *of: jnp.concatenate(of), known, measured(new))
            stages[f"block{i}"] = x
            if i < len(self.depths):
                x = nn.relu(norm(name=f"transition{i}_norm")(x, known=known))
                x = layer(x, x.shape[-1] // COMPRESSION, 1, name=f"transition{i}_conv")
                rank = x.ndim - 2
                x = nn.avg_pool(x, (2,) * rank, (2,) * rank)
        x = stages[f"block{len(self.depths)}"] = nn.relu(norm(name="norm5")(x, known=known))
        if self.num_classes is None:
            return stages

        head = partial(nn.Dense, dtype=self.dtype, kernel_init=lecun_uniform)
        return head(self.num_classes, name="classifier")(global_mean(x))  # [B, K]


RULES = (  # timm kept torchvision's names
    ("features.conv0", "conv0"),
    ("features.norm0", "norm0"),
    ("features.denseblock{i}.denselayer{j}.norm{k}", "block{i}_layer{j}/norm{k}"),
    ("features.denseblock{i}.denselayer{j}.conv{k}", "block{i}_layer{j}/conv{k}"),
    ("features.transition{i}.norm", "transition{i}_norm"),
    ("features.transition{i}.conv", "transition{i}_conv"),
    ("features.norm5", "norm5"),
    ("classifier", "classifier"),
)
# torchvision's published files are older than its code, and write norm.1 for norm1.
PUBLISHED_RULES = tuple((theirs.replace("{k}", ".{k}"), ours) for theirs, ours in RULES)

register(
    DenseNet,
    TABLE,
    paper="Huang et al. 2016, Densely Connected Convolutional Networks, arXiv:1608.06993",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
    rules={"torchvision": RULES, "torchvision's files": PUBLISHED_RULES, "timm": RULES},
)
