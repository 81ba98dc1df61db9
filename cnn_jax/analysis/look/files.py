"""Writes a look at the data: look.html, look.png and look.json."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnn_jax.analysis.look import page, sheet
from cnn_jax.analysis.look.contents import Look, to_json
from cnn_jax.data import summary as survey_summary
from cnn_jax.printable import printable

NAME = "look"


def write(look: Look, output: Path) -> list[Path]:
    """Writes the three files into a directory, or the one that `output` names.

    Args:
        look: what was found.
        output: the directory, created if missing; or a .html, .png or .json file.

    Returns:
        The files.

    Raises:
        ValueError: a file of another kind.
        OSError: it cannot be written.
    """
    files = places(output)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[file.suffix.lower()](look, file)
    return files


def places(output: Path) -> list[Path]:
    """The files that `write` writes.

    Raises:
        ValueError: a file of another kind.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or not suffix:
        return [output / f"{NAME}{suffix}" for suffix in _WRITERS]
    if suffix not in _WRITERS:
        raise ValueError(f"output={output}: wanted a directory, or a .html, .png or .json file.")
    return [output]


def _write_json(look: Look, path: Path) -> None:
    text = json.dumps(to_json(look), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


_WRITERS: dict[str, Callable[[Look, Path], None]] = {
    ".html": page.write,
    ".png": sheet.write,
    ".json": _write_json,
}


def summary(look: Look) -> list[str]:
    """A few lines for a terminal: what there is, and what may be wrong."""
    lines = survey_summary(look.survey) if look.survey is not None else []
    for split in look.splits:
        if look.survey is None:
            lines.append(f"{split.role} ({split.split}): {split.examples:,} examples")
        total = int(split.counts.sum())
        if total:
            order = np.argsort(-split.counts, kind="stable").tolist()
            ends = [
                f"{split.counts[k] / total:.1%} ({printable(look.class_names[k])})"
                for k in (order[0], order[-1])
            ]
            lines.append(f"{split.role}: from {ends[0]} to {ends[1]} of the {look.counted}")
        lines += [f"{split.role}, left out: {n:,} boxes {why}" for why, n in split.left_out.items()]
        if split.damaged:
            lines.append(f"{split.role}, damaged: {len(split.damaged):,}: {split.damaged[0]}")
    lines += [*look.decided, *(f"note: {note}" for note in look.notes)]
    if same := sum(pair.same for pair in look.pairs):
        lines.append(f"in both splits, with the same pixels: {same} of the pairs shown, or more")
    if look.refused:
        lines.append(f"training would stop: {look.refused}")
    return lines
