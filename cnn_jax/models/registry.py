"""The registry: every network by name, with the figures its paper publishes.

A family's file ends in one call of `register`, which adds a row for each variant of its table.
"""

import dataclasses
import difflib
import fnmatch
import functools
import sys
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.registry import Registry
from cnn_jax.typing import Array
from cnn_jax.weights.torch import Rules, check_rules


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a family's table: the published figures of a variant, and its fields.

    Attributes:
        params: published number of trainable parameters; None if no figure was found.
        gmacs: published number of 10^9 multiply-adds for one input (papers and torchvision call
            them GFLOPs); None if no figure was found.
        fields: fields of the module that differ from their defaults.
        changes: entries of `Description` in which the variant differs from its family.
    """

    params: int | None
    gmacs: float | None
    fields: Mapping[str, Any]
    changes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Description:
    """The facts of a registered network.

    Attributes:
        name: name for `create`.
        module: the Flax module class.
        fields: fields of the variant, as passed to the module.
        params, gmacs: see `Row`.
        paper: authors, year, title, arXiv id or venue.
        source: publication of params and gmacs.
        input_shape: (*space, C) of the published figures.
        num_classes: number of classes of the published figures.
        min_size: shortest side of an image that the network accepts.
        task: task of the network, one of TASKS.
        rules: 'torchvision' or 'timm' -> (their module, our module) pairs of templates, such as
            ("layer{i}.{j}.conv{k}", "layer{i}_{j}/conv{k}"), that are read in both directions and
            together name every module: see `cnn_jax.weights.torch`. A variant's own rules go in
            its row's `changes`.
        from_data: function that initialises variables from training images: images [N, *space, C],
            prepared as in training -> collections of variables that replace the initial ones. None
            if there are none.
    """

    name: str
    module: type[nn.Module]
    fields: Mapping[str, Any]
    params: int | None
    gmacs: float | None
    paper: str
    source: str
    input_shape: tuple[int, ...]
    num_classes: int
    min_size: int
    task: str
    rules: Mapping[str, Rules]
    from_data: Callable[[np.ndarray], dict[str, Any]] | None


TASKS = ("classification", "segmentation", "detection")

MODELS: Registry[Description] = Registry("model")

# Fields of every Flax module that are not part of the architecture.
_FLAX_FIELDS = {"parent", "name"}

_CHANNELS = "_in_channels"  # of a class that checks them


def row(
    params: int | None = None,
    gmacs: float | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Row:
    """A line of a family's table, see `Row`."""
    return Row(params, gmacs, fields, changes or {})


def register(
    module: type[nn.Module],
    table: Mapping[str, Row],
    *,
    paper: str = "",
    source: str = "",
    input_shape: tuple[int, ...] = (224, 224, 3),
    num_classes: int = 1000,
    min_size: int = 1,
    task: str = "classification",
    rules: Mapping[str, Rules] | None = None,
    from_data: Callable[[np.ndarray], dict[str, Any]] | None = None,
) -> None:
    """Makes the variants of `table` known to `create`. For the arguments see `Description`.

    class Mine(nn.Module):
        num_classes: int | None
        width: int = 16

        @nn.compact
        def __call__(self, x, *, train): ...  # [B, *space, C] -> [B, num_classes]

    register(Mine, {"mine": row(), "mine_wide": row(width=64)}, input_shape=(8, 8, 1))

    Raises:
        ValueError: a name is taken, the module is no Flax module with a field `num_classes`, or it
            lacks a field that a row sets.
    """
    origin = sys._getframe(1).f_globals.get("__name__", "")
    for name in table:
        MODELS.check_free(name, origin=origin)
    _check_module(module, table)
    if task not in TASKS:
        raise ValueError(f"There is no task {task!r}; choose one of {', '.join(TASKS)}.")
    for name, line in table.items():
        _check_fields(name, module, line.fields)
        for translation in (rules or {}).values():
            check_rules(name, translation)
        family = Description(
            name=name,
            module=module,
            fields=line.fields,
            params=line.params,
            gmacs=line.gmacs,
            paper=paper,
            source=source,
            input_shape=input_shape,
            num_classes=num_classes,
            min_size=min_size,
            task=task,
            rules=rules or {},
            from_data=from_data,
        )
        MODELS.register(name, dataclasses.replace(family, **line.changes), origin=origin)
    _taking.cache_clear()  # a notebook may register a network again


def _check_module(module: type[nn.Module], table: Mapping[str, Row]) -> None:
    names = ", ".join(table)
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise ValueError(f"{names}: {module!r} is no Flax module; wanted a class of nn.Module.")
    if "num_classes" not in getattr(module, "__dataclass_fields__", {}):
        raise ValueError(
            f"{names}: {module.__name__} has no field num_classes, the width of its logits; add "
            "`num_classes: int | None`."
        )


def create(
    name: str,
    *,
    num_classes: int | EllipsisType | None = ...,
    in_channels: int | None = None,
    **overrides: Any,
) -> nn.Module:
    """The network called `name`, without parameters: `model.init(rngs, x, train=False)`.

    Args:
        name: one of `list_models()`.
        num_classes: width K of the logits; default: as it is registered, 1000 for ImageNet's.
            None for the stages by name, `dict[str, Array]`. The names sort from shallow to deep,
            the order in which `jax.jit` returns a dict.
        in_channels: C of x [B, *space, C]; the network then refuses other numbers. None accepts the
            channels that x has when the parameters are initialised.
        **overrides: fields of the module, such as dtype='bfloat16', drop_rate=0.2, remat=True.

    Raises:
        ValueError: no network, or no field, of that name; num_classes or in_channels is not
            positive.
    """
    described = describe(name)
    _check_fields(name, described.module, overrides)
    if in_channels is not None and in_channels < 1:
        raise ValueError(f"in_channels is {in_channels}; it must be positive, or None.")
    if num_classes is ...:
        num_classes = described.num_classes
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; it must be positive, or None for stages.")
    if isinstance(overrides.get("dtype"), str):
        overrides["dtype"] = jnp.dtype(overrides["dtype"])
    module = described.module
    if in_channels is not None:
        module = _taking(name, in_channels)
    return module(num_classes=num_classes, **{**described.fields, **overrides})


@functools.cache
def _taking(name: str, in_channels: int) -> type[nn.Module]:
    """The same network, with the same parameters, that checks the last axis of x first."""
    module: Any = describe(name).module

    def __call__(self, x: Array, **options: Any) -> Any:
        if x.shape[-1] != in_channels:
            raise ValueError(
                f"The network was created with in_channels={in_channels}, and the images have the "
                f"shape {list(x.shape)}; the last axis is the channels."
            )
        return module.__call__(self, x, **options)

    own = {"__call__": __call__, "__module__": __name__, _CHANNELS: in_channels}
    return type(module.__name__, (module,), own)


def channels_taken(model: nn.Module) -> int | None:
    """The `in_channels` that a network was created with; None if it takes any number."""
    return getattr(type(model), _CHANNELS, None)


def taking_any(model: nn.Module) -> nn.Module:
    """The same network without the check of `in_channels`."""
    if channels_taken(model) is None:
        return model
    names = {field.name for field in dataclasses.fields(model)} - _FLAX_FIELDS
    (module,) = type(model).__bases__
    return module(**{name: getattr(model, name) for name in names})


def list_models(pattern: str = "*", *, task: str = "classification") -> list[str]:
    """The names that match a shell pattern such as 'resnet*', in alphabetical order.

    >>> from cnn_jax import models
    >>> models.list_models("vgg1?")
    ['vgg11', 'vgg13', 'vgg16', 'vgg19']

    Args:
        pattern: shell pattern, in which '*' stands for anything.
        task: one of TASKS.

    Raises:
        ValueError: no task is called so.
    """
    if task not in TASKS:
        raise ValueError(f"There is no task {task!r}; choose one of {', '.join(TASKS)}.")
    return [name for name in sorted(fnmatch.filter(MODELS, pattern)) if MODELS[name].task == task]


def describe(name: str) -> Description:
    """The facts of a network: paper, published figures, input size.

    Raises:
        ValueError: no network of that name; the message holds the nearest ones.
    """
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=5, cutoff=0.5)
        hint = f"the nearest names are {', '.join(nearest)}" if nearest else "no name is near it"
        raise ValueError(f"There is no model {name!r}: {hint}. list_models() gives all.")
    return MODELS[name]


def _check_fields(name: str, module: type[nn.Module], given: Mapping[str, Any]) -> None:
    known = {f.name for f in dataclasses.fields(module)} - _FLAX_FIELDS - {"num_classes"}
    if unknown := sorted(set(given) - known):
        raise ValueError(
            f"{name} has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
