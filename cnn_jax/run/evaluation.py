"""Evaluates the network of a run, on its own data or on others."""

import os
from collections.abc import Iterable
from typing import Any, Literal

from cnn_jax.run.measuring import measure
from cnn_jax.run.opening import open


def evaluate(
    place: str | os.PathLike[str],
    *,
    dataset: str = "",
    split: str = "",
    checkpoint: Literal["best", "last"] | int = "best",
    weights: Literal["", "averaged", "raw"] = "",
    plugin: str | Iterable[str] = "",
    **settings: Any,
) -> dict[str, float]:
    """The figures of a trained network on a split of a data set. Nothing is written.

    With `checkpoint='last'` and no other argument they are those of the run's result.json, to the
    last bit on the same kind of device.

    Args:
        place: a run directory, or its s3:// URL.
        dataset: name of the data set; default: that of the training.
        split: its split; default: the one that the run was evaluated on.
        checkpoint, weights, plugin: see `cnn_jax.run.open`.
        settings: `views`, `precision`, `labels`, `among` and `freeze_inference`, see
            `cnn_jax.run.measuring.measure`; and other settings to evaluate with than those of the
            run: `data_dir`, `eval_batch_size`, `workers`, `devices`, `metrics`, those of the data
            and the loss. Not those of the training: the network is as it was trained.

    Returns:
        The figures by name, as in the run's metrics.jsonl: 'accuracy' in 0..1.

    Raises:
        ValueError: the run, the data or a setting cannot be used, or the data have other classes.
    """
    run = open(place, checkpoint=checkpoint, weights=weights, plugin=plugin)
    return measure(run, dataset=dataset, split=split, details=False, **settings).figures
