"""AlexNet, in the now usual form from "One weird trick"."""

from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import adaptive_mean, conv, lecun_uniform, max_pool, require_size
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.layouts import flattened

TABLE = {
    # arXiv:1404.5997, footnote 1: one tower of 64, 192, 384, 256, 256 maps.
    "alexnet": row(61_100_840, 0.714),
}

LAYERS = (  # maps, kernel, stride, padding, max pool after it
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
GRID = 6  # side after five layers for 224 pixels; other sizes are averaged to it
MIN_SIZE = 63


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, without local response normalisation.

    Stages: 'conv1' (stride 4), 'conv2' (8), 'conv3', 'conv4', 'conv5' (16), each before pooling.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        drop_rate: dropout rate before the first two dense layers (Krizhevsky et al. 2012,
            section 4.2).
        axis_name, remat: accepted as in every model, without effect: there is no BatchNorm, and
            parameters take most of the memory of a step.
    """

    num_classes: int | None
    drop_rate: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "AlexNet")
        stages = {}
        for i, (features, kernel, stride, padding, pool) in enumerate(LAYERS, start=1):
            x = conv(
                x,
                features,
                kernel,
                stride=stride,
                padding=padding,
                use_bias=True,
                kernel_init=lecun_uniform,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = stages[f"conv{i}"] = nn.relu(x)
            x = max_pool(x, 3, stride=2) if pool else x
        if self.num_classes is None:
            return stages

        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=lecun_uniform)
        drop = partial(nn.Dropout, self.drop_rate, deterministic=not train)
        x = adaptive_mean(x, GRID)  # [B, 6, 6, 256]
        x = drop(name="drop6")(x.reshape(x.shape[0], -1))  # [B, 9216]
        x = drop(name="drop7")(nn.relu(dense(4096, name="fc6")(x)))
        x = nn.relu(dense(4096, name="fc7")(x))
        return dense(self.num_classes, name="fc8")(x)  # [B, K]


TORCHVISION_RULES = (
    ("features.0", "conv1"),
    ("features.3", "conv2"),
    ("features.6", "conv3"),
    ("features.8", "conv4"),
    ("features.10", "conv5"),
    ("classifier.1", "fc6", flattened(GRID, GRID, 256)),
    ("classifier.4", "fc7"),
    ("classifier.6", "fc8"),
)

register(
    AlexNet,
    TABLE,
    paper="Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, "
    "arXiv:1404.5997",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
    rules={"torchvision": TORCHVISION_RULES},
)
