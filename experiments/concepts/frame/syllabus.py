"""The lesson's sections, in the order in which a beginner reads them."""

import importlib

from experiments.concepts.lesson import Concept

NAMES = (
    "pixels",
    "fully_connected",
    "one_window",
    "weight_sharing",
    "output_size",
    "pooling",
    "receptive_field",
    "activations",
    "gradients",
    "batch_norm",
    "residual",
    "dense_tasks",
    "features",
)
FIRST = 0  # number of the first section


def concepts() -> list[Concept]:
    """The concept of every section."""
    return [importlib.import_module(f"experiments.concepts.{name}").CONCEPT for name in NAMES]


def number(name: str) -> int:
    """The number of a section."""
    return FIRST + NAMES.index(name)
