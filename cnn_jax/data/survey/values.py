"""What a survey finds, as values with a JSON form."""

import dataclasses
from collections.abc import Mapping
from typing import Any

SHOWN = 3  # files that are named of many

Size = tuple[int, ...]  # (height, width) of images, (depth, height, width), or (length,)


@dataclasses.dataclass(frozen=True)
class Some:
    """A number of things, and the first few of them by name."""

    count: int = 0
    first: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Copies:
    """Examples of equal content, byte for byte.

    Attributes:
        groups: number of contents that occur more than once.
        spare: number of examples beyond the first of each.
        first: the names of the examples of the first SHOWN groups, at most SHOWN of each.
    """

    groups: int = 0
    spare: int = 0
    first: tuple[tuple[str, ...], ...] = ()


NO_FILES, NO_COPIES = Some(), Copies()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boxes:
    """The boxes of a split.

    Attributes:
        count: number of usable boxes.
        most: largest number of usable boxes in an image.
        empty: number of images without usable boxes.
        crowds: number of usable boxes that are crowds or difficult, which are not trained on.
        sides: side -> number of boxes at least this large and less than twice, where the side of a
            box is the square root of its area in pixels of its image, and side a power of two; 0
            for those below one pixel.
        left_out: reason -> number of boxes, see `cnn_jax.data.loaders.boxes.tidy`.
    """

    count: int = 0
    most: int = 0
    empty: int = 0
    crowds: int = 0
    sides: Mapping[int, int] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masks:
    """The masks of a sample, evenly spaced over the split.

    Attributes:
        sampled: number of masks that were read.
        values: value as stored -> number of its pixels.
    """

    sampled: int = 0
    values: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSurvey:
    """One split.

    Attributes:
        split: the split expression.
        examples: number of examples.
        sizes: size -> number of images of it, upright where they are turned.
        orientations: EXIF orientation -> number of images; 1 is upright.
        modes: Pillow's mode, 'RGB', or the number of channels of an array -> number of images.
        depths: bits of a sample -> number of images.
        formats: 'JPEG', 'PNG', ... or the type of an array, 'uint8' -> number of images.
        class_counts: for each class the number of its examples; of its usable boxes; or of the
            masks of the sample that have a pixel of it.
        boxes: see `Boxes`; None for examples without.
        masks: see `Masks`; None for examples without.
        left_out: reason -> files beside the examples that are none.
        unreadable: examples whose header cannot be read, each with the reason.
        copies: examples of equal content within the split.
        contradictions: those of them whose labels differ.
    """

    split: str
    examples: int = 0
    sizes: Mapping[Size, int] = dataclasses.field(default_factory=dict)
    orientations: Mapping[int, int] = dataclasses.field(default_factory=dict)
    modes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    depths: Mapping[int, int] = dataclasses.field(default_factory=dict)
    formats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    class_counts: tuple[int, ...] = ()
    boxes: Boxes | None = None
    masks: Masks | None = None
    left_out: Mapping[str, Some] = dataclasses.field(default_factory=dict)
    unreadable: Some = NO_FILES
    copies: Copies = NO_COPIES
    contradictions: Copies = NO_COPIES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set, as the splits of a run read it.

    Attributes:
        dataset: its name: 'folder:PATH'.
        holds: what the examples have besides their image: 'label', 'mask' or 'boxes'.
        class_names: in the order of the labels.
        splits: 'train', 'test' -> its survey.
        shared: examples of one split whose content is in another too; each group of `first` is a
            pair, one name of each split.
        shared_by: the splits but the first that have such examples, and how many each.
        seconds: how long it took to read.
    """

    dataset: str
    holds: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitSurvey]
    shared: Copies = NO_COPIES
    shared_by: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON from which `from_json` makes an equal survey."""
        return {**_plain(self), "version": VERSION}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Survey":
        """The survey in its JSON form.

        Raises:
            ValueError: it is none, or one of another version.
        """
        try:
            if saved["version"] != VERSION:
                raise ValueError(f"a survey of version {saved['version']}: wanted {VERSION}")
            splits = {name: _split(one) for name, one in saved["splits"].items()}
            return cls(
                dataset=str(saved["dataset"]),
                holds=str(saved["holds"]),
                class_names=tuple(map(str, saved["class_names"])),
                splits=splits,
                shared=_copies(saved["shared"]),
                shared_by={str(name): int(n) for name, n in saved["shared_by"].items()},
                seconds=float(saved["seconds"]),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"not a survey: {error!r}") from error


VERSION = 2  # of the JSON form, and of what is counted


def _plain(value: Any) -> Any:
    """Dataclasses and named tuples as dicts; a dict whose keys are no text as a list of pairs."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(one) for key, one in value.items()}
        return [[_plain(key), _plain(one)] for key, one in value.items()]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _split(saved: Mapping[str, Any]) -> SplitSurvey:
    boxes, masks = saved["boxes"], saved["masks"]
    return SplitSurvey(
        split=saved["split"],
        examples=saved["examples"],
        sizes={tuple(size): count for size, count in _pairs(saved["sizes"])},
        orientations=_counts(saved["orientations"]),
        modes=dict(saved["modes"]),
        depths=_counts(saved["depths"]),
        formats=dict(saved["formats"]),
        class_counts=tuple(saved["class_counts"]),
        boxes=boxes and Boxes(**{**boxes, "sides": _counts(boxes["sides"])}),
        masks=masks and Masks(**{**masks, "values": _counts(masks["values"])}),
        left_out={reason: _some(files) for reason, files in saved["left_out"].items()},
        unreadable=_some(saved["unreadable"]),
        copies=_copies(saved["copies"]),
        contradictions=_copies(saved["contradictions"]),
    )


def _pairs(saved: Any) -> list[tuple[Any, int]]:
    """The pairs of a dict, which is a dict in JSON too if it is empty."""
    return list(saved.items() if isinstance(saved, Mapping) else map(tuple, saved))


def _counts(saved: Any) -> dict[int, int]:
    return {int(value): int(count) for value, count in _pairs(saved)}


def _some(saved: Mapping[str, Any]) -> Some:
    return Some(saved["count"], tuple(saved["first"]))


def _copies(saved: Mapping[str, Any]) -> Copies:
    return Copies(saved["groups"], saved["spare"], tuple(map(tuple, saved["first"])))
