"""A training run, from its parts to its result: the same for every task."""

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import rich.console
import rich.table

from cnn_jax.analysis import utilisation
from cnn_jax.data import TrainBatches
from cnn_jax.printable import printable
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
    sharding,
    state,
    step,
    watchdog,
)
from cnn_jax.typing import Array, Batch, HostBatch, Observed, PyTree, Task
from experiments import (
    agreement,
    console,
    entry,
    out_of_memory,
    resuming,
    run_directory,
    stopping,
)
from experiments import recipe as recipes
from experiments import workdir as workdirs
from experiments.settings import TrainingRecipe, optimizer_of, plan_of, schedule_of


class Experiment(NamedTuple):
    """The parts in which experiments differ.

    Attributes:
        name: name of the run directory: '<model>-<dataset>'.
        model: the network.
        task: the loss and the metrics.
        image: shape and dtype of a training batch as the model sees it.
        train: the training batches.
        test: () -> the evaluation batches.
        augment: (keys, batch) -> batch, on the device, in training.
        prepare: batch -> batch, on the device, in evaluation.
        views: test-time augmentation, see `cnn_jax.train.step.make_eval_step`.
        facts: facts about the data and the model, for checkpoints and results: JSON.
        best: the metric whose highest value marks the best checkpoint.
        head: the paths of the parameters of the last layer; empty if not known.
        variables: initial variables; None for random ones.
        learnt: collections of variables learnt from the data, which replace the initial ones
            whatever the seed.
        draw: (workdir, observed, predict) -> None: figures of the finished run, where predict is
            batch -> outputs in numpy. None for no figures.
    """

    name: str
    model: nn.Module
    task: Task
    image: jax.ShapeDtypeStruct
    train: TrainBatches
    test: Callable[[], Any]
    augment: Callable[[Array, Batch], Batch]
    prepare: Callable[[Batch], Batch]
    facts: dict[str, Any]
    best: str
    head: frozenset[str] = frozenset()
    variables: PyTree | None = None
    learnt: Mapping[str, PyTree] = MappingProxyType({})
    views: tuple[Callable[[Array], Array], ...] = ()
    draw: Callable[[Path, Observed, PyTree, Callable[[HostBatch], Any]], None] | None = None


def run(recipe: TrainingRecipe, experiment: Experiment) -> int:
    """Trains, evaluates and writes the run directory. Returns the exit status."""
    began = time.monotonic()
    if hosts.several():
        shapes = jax.eval_shape(lambda: initial_variables(experiment, seed=recipe.seed))
        agreement.check_experiment(experiment, shapes)
    devices = _devices(recipe.devices)
    where = _layout(recipe, devices)
    if recipe.batch_size % where.device_count:
        raise ValueError(
            f"--batch_size={recipe.batch_size} cannot be split evenly over "
            f"{where.device_count} devices; choose a multiple of {where.device_count}."
        )
    each = recipe.batch_size // (where.device_count if where.axis_name else 1)
    if recipe.accumulate > 1 and each % recipe.accumulate:
        raise ValueError(
            f"--accumulate={recipe.accumulate}: {each} examples cannot be split into "
            f"{recipe.accumulate} equal microbatches. Choose a divisor of {each}."
        )
    per_epoch = experiment.train.steps_per_epoch
    plan = plan_of(recipe, per_epoch)
    traced = profile.parse_range(recipe.profile, plan.steps)
    if recipe.nonfinite_limit < 0:
        raise ValueError(f"--nonfinite_limit is {recipe.nonfinite_limit}; it must be 0 or more.")
    schedule = schedule_of(recipe, plan.steps, per_epoch)
    tx = optimizer_of(recipe, schedule, experiment.head)
    frozen = (lambda path: path not in experiment.head) if recipe.freeze else None
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
            frozen=frozen,
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
    ema = recipe.ema_decay > 0

    def create() -> state.TrainState:
        variables = initial_variables(experiment, seed=recipe.seed)
        return state.state_from(variables, tx, ema=ema, on_nonfinite=recipe.on_nonfinite)

    abstract = jax.eval_shape(create)  # raises an error if the image is too small for the network

    with out_of_memory.explained(recipe, where.device_count), contextlib.ExitStack() as held:
        opened = run_directory.open_run_directory(recipe, name=experiment.name, held=held)
        workdir = opened.path
        checkpoints = opened.checkpoints(keep=recipe.keep, best=experiment.best)
        held.push(partial(_close, checkpoints))
        resumed = None
        if hosts.from_first(lambda: bool(checkpoints.steps())):
            host_state, resumed = checkpoints.restore(
                abstract,
                accept=partial(resuming.check, checkpoints.directory, recipe, experiment.facts),
            )
            _check_ahead(int(host_state.step), plan.steps)
        else:
            host_state = create()
        agreement.check_state(host_state)
        if hosts.is_first():
            workdirs.keep_recipe(workdir, recipe)
        first = int(host_state.step)
        attempts, meter = _attempts(workdir, resumed, began), goodput.Meter()
        params = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
        run_log = held.enter_context(
            log.RunLog(
                workdir,
                first_step=first,
                evaluated=bool((resumed or {}).get("evaluated")),
                console=entry.CONSOLE,
            )
            if hosts.is_first()
            else log.NoLog()
        )
        run_log.say(
            f"{experiment.name}: {params:,} parameters, {plan.steps} steps of "
            f"{recipe.batch_size} on {where.device_count} {jax.devices()[0].platform} device(s)"
            f"{f' of {jax.process_count()} processes' if hosts.several() else ''}, "
            f"in {opened.place}"
        )
        console.if_lost(f"the run goes on without it, see metrics.jsonl in {opened.place}")
        stopping.now(_before_the_first(opened.place, None if resumed is None else first))
        if resumed is not None:
            run_log.say(f"Resuming at step {first} of {plan.steps}.")
            if note := resuming.what_to_know(experiment.facts, resumed):
                run_log.say(note)
        in_the_middle = f"at once: what was saved before in {opened.place} is unchanged"
        started = held.enter_context(stopping.until_started(in_the_middle))
        dog = watchdog.Watchdog(
            recipe.step_timeout,
            directory=workdir,
            index=jax.process_index(),
            count=jax.process_count(),
            others=hosts.Places() if hosts.several() else None,
        )
        speed = utilisation.speed(experiment.model, experiment.image, devices, frozen=recipe.freeze)
        with interruption.stop_signals() as stopped:
            outcome = loop.fit(
                where.replicate(host_state),
                train_step=meter.compiled(train_step),
                batches=experiment.train,
                steps=plan.steps,
                layout=where,
                evaluation=evaluation.Evaluation(
                    lambda now, stop: evaluation.evaluate(
                        meter.compiled(eval_step), now, experiment.test(), where, stop=stop
                    ),
                    experiment.task.report,
                    plan.evaluate_every,
                ),
                saving=saving.Saving(
                    checkpoints,
                    plan.checkpoint_every,
                    {
                        "facts": experiment.facts,
                        "settings": recipes.parse_flagfile(recipes.to_flagfile(recipe)),
                        "wall_attempts": attempts._asdict(),
                    },
                ),
                callbacks=[
                    *_profile(traced, workdir),
                    dog,
                    meter,
                    callback.Started(started),
                    reporting.Reporting(run_log, every=plan.log_every, speed=speed),
                ],
                resumed=resumed,
                learning_rate=schedule,
                nonfinite_limit=recipe.nonfinite_limit,
                stopped=stopped,
            )
        stopping.now(f"after the last step: its checkpoint is in {opened.place}")
        if outcome.interrupted is not None:
            run_log.say(
                f"{outcome.interrupted.name}: saved step {outcome.step} of {plan.steps}. "
                f"To resume: the same command with --workdir={opened.place}"
            )
            return recipe.interrupted_status
        assert outcome.observed is not None  # the last step is always evaluated
        # no collectives from here on: process 0 may be alone
        final = jax.tree.map(_local, where.fetch(outcome.state))
        if hosts.is_first():
            result = _result(recipe, experiment, outcome, final, run_log, opened.place, began)
            attempts = goodput.end_run(workdir / goodput.ATTEMPTS_FILE, attempts)
            result |= goodput.figures(attempts, meter.seconds)
            workdirs.write_result(workdir, result)
            opened.send()
            stopping.now(f"while drawing figures: result.json is in {opened.place}")
            if recipe.figures:
                _draw(experiment, outcome, final, workdir)
            _print_table(run_log.console, result, opened.place)
    return 0


def initial_variables(experiment: Experiment, *, seed: int) -> PyTree:
    """The initial variables of a run with this seed."""
    variables = experiment.variables
    if variables is None:
        variables = state.init_variables(experiment.model, experiment.image, seed=seed)
    return {**variables, **experiment.learnt}


def _layout(recipe: TrainingRecipe, devices: list[jax.Device]) -> layout.Layout:
    """The layout of --layout and --mesh."""
    if not recipe.mesh:
        return layout.make_layout(recipe.layout, devices)
    if recipe.layout != "jit":
        raise ValueError(f"--mesh needs --layout=jit, and --layout={recipe.layout} was given.")
    return sharding.mesh_layout(devices, sharding.parse_mesh(recipe.mesh, len(devices)))


def _close(checkpoints: checkpoint.Checkpoints, error: type[BaseException] | None, *_: Any) -> None:
    """Closes them, except after an error in one of several processes: closing waits for all."""
    if error is None or not hosts.several():
        checkpoints.close()


def _profile(steps: tuple[int, int] | None, workdir: Path) -> list[profile.Profile]:
    """The profile, which process 0 alone records: all processes do the same work."""
    if steps is None or not hosts.is_first():
        return []
    return [profile.Profile(workdir / "profile", *steps)]


def _devices(count: int) -> list[jax.Device]:
    """The first `count` devices, equally many from each process; 0: all."""
    devices, processes = jax.devices(), jax.process_count()
    if not 0 <= count <= len(devices):
        raise ValueError(f"--devices is {count}; there are {len(devices)} devices here.")
    if count % processes:
        raise ValueError(
            f"--devices={count} cannot be split evenly among {processes} processes; choose a "
            f"multiple of {processes}."
        )
    if not count:
        return devices
    own = [[d for d in devices if d.process_index == index] for index in range(processes)]
    return [device for group in own for device in group[: count // processes]]


def _local(leaf: jax.Array) -> jax.Array:
    """This process's copy of a replicated array."""
    return leaf.addressable_data(0)


def _before_the_first(place: str, step: int | None) -> str:
    """What to say of a run stopped before its first step; `step`: the one it resumes from."""
    if step is None:
        return f"before the first step: nothing was saved in {place}"
    return (
        f"before the next step: the checkpoint of step {step} is unchanged. To resume: the same "
        f"command with --workdir={place}"
    )


def _check_ahead(step: int, steps: int) -> None:
    """Raises ValueError for a checkpoint beyond the end of the run: the data set has shrunk."""
    if step > steps:
        raise ValueError(
            f"The checkpoint is of step {step}, and with the data as they are now the run ends at "
            f"step {steps}. Put the data back, or choose another --workdir."
        )


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


def _result(recipe, experiment, outcome, final, run_log, place, began) -> dict[str, Any]:
    rows = run_log.rows()
    rates = {
        name: sorted(row[f"wall_{name}"] for row in rows if f"wall_{name}" in row)
        for name in ("images_per_second", "gflops_per_second", "mfu")
    }
    speeds = {name: values[len(values) // 2] for name, values in rates.items() if values}
    figures = experiment.task.report(outcome.observed)
    names = ("model", "dataset", "num_classes")
    return {
        **{name: experiment.facts[name] for name in names if name in experiment.facts},
        **{f"test_{name}": value for name, value in figures.items()},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(final.params)),
        "records_skipped": len(experiment.train.corrupt),
        "steps": outcome.step,
        "seconds": round(time.monotonic() - began, 2),
        **({"nonfinite_steps": int(final.guard.count)} if final.guard else {}),
        "images_per_second": None,
        **speeds,
        "layout": recipe.layout,
        "processes": jax.process_count(),
        "workdir": place,
    }


def _draw(experiment, outcome, final, workdir) -> None:
    if experiment.draw is None:
        return
    variables = state.inference_variables(final)

    @jax.jit
    def apply(batch):
        return experiment.model.apply(variables, experiment.prepare(batch)["image"], train=False)

    experiment.draw(
        workdir, outcome.observed, variables, lambda batch: jax.device_get(apply(dict(batch)))
    )


def _print_table(console: rich.console.Console, result: dict[str, Any], place: str) -> None:
    table = rich.table.Table(title=f"{result['model']} on {result['dataset']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.items():
        if name not in ("model", "dataset", "workdir", "layout", "processes"):
            text = f"{value:.4f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,}"
            table.add_row(name, text)
    console.print(table)
    console.print(printable(f"The run is in {place}"), soft_wrap=True)
