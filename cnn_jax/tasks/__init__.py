"""Tasks: their losses and metrics, one file per task."""

from types import ModuleType

from cnn_jax.namespace import submodule

__all__ = [
    "classification",
    "detection",
    "multilabel",
    "segmentation",
]


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name, __all__)


def __dir__() -> list[str]:
    return __all__
