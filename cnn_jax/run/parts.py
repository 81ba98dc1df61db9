"""What a recipe and an experiment make of each other: layout, plan and compiled steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from cnn_jax.run.experiment import Experiment, initial_variables
from cnn_jax.run.layer_decay import stage_factors
from cnn_jax.run.layouts import devices_of, layout_of
from cnn_jax.run.optimisation import Plan, optimizer_of, plan_of, schedule_of
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train import layout, nonfinite, profile, state, step


class Parts(NamedTuple):
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


def build(recipe: TrainingRecipe, experiment: Experiment) -> Parts:
    """
    Raises:
        ValueError: a setting cannot be used, or the image is too small for the network.
    """
    devices = devices_of(recipe.devices)
    where = layout_of(recipe, devices)
    per_epoch = experiment.train.steps_per_epoch
    plan = plan_of(recipe, per_epoch)
    traced = profile.parse_range(recipe.profile, plan.steps)
    if recipe.nonfinite_limit < 0:
        raise ValueError(f"nonfinite_limit={recipe.nonfinite_limit}: it must be 0 or more.")
    schedule = schedule_of(recipe, plan.steps, per_epoch)
    tx = optimizer_of(recipe, schedule, experiment.head, stage_factors(recipe, experiment))
    train_step = where.compile_train(train_step_of(recipe, experiment, where, tx))
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
    return Parts(where, devices, plan, traced, schedule, create, abstract, train_step, eval_step)


def train_step_of(
    recipe: TrainingRecipe,
    experiment: Experiment,
    where: layout.Layout,
    tx: optax.GradientTransformation,
) -> step.TrainStep:
    """The training step of a recipe with this optimiser, to be compiled by the layout."""
    return step.make_train_step(
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
