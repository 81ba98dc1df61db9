"""The networks whose steps are timed, their batches, and weights that every contender starts from.

Weights are drawn by NumPy from the shapes of our network, so that no contender has to send them to
another. Dropout and stochastic depth are off: contenders would draw other numbers.
"""

from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import models
from experiments.benchmark.jax_steps import OWN_RULES


class Row(NamedTuple):
    """A network to time.

    Attributes:
        name: of the row, and of torchvision's network if there is one.
        model: of our registry.
        batch: examples of a step.
        size: pixels of a side.
        fields: of our network.
        classes: number of classes.
        dense: whether it gives a class for every pixel.
        short: whether a ResNet has one block in all.
    """

    name: str
    model: str
    batch: int
    size: int
    fields: dict[str, Any]
    classes: int = 1000
    dense: bool = False
    short: bool = False


# Batches that fit into 24 GB in bfloat16; in the order in which they are measured
TABLE = (
    Row("resnet50", "resnet50", 256, 224, {}),
    Row("mobilenet_v2", "mobilenet_v2", 256, 224, {"drop_rate": 0.0}),
    Row("unet", "unet_same", 16, 256, {"width": 64, "drop_rate": 0.0}, 21, dense=True),
    Row("resnet18", "resnet18", 256, 224, {}),
    Row(
        "efficientnet_b0",
        "efficientnet_b0",
        128,
        224,
        {"drop_rate": 0.0, "stochastic_depth_rate": 0.0},
    ),
    Row("convnext_tiny", "convnext_tiny", 128, 224, {"stochastic_depth_rate": 0.0}),
)
TINY_BATCH, TINY_SIZE, TINY_WIDTH = 4, 32, 4


def row(name: str, *, tiny: bool = False, scale: float = 1.0) -> Row:
    """The row of a name.

    Args:
        name: of TABLE.
        tiny: a small image, few examples, a narrow U-Net and short ResNets, to try the command on
            a CPU.
        scale: factor on the number of examples.
    """
    found = next(each for each in TABLE if each.name == name)
    if tiny:
        short = found.name.startswith("resnet")
        smaller: dict[str, Any] = {"width": TINY_WIDTH} if found.dense else {}
        if short:
            smaller = {"stage_sizes": (1,)}
        return found._replace(
            batch=TINY_BATCH,
            size=TINY_SIZE,
            fields={**found.fields, **smaller},
            classes=10,
            short=short,
        )
    return found._replace(batch=max(1, round(found.batch * scale)))


def create(of: Row, dtype: Any) -> Any:
    """Our network, which computes in this dtype."""
    return models.create(of.model, num_classes=of.classes, dtype=dtype, **of.fields)


def image(of: Row) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((of.batch, of.size, of.size, 3), jnp.float32)


def arrays(of: Row) -> tuple[np.ndarray, np.ndarray]:
    """float32 images [B, H, W, 3] and int32 labels [B] or [B, H, W]."""
    random = np.random.default_rng(0)
    x = random.standard_normal(image(of).shape, np.float32)
    shape = x.shape[:-1] if of.dense else x.shape[:1]
    return x, random.integers(0, of.classes, shape).astype(np.int32)


def variables(of: Row) -> dict[str, Any]:
    """Weights and statistics of our network, as NumPy arrays.

    Kernels are normal with variance 1 / fan in, scales and variances are 1, also where our
    initialisation has zeros, so that every layer has a part in the first loss; what else there is
    (ConvNeXt's layer scale) is 0.1.
    """
    model = create(of, jnp.float32)
    x = jax.ShapeDtypeStruct((1, *image(of).shape[1:]), jnp.float32)
    shapes = jax.eval_shape(lambda k, x: model.init(k, x, train=False), jax.random.key(0), x)
    random = np.random.default_rng(1)

    def draw(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        if path[-1] == "kernel":
            fan_in = np.prod(shape[:-1])
            return random.standard_normal(shape, np.float32) / np.float32(fan_in**0.5)
        fills = {"scale": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0}
        return np.full(shape, fills.get(path[-1], 0.1), np.float32)

    flat = flax.traverse_util.flatten_dict(shapes)
    drawn = {path: draw(path, flat[path].shape) for path in sorted(flat)}
    return flax.traverse_util.unflatten_dict(drawn)


def torch_rules(of: Row) -> Any:
    """How PyTorch's network of this row names what ours has."""
    return OWN_RULES["unet"] if of.dense else models.describe(of.model).rules["torchvision"]
