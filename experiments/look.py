"""Looks at data as the network will see them, before training on them.

    python -m experiments.look --dataset=folder:PATH --image_size=224
    python -m experiments.look --task=detection --flagfile=experiments/recipes/bccd.flags
    python -m experiments.look --dataset=mnist1d --step=1000 --output=curves.html
    python -m experiments.look --run=runs/DATE-resnet8-digits

The settings are those of training, so that a recipe's flags show its data. Written are look.html, a
page that needs nothing else, look.png and look.json: class balance, sizes, examples before and
after augmentation, the smallest and largest objects, the most similar examples across the splits,
what was left out and why. The exit status is 1 if training would refuse the data.
"""

import dataclasses

from absl import flags

from cnn_jax import run
from cnn_jax.analysis.look import files
from cnn_jax.data import READERS
from cnn_jax.data.types import Holds
from cnn_jax.stores import local_path
from experiments import entry, plugin_flag
from experiments import recipe as recipes

TASKS: dict[Holds, str] = {"label": "classification", "mask": "segmentation", "boxes": "detection"}

FLAGS = flags.FLAGS


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "task",
        "",
        "Task: as for training; '' for that of --run, or the first that has such data.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "run", "", "Run directory: its data, by its settings and those given.", flag_values=values
    )
    flags.DEFINE_string(
        "output",
        "look",
        "Directory for look.html, look.png and look.json, or one file of those kinds.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "examples", 12, "Training examples to show.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "step", 0, "Training step whose batch is shown.", lower_bound=0, flag_values=values
    )


def chosen() -> str:
    """The task of the command line: its settings are flags, so that it is read before they are."""
    if task := plugin_flag.given("task"):
        return task[-1]
    if places := plugin_flag.given("run"):
        return run.name_of(run.task_of(run.recipe_of(places[-1])))
    kind = (plugin_flag.given("dataset") or [""])[-1].partition(":")[0]
    return next((task for holds, task in TASKS.items() if kind in READERS[holds]), TASKS["label"])


def recipe() -> run.TrainingRecipe:
    """What the flags describe; what they leave out is as in the run of --run, if that is given."""
    given = recipes.from_flags(run.TASKS[chosen()].recipe)
    if not FLAGS.run:
        return given
    names = [f.name for f in dataclasses.fields(given) if FLAGS[f.name].present]
    earlier = run.recipe_of(FLAGS.run)
    return dataclasses.replace(earlier, **{name: getattr(given, name) for name in names})


def main() -> int:
    output = local_path(FLAGS.output)
    files.places(output)  # an error before the work
    asked = recipe()
    entry.prepare_jax(asked.cpu_devices)
    look = run.look(asked, examples=FLAGS.examples, step=FLAGS.step)
    for line in files.summary(look):
        entry.say(line)
    for path in files.write(look, output):
        entry.say(f"written to {path}")
    return 1 if look.refused else 0


def define_all() -> None:
    """Defines the flags of this command, and the settings of the task."""
    define()
    recipes.define_flags(run.TASKS[chosen()].recipe)


if __name__ == "__main__":
    entry.launch(main, define=define_all)
