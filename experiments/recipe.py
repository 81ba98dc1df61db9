"""Flags of a recipe: one for each setting, with the setting's default.

A flagfile (`--flagfile=experiments/recipes/cifar10_resnet20.flags`) is a recipe on disk, and so is
the recipe.flags that each run writes.
"""

import dataclasses
from typing import Any, TypeVar

from absl import flags

from cnn_jax import run
from cnn_jax.run import TrainingRecipe, fine_tuning
from experiments.flag_names import in_flags

R = TypeVar("R", bound=TrainingRecipe)


def define_flags(recipe: type[TrainingRecipe], values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one absl flag for each field of the recipe."""
    fields = dataclasses.fields(recipe)
    for field in fields:
        if field.name in values:  # that every command has: --plugin
            continue
        text, choices = field.metadata["help"], field.metadata["choices"]
        default: Any = field.default
        if choices:
            flags.DEFINE_enum(field.name, default, list(choices), text, flag_values=values)
        elif isinstance(default, bool):
            flags.DEFINE_bool(field.name, default, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(field.name, default, text, flag_values=values)
        elif isinstance(default, float):
            flags.DEFINE_float(field.name, default, text, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(field.name, [str(item) for item in default], text, flag_values=values)
        else:
            flags.DEFINE_string(field.name, default, text, flag_values=values)
    for field in fields:  # once all are known
        values[field.name].help = in_flags(values[field.name].help, values)


def from_flags(recipe: type[R], values: flags.FlagValues = flags.FLAGS) -> R:
    """The recipe that the parsed flags describe; with --continue_run, those that are not given are
    as in that run.

    Raises:
        ValueError: an item of a list is not a number, a number is infinite or NaN, or a string has
            several lines.
    """
    chosen = {}
    for field in dataclasses.fields(recipe):
        value = getattr(values, field.name)
        if field.name in fine_tuning.SETTINGS and values[field.name].using_default_value:
            continue  # so that the recipe knows that it may choose
        if isinstance(field.default, str) and isinstance(value, list):  # a flag given repeatedly
            value = ",".join(value)
        if isinstance(field.default, tuple):
            try:
                value = tuple(float(item) for item in value)
            except ValueError:
                raise ValueError(
                    f"--{field.name} is {','.join(value)}; it must be numbers separated by commas."
                ) from None
        chosen[field.name] = value
    if values.continue_run:
        given = {name: value for name, value in chosen.items() if values[name].present}
        return run.continued(values.continue_run, kind=recipe, **given)  # type: ignore[return-value]
    return recipe(**chosen)
