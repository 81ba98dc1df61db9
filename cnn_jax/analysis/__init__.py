"""Analysis of networks and runs, as numbers and figures: attribution, cost, predictions."""

from types import ModuleType

from cnn_jax.namespace import submodule

__all__ = [
    "attribution",
    "cam",
    "detection_figures",
    "feature_figures",
    "figures",
    "flops",
    "layer_time",
    "receptive_field",
    "segmentation_figures",
    "summary",
    "utilisation",
]


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name, __all__)


def __dir__() -> list[str]:
    return __all__
