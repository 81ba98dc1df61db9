"""The network of a recipe, and its pretrained weights."""

import ast
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from cnn_jax import models
from cnn_jax.run import from_run, saved
from cnn_jax.run.recipe import DTYPES, TrainingRecipe
from cnn_jax.train import hosts, state
from cnn_jax.typing import PyTree
from cnn_jax.weights import Preprocessing

_log = logging.getLogger(__name__)


def create_model(name: str, recipe: TrainingRecipe, **overrides: Any) -> nn.Module:
    """The model of the recipe; `model_options` take precedence over `overrides`."""
    fields = dict(overrides)  # a network of a plug-in may do without dtype and remat
    if recipe.dtype != "float32":
        fields["dtype"] = DTYPES[recipe.dtype]
    if recipe.remat:
        fields["remat"] = True
    if recipe.bn_momentum:
        fields["bn_momentum"] = recipe.bn_momentum
    return models.create(name, **{**fields, **_options(recipe.model_options)})


def load_pretrained(
    recipe: TrainingRecipe,
    model: nn.Module,
    image: jax.ShapeDtypeStruct,
    class_names: Sequence[str] = (),
) -> models.Pretrained | None:
    """The weights of `pretrained`, or of `continue_run`, for `model`, whose input is like `image`
    and whose classes are named so; None if not given."""
    if not recipe.pretrained and not recipe.continue_run:
        return None
    template = state.init_variables(model, image, seed=recipe.seed)

    def read() -> models.Pretrained:
        if recipe.continue_run:  # its whole state takes the place of these before the first step
            return from_run.weights_of_run(
                recipe.continue_run,
                recipe.model,
                model,
                template=template,
                init_head=False,
                class_names=class_names,
                which=recipe.continue_step or "last",
            )
        return pretrained_for(
            recipe.pretrained,
            recipe.model,
            model,
            template=template,
            init_head=recipe.init_head,
            class_names=class_names,
        )

    return read_unless_resumed(recipe, read, template)


def read_unless_resumed(
    recipe: TrainingRecipe, read: Callable[[], models.Pretrained], template: PyTree
) -> models.Pretrained:
    """What `read` gives. Where it fails, because a file is gone for example, and the run goes on
    from a checkpoint of its own, which holds all weights: the template, and a warning."""
    try:
        return read()
    except (OSError, ValueError) as error:
        if not recipe.workdir or not recipe.resume or hosts.several():
            raise
        try:
            facts = saved.read_run(recipe.workdir, "last").facts
        except (OSError, ValueError):  # no run there, or no checkpoint
            raise error from None
        said = " ".join(str(error).split())
        _log.warning(
            "The given weights cannot be read (%s): they are not needed, since %s goes on from its "
            "checkpoint.",
            said[:300],
            recipe.workdir,
        )
        how = Preprocessing(mean=facts.mean, std=facts.std, source=recipe.workdir)
        return models.Pretrained(template, how if facts.mean else None, "cnn_jax", {})


def pretrained_for(
    spec: str,
    name: str,
    model: nn.Module,
    *,
    template: PyTree,
    init_head: bool = False,
    class_names: Sequence[str] = (),
) -> models.Pretrained:
    """Weights of a publisher or of a run, see `models.load_pretrained` and `weights_of_run`."""
    if from_run.is_run(spec):
        return from_run.weights_of_run(
            spec, name, model, template=template, init_head=init_head, class_names=class_names
        )
    return models.load_pretrained(spec, name, model, template=template, init_head=init_head)


def _options(text: str) -> dict[str, Any]:
    """'drop_rate=0.1,stem=small,widths=(4,8)' ->
    {'drop_rate': 0.1, 'stem': 'small', 'widths': (4, 8)}"""
    options = {}
    for item in filter(
        None, re.split(r",(?![^(\[]*[)\]])", text)
    ):  # not the commas inside brackets
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(
                f"model_options={text}: {item!r} is no option; write name=value,name=value."
            )
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()  # a string
    return options
