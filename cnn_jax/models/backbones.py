"""Classification networks as backbones of others: their stages, dilated if asked for."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import flax.linen as nn

from cnn_jax.models.registry import describe
from cnn_jax.typing import Array


class OnBackbone(Protocol):
    """The fields of a network on a backbone.

    Attributes:
        backbone: name of a classification network of the registry.
        dtype, axis_name, remat: those of `cnn_jax.models.resnet.ResNet`.
    """

    @property
    def backbone(self) -> str | None: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def axis_name(self) -> str | None: ...
    @property
    def remat(self) -> bool: ...


def stages_of(
    network: OnBackbone, x: Array, *, train: bool, output_stride: int | None = None, **fields: Any
) -> dict[str, Array]:
    """The stages of a network's backbone by name, shallow to deep, for x [B, *space, C].

    Call it in a compact method: the parameters go under 'backbone'.

    Args:
        network: the module on the backbone.
        x: input of the module.
        train: whether it is in training.
        output_stride: see `make_backbone`.
        **fields: further fields of the backbone.

    Raises:
        ValueError: see `make_backbone`.
    """
    assert network.backbone is not None
    shared = {"dtype": network.dtype, "axis_name": network.axis_name, "remat": network.remat}
    backbone = make_backbone(network.backbone, output_stride=output_stride, **shared, **fields)
    return backbone(x, train=train)


def make_backbone(name: str, *, output_stride: int | None, **fields: Any) -> nn.Module:
    """The registered network `name` without its head: x -> stages by name, shallow to deep.

    Inside a compact method its parameters go under 'backbone'.

    Args:
        name: name of a classification network.
        output_stride: 8, 16 or 32. Stages with a larger stride are dilated instead; None leaves the
            network as it is.
        **fields: dtype, axis_name, remat.

    Raises:
        ValueError: no network of that name, it cannot be dilated, or it has no such field.
    """
    described = describe(name)
    if output_stride is not None:
        if "output_stride" not in described.module.__dataclass_fields__:
            raise ValueError(
                f"{name} cannot be dilated to an output stride of {output_stride}: "
                f"{described.module.__name__} has no field output_stride. Give output_stride=None "
                "to take its stages as they are, or another backbone, such as resnet50."
            )
        fields["output_stride"] = output_stride
    # a network of a plug-in may do without dtype, axis_name and remat, where they are not used
    known = described.module.__dataclass_fields__
    used = {k: value for k, value in fields.items() if k in known or value not in (None, False)}
    if unknown := sorted(set(used) - set(known)):
        raise ValueError(
            f"{name} cannot be a backbone with {', '.join(unknown)}: it has no such field."
        )
    return described.module(num_classes=None, name="backbone", **{**described.fields, **used})


def stage(stages: Mapping[str, Array], name: str | None, *, backbone: str) -> Array:
    """The stage called `name`; the deepest for None.

    Raises:
        ValueError: there is no such stage; the message lists those that there are.
    """
    if name is None:
        return stages[list(stages)[-1]]
    if name not in stages:
        raise ValueError(f"{backbone} has no stage {name!r}; it has {', '.join(stages)}.")
    return stages[name]


def backbone_rules(
    rules: Sequence[tuple], *, drop: Sequence[str], under: str = "backbone", strip: str = ""
) -> list[tuple]:
    """The weights rules of a classification network, for its use as a backbone.

    Args:
        rules: (theirs, ours) or (theirs, ours, layout), see `cnn_jax.weights.torch`.
        drop: our names of the head's layers.
        under: the publisher's path of the backbone; torchvision's detectors have 'backbone.body'.
        strip: what the publisher leaves out of its names in a backbone: 'features.'.
    """
    return [
        (f"{under}.{theirs.removeprefix(strip)}", f"backbone/{ours}", *layout)
        for theirs, ours, *layout in rules
        if ours not in drop
    ]
