"""Draws the lesson's charts and images, which are data, in a language."""

import hashlib
import inspect
import itertools
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from cnn_jax.analysis import colours, figure_files, segmentation_figures
from cnn_jax.printable import in_figure
from experiments.concepts.frame.lesson import in_language

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")  # with colours and dashes, which say the same
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")
COLOUR_MAPS = {"gray": "gray", "signed": "RdBu_r", "heat": "inferno"}
MOST_CLASSES = 21  # of images whose numbers are classes
_CYCLES: tuple[Sequence[Any], ...] = (colours.LINES, MARKS, colours.DASHES)
FEW = 4  # images beside each other that are drawn larger
WIDTH, HEIGHT = 4.8, 3.5  # inches
DPI = 170


def file(chart: Mapping[str, Any], directory: Path, number: int, language: str) -> Path:
    """Draws a chart into `<number>_<language>-<its key>.png`, unless it is there already."""
    source = inspect.getsource(sys.modules[__name__])
    content = json.dumps([chart, language, source], sort_keys=True)
    name = hashlib.sha256(content.encode()).hexdigest()[:10]
    path = directory / f"{number}_{language}-{name}.png"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        figure_files.save(draw(chart, language), path, dpi=DPI)
        for old in directory.glob(f"{number}_{language}-*.png"):
            if old != path:
                old.unlink()
    return path


def draw(chart: Mapping[str, Any], language: str) -> Figure:
    """The figure of a chart or of images, as `findings.json` has them."""
    if chart["type"] == "images":
        return _images(chart, language)
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axis = figure.subplots()
    say = lambda words: in_figure(in_language(words, language))  # noqa: E731
    if chart["kind"] == "bars":
        _bars(axis, chart, say)
    else:
        _lines(axis, chart, say)
    for which, value, name in chart["marks"]:
        across = axis.axvline if which == "x" else axis.axhline
        across(value, color="#555555", linestyle=":", linewidth=1.2, label=say(name) or None)
    axis.set(title=_title(chart, language), xlabel=say(chart["x"]), ylabel=say(chart["y"]))
    axis.title.set_fontsize(11)
    axis.set_yscale(chart["y_scale"])
    if chart["y_scale"] == "log" and axis.dataLim.ymax < 1000 * axis.dataLim.ymin:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    if chart["y_range"]:
        axis.set_ylim(*chart["y_range"])
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    _legend(figure, *axis.get_legend_handles_labels())
    return figure


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """The legend below the chart, where it covers nothing; the figure grows by its rows."""
    if not labels:
        return
    each = 0.55 + 0.066 * max(_columns(label) for label in labels)  # inches of a label and its line
    columns = min(len(labels), max(1, int(WIDTH / each)))
    rows = -(-len(labels) // columns)
    figure.set_size_inches(WIDTH, HEIGHT + 0.16 + 0.17 * rows)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8, handlelength=3,
        frameon=False, columnspacing=1.2,
    )  # fmt: skip


def _title(chart: Mapping[str, Any], language: str) -> str:
    """The title in lines that fit."""
    text = in_language(chart["title"], language)
    columns = 38 if text.isascii() else 24
    return "\n".join(in_figure(line) for line in textwrap.wrap(text, columns))


def _lines(axis, chart: Mapping[str, Any], say) -> None:
    for i, series in enumerate(chart["series"]):
        colour, mark, dashes = (cycle[i % len(cycle)] for cycle in _CYCLES)
        x = np.array(series["x"], float)
        seeds = [np.array([np.nan if v is None else v for v in at], float)
                 for at in series["values"]]  # fmt: skip
        means = np.array([_mean(each) for each in seeds])
        if chart["kind"] == "curve":
            axis.plot(x, means, color=colour, linestyle=dashes, label=say(series["label"]))
        else:
            axis.plot(x, means, color=colour, linestyle=dashes, marker=mark, markersize=5,
                      label=say(series["label"]))  # fmt: skip
            for place, values in zip(x, seeds, strict=True):
                if len(values) > 1:
                    axis.plot([place] * len(values), values, mark, color=colour, markersize=3,
                              alpha=0.45, markeredgewidth=0)  # fmt: skip
        if series["fill"]:
            axis.fill_between(x, means, color=colour, alpha=0.2)
    axis.set_xscale(chart["x_scale"])
    places = sorted(set(itertools.chain(*(series["x"] for series in chart["series"]))))
    if 1 < len(places) <= 7 and chart["kind"] == "lines":
        axis.set_xticks(places)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())


def _bars(axis, chart: Mapping[str, Any], say) -> None:
    places = np.arange(len(chart["categories"]))
    count = len(chart["series"])
    width = 0.8 / max(count, 1)
    for i, series in enumerate(chart["series"]):
        colour = colours.LINES[i % len(colours.LINES)]
        left = places + (i - (count - 1) / 2) * width
        seeds = [np.array([np.nan if v is None else v for v in at], float)
                 for at in series["values"]]  # fmt: skip
        axis.bar(left, [_mean(each) for each in seeds], width * 0.9, color=colour, alpha=0.75,
                 hatch=HATCHES[i % len(HATCHES)], edgecolor="white",
                 label=say(series["label"]) or None)  # fmt: skip
        for place, values in zip(left, seeds, strict=True):
            if len(values) > 1:
                spread = (np.arange(len(values)) - (len(values) - 1) / 2) * width * 0.12
                axis.plot(place + spread, values, "o", color="black", markersize=3,
                          markerfacecolor="white", markeredgewidth=0.8)  # fmt: skip
    names = [say(name) for name in chart["categories"]]
    long = max((_columns(name) for name in names), default=0) * len(names) > 48
    axis.set_xticks(places, names, rotation=35 if long else 0, ha="right" if long else "center",
                    rotation_mode="anchor" if long else None)  # fmt: skip


def _columns(text: str) -> int:
    """Width of a text in Latin letters."""
    return sum(1 if character.isascii() else 2 for character in text)


def _mean(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _images(chart: Mapping[str, Any], language: str) -> Figure:
    say = lambda words: in_figure(in_language(words, language))  # noqa: E731
    rows = chart["rows"]
    columns = max(len(row["images"]) for row in rows)
    side = min(0.95 if columns > FEW else 1.2, 5.2 / columns)
    height = sum(side + (0.42 if row["titles"] else 0.14) for row in rows)
    figure = Figure(figsize=(columns * side + 1.3, height + 0.45), layout="constrained")
    figure.suptitle(_title(chart, language), fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, own in zip(rows, axes, strict=True):
        values = np.concatenate([np.ravel(np.array(image, float)) for image in row["images"]])
        low = row["low"] if row["low"] is not None else float(np.nanmin(values))
        high = row["high"] if row["high"] is not None else float(np.nanmax(values))
        if row["colours"] == "signed":
            high = max(abs(low), abs(high), 1e-9)
            low = -high
        for i, axis in enumerate(own):
            axis.set(xticks=[], yticks=[])
            if i >= len(row["images"]):
                axis.set_axis_off()
                continue
            image = np.array(row["images"][i], float)
            options: dict[str, Any] = {"cmap": COLOUR_MAPS.get(row["colours"]), "vmin": low,
                                       "vmax": high}  # fmt: skip
            if row["over"]:
                under = np.array(row["over"][i], float)
                axis.imshow(under, cmap="gray")
                options |= {"alpha": 0.55, "extent": (-0.5, under.shape[1] - 0.5,
                                                      under.shape[0] - 0.5, -0.5)}  # fmt: skip
            if row["colours"] == "classes":
                classes = segmentation_figures.coloured(image.astype(np.uint8), MOST_CLASSES)
                axis.imshow(classes)
            else:
                shown = axis.imshow(image, **options)
            if row.get("boxes"):
                _boxes(axis, row["boxes"][i])
            if i < len(row["titles"]):
                axis.set_title(say(row["titles"][i]), fontsize=8, pad=2)
        own[0].set_ylabel(say(row["label"]), fontsize=9, rotation=0, ha="right", va="center")
        if row["colours"] == "classes":
            continue
        bar = figure.colorbar(shown, ax=list(own), fraction=0.04, pad=0.01, aspect=8)
        bar.set_ticks([low, 0, high] if low < 0 < high else [low, high])
        bar.ax.tick_params(labelsize=7)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    return figure


def _boxes(axis, boxes) -> None:
    """Boxes in pixels, with their texts above them or, at the upper border, below."""
    for left, top, right, bottom, text in boxes:
        axis.add_patch(
            Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False,
                      edgecolor=colours.VERMILION, linewidth=1.2)
        )  # fmt: skip
        high = top > 6
        axis.text(left - 0.5, top - 1 if high else bottom, in_figure(text), color="white",
                  fontsize=7, va="bottom" if high else "top", clip_on=True)  # fmt: skip
