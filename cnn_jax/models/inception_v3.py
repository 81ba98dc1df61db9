"""Inception v3: convolutions factorised into smaller and into asymmetric ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import (
    ConvNormAct,
    ModuleFactory,
    batch_norm,
    global_mean,
    max_pool,
    per_axis,
    require_size,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.torch import Rules

TABLE = {
    "inception_v3": row(27_161_264, 5.713),  # with the auxiliary head
}

# A convolution of a branch: name, channels, kernel. A nested tuple stands for parallel ones with
# the same input.
Branch = Sequence[Any]

_POOL = ("pool", 0, 0)


def _mixed_35x35(pooled: int) -> tuple[Branch, ...]:  # figure 5
    return (
        (("branch1x1", 64, 1),),
        (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        (_POOL, ("branch_pool", pooled, 1)),
    )


def _mixed_17x17(width: int) -> tuple[Branch, ...]:  # figure 6, n = 7
    return (
        (("branch1x1", 192, 1),),
        (
            ("branch7x7_1", width, 1),
            ("branch7x7_2", width, (1, 7)),
            ("branch7x7_3", 192, (7, 1)),
        ),
        (
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, (7, 1)),
            ("branch7x7dbl_3", width, (1, 7)),
            ("branch7x7dbl_4", width, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ),
        (_POOL, ("branch_pool", 192, 1)),
    )


_MIXED_8X8: tuple[Branch, ...] = (  # figure 7
    (("branch1x1", 320, 1),),
    (
        ("branch3x3_1", 384, 1),
        (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))),
    ),
    (
        ("branch3x3dbl_1", 448, 1),
        ("branch3x3dbl_2", 384, 3),
        (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
    ),
    (_POOL, ("branch_pool", 192, 1)),
)

# Table 1 of arXiv:1512.00567, in the released network's names. Where a module reduces the
# resolution (figure 10), the last convolution of a branch and the max pool have stride 2.
MODULES: dict[str, tuple[Branch, ...]] = {
    "mixed5b": _mixed_35x35(32),
    "mixed5c": _mixed_35x35(64),
    "mixed5d": _mixed_35x35(64),
    "mixed6a": (
        (("branch3x3", 384, 3),),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        (_POOL,),
    ),
    "mixed6b": _mixed_17x17(128),
    "mixed6c": _mixed_17x17(160),
    "mixed6d": _mixed_17x17(160),
    "mixed6e": _mixed_17x17(192),
    "mixed7a": (
        (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)),
        (
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3),
        ),
        (_POOL,),
    ),
    "mixed7b": _MIXED_8X8,
    "mixed7c": _MIXED_8X8,
}
REDUCTIONS = ("mixed6a", "mixed7a")
STAGES = {"mixed5d": "mixed5", "mixed6e": "mixed6", "mixed7c": "mixed7"}
STEM = (  # name, channels, kernel, stride, padding, max pool after it
    ("conv1a", 32, 3, 2, 0, False),
    ("conv2a", 32, 3, 1, 0, False),
    ("conv2b", 64, 3, 1, 1, True),
    ("conv3b", 80, 1, 1, 0, False),
    ("conv4a", 192, 3, 1, 0, True),
)

_INIT = nn.initializers.truncated_normal(0.1)  # as in the released training code
MIN_SIZE = 75


class Mixed(nn.Module):
    """Parallel branches, each a chain of convolutions."""

    branches: tuple[Branch, ...]
    reduce: bool
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jnp.concatenate([self._branch(x, branch) for branch in self.branches], axis=-1)

    def _branch(self, x: Array, branch: Branch) -> Array:
        for i, step in enumerate(branch):
            if step == _POOL:
                x = max_pool(x, 3, stride=2) if self.reduce else _mean_3x3(x)
            elif isinstance(step[0], tuple):
                x = jnp.concatenate([self._conv(*part)(x) for part in step], axis=-1)
            elif self.reduce and i == len(branch) - 1:
                x = self._conv(*step, stride=2, padding=0)(x)
            else:
                x = self._conv(*step)(x)
        return x

    def _conv(self, name: str, features: int, kernel: Any, **options: Any) -> Callable:
        return ConvNormAct(
            features,
            kernel,
            norm=self.norm,
            kernel_init=_INIT,
            dtype=self.dtype,
            name=name,
            **options,
        )


def _mean_3x3(x: Array) -> Array:
    """The mean with the zeros around the image counted, as for the published weights."""
    rank = x.ndim - 2
    return nn.avg_pool(x, per_axis(3, rank), per_axis(1, rank), padding=[(1, 1)] * rank)


class AuxiliaryHead(nn.Module):
    """A classifier on the 17x17 maps, in training only: a regulariser (section 4)."""

    num_classes: int
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, 17, 17, 768] -> [B, K]
        rank = x.ndim - 2
        layer = partial(ConvNormAct, norm=self.norm, dtype=self.dtype)
        x = nn.avg_pool(x, per_axis(5, rank), per_axis(3, rank))  # [B, 5, 5, 768]
        x = layer(128, 1, kernel_init=_INIT, name="conv0")(x)
        init = nn.initializers.truncated_normal(0.01)
        x = layer(768, 5, padding=0, kernel_init=init, name="conv1")(x)  # [B, 1, 1, 768]
        init = nn.initializers.truncated_normal(0.001)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=init, name="fc")
        return head(global_mean(x))


class InceptionV3(nn.Module):
    """A stem and eleven modules of parallel convolutions.

    Stages: 'conv4' (stride 4, before its last pooling), 'mixed5' (8), 'mixed6' (16), 'mixed7'
    (32). The strides are nominal, since valid convolutions also cut the border.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        aux_heads: whether there is the auxiliary classifier. In training the model then returns
            {'logits', 'aux'}; the released code adds its loss with weight 0.4.
        drop_rate: dropout rate before the last layer.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the modules in the backward pass.
    """

    num_classes: int | None
    aux_heads: bool = True
    drop_rate: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "Inception v3")
        norm = batch_norm(train, epsilon=1e-3, dtype=self.dtype, axis_name=self.axis_name)
        layer = partial(ConvNormAct, norm=norm, kernel_init=_INIT, dtype=self.dtype)
        mixed = nn.remat(Mixed) if self.remat else Mixed
        stages, outputs = {}, {}
        for name, features, kernel, stride, padding, pool in STEM:
            x = layer(features, kernel, stride=stride, padding=padding, name=name)(x)
            stages["conv4"] = x
            x = max_pool(x, 3, stride=2) if pool else x
        for name, branches in MODULES.items():
            x = mixed(branches, name in REDUCTIONS, norm, self.dtype, name=name)(x)
            if name in STAGES:
                stages[STAGES[name]] = x
            build_aux = self.aux_heads and (train or self.is_initializing())
            if build_aux and name == "mixed6e" and self.num_classes is not None:
                aux = AuxiliaryHead(self.num_classes, norm, self.dtype, name="aux")
                outputs["aux"] = aux(x)
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 2048]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=_INIT, name="fc")
        logits = head(x)  # [B, K]
        return {"logits": logits, **outputs} if train and self.aux_heads else logits


def _rules() -> Rules:
    """torchvision's and timm's names: Conv2d_1a_3x3.conv, Mixed_5b.branch1x1.bn, ..."""
    stem = {
        "Conv2d_1a_3x3": "conv1a",
        "Conv2d_2a_3x3": "conv2a",
        "Conv2d_2b_3x3": "conv2b",
        "Conv2d_3b_1x1": "conv3b",
        "Conv2d_4a_3x3": "conv4a",
        "AuxLogits.conv0": "aux/conv0",
        "AuxLogits.conv1": "aux/conv1",
    }
    convs = list(stem.items())
    for module, branches in MODULES.items():
        for step in (step for branch in branches for step in branch if step != _POOL):
            for name, *_ in step if isinstance(step[0], tuple) else (step,):
                convs.append((f"Mixed_{module.removeprefix('mixed')}.{name}", f"{module}/{name}"))
    return (
        *((f"{theirs}.conv", f"{ours}/conv") for theirs, ours in convs),
        *((f"{theirs}.bn", f"{ours}/norm") for theirs, ours in convs),
        ("AuxLogits.fc", "aux/fc"),
        ("fc", "fc"),
    )


register(
    InceptionV3,
    TABLE,
    paper="Szegedy et al. 2015, Rethinking the Inception Architecture for Computer Vision, "
    "arXiv:1512.00567",
    source="torchvision 0.29",
    input_shape=(299, 299, 3),
    min_size=MIN_SIZE,
    rules={"torchvision": _rules(), "timm": _rules()},
)
