"""A look at the data as one HTML page that needs nothing else: no script, no font, no network."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.analysis.look import cards
from cnn_jax.analysis.look.contents import Look, Split, size_text
from cnn_jax.analysis.look.drawn import escaped
from cnn_jax.analysis.look.style import STYLE
from cnn_jax.data.survey.values import Boxes

MOST_CLASSES = 40  # rows of the table of classes that are open at first
MOST_SIZES = 8
MOST_NOTES = 30


def write(look: Look, path: str | Path) -> None:
    """Writes the page.

    Args:
        look: what was found.
        path: of the HTML file.
    """
    title = f"{escaped(look.dataset)}: the data as the network sees them"
    parts = [part(look) for part in _PARTS]
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<link rel="icon" href="data:,">'  # so that browsers ask for no favicon
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )
    Path(path).write_text(text, encoding="utf-8")


def _head(look: Look) -> str:
    counts = ", ".join(f"{split.examples:,} {split.role}" for split in look.splits)
    shape = f" The network's input is {size_text(look.input[:-1])}" if look.input else ""
    shape += f" with {look.input[-1]} channel{'s' * (look.input[-1] > 1)}." if look.input else ""
    decided = "".join(f'<p class="what">{escaped(line)}</p>' for line in look.decided)
    return (
        f"<h1>{escaped(look.dataset)}</h1>\n<p>The data as the network sees them, for "
        f"{escaped(look.task)}. Examples: {counts}; {len(look.class_names):,} classes.{shape}</p>"
        f"{decided}"
    )


def _refused(look: Look) -> str:
    said = list(look.notes)[:MOST_NOTES]
    more = len(look.notes) - len(said)
    if more:
        said.append(f"and {more} more")
    items = [f"<li>{escaped(note)}</li>" for note in said]
    if look.refused:
        items.insert(0, f"<li><b>Training would stop:</b> {escaped(look.refused)}</li>")
    return f'<ul class="notes">{"".join(items)}</ul>' if items else ""


def _splits(look: Look) -> str:
    rows = "".join(
        f"<dt>{split.role} <code>{escaped(split.split)}</code></dt>"
        f"<dd>{split.examples:,} examples, {_sizes(split)}</dd>"
        for split in look.splits
    )
    sampled = (
        [] if look.survey is not None else [s for s in look.splits if s.looked_at < s.examples]
    )
    how = "Sizes are those of all examples, as stored."
    if sampled:
        of = ", ".join(f"{s.looked_at:,} of {s.role}" for s in sampled)
        how = f"Sizes are those of a sample, evenly spaced: {of}."
    return f'<h2>Splits and sizes</h2><p class="what">{how}</p><dl>{rows}</dl>{_files(look)}'


def _files(look: Look) -> str:
    """What all files say of themselves."""
    if look.survey is None:
        return ""
    columns = list(look.survey.splits.values())
    rows = []
    for name, texts in (
        ("format", [_counts(each.formats) for each in columns]),
        ("mode", [_counts(each.modes) for each in columns]),
        ("bits a sample", [_counts(each.depths) for each in columns]),
        ("EXIF orientation", [_counts(each.orientations) for each in columns]),
        ("copies, byte for byte", [f"{each.copies.spare:,}" for each in columns]),
        ("of these with other labels", [f"{each.contradictions.groups:,}" for each in columns]),
        (
            "images without a box",
            [f"{each.boxes.empty:,}" if each.boxes else "" for each in columns],
        ),
        ("sides of boxes in pixels", [_sides(each.boxes) for each in columns]),
    ):
        if any(text not in ("", "0", "all 1") for text in texts):
            cells = "".join(f"<td>{text}</td>" for text in texts)
            rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    heads = "".join(f"<th>{split.role}</th>" for split in look.splits)
    table = f'<div class="scroll"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'
    return table if rows else ""


def _sides(boxes: Boxes | None) -> str:
    """'8 to 15 (12), 16 to 31 (200)': square roots of areas, in the images as stored."""
    sides = boxes.sides if boxes is not None else {}
    names = {0: "below 1", 1: "1"}
    return ", ".join(
        f"{names.get(side, f'{side} to {2 * side - 1}')} ({n:,})" for side, n in sides.items()
    )


def _counts(found: Mapping[Any, int]) -> str:
    """'all PNG', or 'PNG (12), JPEG (3)'."""
    if len(found) == 1:
        return f"all {escaped(next(iter(found)))}"
    return ", ".join(f"{escaped(name)} ({n:,})" for name, n in found.items())


def _sizes(split: Split) -> str:
    """'all 640x480', or the ends and the most frequent ones."""
    if not split.sizes:
        return "none could be decoded"
    by_area = sorted(split.sizes, key=lambda space: (np.prod(space), space))
    if len(by_area) == 1:
        return f"all {size_text(by_area[0])}"
    sizes = [f"{size_text(space)} ({n:,})" for space, n in split.sizes.most_common(MOST_SIZES)]
    if len(split.sizes) > MOST_SIZES:
        sizes.append(f"{len(split.sizes) - MOST_SIZES:,} others")
    return (
        f"from {size_text(by_area[0])} to {size_text(by_area[-1])}; most frequent: "
        f"{', '.join(sizes)}"
    )


def _left_out(look: Look) -> str:
    items = []
    surveyed = look.survey.splits.values() if look.survey is not None else ()
    for split, survey in itertools.zip_longest(look.splits, surveyed):
        for why, some in survey.left_out.items() if survey is not None else ():
            named = ", ".join(escaped(cards.short(name)) for name in some.first)
            items.append(f"{split.role}: {some.count:,} {escaped(why)}, such as {named}")
        items += [f"{split.role}: {n:,} boxes {escaped(why)}" for why, n in split.left_out.items()]
        items += [f"{split.role}, damaged: {escaped(line)}" for line in split.damaged[:MOST_NOTES]]
        if (more := len(split.damaged) - MOST_NOTES) > 0:
            items.append(f"{split.role}: {more:,} more are damaged")
    said = "".join(f"<li>{item}</li>" for item in items)
    body = f"<ul>{said}</ul>" if items else "<p>Nothing of what was looked at.</p>"
    return f"<h2>What was left out, and why</h2>{body}"


def _balance(look: Look) -> str:
    """The number of each class, with a bar for each split."""
    totals = [max(int(split.counts.sum()), 1) for split in look.splits]
    shares = [split.counts / total for split, total in zip(look.splits, totals, strict=True)]
    most = max((float(share.max(initial=0)) for share in shares), default=0) or 1
    rows = []
    for k, name in enumerate(look.class_names):
        numbers = "".join(
            f'<td class="n">{int(split.counts[k]):,}</td><td class="n p">{share[k]:.1%}</td>'
            for split, share in zip(look.splits, shares, strict=True)
        )
        bars = "".join(
            f'<i style="width:{100 * share[k] / most:.1f}%"'
            + ("></i>" if share[k] else ' class="none"></i>')
            for share in shares
        )
        mark = f'<td class="n">{k}</td>'
        rows.append(
            f'<tr>{mark}<td class="name">{escaped(name)}</td>{numbers}'
            f'<td class="bar">{bars}</td></tr>'
        )
    keys = " ".join(
        f'<span class="key k{i}"></span>{split.role}' for i, split in enumerate(look.splits)
    )
    heads = "".join(f'<th class="n" colspan="2">{split.role}</th>' for split in look.splits)
    head = f'<tr><th class="n">no.</th><th>class</th>{heads}<th>share of the split</th></tr>'
    counted = [s for s in look.splits if s.counted < s.examples]
    how = f"Counted in {look.counted}"
    if counted:
        how += ", in " + " and ".join(f"{s.counted:,} examples of {s.role}" for s in counted)
    kind = f"balance of{len(look.splits)}"
    table = f'<div class="scroll"><table class="{kind}">{head}{"".join(rows[:MOST_CLASSES])}'
    table += "</table></div>"
    if len(rows) > MOST_CLASSES:
        table += (
            f"<details><summary>{len(rows) - MOST_CLASSES:,} more classes</summary>"
            f'<div class="scroll"><table class="{kind}">{head}{"".join(rows[MOST_CLASSES:])}'
            "</table></div></details>"
        )
    return f'<h2>Class balance</h2><p class="what">{how}. {keys}</p>{_absent(look)}{table}'


def _absent(look: Look) -> str:
    """Classes that a split lacks."""
    said = []
    for split in look.splits:
        none = [escaped(look.class_names[k]) for k in np.flatnonzero(split.counts == 0).tolist()]
        if none:
            more = f" and {len(none) - 8:,} more" if len(none) > 8 else ""
            said.append(f"<li>{split.role} has none of: {', '.join(none[:8])}{more}</li>")
    return f'<ul class="notes">{"".join(said)}</ul>' if said else ""


def _settings(look: Look) -> str:
    rows = "".join(
        f"<tr><td>{escaped(name)}</td>"
        f"<td class=name><code>{escaped(_written(value))}</code></td></tr>"
        for name, value in look.settings.items()
        if value not in ("", (), False, None)
    )
    return f"<h2>Settings</h2><div class=scroll><table>{rows}</table></div>"


def _written(value: object) -> str:
    return ",".join(f"{x:g}" for x in value) if isinstance(value, tuple) else str(value)


_PARTS: tuple[Callable[[Look], str], ...] = (
    _head, _refused, _splits, _balance, cards.trained, cards.evaluated, cards.extremes,
    cards.plainest, cards.pairs, _left_out, _settings,
)  # fmt: skip
