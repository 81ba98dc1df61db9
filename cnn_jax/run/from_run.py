"""Begins a run with what another run has learnt: its weights, or its whole state."""

import logging
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import numpy as np

from cnn_jax import models
from cnn_jax.models.pretrained import left_out_of
from cnn_jax.run import directory as directories
from cnn_jax.run import resuming, saved
from cnn_jax.run.facts import Facts
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.workdir import RECIPE_FILE
from cnn_jax.stores import is_store, local_path
from cnn_jax.train import checkpoint, hosts, state
from cnn_jax.typing import PyTree
from cnn_jax.weights import Preprocessing
from cnn_jax.weights.shards import holds_weights

_log = logging.getLogger(__name__)

SHOWN = 3  # differences that an error names


def is_run(spec: str) -> bool:
    """Whether weights are named by the run that has them: a directory, or the URL of one."""
    if is_store(spec):
        return True
    path = local_path(spec)
    return path.is_dir() and ((path / RECIPE_FILE).exists() or not holds_weights(path))


def weights_of_run(
    place: str,
    name: str,
    model: nn.Module,
    *,
    template: PyTree,
    init_head: bool,
    class_names: Sequence[str] = (),
    which: str | int = "best",
) -> models.Pretrained:
    """The weights of a run for a network, averaged ones if the run keeps an average.

    Process 0 reads them, and sends them to the others.

    Args:
        place: a run directory, or its s3:// URL.
        name: name of the network in the registry.
        model: the network. As a backbone, without classes, it leaves the run's last layer out.
        template: its variables, whose last layer is kept with `init_head`.
        init_head: whether the last layer begins anew.
        class_names: those of the data, for messages.
        which: 'best', 'last', or a step.

    Raises:
        ValueError: there is no run, it has no checkpoint, or is of another network or of a
            different number of classes.
        CheckpointError: its checkpoint is damaged.
    """
    read: list[PyTree] = []

    def first() -> dict[str, Any]:
        found = saved.read_run(place, which)
        variables = found.variables()
        read.append(_fitted(place, found, variables, name, model, template, init_head, class_names))
        averaged = found.state.get("ema_params") is not None
        return {"facts": found.facts.to_json(), "step": found.step, "averaged": averaged}

    about = hosts.from_first(first)
    variables = hosts.arrays_from_first(read[0] if read else None, template)
    facts = Facts.from_json(about["facts"])
    how = Preprocessing(mean=facts.mean, std=facts.std, source=place) if facts.mean else None
    weights = "the average of the parameters" if about["averaged"] else "the parameters"
    checkpoint_of = "the best checkpoint" if which == "best" else "a checkpoint"
    note = f"{place}, {weights} in {checkpoint_of}, of step {about['step']}"
    return models.Pretrained(variables, how, "cnn_jax", {"note": note})


def _fitted(
    place: str,
    found: saved.Saved,
    variables: PyTree,
    name: str,
    model: nn.Module,
    template: PyTree,
    init_head: bool,
    class_names: Sequence[str],
) -> PyTree:
    """The variables of a run in the structure of the template."""
    if found.facts.model != name:
        raise ValueError(
            f"{place} is a run of the network {found.facts.model}, and its weights are wanted for "
            f"{name}: give a run of {name}, or model={found.facts.model}."
        )
    theirs = flax.traverse_util.flatten_dict(variables, sep="/")
    ours = flax.traverse_util.flatten_dict(template, sep="/")
    head = models.head_paths(name, model) if model.num_classes is not None else set()
    kept = head if init_head else set()
    absent = [path for path in ours if path not in theirs and path not in kept]
    unused = sorted(set(theirs) - set(ours) - left_out_of(name, model))
    other = [
        path
        for path, leaf in ours.items()
        if path in theirs and path not in kept and np.shape(theirs[path]) != np.shape(leaf)
    ]
    if other and not absent and not unused and set(other) <= head:
        classes = found.facts.class_names
        raise ValueError(
            f"{place} has {found.facts.num_classes} classes, {_some(classes)}, and the data have "
            f"{len(class_names)}, {_some(class_names)}: init_head=True begins with a new last "
            "layer for them."
        )
    if absent or unused or other:
        differences = [
            *(f"{p} is {_shape(theirs[p])} there and {_shape(ours[p])} here" for p in other),
            *(f"{path} is here alone" for path in absent),
            *(f"{path} is there alone" for path in unused),
        ]
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        options = found.settings.get("model_options", "")
        raise ValueError(
            f"The weights of {place} do not fit {name} as it is here: "
            f"{'; '.join(differences[:SHOWN])}{more}. Wanted the same network and channels; the "
            f"run has model_options={options or repr('')}."
        )
    classes = found.facts.class_names
    if not kept and head and class_names and tuple(class_names) != tuple(classes):
        _log.warning(
            "The classes of %s are %s, and those of the data are %s: the last layer is kept, "
            "class by class in this order; init_head=True begins with a new one.",
            place, _some(classes), _some(class_names),
        )  # fmt: skip
    chosen = {path: ours[path] if path in kept else theirs[path] for path in ours}
    return flax.traverse_util.unflatten_dict(chosen, sep="/")


def _shape(leaf: Any) -> list[int]:
    return list(np.shape(leaf))


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def state_to_continue(
    recipe: TrainingRecipe, abstract: state.TrainState, facts: Facts
) -> tuple[state.TrainState, list[str]]:
    """The state of the run that `continue_run` names, and what to say about it.

    Args:
        recipe: with `continue_run` and `continue_step`.
        abstract: the state as shapes.
        facts: those of the new run.

    Raises:
        ValueError: the run has other classes or another network, or keeps another state.
        CheckpointError: the checkpoint is damaged.
    """
    place, notes = recipe.continue_run, []
    with directories.readable(place) as directory:
        manager = checkpoint.Checkpoints(
            directory / resuming.CHECKPOINTS, read_only=True, shared=not is_store(place)
        )
        try:
            found, meta = manager.restore(abstract, step=recipe.continue_step)
        except checkpoint.OtherNetworkError as error:
            raise ValueError(
                f"{place} cannot be continued with these settings: {error} Keep its network, its "
                "optimiser, `ema_decay` and `on_nonfinite`; or begin with its weights alone, "
                f"pretrained={place}."
            ) from error
        finally:
            manager.close()
    before = Facts.from_json(meta.get("facts", {}))
    if before.class_names != facts.class_names:
        raise ValueError(
            f"{place} has the classes {_some(before.class_names)}, and the data have "
            f"{_some(facts.class_names)}: wanted the same to continue; pretrained={place} with "
            "init_head=True begins with its weights."
        )
    if changes := resuming.data_changes(facts.to_json(), meta):
        notes.append(f"The data are not those of {place}: {'; '.join(changes)}.")
    others = resuming.differences(recipe, meta.get("settings", {}))
    for name in ("continue_run", "continue_step", "epochs", "steps", "pretrained", "init_head"):
        others.pop(name, None)
    if others:
        notes.append(f"Other settings than those of {place}: {'; '.join(others.values())}.")
    return found, notes
