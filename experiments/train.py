"""Trains a network for a task by its name: one of ours, or one that a plug-in registers.

    python -m experiments.train --task=segmentation --dataset=digit_scenes
    python -m experiments.train --plugin=my_tasks --task=depth --help

`experiments.classification`, `segmentation` and `detection` are the same for one task each.
"""

from absl import flags

from cnn_jax import run
from experiments import command, entry, plugin_flag

DEFAULT = "classification"

TASK = flags.DEFINE_string("task", DEFAULT, f"Task to train for: {', '.join(run.TASKS)}.")


def chosen() -> type[run.TrainingRecipe]:
    """The recipe of --task, whose settings are flags too, so that it is read before they are."""
    return run.TASKS[(plugin_flag.given("task") or [DEFAULT])[-1]].recipe


if __name__ == "__main__":
    entry.launch(lambda: command.train(chosen()), define=lambda: command.define(chosen()))
