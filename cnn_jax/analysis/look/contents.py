"""What a look at the data finds: values, from which the page, the sheet and the JSON are made."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.survey.values import Survey
from cnn_jax.printable import printable


class Sight(NamedTuple):
    """One image, sequence or volume with what is known about it.

    Attributes:
        pixels: uint8 [H, W, C] or [D, H, W, C], or float [L, C].
        text: its class: '7', or '70% cat, 30% dog'; '' for none.
        mask: int [H, W], the class of each pixel, IGNORE included; None for none.
        boxes: float [n, 4], (left, top, right, bottom) in pixels; None for none.
        labels: int [n], the classes of the boxes.
        inner: (left, top, right, bottom) in pixels of the one object that is meant; None for none.
    """

    pixels: np.ndarray
    text: str = ""
    mask: np.ndarray | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    inner: tuple[float, ...] | None = None

    @property
    def size(self) -> str:
        """'640x480' (width x height), '28x28x28' or '40 points'."""
        return size_text(self.pixels.shape[:-1])


class Example(NamedTuple):
    """An example on its way into the network.

    Attributes:
        name: its file or key, or its number.
        stored: as it is on disk, upright; None if that cannot be told.
        loaded: as the host gives it to the device: cropped and resized.
        shown: as the network is shown it: augmented in training, prepared in evaluation.
    """

    name: str
    stored: Sight | None
    loaded: Sight
    shown: Sight


class Captioned(NamedTuple):
    """A sight with a name, and numbers about it by what they are."""

    name: str
    sight: Sight
    numbers: Mapping[str, Any]


class Pair(NamedTuple):
    """Two examples of different splits that are alike.

    Attributes:
        part: the split that the second is in; the first is in that of training.
        correlation: of their thumbnails, -1 to 1.
        same: whether their pixels are equal.
    """

    first: Captioned
    second: Captioned
    part: str
    correlation: float
    same: bool


class Split(NamedTuple):
    """What was counted in a split.

    Attributes:
        role: its part in a run: 'train', 'test' or 'validation'.
        split: the split expression.
        examples: number of examples.
        counted: number of examples whose classes were counted.
        counts: int [K]: examples, boxes or pixels of each class.
        looked_at: number of examples that were decoded.
        sizes: shape as stored -> number of those decoded.
        damaged: what could not be decoded of these, a line each.
        left_out: reason -> number of boxes.
    """

    role: str
    split: str
    examples: int
    counted: int
    counts: np.ndarray
    looked_at: int
    sizes: Counter
    damaged: Sequence[str] = ()
    left_out: Mapping[str, int] = {}


class Look(NamedTuple):
    """All that a look at the data finds.

    Attributes:
        dataset: name of the data set.
        task: name of the task.
        class_names: K names.
        counted: what the classes are counted in: 'examples', 'boxes' or 'pixels'.
        splits: what was counted in each split.
        step: the training step whose batch is shown.
        trained: examples of this batch.
        evaluated: examples of the evaluation during the training.
        evaluated_on: their split: 'test' or 'validation'; '' for none.
        smallest, largest: objects, or examples.
        plainest: the examples with the least contrast.
        measure: what `smallest` and `largest` are of.
        pairs: the most similar examples of different splits, the most similar first.
        compared: number of examples of each split that were compared.
        notes: what was said while the data were opened, and what is to be known of this look.
        decided: what the run would decide by itself, such as the split that it is chosen on.
        settings: those of the recipe that say what the network is shown.
        input: (*space, channels) of the network's input; () if training refuses the data.
        clipped: share of the values shown that are outside 0..1 after augmentation, and are cut.
        refused: why training would stop; '' if it would not.
        survey: of all files, its splits in the order of `splits`; None if there are too many.
    """

    dataset: str
    task: str
    class_names: Sequence[str]
    counted: str
    splits: Sequence[Split]
    step: int
    trained: Sequence[Example]
    evaluated: Sequence[Example]
    evaluated_on: str
    smallest: Sequence[Captioned]
    largest: Sequence[Captioned]
    plainest: Sequence[Captioned]
    measure: str
    pairs: Sequence[Pair]
    compared: Mapping[str, int]
    notes: Sequence[str]
    decided: Sequence[str]
    settings: Mapping[str, Any]
    input: tuple[int, ...]
    clipped: float
    refused: str = ""
    survey: Survey | None = None


def size_text(space: Sequence[int]) -> str:
    """'640x480' (width x height) for (480, 640), '28x28x28' and '40 points' for others."""
    if len(space) == 1:
        return f"{space[0]:,} points"
    return "x".join(map(str, space[::-1] if len(space) == 2 else space))


def to_json(look: Look) -> dict[str, Any]:
    """Every number of the page, and the names they belong to; None for what is not finite."""
    names = list(look.class_names)
    found = {
        "dataset": look.dataset,
        "task": look.task,
        "refused": look.refused,
        "settings": dict(look.settings),
        "input": list(look.input),
        "step": look.step,
        "counted": look.counted,
        "splits": [_split(each, names) for each in look.splits],
        "trained": [_example(each, names) for each in look.trained],
        "evaluated_on": look.evaluated_on,
        "evaluated": [_example(each, names) for each in look.evaluated],
        "measure": look.measure,
        "smallest": [_captioned(each) for each in look.smallest],
        "largest": [_captioned(each) for each in look.largest],
        "plainest": [_captioned(each) for each in look.plainest],
        "compared": dict(look.compared),
        "pairs": [
            {
                "first": pair.first.name,
                "second": pair.second.name,
                "part": pair.part,
                "classes": [each.sight.text for each in (pair.first, pair.second)],
                "correlation": round(pair.correlation, 4),
                "same": pair.same,
            }
            for pair in look.pairs
        ],
        "survey": look.survey and look.survey.to_json(),
        "clipped": round(look.clipped, 6),
        "decided": list(look.decided),
        "notes": list(look.notes),
    }
    return _plain(found)


def _plain(value: Any) -> Any:
    """The same without control characters, surrogates and numbers that JSON does not have."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _split(split: Split, names: Sequence[str]) -> dict[str, Any]:
    sizes = [[size_text(space), n] for space, n in split.sizes.most_common()]
    return {
        "role": split.role,
        "split": split.split,
        "examples": split.examples,
        "counted": split.counted,
        "classes": [[name, int(n)] for name, n in zip(names, split.counts, strict=True)],
        "looked_at": split.looked_at,
        "sizes": sizes,
        "damaged": list(split.damaged),
        "left_out": dict(split.left_out),
    }


def _example(example: Example, names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": example.name,
        **{
            part: _sight(sight, names)
            for part in ("stored", "loaded", "shown")
            if (sight := getattr(example, part)) is not None
        },
    }


def _sight(sight: Sight, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"size": sight.size}
    if sight.text:
        found["class"] = sight.text
    if sight.boxes is not None and sight.labels is not None:
        found["boxes"] = [
            [names[label], *(round(float(x), 1) for x in box)]
            for box, label in zip(sight.boxes, sight.labels, strict=True)
        ]
    if sight.mask is not None:
        values, counts = np.unique(sight.mask, return_counts=True)
        found["pixels"] = {
            names[v] if v < len(names) else "ignored": int(n)
            for v, n in zip(values, counts, strict=True)
        }
    return found


def _captioned(item: Captioned) -> dict[str, Any]:
    return {"name": item.name, **item.numbers}
