"""Runs an experiment as a command does, without its process."""

from absl import flags

from cnn_jax.run import train_experiment
from experiments.command import Command
from experiments.recipe import define_flags


def run(recipe, experiment):
    """The exit status."""
    values = flags.FlagValues()
    define_flags(type(recipe), values)
    values.mark_as_parsed()
    result = train_experiment(recipe, experiment, program=Command(values))
    return recipe.interrupted_status if result.interrupted else 0
