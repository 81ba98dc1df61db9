"""Trains the network of a recipe, and writes its run directory: the same for every task."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from cnn_jax import plugins
from cnn_jax.analysis import utilisation
from cnn_jax.run import agreement, out_of_memory, result, resuming, sweep
from cnn_jax.run import directory as directories
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment, initial_variables, reporting_metrics
from cnn_jax.run.layouts import devices_of, layout_of
from cnn_jax.run.machine import configured, join, split_cpu
from cnn_jax.run.optimisation import Plan, optimizer_of, plan_of, schedule_of
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.run.tasks import task_of
from cnn_jax.stores import is_store
from cnn_jax.train import (
    callback,
    checkpoint,
    evaluation,
    goodput,
    hosts,
    interruption,
    layout,
    log,
    loop,
    nonfinite,
    profile,
    reporting,
    saving,
    state,
    step,
    watchdog,
)


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
    if workdir is not None:
        recipe = dataclasses.replace(recipe, workdir=os.fspath(workdir))
    _load_plugins(recipe)
    task = task_of(recipe)
    program = program or Program()
    split_cpu(recipe.cpu_devices)
    with configured(recipe):
        join(recipe, program.sources)
        experiment = reporting_metrics(task.make_experiment(recipe), recipe.metrics)
        return train_experiment(recipe, experiment, program=program)


def _load_plugins(recipe: TrainingRecipe) -> None:
    """Loads the plug-ins of the recipe.

    Raises:
        PluginError: one cannot be loaded; or the run in the directory has others, which are named
            before anything of theirs is found to be unknown.
    """
    plugins.load_all(recipe.plugin)
    flagfile = Path(recipe.workdir or ".").expanduser() / workdirs.RECIPE_FILE
    if recipe.workdir and not is_store(recipe.workdir) and flagfile.is_file():
        earlier = texts.parse_flagfile(texts.read_text(flagfile))
        plugins.check_loaded(earlier.get("plugin", ""), what=f"The run in {recipe.workdir}")


def train_experiment(
    recipe: TrainingRecipe, experiment: Experiment, *, program: Program | None = None
) -> Result:
    """`train`, for an experiment made already, with JAX as it is configured.

    With several seeds or learning rates: `cnn_jax.run.sweep.run_many`.
    """
    program = program or Program()
    if recipe.seeds != 1 or recipe.learning_rates:
        return sweep.run_many(recipe, experiment, program=program)
    began = time.monotonic()
    if hosts.several():
        shapes = jax.eval_shape(lambda: initial_variables(experiment, seed=recipe.seed))
        agreement.check_experiment(experiment, shapes)
    parts = _parts(recipe, experiment)
    with (
        out_of_memory.explained(recipe, parts.where.device_count),
        contextlib.ExitStack() as held,
    ):
        opened = directories.open_run_directory(
            recipe, name=experiment.name, held=held, ends=program.ends
        )
        return _run(recipe, experiment, parts, opened, held, program, began)


class _Parts(NamedTuple):
    """What a recipe and an experiment make: the layout, the plan and the compiled steps.

    `abstract` is the state as shapes, and `create` makes it.
    """

    where: layout.Layout
    devices: list[jax.Device]
    plan: Plan
    traced: tuple[int, int] | None
    schedule: optax.Schedule
    create: Callable[[], state.TrainState]
    abstract: state.TrainState
    train_step: Any
    eval_step: Any


def _parts(recipe: TrainingRecipe, experiment: Experiment) -> _Parts:
    devices = devices_of(recipe.devices)
    where = layout_of(recipe, devices)
    per_epoch = experiment.train.steps_per_epoch
    plan = plan_of(recipe, per_epoch)
    traced = profile.parse_range(recipe.profile, plan.steps)
    if recipe.nonfinite_limit < 0:
        raise ValueError(f"nonfinite_limit={recipe.nonfinite_limit}: it must be 0 or more.")
    schedule = schedule_of(recipe, plan.steps, per_epoch)
    tx = optimizer_of(recipe, schedule, experiment.head)
    train_step = where.compile_train(
        step.make_train_step(
            experiment.model,
            experiment.task,
            tx,
            seed=recipe.seed,
            axis_name=where.axis_name,
            augment=experiment.augment,
            accumulate=recipe.accumulate,
            ema_decay=recipe.ema_decay,
            frozen=(lambda path: path not in experiment.head) if recipe.freeze else None,
            whole=where.whole,
            on_nonfinite=nonfinite.make_rule(recipe.on_nonfinite, every=recipe.rollback_every),
        )
    )
    eval_step = where.compile_eval(
        step.make_eval_step(
            experiment.model,
            experiment.task,
            axis_name=where.axis_name,
            prepare=experiment.prepare,
            views=experiment.views,
        )
    )

    def create() -> state.TrainState:
        variables = initial_variables(experiment, seed=recipe.seed)
        ema = recipe.ema_decay > 0
        return state.state_from(variables, tx, ema=ema, on_nonfinite=recipe.on_nonfinite)

    abstract = jax.eval_shape(create)  # raises an error if the image is too small for the network
    return _Parts(where, devices, plan, traced, schedule, create, abstract, train_step, eval_step)


def _run(
    recipe: TrainingRecipe,
    experiment: Experiment,
    parts: _Parts,
    opened: directories.RunDirectory,
    held: contextlib.ExitStack,
    program: Program,
    began: float,
) -> Result:
    """The run in its opened directory; `held` closes what it opens."""
    where, plan, place = parts.where, parts.plan, opened.place
    say = program.say if hosts.is_first() else lambda line: None
    checkpoints = opened.checkpoints(keep=recipe.keep, best=experiment.best)
    held.push(partial(_close, checkpoints))
    host_state, resumed = _first_state(recipe, experiment, parts, checkpoints)
    if hosts.is_first():
        workdirs.keep_recipe(opened.path, recipe)
    first = int(host_state.step)
    attempts, meter = _attempts(opened.path, resumed, began), goodput.Meter()
    run_log = held.enter_context(
        log.RunLog(
            opened.path,
            first_step=first,
            evaluated=bool((resumed or {}).get("evaluated")),
            console=program.console,
        )
        if hosts.is_first()
        else log.NoLog()
    )
    params = sum(leaf.size for leaf in jax.tree.leaves(parts.abstract.params))
    say(
        f"{experiment.name}: {params:,} parameters, {plan.steps} steps of "
        f"{recipe.batch_size} on {where.device_count} {jax.devices()[0].platform} device(s)"
        f"{f' of {jax.process_count()} processes' if hosts.several() else ''}, in {place}"
    )
    program.without_output(f"the run goes on without it, see metrics.jsonl in {place}")
    again = f"To resume: {program.again} with workdir={place}"
    if resumed is None:
        program.interrupts(f"before the first step: nothing was saved in {place}")
    else:
        unchanged = f"the checkpoint of step {first} is unchanged. {again}"
        program.interrupts(f"before the next step: {unchanged}")
        say(f"Resuming at step {first} of {plan.steps}.")
        if note := resuming.what_to_know(experiment.facts.to_json(), resumed):
            say(note)
        if note := plugins.changes(resumed.get("plugins", {})):
            say(note)
    added = {"plugins": recorded} if (recorded := plugins.record()) else {}
    in_the_middle = f"at once: what was saved before in {place} is unchanged"
    started = held.enter_context(program.until_started(in_the_middle))
    evaluate = meter.compiled(parts.eval_step)
    speed = utilisation.speed(
        experiment.model, experiment.image, parts.devices, frozen=recipe.freeze
    )
    with interruption.stop_signals() as stopped:
        outcome = loop.fit(
            where.replicate(host_state),
            train_step=meter.compiled(parts.train_step),
            batches=experiment.train,
            steps=plan.steps,
            layout=where,
            evaluation=evaluation.Evaluation(
                lambda now, stop: evaluation.evaluate(
                    evaluate, now, experiment.test(), where, stop=stop
                ),
                experiment.task.report,
                plan.evaluate_every,
            ),
            saving=saving.Saving(
                checkpoints,
                plan.checkpoint_every,
                {
                    "facts": experiment.facts.to_json(),
                    "settings": texts.parse_flagfile(texts.to_flagfile(recipe)),
                    "wall_attempts": attempts._asdict(),
                    **added,
                },
            ),
            callbacks=[
                *_profile(parts.traced, opened.path),
                *_watchdog(recipe, opened.path, program),
                meter,
                callback.Started(started),
                reporting.Reporting(run_log, every=plan.log_every, speed=speed),
            ],
            resumed=resumed,
            learning_rate=parts.schedule,
            nonfinite_limit=recipe.nonfinite_limit,
            stopped=stopped,
        )
    program.interrupts(f"after the last step: its checkpoint is in {place}")
    if outcome.interrupted is not None:
        say(f"{outcome.interrupted.name}: saved step {outcome.step} of {plan.steps}. {again}")
        return Result(
            place=place,
            directory=opened.path,
            interrupted=outcome.interrupted,
            step=outcome.step,
        )
    assert outcome.observed is not None  # the last step is always evaluated
    # no collectives from here on: process 0 may be alone
    final = jax.tree.map(_local, where.fetch(outcome.state))
    if not hosts.is_first():
        return Result(place=place, directory=opened.path, step=outcome.step)
    figures = result.figures_of(
        recipe, experiment, outcome, final, run_log.rows(), place=place, began=began
    )
    attempts = goodput.end_run(opened.path / goodput.ATTEMPTS_FILE, attempts)
    figures |= goodput.figures(attempts, meter.seconds)
    written = workdirs.write_result(opened.path, figures | added)
    opened.send()
    program.interrupts(f"while drawing figures: result.json is in {place}")
    if recipe.figures:
        _draw(experiment, outcome, final, opened.path)
    program.console.print(result.table(figures))
    program.say(f"The run is in {place}")
    return Result(
        place=place,
        directory=opened.path,
        step=outcome.step,
        metrics=result.metrics_in(figures),
        json=json.loads(written.read_text()),
    )


def _first_state(
    recipe: TrainingRecipe,
    experiment: Experiment,
    parts: _Parts,
    checkpoints: checkpoint.Checkpoints,
) -> tuple[state.TrainState, dict[str, Any] | None]:
    """The state to begin with, and the meta of the checkpoint that it comes from, if it does."""
    resumed = None
    if hosts.from_first(lambda: bool(checkpoints.steps())):
        accept = partial(resuming.check, checkpoints.directory, recipe, experiment.facts.to_json())
        host_state, resumed = checkpoints.restore(parts.abstract, accept=accept)
        reached, steps = int(host_state.step), parts.plan.steps
        if reached > steps:  # the data set has shrunk
            raise ValueError(
                f"The checkpoint is of step {reached}, and with the data as they are now the run "
                f"ends at step {steps}. Put the data back, or choose another `workdir`."
            )
    else:
        host_state = parts.create()
    agreement.check_state(host_state)
    return host_state, resumed


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
