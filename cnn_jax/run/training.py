"""Trains the network of a recipe, and writes its run directory: the same for every task."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable

import jax

from cnn_jax import plugins
from cnn_jax.run import (
    agreement,
    continuing,
    failures,
    fine_tuning,
    out_of_memory,
    surveying,
    sweep,
    tracking,
)
from cnn_jax.run import directory as directories
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment, initial_variables, reporting_metrics
from cnn_jax.run.machine import configured, join, split_cpu
from cnn_jax.run.parts import Parts, build
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.run.single import SingleRun
from cnn_jax.run.tasks import TaskRun, name_of, task_of
from cnn_jax.stores import is_store, local_path
from cnn_jax.train import hosts


def train(
    recipe: TrainingRecipe,
    *,
    workdir: str | os.PathLike[str] | None = None,
    program: Program | None = None,
) -> Result:
    """Trains the network that a recipe describes, evaluates it, and writes a run directory.

    If the directory holds an unfinished run of the same recipe, that is resumed from its newest
    checkpoint; a finished one is evaluated again. JAX is configured as the recipe says (CPU
    convolutions, cache of compiled programs) while this runs, and as before afterwards.

    SIGTERM, SIGHUP and Ctrl-C (in a notebook: interrupt) end the training loop with a checkpoint,
    if this is called in the main thread; elsewhere before that they do what they always do.

    Args:
        recipe: a `Recipe`, `SegmentationRecipe`, `DetectionRecipe`, or that of another task.
        workdir: the run directory, or a s3:// URL; default: the recipe's, or else
            runs/<date>-<model>-<dataset> in the current directory.
        program: where it prints; default: on standard output, or in the notebook. A
            `Program(quiet=True)` prints nothing.

    Returns:
        The result: figures, directory, and whether it was interrupted.

    Raises:
        ValueError: a setting, the data or the directory cannot be used; the message is one line
            that says what came and what was wanted.
        OSError: a file cannot be read or written.
        NonFiniteError: the loss or the gradient became NaN or infinite.
        CheckpointError: a checkpoint cannot be written or read.
        OutOfMemoryError: the device, or the host, has too little memory.
    """
    if not isinstance(recipe, TrainingRecipe):
        raise ValueError(f"recipe={recipe!r}: wanted a recipe, such as run.Recipe(steps=100).")
    if workdir is not None:
        # the recipe checks it, and makes a string of it
        recipe = dataclasses.replace(recipe, workdir=workdir)  # type: ignore[arg-type]
    _load_plugins(recipe)
    task = task_of(recipe)
    program = program or Program()
    if not isinstance(program, Program):
        raise ValueError(f"program={program!r}: wanted a Program, such as run.Program(quiet=True).")
    split_cpu(recipe.cpu_devices)
    with configured(recipe):
        join(recipe, program.sources)
        if hosts.is_first():
            tracking.check(recipe.track)
        recipe = continuing.resolved(recipe)
        experiment = experiment_of(recipe, task)
        with surveying.surveyed(recipe, experiment, program) as survey:
            experiment = experiment._replace(survey=survey)
            return train_experiment(recipe, experiment, program=program)


def experiment_of(recipe: TrainingRecipe, task: TaskRun) -> Experiment:
    """The parts of a run that its recipe describes, with JAX as it is configured.

    Raises:
        ValueError: the data, or a setting, cannot be used.
    """
    with surveying.named(recipe, task):
        experiment = task.make_experiment(recipe)
    facts = dataclasses.replace(experiment.facts, task=name_of(task))
    notes = experiment.notes + tuple(filter(None, [fine_tuning.note(recipe)]))
    return reporting_metrics(experiment._replace(facts=facts, notes=notes), recipe.metrics)


def _load_plugins(recipe: TrainingRecipe) -> None:
    """Loads the plug-ins of the recipe.

    Raises:
        PluginError: one cannot be loaded; or the run in the directory has others, which are named
            before anything of theirs is found to be unknown.
    """
    plugins.load_all(recipe.plugin)
    if not recipe.workdir or is_store(recipe.workdir):
        return
    flagfile = local_path(recipe.workdir) / workdirs.RECIPE_FILE
    if flagfile.is_file():
        earlier = texts.parse_flagfile(texts.read_text(flagfile))
        plugins.check_loaded(earlier.get("plugin", ""), what=f"The run in {recipe.workdir}")


def train_experiment(
    recipe: TrainingRecipe,
    experiment: Experiment,
    *,
    program: Program | None = None,
    build: Callable[[TrainingRecipe, Experiment], Parts] = build,
) -> Result:
    """`train`, for an experiment made already, with JAX as it is configured.

    `build` makes the compiled steps; that of `cnn_jax.run.trials.shared` makes them for many runs.
    With several seeds or learning rates: `cnn_jax.run.sweep.run_many`.
    """
    program = program or Program()
    if recipe.seeds != 1 or recipe.learning_rates:
        return sweep.run_many(recipe, experiment, program=program)
    began = time.monotonic()
    if hosts.several():
        shapes = jax.eval_shape(lambda: initial_variables(experiment, seed=recipe.seed))
        agreement.check_experiment(experiment, shapes)
    parts = build(recipe, experiment)
    with contextlib.ExitStack() as held:
        opened = directories.open_run_directory(
            recipe, name=experiment.name, held=held, ends=program.ends
        )
        memory = out_of_memory.explained(recipe, parts.where.device_count)
        with failures.noted(opened.path), memory:
            return SingleRun(recipe, experiment, parts, opened, program, began).go(held)
