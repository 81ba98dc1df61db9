"""A look at the data as one HTML page that needs nothing else: no script, no font, no network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.analysis.look import drawn
from cnn_jax.analysis.look.contents import Captioned, Example, Look, Pair, Sight, size_text
from cnn_jax.analysis.look.drawn import escaped
from cnn_jax.analysis.look.style import STYLE

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
    counts = " and ".join(
        f"{split.examples:,} {'of the training' if i == 0 else 'of the evaluation'}"
        for i, split in enumerate(look.splits)
    )
    shape = f" The network's input is {size_text(look.input[:-1])}" if look.input else ""
    shape += f" with {look.input[-1]} channel{'s' * (look.input[-1] > 1)}." if look.input else ""
    return (
        f"<h1>{escaped(look.dataset)}</h1>\n<p>The data as the network sees them, for "
        f"{escaped(look.task)}: {counts} in {len(look.class_names):,} classes.{shape}</p>"
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
    rows = []
    for split in look.splits:
        sizes = [f"{size_text(space)} ({n:,})" for space, n in split.sizes.most_common(MOST_SIZES)]
        if len(split.sizes) > MOST_SIZES:
            sizes.append(f"{len(split.sizes) - MOST_SIZES:,} other sizes")
        by_area = sorted(split.sizes, key=lambda space: (np.prod(space), space))
        ends = ""
        if len(by_area) > 1:
            ends = f"{size_text(by_area[0])} to {size_text(by_area[-1])}"
        rows.append(
            f"<tr><th>{split.role}</th><td class=name><code>{escaped(split.split)}</code></td>"
            f'<td class="n">{split.examples:,}</td><td>{ends or "all alike"}</td>'
            f"<td>{', '.join(sizes) or 'none could be decoded'}</td></tr>"
        )
    sampled = [s for s in look.splits if s.looked_at + len(s.damaged) < s.examples]
    how = "Sizes are those of all images, as stored."
    if sampled:
        of = ", ".join(f"{s.looked_at + len(s.damaged):,} of {s.role}" for s in sampled)
        how = f"Sizes are those of a sample, evenly spaced: {of}."
    return (
        f'<h2>Splits and sizes</h2><p class="what">{how}</p><div class="scroll"><table>'
        "<tr><th>for</th><th>split</th><th class=n>examples</th><th>from, to</th>"
        f"<th>most frequent sizes</th></tr>{''.join(rows)}</table></div>"
    )


def _left_out(look: Look) -> str:
    items = []
    for split in look.splits:
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
            f'<td class="n">{int(split.counts[k]):,}</td><td class="n">{share[k]:.1%}</td>'
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
        f'<span class="key{" second" if i else ""}"></span>{split.role}'
        for i, split in enumerate(look.splits)
    )
    heads = "".join(f'<th class="n" colspan="2">{split.role}</th>' for split in look.splits)
    head = f'<tr><th class="n">no.</th><th>class</th>{heads}<th>share of the split</th></tr>'
    counted = [s for s in look.splits if s.counted < s.examples]
    how = f"Counted in {look.counted}"
    if counted:
        how += ", in " + " and ".join(f"{s.counted:,} examples of {s.role}" for s in counted)
    table = f'<div class="scroll"><table class="balance">{head}{"".join(rows[:MOST_CLASSES])}'
    table += "</table></div>"
    if len(rows) > MOST_CLASSES:
        table += (
            f"<details><summary>{len(rows) - MOST_CLASSES:,} more classes</summary>"
            f'<div class="scroll"><table class="balance">{head}{"".join(rows[MOST_CLASSES:])}'
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


def _legend(look: Look) -> str:
    """The numbers and colours of the classes, where boxes or masks are drawn."""
    sights = [part for each in (*look.trained, *look.evaluated) for part in each[1:] if part]
    found: set[int] = set()
    ignored = False
    for each in sights:
        if each.labels is not None:
            found |= {int(k) for k in each.labels}
        if each.mask is not None:
            values = set(np.unique(each.mask).tolist())
            ignored |= drawn.IGNORE in values and len(look.class_names) <= drawn.IGNORE
            found |= values
    items = [
        f'<li><b class="mark" style="background:{drawn.colour_of(k)}">{k}</b> '
        f"{escaped(look.class_names[k])}</li>"
        for k in sorted(found)
        if k < len(look.class_names)
    ]
    if any(each.mask is not None for each in sights):
        items += ["<li>class 0 is left clear</li>"]
    if ignored:
        items += ["<li>striped: ignored</li>"]
    hint = "<li>point at an image to see it bare</li>" if items else ""
    return f'<ul class="legend">{"".join(items)}{hint}</ul>' if items else ""


def _trained(look: Look) -> str:
    if not look.input:
        cards = [_card(each, ("as stored",), look) for each in look.trained]
        return f'<h2>Examples</h2>{_legend(look)}<div class="grid narrow">{"".join(cards)}</div>'
    how = (
        f"The first {len(look.trained)} examples of training step {look.step}, by seed "
        f"{look.settings.get('seed', 0)}: as stored, as loaded by the host, and as the network is "
        "shown them, augmented. Another step draws anew."
    )
    if look.clipped > 0.0005:
        how += f" {look.clipped:.1%} of the values shown lie outside 0..255 and are cut here."
    cards = [_card(each, ("as stored", "loaded", "augmented"), look) for each in look.trained]
    return (
        f'<h2>In training, before and after augmentation</h2><p class="what">{how}</p>'
        f'{_legend(look)}<div class="grid">{"".join(cards)}</div>'
    )


def _evaluated(look: Look) -> str:
    if not look.evaluated:
        return ""
    cards = [_card(each, ("as stored", "", "as evaluated"), look) for each in look.evaluated]
    return (
        '<h2>In evaluation</h2><p class="what">Examples of its first batch, as stored and as '
        f'the network is shown them.</p><div class="grid">{"".join(cards)}</div>'
    )


def _card(example: Example, titles: Sequence[str], look: Look) -> str:
    """An example in up to three steps; one that changes nothing is left out."""
    figures = []
    before: Sight | None = None
    texts = {sight.text for sight in example[1:] if sight is not None}
    said = texts.pop() if len(texts) == 1 else ""
    for title, sight in zip(titles, example[1:], strict=False):
        if not title or sight is None:
            continue
        if title == "loaded" and before is not None and _alike(before, sight):
            continue
        figures.append(_figure(sight, example.name, title, look, said))
        before = sight
    return (
        f'<div class="card"><h3 title="{escaped(example.name)}">{escaped(said)} '
        f"<small>{escaped(short(example.name))}</small>"
        f'</h3><div class="steps">{"".join(figures)}</div></div>'
    )


def _alike(first: Sight, second: Sight) -> bool:
    return first.pixels.shape == second.pixels.shape and bool(
        np.array_equal(first.pixels, second.pixels)
    )


def _figure(sight: Sight, name: str, title: str, look: Look, said: str) -> str:
    what = sight.text
    if sight.boxes is not None:
        what = f"{len(sight.boxes)} box{'es' * (len(sight.boxes) != 1)}"
        if len(sight.boxes) > drawn.MOST_BOXES:
            what += f", {drawn.MOST_BOXES} drawn"
    elif sight.mask is not None:
        values, counts = np.unique(sight.mask, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        names = [(_class(int(values[i]), look), counts[i] / counts.sum()) for i in order]
        what = ", ".join(f"{share:.0%} {name}" for name, share in names)
    alt = f"{short(name)}, {title}: {what}, {sight.size}"
    image = drawn.sight(sight, alt)
    own = f"<br><b>{escaped(what)}</b>" if what != said else ""
    return f"<figure>{image}<figcaption>{title}, {sight.size}{own}</figcaption></figure>"


def _class(k: int, look: Look) -> str:
    return str(look.class_names[k]) if k < len(look.class_names) else "ignored"


def short(name: str, most: int = 48) -> str:
    """The end of a path: its last two parts, and of these the last characters."""
    parts = name.replace("\\", "/").split("/")
    end = "/".join(parts[-2:]) if len(parts) > 2 else name
    return end if len(end) <= most else "\u2026" + end[-most:]


def _extremes(look: Look) -> str:
    if not look.smallest:
        return ""
    how = {
        "objects": "Boxes by their share of the image's area, one of each image; with what is "
        "around them, at the pixels of the image.",
        "connected regions": "Connected regions of one class by their share of the image's area, "
        "one of each image; not of the class with the most pixels.",
        "images": "Images by their number of pixels.",
    }[look.measure]
    return (
        f'<h2>Smallest and largest {look.measure}</h2><p class="what">{how}</p>'
        f"<h3>smallest</h3>{_row(look.smallest)}<h3>largest</h3>{_row(look.largest)}"
    )


def _plainest(look: Look) -> str:
    if not look.plainest:
        return ""
    return (
        '<h2>Least contrast</h2><p class="what">The plainest training examples that were looked '
        "at: what is blank, black or constant is found here. The number is the standard deviation "
        f"of a small grey copy.</p>{_row(look.plainest)}"
    )


def _row(items: Sequence[Captioned]) -> str:
    return f'<div class="grid narrow">{"".join(map(_captioned, items))}</div>'


def _captioned(item: Captioned) -> str:
    n = item.numbers
    lines = [escaped(short(item.name))]
    if "width" in n:
        lines.append(f"{n['width']:g}x{n['height']:g} of {n['image']}, {n['share']:.2%}")
        if "width_seen" in n:
            lines.append(f"{n['width_seen']:g}x{n['height_seen']:g} as the network sees it")
    elif "deviation" in n:
        lines.append(f"deviation {n['deviation']:g}")
    elif "image" in n:
        lines.append(str(n["image"]))
    text = f"<b>{escaped(n['class'])}</b><br>" if n.get("class") else ""
    image = drawn.sight(item.sight, f"{short(item.name)}: {n.get('class', '')}")
    return (
        f'<figure class="card" title="{escaped(item.name)}">{image}'
        f"<figcaption>{text}{'<br>'.join(lines)}</figcaption></figure>"
    )


def _pairs(look: Look) -> str:
    if len(look.compared) < 2:
        return ""
    (first, n), (second, m) = look.compared.items()
    of = {split.role: split.examples for split in look.splits}
    whole = of[first] == n and of[second] == m
    how = (
        f"{n:,} of {of[first]:,} examples of {first} against {m:,} of {of[second]:,} of {second}"
        f"{'' if whole else ' (samples, evenly spaced: others may be copies too)'}, by the "
        "correlation of grey thumbnails of at most 16x16: 1 means alike up to brightness and "
        "contrast. What is in both splits makes the figures of the evaluation better than they are."
    )
    same = sum(pair.same for pair in look.pairs)
    found = (
        f'<p class="same">{same} of these pairs have the same pixels.</p>'
        if same
        else "<p>No pair shown has the same pixels.</p>"
    )
    body = f'<div class="grid">{"".join(map(_pair, look.pairs))}</div>' if look.pairs else ""
    return (
        f'<h2>Most similar across the splits</h2><p class="what">{how}</p>'
        f"{found if look.pairs else '<p>None are alike.</p>'}{body}"
    )


def _pair(pair: Pair) -> str:
    figures = "".join(
        f'<figure title="{escaped(each.name)}">'
        f"{drawn.sight(each.sight, short(each.name) + ': ' + each.sight.text)}"
        f"<figcaption>{role}: {escaped(short(each.name))}<br><b>{escaped(each.sight.text)}</b>"
        "</figcaption></figure>"
        for role, each in (("training", pair.first), ("evaluation", pair.second))
    )
    said = '<span class="same">same pixels</span>' if pair.same else f"{pair.correlation:.4f}"
    return f'<div class="card"><h3>{said}</h3><div class="steps">{figures}</div></div>'


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
    _head, _refused, _splits, _balance, _trained, _evaluated, _extremes, _plainest, _pairs,
    _left_out, _settings,
)  # fmt: skip
