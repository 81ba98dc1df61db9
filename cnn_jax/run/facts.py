"""Facts about the data and the network of a run, kept in its checkpoints."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cnn_jax.data.pixel_rule import PixelRule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a run says about itself besides its settings. A task fills in what it has.

    Attributes:
        task: name of the task, by which a run is opened: 'classification'.
        model: name of the network.
        dataset: name of the data set.
        num_classes: K, the number of classes.
        class_names: K names.
        image_shape: (*space, channels) of the network's input.
        mean, std: per channel, of pixels in 0..1: what the input is normalised with.
        fit: how an image of another shape is fitted to the input, for detection.
        pixel_rule: number of the rule by which images become pixels, see
            `cnn_jax.data.pixel_rule`; 0 for runs made before rules had numbers.
        sample_bits: bits that the training images hold in 16; 0 if they are of 8 bits.
        data: number and fingerprint of the examples of each split.
        more: whatever else a task keeps: JSON by name.
    """

    task: str
    model: str = ""
    dataset: str = ""
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: str = ""
    pixel_rule: int = 0
    sample_bits: int = 0
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def pixels(self) -> PixelRule:
        """The rule by which images become pixels for this network."""
        return PixelRule(self.pixel_rule or 1, self.sample_bits)

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON, without those that are empty."""
        known = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        more = known.pop("more")
        own = {name: _plain(value) for name, value in known.items() if value}
        return {**own, **{name: value for name, value in more.items() if name not in own}}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Facts":
        """The facts in a checkpoint.

        Those of classification had no `task` until November 2026.

        Raises:
            ValueError: a fact is not what it should be.
        """
        known = {field.name: field for field in dataclasses.fields(cls) if field.name != "more"}
        own: dict[str, Any] = {"task": "classification"}
        for name, value in saved.items():
            if name in known:
                own[name] = _typed(name, value, known[name])
        more = {name: value for name, value in saved.items() if name not in known}
        return cls(**own, more=more)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _typed(name: str, value: Any, field: dataclasses.Field) -> Any:
    default: Any = {} if name == "data" else "" if name == "task" else field.default
    kind: Any = type(default)
    if isinstance(default, tuple):
        kind = (list, tuple)
    elif isinstance(default, Mapping):
        kind = Mapping
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"The run's checkpoint has {name} {value!r}, which cannot be.")
    return tuple(value) if isinstance(default, tuple) else value
