"""One run in its opened directory: from its first state, or a checkpoint, to its result."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from cnn_jax import plugins
from cnn_jax.analysis import utilisation
from cnn_jax.run import (
    agreement,
    class_figures,
    from_run,
    result,
    resuming,
    tracking,
    train_batch,
)
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.directory import RunDirectory
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.parts import Parts
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.train import (
    callback,
    checkpoint,
    compiling,
    evaluation,
    goodput,
    hosts,
    interruption,
    log,
    loop,
    profile,
    reporting,
    saving,
    state,
    watchdog,
)
from cnn_jax.train.patience import Patience


class SingleRun:
    """A run of one seed."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        experiment: Experiment,
        parts: Parts,
        opened: RunDirectory,
        program: Program,
        began: float,
    ):
        """
        Args:
            recipe, experiment, parts: what is run.
            opened: its directory.
            program: what surrounds it.
            began: when it was started, of the monotonic clock.
        """
        self._recipe, self._experiment, self._parts = recipe, experiment, parts
        self._opened, self._program, self._began = opened, program, began
        self._say = program.say if hosts.is_first() else lambda line: None
        self._again = program.resumes(opened.place)
        self._meter = goodput.Meter()
        self._notes: list[str] = []
        self._best: int | None = None  # step of the best checkpoint, once the run is finished
        self._test: dict[str, float] | None = None  # its figures on the test split, if held back
        self._tracked: tracking.Tracked  # in process 0
        self._observed: Any = None  # what the figures of the result are made of

    def go(self, held: contextlib.ExitStack) -> Result:
        """Trains, evaluates and writes the result; `held` closes what is opened for it."""
        opened, first_only = self._opened, hosts.is_first()
        checkpoints = opened.checkpoints(keep=self._recipe.keep, best=self._experiment.best)
        held.push(partial(_close, checkpoints))
        host_state, resumed = self._first_state(checkpoints)
        if first_only:
            workdirs.keep_recipe(opened.path, self._recipe)
            if self._experiment.survey is not None:
                self._experiment.survey.keep_in(opened.path)
        first = int(host_state.step)
        attempts = _attempts(opened.path, resumed, self._began)
        run_log: log.RunLog = log.NoLog()
        if first_only:
            self._tracked = held.enter_context(
                tracking.Tracked(self._recipe, opened.path, resumed=resumed is not None)
            )
            run_log = log.RunLog(
                opened.path,
                first_step=first,
                evaluated=bool((resumed or {}).get("evaluated")),
                console=self._program.console,
                hand_on=self._tracked.row,
            )
        held.enter_context(run_log)
        self._announce(first, resumed)
        if first_only and first < self._parts.plan.steps:
            train_batch.draw(self._recipe, self._experiment, opened.path, first)
        unchanged = f"at once: what was saved before in {opened.place} is unchanged"
        started = held.enter_context(self._program.until_started(unchanged))
        outcome = self._fit(host_state, resumed, checkpoints, attempts, run_log, started)
        return self._finish(outcome, attempts, run_log)

    def _has_bar(self) -> bool:
        """Whether a bar says what the run does, see `RunLog.progress`."""
        console = self._program.console
        return console.is_terminal or (console.is_jupyter and not console.quiet)

    def _first_state(
        self, checkpoints: checkpoint.Checkpoints
    ) -> tuple[state.TrainState, dict[str, Any] | None]:
        """The state to begin with, and the meta of the checkpoint that it comes from, if any."""
        resumed = None
        if hosts.from_first(lambda: bool(checkpoints.steps())):
            facts = self._experiment.facts.to_json()
            accept = partial(resuming.check, checkpoints.directory, self._recipe, facts)
            host_state, resumed = checkpoints.restore(self._parts.abstract, accept=accept)
            reached, steps = int(host_state.step), self._parts.plan.steps
            if reached > steps:  # the data set has shrunk
                raise ValueError(
                    f"The checkpoint is of step {reached}, and with the data as they are now the "
                    f"run ends at step {steps}. Put the data back, or choose another `workdir`."
                )
        elif self._recipe.continue_run:
            facts_now = self._experiment.facts
            host_state, notes = from_run.state_to_continue(
                self._recipe, self._parts.abstract, facts_now
            )
            self._notes = [self._continuing(), *notes]
        else:
            host_state = self._parts.create()
        agreement.check_state(host_state)
        return host_state, resumed

    def _continuing(self) -> str:
        """What happens to the steps and to the learning rate of a run that goes on longer."""
        recipe, steps, schedule = self._recipe, self._parts.plan.steps, self._parts.schedule
        before = recipe.continue_step
        rates = [float(schedule(step)) for step in (before, steps - 1)]
        peak = max(
            float(schedule(step)) for step in range(before, steps, -(-(steps - before) // 50))
        )
        first, last, most = (f"{rate:.3g}" for rate in (*rates, peak))
        between = "" if most in (first, last) else f" over {most}"
        return (
            f"Continuing {recipe.continue_run} from step {before} to step {steps}, with the state "
            f"of its optimiser. The learning rate begins its schedule again there, "
            f"{recipe.schedule}: from {first}{between} to {last}."
        )

    def _announce(self, first: int, resumed: dict[str, Any] | None) -> None:
        """Says what is about to be run, and from where."""
        parts, place, program = self._parts, self._opened.place, self._program
        params = sum(leaf.size for leaf in jax.tree.leaves(parts.abstract.params))
        self._say(
            f"{self._experiment.name}: {params:,} parameters, {parts.plan.steps} steps of "
            f"{self._recipe.batch_size} on {parts.where.device_count} "
            f"{jax.devices()[0].platform} device(s)"
            f"{f' of {jax.process_count()} processes' if hosts.several() else ''}, in {place}"
        )
        program.without_output(f"the run goes on without it, see metrics.jsonl in {place}")
        for note in (*self._experiment.notes, *self._notes):
            self._say(note)
        if resumed is None:
            program.interrupts(f"before the first step: nothing was saved in {place}")
            return
        unchanged = f"the checkpoint of step {first} is unchanged. {self._again}"
        program.interrupts(f"before the next step: {unchanged}")
        self._say(f"Resuming at step {first} of {parts.plan.steps}.")
        for note in (
            resuming.what_to_know(self._experiment.facts.to_json(), resumed),
            plugins.changes(resumed.get("plugins", {})),
        ):
            if note:
                self._say(note)

    def _fit(self, host_state, resumed, checkpoints, attempts, run_log, started) -> loop.Outcome:
        """Trains to the end, or until a signal."""
        recipe, experiment, parts = self._recipe, self._experiment, self._parts
        where, plan = parts.where, parts.plan
        eval_step = self._meter.compiled(parts.eval_step)
        speed = utilisation.speed(
            experiment.model, experiment.image, parts.devices, frozen=recipe.freeze
        )
        meta = {
            "facts": experiment.facts.to_json(),
            "settings": texts.parse_flagfile(texts.to_flagfile(recipe)),
            "wall_attempts": attempts._asdict(),
            "plugins": plugins.record(),
        }
        patience = Patience(recipe.patience, experiment.best) if recipe.patience else None
        with interruption.stop_signals() as stopped:
            outcome = loop.fit(
                where.replicate(host_state),
                train_step=self._meter.compiled(parts.train_step),
                batches=experiment.train,
                steps=plan.steps,
                layout=where,
                evaluation=evaluation.Evaluation(
                    lambda now, stop: evaluation.evaluate(
                        eval_step, now, experiment.test(), where, stop=stop
                    ),
                    experiment.task.report,
                    plan.evaluate_every,
                ),
                saving=saving.Saving(checkpoints, plan.checkpoint_every, meta),
                callbacks=[
                    *_profile(parts.traced, self._opened.path),
                    *_watchdog(recipe, self._opened.path, self._program),
                    self._meter,
                    callback.Started(started),
                    *([] if self._has_bar() else [compiling.Compiling(self._say)]),
                    *([patience] if patience else []),
                    reporting.Reporting(
                        run_log, every=plan.log_every, speed=speed, part=experiment.part
                    ),
                ],
                resumed=resumed,
                learning_rate=parts.schedule,
                nonfinite_limit=recipe.nonfinite_limit,
                stopped=stopped,
                ended=patience.ended if patience else lambda: False,
            )
            if outcome.interrupted is None and outcome.step < plan.steps:
                self._say(
                    f"Stopped early, at step {outcome.step} of {plan.steps}: {recipe.patience} "
                    f"evaluations without a better {experiment.best} on {experiment.part}."
                )
            return self._tested(outcome, eval_step, checkpoints, stopped)

    def _tested(
        self,
        outcome: loop.Outcome,
        eval_step: Any,
        checkpoints: checkpoint.Checkpoints,
        stopped: Callable[[], Any],
    ) -> loop.Outcome:
        """Evaluates the best checkpoint on the test split, if the run was chosen on another."""
        experiment, where = self._experiment, self._parts.where
        if outcome.interrupted is not None:
            return outcome
        self._best = hosts.from_first(checkpoints.best_step)
        is_last = experiment.part == "test" or self._best in (None, outcome.step)
        if experiment.final is None and is_last:
            self._observed = outcome.observed
            return outcome
        chosen = outcome.state
        if self._best not in (None, outcome.step):
            restored, _ = checkpoints.restore(self._parts.abstract, step=self._best)
            chosen = where.replicate(restored)
        batches = (experiment.final or experiment.test)()
        observed = self._observed = evaluation.evaluate(
            eval_step, chosen, batches, where, stop=lambda: stopped() is not None
        )
        if observed is None:
            return outcome._replace(interrupted=stopped())
        if experiment.final is None:  # the figures are in the log; observed are their classes
            return outcome
        self._test = experiment.task.report(observed)
        undefined = [n for n, v in self._test.items() if "/" not in n and not math.isfinite(v)]
        if undefined:
            self._say(
                f"Undefined for the test split, and null in result.json: {', '.join(undefined)}."
            )
        return outcome

    def _finish(
        self, outcome: loop.Outcome, attempts: goodput.Attempts, run_log: log.RunLog
    ) -> Result:
        """Writes the result of a finished run, draws its figures, and says where they are."""
        opened, program, place = self._opened, self._program, self._opened.place
        program.interrupts(f"after the last step: its checkpoint is in {place}")
        made = Result(place=place, directory=opened.path, step=outcome.step)
        if (number := outcome.interrupted) is not None:
            steps = self._parts.plan.steps
            self._say(f"{number.name}: saved step {outcome.step} of {steps}. {self._again}")
            return dataclasses.replace(made, interrupted=number)
        # no collectives from here on: process 0 may be alone
        final = jax.tree.map(_local, self._parts.where.fetch(outcome.state))
        if not hosts.is_first():
            return made
        figures = result.figures_of(
            self._recipe, self._experiment, outcome, final, run_log.rows(),
            place=place, began=self._began, best=self._best, test=self._test,
        )  # fmt: skip
        figures |= class_figures.written(
            opened.path, self._recipe, self._experiment, self._observed, figures
        )
        attempts = goodput.end_run(opened.path / goodput.ATTEMPTS_FILE, attempts)
        figures |= goodput.figures(attempts, self._meter.seconds)
        written = workdirs.write_result(opened.path, figures)
        self._tracked.result(figures)
        opened.send()
        program.interrupts(f"while drawing figures: result.json is in {place}")
        if self._recipe.figures:
            _draw(self._experiment, outcome, final, opened.path)
        program.console.print(result.table(figures))
        program.say(f"The run is in {place}")
        metrics = result.metrics_in(figures)
        return dataclasses.replace(made, metrics=metrics, json=json.loads(written.read_text()))


def _watchdog(recipe: TrainingRecipe, path: Path, program: Program) -> list[watchdog.Watchdog]:
    """Ends a run that hangs, in a program that may be ended."""
    if not program.ends and not hosts.several():
        return []
    return [
        watchdog.Watchdog(
            recipe.step_timeout,
            directory=path,
            index=jax.process_index(),
            count=jax.process_count(),
            others=hosts.Places() if hosts.several() else None,
        )
    ]


def _close(checkpoints: checkpoint.Checkpoints, error: type[BaseException] | None, *_: Any) -> None:
    """Closes them, except after an error in one of several processes: closing waits for all."""
    if error is None or not hosts.several():
        checkpoints.close()


def _profile(steps: tuple[int, int] | None, workdir: Path) -> list[profile.Profile]:
    """The profile, which process 0 alone records: all processes do the same work."""
    if steps is None or not hosts.is_first():
        return []
    return [profile.Profile(workdir / "profile", *steps)]


def _local(leaf: jax.Array) -> jax.Array:
    """This process's copy of a replicated array."""
    return leaf.addressable_data(0)


def _attempts(workdir: Path, resumed: dict[str, Any] | None, began: float) -> goodput.Attempts:
    """Counts this start, at `began` of the monotonic clock, in process 0; the other processes
    count none."""
    if not hosts.is_first():
        return goodput.Attempts(0.0, 0)
    return goodput.begin_attempt(
        workdir / goodput.ATTEMPTS_FILE,
        checkpoint=(resumed or {}).get("wall_attempts"),
        now=lambda: time.time() - (time.monotonic() - began),
    )


def _draw(experiment: Experiment, outcome: Any, final: Any, workdir: Path) -> None:
    if experiment.draw is None:
        return
    variables = state.inference_variables(final)

    @jax.jit
    def apply(batch):
        return experiment.model.apply(variables, experiment.prepare(batch)["image"], train=False)

    experiment.draw(
        workdir, outcome.observed, variables, lambda batch: jax.device_get(apply(dict(batch)))
    )
