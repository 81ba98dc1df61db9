"""Trains a small network many times: seeds=8, learning_rates=(0.1, 0.03), or both.

    run.train(run.Recipe(dataset="mnist1d", model="mnist1d_cnn", seeds=8))

All runs share the data and one compiled step, whose arguments are the seed and the learning rate;
each run gives the same result as a run of that seed alone. On an accelerator, and for networks
without convolutions, the step is vectorised over the runs; otherwise they take turns, as many at a
time as there are cores. They save no checkpoints: an interrupted sweep starts from the beginning.
"""

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import jax

from cnn_jax.run import directory as directories
from cnn_jax.run import result as results
from cnn_jax.run import sweep_result, train_batch
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.lanes import Run, Trainer
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.train import replicas

RUNS_FILE = "runs.jsonl"


def run_many(
    recipe: TrainingRecipe,
    experiment: Experiment,
    *,
    side_by_side: bool | None = None,
    program: Program | None = None,
) -> Result:
    """Trains and evaluates every run, and writes a run directory.

    Args:
        recipe: a recipe with `seeds`, the number of seeds from `seed` on, and `learning_rates`.
        experiment: the experiment of the first seed.
        side_by_side: whether to run all in one vectorised step; None: if that is faster.
        program: what surrounds the runs.

    Raises:
        ValueError: the recipe asks for something that only a single run can do.
    """
    _check(recipe)
    program = program or Program()
    began = time.monotonic()
    rates = recipe.learning_rates or (recipe.learning_rate,)
    seeds = range(recipe.seed, recipe.seed + recipe.seeds)
    runs = [Run(seed, float(rate)) for rate in rates for seed in seeds]
    if side_by_side is None:
        side_by_side = replicas.pays_side_by_side(experiment.model, experiment.image)
    with contextlib.ExitStack() as held:
        opened = directories.open_run_directory(
            recipe, name=experiment.name, held=held, ends=program.ends
        )
        workdir = opened.path
        workdirs.keep_recipe(workdir, recipe)
        if experiment.survey is not None:
            experiment.survey.keep_in(workdir)
        program.without_output(f"the runs go on without it, see {RUNS_FILE} in {opened.place}")
        program.interrupts(
            "before the end of all runs: several seeds save no checkpoints, start again"
        )
        trainer = Trainer(
            recipe, experiment, workdir / RUNS_FILE, side_by_side=side_by_side, program=program
        )
        for note in experiment.notes:
            program.say(note)
        program.say(
            f"{experiment.name}: {len(seeds)} seeds and {len(rates)} learning rates, "
            f"{trainer.plan.steps} steps each, "
            f"{'side by side' if side_by_side else 'taking turns'}, in {opened.place}"
        )
        train_batch.draw(recipe, experiment, workdir, 0)
        lanes = [runs] if side_by_side else [[one] for one in runs]
        at_once = 1 if jax.default_backend() != "cpu" else _cores()
        with trainer.watched, ThreadPoolExecutor(at_once) as pool:
            finals = [final for lane in pool.map(trainer.train, lanes) for final in lane]
        result = sweep_result.figures_of(
            recipe, experiment, finals, rates, steps=trainer.plan.steps, place=opened.place
        )
        result["seconds"] = round(time.monotonic() - began, 2)
        written = workdirs.write_result(workdir, result)
        opened.send()
        program.interrupts(f"while drawing the figure: result.json is in {opened.place}")
        if recipe.figures:
            sweep_result.draw(
                workdir / RUNS_FILE,
                experiment.best,
                workdir / "seeds.png",
                part=experiment.part,
            )
        program.console.print(sweep_result.table(result))
        program.say(f"The runs are in {result['workdir']}")
    means = {n: v["mean"] for n, v in result["summary"][0].items() if isinstance(v, dict)}
    metrics = results.metrics_in(means) if len(rates) == 1 else {}
    return Result(
        place=opened.place,
        directory=workdir,
        step=trainer.plan.steps,
        metrics=metrics,
        json=json.loads(written.read_text()),
    )


def _check(recipe: TrainingRecipe) -> None:
    if recipe.patience:
        raise ValueError(f"patience={recipe.patience}: several runs at once do not stop early.")
    if recipe.track:
        raise ValueError(
            f"track={recipe.track}: several runs at once are not tracked. Start one run per seed."
        )
    if recipe.seeds < 1:
        raise ValueError(f"seeds={recipe.seeds}: it must be at least 1.")
    if any(rate <= 0 for rate in recipe.learning_rates):
        raise ValueError(f"learning_rates={recipe.learning_rates}: they must be positive.")
    if recipe.layout != "jit" or jax.process_count() > 1:
        raise ValueError(
            "`seeds` and `learning_rates` run on one device of one process, with layout=jit. "
            "For a network that needs more, start one run per seed."
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
