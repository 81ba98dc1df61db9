"""Convolutional networks in JAX and Flax. Importing this touches no device and loads nothing.

import cnn_jax

model = cnn_jax.models.create("resnet50", num_classes=10)  # loads cnn_jax.models
"""

from types import ModuleType

from cnn_jax.namespace import submodule

__version__ = "0.1.0"

__all__ = [
    "analysis",
    "augment",
    "boxes",
    "cpu",
    "data",
    "gpu",
    "layers",
    "losses",
    "metrics",
    "models",
    "plugins",
    "run",
    "tasks",
    "train",
    "typing",
    "weights",
]


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name, __all__)


def __dir__() -> list[str]:
    return __all__
