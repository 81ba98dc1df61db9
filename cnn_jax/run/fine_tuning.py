"""Defaults for fine-tuning: what a recipe takes with `pretrained` where no learning rate is given.

A learning rate for random weights ruins trained ones. So a recipe made with `pretrained`, and
without `learning_rate` or `learning_rates`, chooses settings for fine-tuning, except those that are
given. They are plain numbers of the recipe from then on; its setting `fine_tuning` keeps which ones
were chosen, so that a run can say it, and a directory can be resumed by a version that chooses
otherwise.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from cnn_jax import models
from cnn_jax.run import settings

R = TypeVar("R")

# The settings that may be chosen.
SETTINGS = ("optimizer", "learning_rate", "backbone_factor", "weight_decay", "bn_momentum")
TENTH = 0.1  # of the recipe's own rate, where nothing was measured


class Defaults(NamedTuple):
    """The settings of a task for fine-tuning.

    Attributes:
        whole: settings for training all layers, by name.
        probe: settings for `freeze`, training the last layer alone.
        rates: optimiser -> learning rate for all layers, where the optimiser is given.
        probe_rates: the same for `freeze`.
    """

    whole: Mapping[str, Any]
    probe: Mapping[str, Any]
    rates: Mapping[str, float] = MappingProxyType({})
    probe_rates: Mapping[str, float] = MappingProxyType({})


# Chosen on validation parts of three small sets and reported on test parts of three others, with
# EfficientNet-Lite0 at 64 pixels: experiments/recipes/README.md. The command that measures is
# `python -m experiments.benchmark.fine_tuning`. AdamW at 3e-3 was better where the statistics of
# batch norm follow (mean accuracy 0.824) and much worse where they do not (0.521): 1e-3 holds in
# both (0.790, 0.682), and not every network has a momentum to set.
CLASSIFICATION = Defaults(
    whole={"optimizer": "adamw", "learning_rate": 1e-3, "bn_momentum": 0.9},
    probe={"optimizer": "adamw", "learning_rate": 3e-3},
    rates={"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3},
    probe_rates={"adam": 3e-3, "adamw": 3e-3},
)


def choose(recipe: Any, given: Collection[str], defaults: Defaults | None) -> dict[str, Any]:
    """The settings that the recipe takes for fine-tuning, by name; {} for none.

    Args:
        recipe: a recipe, with its own defaults.
        given: names of the settings that were given, which stay as they are.
        defaults: those of its task; None for a task without: a tenth of its own rate.
    """
    if not recipe.pretrained or recipe.learning_rates or "learning_rate" in given:
        return {}
    if defaults is None:
        return {"learning_rate": _tenth_of(recipe)}
    chosen = dict(defaults.probe if recipe.freeze else defaults.whole)
    if "optimizer" in given and recipe.optimizer != chosen.get("optimizer"):
        rates = defaults.probe_rates if recipe.freeze else defaults.rates
        # features that stay as they are can stand the rate of random weights
        other = recipe.learning_rate if recipe.freeze else _tenth_of(recipe)
        chosen["learning_rate"] = rates.get(recipe.optimizer, other)
        chosen.pop("backbone_factor", None)  # it belongs to the other rate
    if recipe.layer_decay != 1:  # lowers the rate of the backbone already
        chosen.pop("backbone_factor", None)
    lower = own_momentum(recipe.model) > chosen.get("bn_momentum", 1)
    if not lower or "bn_momentum" in recipe.model_options:
        chosen.pop("bn_momentum", None)
    return {name: value for name, value in chosen.items() if name not in given}


def own_momentum(name: str) -> float:
    """The momentum of the batch-norm statistics of a network that has a field for it; else 0.

    MNASNet's is 0.9997, for training of weeks: after a hundred steps 97% of what an evaluation
    takes are statistics of features as they were before.
    """
    try:
        return float(getattr(models.create(name, num_classes=2), "bn_momentum", 0.0))
    except (ValueError, TypeError):  # unknown, which is said when the network is made
        return 0.0


def _tenth_of(recipe: Any) -> float:
    return float(f"{recipe.learning_rate * TENTH:.6g}")  # 0.1 * 0.1 is 0.010000000000000002


def to_text(chosen: Mapping[str, Any]) -> str:
    """{'optimizer': 'adamw', 'learning_rate': 0.001} -> 'optimizer=adamw,learning_rate=0.001'"""
    return ",".join(f"{name}={value}" for name, value in chosen.items())


def from_text(text: str) -> dict[str, str]:
    """The chosen settings, as text by name.

    Raises:
        ValueError: it is no such text.
    """
    items = [item.partition("=") for item in text.split(",") if item]
    if wrong := [name for name, _, value in items if name not in SETTINGS or not value]:
        raise ValueError(
            f"fine_tuning={text}: {wrong[0]!r} is not chosen by `pretrained`, which may choose "
            f"{', '.join(SETTINGS)}. Leave it out: a run writes it."
        )
    return {name: value for name, _, value in items}


def record(text: str) -> str:
    """The text of `fine_tuning`. Raises ValueError if it is none."""
    return to_text(from_text(text))


def varied(recipe: R, changes: Mapping[str, Any]) -> R:
    """The recipe as if these settings had been given with the others: what fine-tuning chose for
    the old ones is chosen anew, or, with a learning rate, not at all.

    Where the weights are among the changes, a setting that has its default counts as not given.

    Args:
        recipe: a recipe, with what it chose.
        changes: settings that differ.

    Raises:
        ValueError: a setting cannot have such a value.
    """
    values = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}  # type: ignore
    anew = {*still_chosen(recipe), "fine_tuning"}
    if "pretrained" in changes:
        anew |= {name for name in SETTINGS if values.get(name) == _default(recipe, name)}
    kept = {name: value for name, value in values.items() if name not in anew}
    return type(recipe)(**{**kept, **changes})


def still_chosen(recipe: Any) -> dict[str, Any]:
    """The settings that `fine_tuning` says were chosen and that are as they were chosen; {} if the
    learning rate is not, since the others belong to it."""
    if not recipe.pretrained:
        return {}
    texts = from_text(recipe.fine_tuning)
    values = {name: getattr(recipe, name) for name in texts}
    kept = {name: value for name, value in values.items() if str(value) == texts[name]}
    return kept if "learning_rate" in kept else {}


def as_before(recipe: R, earlier: Mapping[str, str]) -> R:
    """The recipe of a run to resume: what it chose is as the run that began in its directory has
    it, whichever version that was.

    Args:
        recipe: what is to be run.
        earlier: the settings of the run in the directory, as text; {} if there is none.
    """
    chosen, was = still_chosen(recipe), from_text(earlier.get("fine_tuning", ""))
    given_then = "fine_tuning" in earlier and "learning_rate" not in was
    if not chosen or not earlier or given_then:
        return recipe
    taken = {}
    for name in SETTINGS:
        plain = str(_default(recipe, name))
        if name in was and (name in chosen or str(getattr(recipe, name)) == plain):
            taken[name] = was[name]
        elif name in chosen:
            if earlier.get(name) != plain:  # it was given then
                return recipe
            taken[name] = plain
    before = settings.from_flagfile(type(recipe), taken)
    values = {name: getattr(before, name) for name in taken}
    kept = to_text({**chosen, **values})
    return dataclasses.replace(recipe, **values, fine_tuning=kept)  # type: ignore[type-var]


def note(recipe: Any) -> str:
    """What was chosen, and how to choose otherwise, in a line; '' if nothing was."""
    chosen = still_chosen(recipe)
    if not chosen:
        return ""
    given = {field.name for field in dataclasses.fields(recipe)} - set(chosen)
    plain = {name: _default(recipe, name) for name in chosen}
    anew = choose(dataclasses.replace(recipe, **plain), given, type(recipe).fine_tuning_defaults)
    said = ", ".join(f"`{name}={value}`" for name, value in chosen.items())
    if anew != chosen:
        return f"Fine-tuning with {said}, as the run in {recipe.workdir} began."
    what = "a probe of trained weights" if recipe.freeze else "fine-tuning"
    return (
        f"Chosen for {what}, as `pretrained` was given without `learning_rate`: {said}. "
        "With `learning_rate` nothing is chosen; any other of them can be given alone."
    )


def _default(recipe: Any, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(recipe) if field.name == name)
