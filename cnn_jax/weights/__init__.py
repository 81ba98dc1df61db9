"""Weights with PyTorch's names and in its formats: reading, checking against a model, writing.

`cnn_jax.models.load_pretrained` and `save_pretrained` combine these for a registered model.
"""

from cnn_jax.weights import imagenet, layouts
from cnn_jax.weights.channels import adapt_channels
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.files import StateDict, read, write
from cnn_jax.weights.hub import Source, locate
from cnn_jax.weights.layouts import Layout
from cnn_jax.weights.preprocessing import Preprocessing
from cnn_jax.weights.torch import Rules, export_torch, import_torch, torch_names

__all__ = [
    "Layout",
    "Preprocessing",
    "Rules",
    "Source",
    "StateDict",
    "WeightsError",
    "adapt_channels",
    "export_torch",
    "imagenet",
    "import_torch",
    "layouts",
    "locate",
    "read",
    "torch_names",
    "write",
]


def __dir__() -> list[str]:
    return __all__
