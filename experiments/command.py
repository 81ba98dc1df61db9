"""The commands that train: flags become a recipe, and the library does the rest."""

import contextlib
from collections.abc import Callable

from absl import flags

import experiments
from cnn_jax import run
from cnn_jax.cpu import memory
from cnn_jax.train import joining
from experiments import console, entry, stopping
from experiments import recipe as recipes
from experiments.flag_names import in_flags


class Command(run.Program):
    """A program that trains one recipe and ends: it answers signals outside the training loop."""

    ends = True
    sources = (experiments,)
    again = "the same command"

    def __init__(self, values: flags.FlagValues = flags.FLAGS):
        super().__init__(entry.CONSOLE)
        self._values = values

    def say(self, line: str) -> None:
        super().say(in_flags(line, self._values))

    def interrupts(self, situation: str) -> None:
        stopping.now(in_flags(situation, self._values))

    def until_started(self, then: str) -> contextlib.AbstractContextManager[Callable[[], None]]:
        return stopping.until_started(in_flags(then, self._values))

    def without_output(self, note: str) -> None:
        console.if_lost(in_flags(note, self._values))


def define(kind: type[run.TrainingRecipe], values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of the recipe, and those of many runs of it."""
    recipes.define_flags(kind, values)
    flags.DEFINE_string(
        "sweep",
        "",
        "Settings to vary, with their values: 'learning_rate=0.03,0.1;seed=0,1,2' makes six runs "
        "in --workdir and a page that compares them. Values with commas of their own stand between "
        "bars: 'augment=flip,crop:4|flip'.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "search",
        "",
        "Settings that Optuna chooses, with their ranges: 'learning_rate=log:1e-3..1;"
        "momentum=0.8..0.99;optimizer=sgd,adamw' makes --trials runs in --workdir.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "trials", 20, "Number of runs of --search.", lower_bound=1, flag_values=values
    )


def train(kind: type[run.TrainingRecipe], values: flags.FlagValues = flags.FLAGS) -> int:
    """Trains what the flags describe, a recipe of this kind. Returns the exit status."""
    recipe = recipes.from_flags(kind, values)
    if values.sweep and values.search:
        raise ValueError("--sweep and --search: give one of them.")
    if values["trials"].present and not values.search:
        raise ValueError("--trials is the number of runs of --search: give that, or leave it out.")
    entry.prepare_jax(recipe.cpu_devices)
    several = recipe.process_count != 1 and (recipe.coordinator or joining.detected())
    if recipe.cpu_devices <= 1 and not several:
        memory.wait_for_programs()  # batches are read ahead in threads of their own
    if values.sweep:
        return _ended(recipe, run.grid(recipe, values.sweep, program=Command()))
    if values.search:
        made = run.search(recipe, values.search, trials=values.trials, program=Command())
        return _ended(recipe, made)
    result = run.train(recipe, program=Command())
    return recipe.interrupted_status if result.interrupted else 0


def _ended(recipe: run.TrainingRecipe, swept: run.Swept) -> int:
    """The exit status of a sweep: 1 if a run failed."""
    if swept.interrupted is not None:
        return recipe.interrupted_status
    return int(bool(swept.failed))


def launch(kind: type[run.TrainingRecipe]) -> None:
    """Defines the flags, parses them and trains."""
    define(kind)
    entry.launch(lambda: train(kind))
