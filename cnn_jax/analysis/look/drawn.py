"""Sights as HTML: an image with its boxes, its mask and its classes; curves; slices of a volume."""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from cnn_jax.analysis.look.contents import Sight
from cnn_jax.printable import printable

# Okabe and Ito 2008, "Color Universal Design": colours that colour-blind people can tell apart,
# but for black, and for yellow, which does not show on white. Beyond these, marks tell classes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("", "6 3", "2 2", "8 3 2 3")  # one for each round of the colours
IGNORE = 255  # of a mask

LARGEST = 300  # pixels of the longer side of an image on the page
PIXELATED = 100  # sides up to which an image is shown with its pixels as squares
SLICES = 9  # of a volume
# Boxes that are drawn, and those with a mark. Beyond a few, one of each class has a mark as long as
# no two classes share a colour.
MOST_BOXES, MARKED, FEW = 150, 40, 4
POINTS = 400  # of a curve

_WIDTH, _HEIGHT, _MARGIN = 240, 120, 6  # of the drawing of a curve


def colour_of(label: int) -> str:
    """The colour of a class: of its mask, its box, its curve."""
    return COLOURS[label % len(COLOURS)]


def dash_of(label: int) -> str:
    """The dashes of a class's lines, by which those of one colour differ."""
    return DASHES[label // len(COLOURS) % len(DASHES)]


def escaped(text: object) -> str:
    """Text of any origin as HTML: control characters are shown, and nothing is markup."""
    return html.escape(printable(text))


def sight(sight: Sight, alt: str, scale: tuple[float, float] | None = None) -> str:
    """The HTML of a sight.

    Args:
        sight: what is drawn.
        alt: what it is, for those who do not see it.
        scale: lowest and highest value of a curve's drawing; None for its own.
    """
    if sight.pixels.ndim == 2:
        return _curves(sight.pixels, alt, scale or range_of([sight]))
    return _image(sight, alt)


def range_of(sights: Iterable[Sight]) -> tuple[float, float]:
    """The lowest and the highest finite value of sequences; (0, 0) if there is none."""
    found = [each.pixels[np.isfinite(each.pixels)] for each in sights]
    values = np.concatenate([np.zeros(0), *found])
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def flat(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of an image, or of SLICES slices of a volume side by side."""
    if pixels.ndim == 4:
        pixels = _slices(pixels)
    if pixels.shape[-1] < 3:
        return np.repeat(pixels[..., :1], 3, -1)
    return pixels[..., :3]


def flat_mask(mask: np.ndarray) -> np.ndarray:
    """int [H, W] of a mask, or of the same slices of a mask [D, H, W] as those of its volume."""
    return _slices(mask[..., None], fill=0)[..., 0] if mask.ndim == 3 else mask


def slices_of(depth: int) -> list[int]:
    """The slices of a volume that are shown, evenly spaced."""
    count = min(depth, SLICES)
    return [(2 * i + 1) * depth // (2 * count) for i in range(count)]


def _slices(volume: np.ndarray, fill: int = 128) -> np.ndarray:
    chosen = volume[slices_of(len(volume))]
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    height, width, channels = chosen.shape[1:]
    sheet = np.full(
        (rows * (height + 1) - 1, columns * (width + 1) - 1, channels), fill, volume.dtype
    )
    for i, each in enumerate(chosen):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width] = each
    return sheet


def _image(sight: Sight, alt: str) -> str:
    pixels = flat(sight.pixels)
    height, width = pixels.shape[:2]
    small = max(height, width) <= PIXELATED
    style = f"aspect-ratio:{width}/{height}"
    if height > width:
        style += f";width:{max(100 * width / height, 12):.1f}%"
    over = ""
    if sight.mask is not None:
        over += f'<img class="mask" alt="" src="{_mask(flat_mask(sight.mask))}">'
    over += _boxes(sight, width, height)
    return (
        f'<span class="sight{" small" if small else ""}" style="{style}">'
        f'<img alt="{escaped(alt)}" src="{encoded(pixels)}">{over}</span>'
    )


def encoded(pixels: np.ndarray) -> str:
    """The address of an image uint8 [H, W, 3] that holds the image itself."""
    image, kept = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((LARGEST, LARGEST))
    if max(pixels.shape[:2]) <= PIXELATED:
        image.save(kept, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(kept, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(kept.getvalue()).decode()}"


def _mask(mask: np.ndarray) -> str:
    """An image of the classes to lie over another: class 0 is clear, what is ignored is striped."""
    most = max(mask.shape)
    step = max(1, math.ceil(most / LARGEST))
    small = mask[step // 2 :: step, step // 2 :: step]
    # the colours of a palette: clear, those of classes, and of the two stripes
    palette = [(0, 0, 0), *(tuple(bytes.fromhex(c[1:])) for c in COLOURS), (255, 255, 255)]
    opacity = bytes([0, *[150] * len(COLOURS), 170, 170])
    place = np.where(small == 0, 0, 1 + small.astype(int) % len(COLOURS))
    rows, columns = np.indices(small.shape)
    stripes = (rows + columns) // max(1, max(small.shape) // 40) % 2
    place = np.where(small == IGNORE, 1 + len(COLOURS) + stripes, place)
    image = Image.fromarray(place.astype(np.uint8)).convert("P")
    image.putpalette([value for colour in [*palette, (0, 0, 0)] for value in colour])
    kept = io.BytesIO()
    image.save(kept, "PNG", optimize=True, transparency=opacity)
    return f"data:image/png;base64,{base64.b64encode(kept.getvalue()).decode()}"


def _boxes(sight: Sight, width: int, height: int) -> str:
    """Boxes as lines, and a mark with the number of the class at their corners."""
    lines: list[tuple[Sequence[float], str, str]] = []
    marks: list[str] = []
    if sight.boxes is not None and sight.labels is not None:
        pairs = list(zip(sight.boxes, sight.labels, strict=True))[:MOST_BOXES]
        lines = [(box, colour_of(int(k)), dash_of(int(k))) for box, k in pairs]
        if len(pairs) > FEW and max(int(k) for _, k in pairs) < len(COLOURS):
            pairs = list({int(k): (box, k) for box, k in pairs[::-1]}.values())  # colours tell
        marks = [_mark(box[0] / width, box[1] / height, int(k)) for box, k in pairs[:MARKED]]
    if sight.mask is not None:
        marks = [_mark(x, y, k) for x, y, k in _middles(flat_mask(sight.mask))]
    if sight.inner is not None:
        lines.append((sight.inner, "#ffffff", ""))
        lines.append((sight.inner, "#000000", "4 4"))
    if not lines:
        return "".join(marks)
    drawn = "".join(
        f'<rect x="{x0:.2f}" y="{y0:.2f}" width="{max(x1 - x0, 0):.2f}" '
        f'height="{max(y1 - y0, 0):.2f}" stroke="{colour}"'
        + (f' stroke-dasharray="{dash}"' if dash else "")
        + "/>"
        for (x0, y0, x1, y1), colour, dash in lines
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{drawn}</svg>{''.join(marks)}"
    )


def _mark(x: float, y: float, label: int) -> str:
    """The number of a class at a place, in shares of the sides."""
    x, y = min(max(x, 0), 0.96), min(max(y, 0), 0.95)
    return (
        f'<b class="mark" style="left:{100 * x:.1f}%;top:{100 * y:.1f}%;'
        f'background:{colour_of(label)}">{label}</b>'
    )


def _middles(mask: np.ndarray) -> list[tuple[float, float, int]]:
    """A pixel well inside each class but 0: the middle one of its longest row."""
    found = []
    for label in np.unique(mask):
        if label in (0, IGNORE):
            continue
        inside = mask == label
        row = int(inside.sum(1).argmax())
        columns = np.flatnonzero(inside[row])
        column = columns[len(columns) // 2]
        found.append((column / mask.shape[1], row / mask.shape[0], int(label)))
    return found


def _curves(values: np.ndarray, alt: str, ends: tuple[float, float]) -> str:
    """A line for each channel, all on one scale."""
    length, channels = values.shape
    low, high = ends
    shown = np.unique(np.linspace(0, length - 1, min(length, POINTS)).astype(int))
    scale = (_HEIGHT - 2 * _MARGIN) / max(high - low, 1e-12)
    lines = []
    for channel in range(min(channels, len(COLOURS))):
        points = " ".join(
            f"{i * _WIDTH / max(length - 1, 1):.1f},"
            f"{_HEIGHT - _MARGIN - (float(values[i, channel]) - low) * scale:.1f}"
            for i in shown
            if np.isfinite(values[i, channel])
        )
        dash = DASHES[channel % len(DASHES)]
        lines.append(
            f'<polyline points="{points}" stroke="{COLOURS[channel]}"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + "/>"
        )
    return (
        f'<span class="sight curve"><svg role="img" aria-label="{escaped(alt)}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">{"".join(lines)}</svg></span>'
    )
