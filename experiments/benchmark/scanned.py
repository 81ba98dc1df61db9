"""A ResNet whose equal blocks are one block, scanned over: only to compare compile times."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn

from cnn_jax.layers import batch_norm, conv, global_mean, max_pool
from cnn_jax.models.resnet import PLANES, BasicBlock, Bottleneck
from cnn_jax.typing import Array


class _Repeated(nn.Module):
    """A block in the form that `nn.scan` needs: (carry, nothing) -> (carry, nothing)."""

    block: type[BasicBlock] | type[Bottleneck]
    planes: int
    train: bool

    @nn.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        norm = batch_norm(self.train, dtype=None, axis_name=None)
        return self.block(planes=self.planes, norm=norm, name="block")(x), None


class ScannedResNet(nn.Module):
    """The network of `cnn_jax.models.resnet`, without its options; parameters are stacked."""

    num_classes: int
    stage_sizes: Sequence[int]
    block: type[BasicBlock] | type[Bottleneck] = Bottleneck

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        norm = batch_norm(train, dtype=None, axis_name=None)
        x = nn.relu(norm(name="bn1")(conv(x, 64, 7, stride=2, name="conv1")))
        x = max_pool(x, 3, stride=2, padding=1)
        for i, (planes, blocks) in enumerate(zip(PLANES, self.stage_sizes, strict=True), start=1):
            first = partial(self.block, planes=planes, norm=norm, stride=1 if i == 1 else 2)
            x = first(name=f"layer{i}_0")(x)
            repeat = nn.scan(
                _Repeated,
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True},
                length=blocks - 1,
            )
            x, _ = repeat(self.block, planes, train, name=f"layer{i}_rest")(x, None)
        return nn.Dense(self.num_classes, name="fc")(global_mean(x))
