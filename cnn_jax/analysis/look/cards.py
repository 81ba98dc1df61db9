"""The examples of a look as cards: before and after, the smallest and largest, similar pairs."""

from collections.abc import Sequence

import numpy as np

from cnn_jax.analysis.look import drawn
from cnn_jax.analysis.look.contents import Captioned, Example, Look, Pair, Sight
from cnn_jax.analysis.look.drawn import escaped
from cnn_jax.data.similarity import SIDE


def legend(look: Look) -> str:
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


def trained(look: Look) -> str:
    if not look.input:
        cards = [_card(each, ("as stored",), look) for each in look.trained]
        return f'<h2>Examples</h2>{legend(look)}<div class="grid narrow">{"".join(cards)}</div>'
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
        f'{legend(look)}<div class="grid{_wide(look)}">{"".join(cards)}</div>'
    )


def _wide(look: Look) -> str:
    """Whether examples need room: three steps of an image with boxes or a mask."""
    boxed = any(
        each.loaded.boxes is not None or each.loaded.mask is not None for each in look.trained
    )
    sizes = any(each.stored and not _alike(each.stored, each.loaded) for each in look.trained)
    return " wide" if boxed and sizes else ""


def evaluated(look: Look) -> str:
    if not look.evaluated:
        return ""
    cards = [_card(each, ("as stored", "", "as evaluated"), look) for each in look.evaluated]
    return (
        '<h2>In evaluation</h2><p class="what">Examples of the first batch of the '
        f"{look.evaluated_on} split, which is evaluated during the training, as stored and as "
        f'the network is shown them.</p><div class="grid">{"".join(cards)}</div>'
    )


def _card(example: Example, titles: Sequence[str], look: Look) -> str:
    """An example in up to three steps; one that changes nothing is left out."""
    figures = []
    before: Sight | None = None
    steps = [sight for sight in example[1:] if sight is not None]
    scale = drawn.range_of(steps) if steps[0].pixels.ndim == 2 else None
    texts = {sight.text for sight in steps}
    said = texts.pop() if len(texts) == 1 else ""
    for title, sight in zip(titles, example[1:], strict=False):
        if not title or sight is None:
            continue
        if title == "loaded" and before is not None and _alike(before, sight):
            continue
        figures.append(_figure(sight, example.name, title, look, said, scale))
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


def _figure(
    sight: Sight,
    name: str,
    title: str,
    look: Look,
    said: str,
    scale: tuple[float, float] | None = None,
) -> str:
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
    image = drawn.sight(sight, alt, scale)
    own = f"<br><b>{escaped(what)}</b>" if what != said else ""
    own += _part_of(sight)
    if scale is not None:
        own += "<br>{:.3g} to {:.3g}".format(*drawn.range_of([sight]))
    return f"<figure>{image}<figcaption>{title}, {sight.size}{own}</figcaption></figure>"


def _part_of(sight: Sight) -> str:
    """How much of a sequence or a volume is drawn, if not all of it is."""
    if sight.pixels.ndim == 4 and len(sight.pixels) > drawn.SLICES:
        return f"<br>{drawn.SLICES} of {len(sight.pixels)} slices"
    if sight.pixels.ndim == 2 and sight.pixels.shape[-1] > len(drawn.COLOURS):
        return f"<br>{len(drawn.COLOURS)} of {sight.pixels.shape[-1]} channels"
    return ""


def _class(k: int, look: Look) -> str:
    return str(look.class_names[k]) if k < len(look.class_names) else "ignored"


def short(name: str, most: int = 48) -> str:
    """The end of a path: its last two parts, and of these the last characters."""
    parts = name.replace("\\", "/").split("/")
    end = "/".join(parts[-2:]) if len(parts) > 2 else name
    return end if len(end) <= most else "\u2026" + end[-most:]


def extremes(look: Look) -> str:
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


def plainest(look: Look) -> str:
    if not look.plainest:
        return ""
    return (
        '<h2>Least contrast</h2><p class="what">The plainest training examples that were looked '
        "at: what is blank, black or constant is found here. The number is the standard deviation "
        f"of {_copy(look)}.</p>{_row(look.plainest)}"
    )


def _copy(look: Look, several: bool = False) -> str:
    """What examples are compared by."""
    rank = len(next(iter(look.splits[0].sizes), (0, 0)))
    if rank == 1:
        return "their values" if several else "its values"
    size = "x".join([str(SIDE)] * rank)
    return f"grey copies of at most {size}" if several else f"a grey copy of at most {size}"


def _row(items: Sequence[Captioned]) -> str:
    return f'<div class="grid narrow">{"".join(map(_captioned, items))}</div>'


def _captioned(item: Captioned) -> str:
    n = item.numbers
    lines = [escaped(short(item.name))]
    if "width" in n:
        lines.append(f"{n['width']:g}x{n['height']:g} of {n['image']}, {100 * n['share']:.3g}%")
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


def pairs(look: Look) -> str:
    if len(look.compared) < 2:
        return ""
    of = {split.role: split.examples for split in look.splits}
    whole = all(of[part] == n for part, n in look.compared.items())
    counts = ", ".join(f"{n:,} of {of[part]:,} {part}" for part, n in look.compared.items())
    how = (
        f"Examples of train against the others, by the correlation of {_copy(look, several=True)}: "
        "1 means alike up to brightness and contrast. What is in both splits makes the figures of "
        f"the evaluation better than they are. Compared: {counts}"
        f"{'.' if whole else '; samples, evenly spaced, so that others may be copies too.'}"
    )
    same = sum(pair.same for pair in look.pairs)
    said = f"{same} of these pairs have the same pixels." if same else ""
    survey = look.survey
    if survey is not None and survey.shared.groups:
        names = "; ".join(" = ".join(map(short, group)) for group in survey.shared.first)
        also = ", ".join(f"{count:,} of {part}" for part, count in survey.shared_by.items())
        said += f" Also in {next(iter(survey.splits))}, byte for byte: {also}, such as {names}."
    found = (
        f'<p class="same">{escaped(said.strip())}</p>'
        if said
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
        for role, each in (("train", pair.first), (pair.part, pair.second))
    )
    said = '<span class="same">same pixels</span>' if pair.same else f"{pair.correlation:.4f}"
    return f'<div class="card"><h3>{said}</h3><div class="steps">{figures}</div></div>'
