"""What a survey says about a data set: what cannot be right, and what is suspicious."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from cnn_jax.data.survey.values import SHOWN, Copies, Size, SplitSurvey, Survey

IMBALANCE = 100  # examples of the largest class for one of the smallest
COPIES = 0.05  # share of a split from which on spare copies are worth a word
SMALL = 8  # times smaller than the median side


class Finding(NamedTuple):
    """A sentence about a data set; an 'error' cannot be right, a 'warning' is suspicious."""

    kind: Literal["error", "warning"]
    text: str


def findings(survey: Survey, *, skip_corrupt: bool = False) -> list[Finding]:
    """What is wrong with a data set, the errors first; each says what to do.

    Args:
        survey: of the splits of a run.
        skip_corrupt: whether examples that cannot be read are left out, as the run does.
    """
    found = [one for name in survey.splits for one in _unreadable(survey, name, skip_corrupt)]
    if survey.shared.groups:
        found.append(Finding("warning", _shared(survey)))
    for name in survey.splits:
        found += [Finding("warning", text) for text in _about_split(survey, name)]
    return sorted(found, key=lambda one: one.kind != "error")


def _shared(survey: Survey) -> str:
    """Which splits share examples with the first one, and how many each."""
    (name, count), *others = survey.shared_by.items()
    said = [f"{count:,} example{'s' if count > 1 else ''} of {name}"]
    said += [f"{count:,} of {name}" for name, count in others]
    return (
        f"{survey.dataset}: {' and '.join(said)} {'are' if survey.shared.spare > 1 else 'is'} also "
        f"in {next(iter(survey.splits))}, byte for byte: {_pairs(survey.shared)}. A test on what "
        "was trained on says too much: remove them from one, or divide anew"
    )


def _unreadable(survey: Survey, name: str, skip_corrupt: bool) -> Iterator[Finding]:
    split = survey.splits[name]
    count = split.unreadable.count
    if not count:
        return
    said = f"{_said(survey, name)}: {count:,} of {split.examples:,} images cannot be read: "
    said += _some(split.unreadable.first, count)
    if not skip_corrupt:
        yield Finding(
            "error", f"{said}. Mend or remove them; skip_corrupt=true leaves such records out"
        )
    elif count == split.examples:
        yield Finding("error", f"{said}. There is none left")
    else:
        yield Finding("warning", f"{said}. They are left out")


def _about_split(survey: Survey, name: str) -> Iterator[str]:
    split, said = survey.splits[name], _said(survey, name)
    if (twins := split.contradictions).groups:
        yield (
            f"{said}: {twins.groups:,} images are there with different labels, byte for byte: "
            f"{_pairs(twins)}. Keep each under one label"
        )
    elif split.copies.spare > COPIES * split.examples:
        yield (
            f"{said}: {split.copies.spare:,} of {split.examples:,} examples are copies of others, "
            f"byte for byte: {_pairs(split.copies)}. They count several times: keep one of each"
        )
    yield from _about_classes(survey, name)
    high = {bits: count for bits, count in split.depths.items() if bits > 8}
    if high and len(high) < len(split.depths):
        shown = " and ".join(f"{count:,} of {bits}" for bits, count in split.depths.items())
        yield (
            f"{said}: the images differ in their bits a sample, {shown}: the same brightness may "
            "be another number in each; write all alike"
        )
    small = _small(split.sizes)
    if small:
        sizes = ", ".join(_shown(size) for size in list(small)[:SHOWN])
        yield (
            f"{said}: {sum(small.values()):,} images have a side less than 1/{SMALL} of the median "
            f"one, such as {sizes} pixels: look whether they are thumbnails"
        )


def _about_classes(survey: Survey, name: str) -> Iterator[str]:
    """What is suspicious in the numbers of examples of the classes."""
    split, said = survey.splits[name], _said(survey, name)
    counts = np.array(split.class_counts)
    names, first = np.array(survey.class_names, object), next(iter(survey.splits))
    if split.masks is not None or not counts.any():
        return  # a sample says little of rare classes
    what = "box" if split.boxes is not None else "example"
    plural = f"{what}es" if what == "box" else f"{what}s"
    if name != first:
        trained = np.array(survey.splits[first].class_counts)
        if (alien := (counts > 0) & (trained == 0)).any():
            yield (
                f"{said}: {int(counts[alien].sum()):,} {plural} of classes that have none in "
                f"{first}, {_some(names[alien].tolist()[:SHOWN], int(alien.sum()))}: they cannot "
                "be learnt; divide the set so that each class is in both"
            )
        return
    if (single := counts == 1).any():
        shown = _some(names[single].tolist()[:SHOWN], int(single.sum()))
        yield f"{said}: one {what} alone of {shown}: add some, or leave the class out"
    least, most = counts[counts > 0].min(), counts.max()
    if most > IMBALANCE * least and not (single.any() and survey.holds == "boxes"):
        rare, common = names[counts == least][0], names[counts == most][0]
        yield (
            f"{said}: {most:,} {plural} of {common} and {least:,} of {rare}: accuracy says little "
            "of the rare classes; look at the metric of each class"
        )


def _small(sizes: Mapping[Size, int]) -> dict[Size, int]:
    """The sizes of images that are much smaller than most."""
    images = {size: count for size, count in sizes.items() if len(size) == 2}
    if not images:
        return {}
    sides = np.array([min(size) for size in images])
    order = np.argsort(sides)
    reached = np.cumsum(np.array(list(images.values()))[order])
    median = sides[order][np.searchsorted(reached, reached[-1] / 2)]
    return {size: count for size, count in images.items() if min(size) * SMALL < median}


def _said(survey: Survey, name: str) -> str:
    return f"{survey.dataset}, {name} ({survey.splits[name].split})"


def _shown(size: Size) -> str:
    return "x".join(map(str, size[::-1] if len(size) == 2 else size))


def _some(first: tuple[str, ...] | list[str], count: int) -> str:
    more = f" and {count - len(first):,} more" if count > len(first) else ""
    return ", ".join(map(str, first)) + more


def _pairs(copies: Copies) -> str:
    more = f" and {copies.groups - len(copies.first):,} more" if copies.groups > SHOWN else ""
    return "; ".join(" = ".join(group) for group in copies.first) + more


def summary(survey: Survey) -> list[str]:
    """A line for each split: what it holds, in counts."""
    return [_line(survey, name, split) for name, split in survey.splits.items()]


def _line(survey: Survey, name: str, split: SplitSurvey) -> str:
    parts = [f"{name} ({split.split}): {split.examples:,} examples{_form(split)}"]
    counts = np.array(split.class_counts)
    if split.masks is not None:
        parts.append(
            f"{np.count_nonzero(counts)} of {len(counts)} classes in {split.masks.sampled} masks "
            "of a sample"
        )
    elif counts.size:
        what = " boxes" if split.boxes is not None else ""
        spread = f"{counts.min():,}" + (f" to {counts.max():,}" if np.ptp(counts) else "")
        parts.append(f"{len(counts):,} classes of {spread}{what}")
    if split.boxes is not None and split.boxes.empty:
        parts.append(f"{split.boxes.empty:,} without a box")
    if turned := sum(count for one, count in split.orientations.items() if one != 1):
        parts.append(f"{turned:,} turned by EXIF")
    if split.copies.spare:
        parts.append(f"{split.copies.spare:,} copies")
    if left := sum(files.count for files in split.left_out.values()):
        parts.append(f"{left:,} files left out")
    return "; ".join(parts)


def _form(split: SplitSurvey) -> str:
    """Sizes, modes and depths: ' of 32x32 RGB PNG'."""
    if not split.sizes:
        return ""
    sides = np.array(list(split.sizes))
    if len(split.sizes) == 1:
        sizes = _shown(next(iter(split.sizes)))
    else:
        least, most = tuple(sides.min(0).tolist()), tuple(sides.max(0).tolist())
        sizes = f"{_shown(least)} to {_shown(most)}"
    modes = "/".join(split.modes)
    depths = sorted(split.depths)
    high = f", {'/'.join(map(str, depths))} bits" if any(one > 8 for one in depths) else ""
    return f" of {sizes} {modes} {'/'.join(split.formats)}{high}"
