"""The lesson's sections, in the order in which a beginner reads them."""

import importlib

from experiments.concepts.frame.lesson import Concept

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
UNSEEDED = ("pixels", "one_window")  # they train nothing and draw nothing


def concepts() -> list[Concept]:
    """The concept of every section."""
    return [concept(name) for name in NAMES]


def concept(name: str) -> Concept:
    """A section, from the modules of its package: `text`, `claims`, `measure` and `read`."""
    text, claims, measure, read = (
        importlib.import_module(f"experiments.concepts.{name}.{part}")
        for part in ("text", "claims", "measure", "read")
    )
    return Concept(
        name=name,
        title=text.TITLE,
        explain=text.EXPLAIN,
        guess=text.GUESS,
        claims=claims.CLAIMS,
        measure=measure.measure,
        read=read.read,
        seeded=name not in UNSEEDED,
    )


def number(name: str) -> int:
    """The number of a section."""
    return FIRST + NAMES.index(name)
