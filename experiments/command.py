"""The commands that train: flags become a recipe, and the library does the rest."""

import contextlib
from collections.abc import Callable

from absl import flags

import experiments
from cnn_jax import run
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


def train(kind: type[run.TrainingRecipe]) -> int:
    """Trains what the flags describe, a recipe of this kind. Returns the exit status."""
    recipe = recipes.from_flags(kind)
    entry.prepare_jax(recipe.cpu_devices)
    result = run.train(recipe, program=Command())
    return recipe.interrupted_status if result.interrupted else 0


def launch(kind: type[run.TrainingRecipe]) -> None:
    """Defines the flags of the recipe, parses them and trains."""
    recipes.define_flags(kind)
    entry.launch(lambda: train(kind))
