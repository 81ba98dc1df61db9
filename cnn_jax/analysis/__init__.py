"""Looking at a network: what it sees, what it costs, what it found, as numbers and figures."""

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
