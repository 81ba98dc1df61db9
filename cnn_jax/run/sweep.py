"""Trains a small network many times: seeds=8, learning_rates=(0.1, 0.03), or both.

    run.train(run.Recipe(dataset="mnist1d", model="mnist1d_cnn", seeds=8))

All runs share the data and one compiled step, whose arguments are the seed and the learning rate;
each run gives the same result as a run of that seed alone. On an accelerator, and for networks
without convolutions, the step is vectorised over the runs; otherwise they take turns, as many at a
time as there are cores. They save no checkpoints: an interrupted sweep starts from the beginning.
"""

import contextlib
import json
import operator
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
from matplotlib.figure import Figure

from cnn_jax.analysis.interval import half_width
from cnn_jax.run import directory as directories
from cnn_jax.run import result as results
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment, initial_variables
from cnn_jax.run.optimisation import optimizer_of, plan_of, schedule_of
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.train import callback, evaluation, layout, loop, replicas, state, step, watchdog
from cnn_jax.typing import HostBatch, Observed, PyTree

RUNS_FILE = "runs.jsonl"


class Run(NamedTuple):
    """One run: its seed and its peak learning rate."""

    seed: int
    learning_rate: float


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
        program.without_output(f"the runs go on without it, see {RUNS_FILE} in {opened.place}")
        program.interrupts(
            "before the end of all runs: several seeds save no checkpoints, start again"
        )
        trainer = Trainer(
            recipe, experiment, workdir / RUNS_FILE, side_by_side=side_by_side, program=program
        )
        program.say(
            f"{experiment.name}: {len(seeds)} seeds and {len(rates)} learning rates, "
            f"{trainer.plan.steps} steps each, "
            f"{'side by side' if side_by_side else 'taking turns'}, in {opened.place}"
        )
        lanes = [runs] if side_by_side else [[one] for one in runs]
        at_once = 1 if jax.default_backend() != "cpu" else _cores()
        with trainer.watched, ThreadPoolExecutor(at_once) as pool:
            finals = [final for lane in pool.map(trainer.train, lanes) for final in lane]
        result = _result(recipe, experiment, trainer, finals, rates, opened.place)
        result["seconds"] = round(time.monotonic() - began, 2)
        written = workdirs.write_result(workdir, result)
        opened.send()
        program.interrupts(f"while drawing the figure: result.json is in {opened.place}")
        if recipe.figures:
            _draw(workdir / RUNS_FILE, experiment.best, workdir / "seeds.png")
        program.console.print(_table(result))
        program.say(f"The runs are in {result['workdir']}")
    metrics = {
        name.removeprefix("test_"): value["mean"]
        for name, value in result["summary"][0].items()
        if name.startswith("test_") and len(rates) == 1
    }
    return Result(
        place=opened.place,
        directory=workdir,
        step=trainer.plan.steps,
        metrics=metrics,
        json=json.loads(written.read_text()),
    )


def _check(recipe: TrainingRecipe) -> None:
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


class Trainer:
    """What all runs share: the compiled steps, the plan, and the file of their metrics."""

    def __init__(self, recipe, experiment, path: Path, *, side_by_side: bool, program: Program):
        self.recipe, self.experiment, self.program = recipe, experiment, program
        self.plan = plan_of(recipe, experiment.train.steps_per_epoch)
        self._side_by_side = side_by_side
        self._path, self._lock = path, threading.Lock()
        self.watchdog = watchdog.Watchdog(recipe.step_timeout, directory=path.parent)
        # it ends the process, which is not for a library to do
        self.watched = self.watchdog if program.ends else contextlib.nullcontext()
        path.write_text("")
        self._place = layout.make_layout("jit", jax.devices()[:1])
        train_step = replicas.make_replica_step(
            experiment.model,
            experiment.task,
            self._optimizer,
            augment=experiment.augment,
            accumulate=recipe.accumulate,
            ema_decay=recipe.ema_decay,
            frozen=(lambda path: path not in experiment.head) if recipe.freeze else None,
        )
        self._step = jax.jit(jax.vmap(train_step) if side_by_side else train_step, donate_argnums=0)
        self._eval_step = self._place.compile_eval(
            step.make_eval_step(
                experiment.model,
                experiment.task,
                prepare=experiment.prepare,
                views=experiment.views,
            )
        )

    def _optimizer(self, rate: Any):
        """The recipe's optimiser at another peak rate: schedules are proportional to their peak."""
        schedule = schedule_of(self.recipe, self.plan.steps, self.experiment.train.steps_per_epoch)
        scale = rate / self.recipe.learning_rate
        return optimizer_of(
            self.recipe, lambda count: scale * schedule(count), self.experiment.head
        )

    def train(self, runs: Sequence[Run]) -> list[dict[str, float]]:
        """Trains the runs of a lane to the end; returns the last row of each."""
        self.watchdog.on_phase(callback.COMPILING, 1)
        states: Any = [self._begin(one) for one in runs]
        seeds, rates = (np.array(column) for column in zip(*runs, strict=True))
        arguments = [jnp.asarray(seeds, jnp.uint32), jnp.asarray(rates, jnp.float32)]
        if self._side_by_side:
            states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        else:
            states, arguments = states[0], [argument[0] for argument in arguments]
        lane = _Lane(self, runs)
        loop.fit(
            states,
            train_step=lambda states, batch: self._step(states, *arguments, batch),
            batches=self._batches(runs),
            steps=self.plan.steps,
            evaluation=evaluation.Evaluation(
                lambda states, stop: self._observe(states, len(runs)),
                lambda observed: [self.experiment.task.report(one) for one in observed],
                self.plan.evaluate_every,
            ),
            callbacks=[lane],
            nonfinite_limit=None,  # a learning rate that diverges stops no other run
        )
        return lane.rows

    def _begin(self, one: Run) -> state.TrainState:
        variables = initial_variables(self.experiment, seed=one.seed)
        tx = self._optimizer(one.learning_rate)
        return state.state_from(variables, tx, ema=self.recipe.ema_decay > 0)

    def _batches(self, runs: Sequence[Run]) -> Iterator[HostBatch]:
        streams = [self.experiment.train.with_seed(one.seed).iterate(0) for one in runs]
        if not self._side_by_side:
            return streams[0]
        together = zip(*streams, strict=True)
        return (
            {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
            for batches in together
        )

    def _observe(self, states: PyTree, count: int) -> list[Observed]:
        """The observations of each run, with its own part of the states."""
        found = []
        for index in range(count):
            own = jax.tree.map(operator.itemgetter(index), states) if self._side_by_side else states
            one = evaluation.evaluate(self._eval_step, own, self.experiment.test(), self._place)
            assert one is not None
            found.append(one)
        return found

    def write(self, row: dict[str, Any]) -> None:
        """Writes the row of one run to the file and to the console."""
        best = f"test_{self.experiment.best}"
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            self.program.console.print(
                f"seed {row['seed']}, rate {row['learning_rate']:g}, step {row['step']}: "
                f"loss {row['train_loss']:.4f}, {best} {row[best]:.4f}"
            )


class _Lane(callback.Callback):
    """What goes along with the runs that share a step: their rows, and signs of life."""

    def __init__(self, trainer: Trainer, runs: Sequence[Run]):
        self.rows: list[dict[str, float]] = []
        self._trainer, self._runs = trainer, runs
        self._recent: deque[Any] = deque(maxlen=trainer.plan.log_every or None)

    def on_phase(self, phase: str, step: int) -> None:
        self._trainer.watchdog.on_phase(phase, step)  # a step of any run is a sign of life

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._recent.append(metrics["loss"])

    def on_evaluation(self, step: int, figures: Any, repeated: bool) -> None:
        losses = np.array(self._recent, np.float32).reshape(-1, len(self._runs)).mean(0)
        self.rows = [
            {
                **one._asdict(),
                "step": step,
                "train_loss": float(loss),
                **{f"test_{name}": value for name, value in own.items()},
            }
            for one, loss, own in zip(self._runs, losses, figures, strict=True)
        ]
        for row in self.rows:
            self._trainer.write(row)


def _result(recipe, experiment, trainer, finals, rates, place) -> dict[str, Any]:
    """Every run, and per learning rate the mean and half the 95 % interval of each metric."""
    figures = [name for name in finals[0] if name not in (*Run._fields, "step")]
    summary = []
    for rate in rates:
        own = [row for row in finals if row["learning_rate"] == rate]
        columns = {name: [row[name] for row in own] for name in figures}
        summary.append(
            {
                "learning_rate": rate,
                "n": len(own),
                **{
                    name: {"mean": float(np.mean(column)), "half_width_95": half_width(column)}
                    for name, column in columns.items()
                },
            }
        )
    return {
        **results.described(experiment),
        "steps": trainer.plan.steps,
        "seeds": recipe.seeds,
        "first_seed": recipe.seed,
        "summary": summary,
        "runs": finals,
        "workdir": place,
    }


def _table(result: dict[str, Any]) -> rich.table.Table:
    what = " on ".join(filter(None, (result.get("model"), result.get("dataset"))))
    over = f"mean and 95 % interval over {result['seeds']} seeds"
    table = rich.table.Table(title=f"{what or 'the runs'}: {over}")
    first = result["summary"][0]
    names = [name for name, value in first.items() if isinstance(value, dict)]
    for name in ("learning rate", *names):
        table.add_column(name, justify="right")
    for row in result["summary"]:
        cells = [f"{row[n]['mean']:.4f} ± {row[n]['half_width_95']:.4f}" for n in names]
        table.add_row(f"{row['learning_rate']:g}", *cells)
    return table


def _draw(path: Path, best: str, figure_path: Path) -> None:
    """Draws the best metric against the step: the mean of the seeds, and the extremes."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for rate in sorted({row["learning_rate"] for row in rows}):
        by_step: dict[int, list[float]] = {}
        for row in rows:
            if row["learning_rate"] == rate:
                by_step.setdefault(row["step"], []).append(row[f"test_{best}"])
        steps = sorted(by_step)
        (line,) = axis.plot(steps, [np.mean(by_step[s]) for s in steps], ".-", label=f"{rate:g}")
        low, high = ([function(by_step[s]) for s in steps] for function in (min, max))
        axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set(xlabel="step", ylabel=f"test {best.replace('_', ' ')}")
    axis.legend(title="learning rate")
    axis.grid(alpha=0.3)
    figure.savefig(figure_path, dpi=100)
