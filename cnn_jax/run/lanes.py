"""The runs of a sweep, in lanes: those of a lane share a compiled step and one training loop."""

import contextlib
import operator
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import strict_json
from cnn_jax.run.experiment import Experiment, initial_variables
from cnn_jax.run.layer_decay import stage_factors
from cnn_jax.run.optimisation import optimizer_of, plan_of, schedule_of
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train import callback, evaluation, layout, loop, replicas, state, step, watchdog
from cnn_jax.typing import HostBatch, Observed, PyTree


class Run(NamedTuple):
    """One run: its seed and its peak learning rate."""

    seed: int
    learning_rate: float


class Trainer:
    """What all runs share: the compiled steps, the plan, and the file of their metrics."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        experiment: Experiment,
        path: Path,
        *,
        side_by_side: bool,
        program: Program,
    ):
        self.recipe, self.experiment, self.program = recipe, experiment, program
        self.plan = plan_of(recipe, experiment.train.steps_per_epoch)
        self._stages = stage_factors(recipe, experiment)
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
            self.recipe, lambda count: scale * schedule(count), self.experiment.head, self._stages
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
        outcome = loop.fit(
            states,
            train_step=lambda states, batch: self._step(states, *arguments, batch),
            batches=self._batches(runs),
            steps=self.plan.steps,
            evaluation=evaluation.Evaluation(
                lambda states, stop: self._observe(states, len(runs), self.experiment.test()),
                lambda observed: [self.experiment.task.report(one) for one in observed],
                self.plan.evaluate_every,
            ),
            callbacks=[lane],
            nonfinite_limit=None,  # a learning rate that diverges stops no other run
        )
        if self.experiment.final is None:
            return lane.rows
        last = self._observe(outcome.state, len(runs), self.experiment.final())
        tested = [self.experiment.task.report(one) for one in last]
        return [
            {**row, **{f"test_{name}": value for name, value in own.items()}}
            for row, own in zip(lane.rows, tested, strict=True)
        ]

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

    def _observe(self, states: PyTree, count: int, batches: Any) -> list[Observed]:
        """The observations of each run, with its own part of the states."""
        found = []
        for index in range(count):
            own = jax.tree.map(operator.itemgetter(index), states) if self._side_by_side else states
            one = evaluation.evaluate(self._eval_step, own, batches, self._place)
            assert one is not None
            found.append(one)
        return found

    def write(self, row: dict[str, Any]) -> None:
        """Writes the row of one run to the file and to the console."""
        best = f"{self.experiment.part}_{self.experiment.best}"
        with self._lock, self._path.open("a") as file:
            file.write(strict_json.dumps(row) + "\n")
            self.program.console.print(
                f"seed {row['seed']}, rate {row['learning_rate']:g}, step {row['step']}: "
                f"loss {row['train_loss']:.4f}, {best} {row[best]:.4f}"
            )


class _Lane(callback.Callback):
    """What goes along with the runs that share a step: their rows, and signs of life."""

    def __init__(self, trainer: Trainer, runs: Sequence[Run]):
        self.rows: list[dict[str, float]] = []
        self._trainer, self._runs, self._part = trainer, runs, trainer.experiment.part
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
                **{f"{self._part}_{name}": value for name, value in own.items()},
            }
            for one, loss, own in zip(self._runs, losses, figures, strict=True)
        ]
        for row in self.rows:
            self._trainer.write(row)
