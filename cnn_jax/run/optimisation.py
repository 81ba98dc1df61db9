"""The plan of a recipe in steps, its learning rates and its optimiser."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import optax

from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train import optim

MOST_STEPS = 2**31 - 1  # the state counts in int32


def _in_steps(name: str, epochs: float, steps_per_epoch: float) -> int:
    """Epochs as a whole number of steps.

    Raises:
        ValueError: it exceeds MOST_STEPS.
    """
    steps = epochs * steps_per_epoch
    if not abs(steps) <= MOST_STEPS:
        raise ValueError(
            f"{name}={epochs:g} is {steps:g} steps; the limit is {MOST_STEPS:,}. Lower it."
        )
    return round(steps)


class Plan(NamedTuple):
    """The schedule of a run, in steps; 0 means only at the end.

    Attributes:
        steps: number of steps of the whole run, with those of a run that it continues.
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
    own = recipe.steps or _in_steps("epochs", recipe.epochs, steps_per_epoch)
    steps = own + recipe.continue_step
    if recipe.step_timeout < 0:
        raise ValueError(f"step_timeout={recipe.step_timeout:g}: it must be 0 or more.")
    if not 0 <= recipe.interrupted_status <= 255:
        raise ValueError(f"interrupted_status={recipe.interrupted_status}; wanted 0 to 255.")
    if own < 1:
        raise ValueError(
            f"epochs={recipe.epochs:g} of {steps_per_epoch:g} steps and steps={recipe.steps} "
            "make no step at all. Raise one of them."
        )
    if steps > MOST_STEPS:
        raise ValueError(f"steps={steps}: it must be at most {MOST_STEPS:,}.")

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
    """The number of warm-up steps, at most `steps`, or a tenth of them in a run that continues
    another: its statistics and its optimiser are warm.

    Raises:
        ValueError: `warmup_epochs` is more than MOST_STEPS.
    """
    most = steps // 10 if recipe.continue_run else steps
    return min(most, _in_steps("warmup_epochs", recipe.warmup_epochs, steps_per_epoch))


def schedule_of(recipe: TrainingRecipe, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate as a function of the step; of a run that continues another, from the step
    on that the other had reached.

    Raises:
        ValueError: a number of epochs is more than MOST_STEPS.
    """
    peak = recipe.learning_rate
    if recipe.learning_rate_per:
        peak *= recipe.batch_size / recipe.learning_rate_per  # Goyal 2017, arXiv:1706.02677, 2.1
    before = recipe.continue_step
    schedule = optim.make_schedule(
        recipe.schedule,
        peak,
        steps=steps - before,
        warmup_steps=warmup_steps_of(recipe, steps - before, steps_per_epoch),
        final=peak * recipe.final_learning_rate,
        boundaries=[
            _in_steps("step_epochs", epoch, steps_per_epoch) for epoch in recipe.step_epochs
        ],
        factor=recipe.step_factor,
    )
    return (lambda step: schedule(step - before)) if before else schedule


def optimizer_of(
    recipe: TrainingRecipe,
    schedule: optax.Schedule,
    head: frozenset[str],
    stages: Mapping[str, float] = MappingProxyType({}),
) -> optax.GradientTransformation:
    """The optimiser of the recipe, with its factors on the learning rate: `freeze` and
    `backbone_factor` outside the last layer, whose parameters have the paths `head`, `bias_factor`
    for biases, and those of the stages, by the path of a parameter.

    Raises:
        ValueError: `freeze` or `backbone_factor` is given, and the last layer is not known.
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
    if factor == 1 and recipe.bias_factor == 1 and not stages:
        return tx
    if factor != 1 and not head:
        raise ValueError(
            f"`freeze` and `backbone_factor` need a last layer, and {recipe.model} has none: leave "
            "them out."
        )
    return optim.scale_by_path(
        tx,
        lambda path: (
            (1.0 if path in head else factor)
            * (recipe.bias_factor if path.rpartition("/")[2] == "bias" else 1.0)
            * stages.get(path, 1.0)
        ),
    )
