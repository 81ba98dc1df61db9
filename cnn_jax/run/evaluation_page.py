"""The page of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.analysis import page
from cnn_jax.run.reports import Report

# The first figures of each task, as large numbers.
FIRST = (
    *("accuracy", "top5", "mean_iou", "pixel_accuracy", "ap", "ap50", "recall100"),
    *("balanced_accuracy", "f1", "mean_average_precision", "calibration_error", "dice"),
)
TILES = 6
CONFUSED = 15  # pairs of classes
EXAMPLES = 50
TITLES = {
    "ap": "AP",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "average_precision": "AP",
    "f1": "F1",
    "iou": "IoU",
    "mean_iou": "mean IoU",
    "mean_average_precision": "mean AP",
    "recall100": "recall of 100",
    "top5": "top 5",
}


def write(
    path: Path,
    content: Mapping[str, Any],
    report: Report,
    class_names: Sequence[str],
    pictures: Sequence[tuple[Path, str]],
    hardest: Path | None,
) -> None:
    """Writes the page.

    Args:
        path: path of the file.
        content: content of figures.json.
        report: see `cnn_jax.run.reports`.
        class_names: K names.
        pictures: files of figures, with captions.
        hardest: the sheet of the hardest examples; None for none.
    """
    network, data = content["network"], content["data"]
    parts = [page.paragraph(_summary(content))]
    parts += [page.paragraph(note, "warn") for note in content["notes"]]
    first = [name for name in FIRST if name in report.figures][:TILES]
    parts.append(
        page.tiles((_number(report.figures[n]), title(n), _range(n, report)) for n in first)
    )
    if report.intervals:
        parts.append(
            page.paragraph(
                f"In brackets: 95% intervals of the bootstrap over examples ({report.resamples} "
                "resamples). They say what other examples of this kind would give, not what "
                "another training would.",
                "note",
            )
        )
    if pictures:
        parts.append(page.side_by_side(page.figure(file, caption) for file, caption in pictures))
    if report.classes:
        parts.append(page.heading("Classes"))
        keys = list(report.classes[0])
        rows = [[_cell(row[key]) for key in keys] for row in report.classes]
        parts.append(page.table([title(key) for key in keys], rows))
    if report.confusion is not None and (pairs := confused(report.confusion)):
        parts.append(page.heading("What is taken for what"))
        rows = [
            [class_names[true], class_names[said], f"{count:,}", f"{share:.1%}"]
            for true, said, count, share in pairs
        ]
        unit = "pixels" if network["task"] == "segmentation" else "examples"
        headings = ["is", "taken for", unit, "share of its class"]
        parts.append(page.table(headings, rows, names=2))
    if hardest is not None:
        parts.append(page.heading("The hardest examples"))
        parts.append(page.figure(hardest, "The largest losses, or the most mistakes, first"))
    if report.examples:
        keys = list(report.examples[0])
        names = sum(isinstance(report.examples[0][key], str) for key in keys)
        rows = [[_cell(row[key]) for key in keys] for row in report.examples[:EXAMPLES]]
        parts.append(page.table([title(key) for key in keys], rows, names=names))
        parts.append(page.paragraph("All of them, in this order: examples.csv", "note"))
    parts.append(page.heading("All figures"))
    parts.append(
        page.table(
            ["figure", "value", "95% interval"],
            [[n, _number(v), _range(n, report)] for n, v in report.figures.items()],
        )
    )
    what = network["model"] or network["task"]
    page.write(
        path, f"{what} on {data['dataset']}, {data['split']}", parts, footer=_footer(content)
    )


def title(name: str) -> str:
    """The name of a figure, as text."""
    return TITLES.get(name, name.replace("_", " "))


def confused(confusion: np.ndarray) -> list[tuple[int, int, int, float]]:
    """(true, predicted, count, share of the true class) of the most frequent mistakes."""
    counts = np.array(confusion)
    totals = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        (int(i), int(j), int(counts[i, j]), counts[i, j] / totals[i])
        for i, j in pairs
        if counts[i, j]
    ]


def _summary(content: Mapping[str, Any]) -> str:
    network, data, settings = content["network"], content["data"], content["settings"]
    where = (
        f"the run {network['run']}, step {network['step']:,}"
        if network["run"]
        else ("published weights")
    )
    average = ", the moving average of its parameters" if network["averaged"] else ""
    left = f" ({data['left_out']:,} are left out)" if data["left_out"] else ""
    views = f", with the views {', '.join(settings['views'])}" if settings["views"] else ""
    return (
        f"{network['model']} of {where}{average}: {network['parameters']:,} parameters. "
        f"{data['examples']:,} examples of {data['dataset']}, split {data['split']}{left}; "
        f"{settings['precision']}{views}; {content['images_per_second']:,.0f} images a second, "
        "without decoding."
    )


def _footer(content: Mapping[str, Any]) -> str:
    return f"Made by python -m experiments.evaluate in {content['seconds']:.1f} s."


def _range(name: str, report: Report) -> str:
    if name not in report.intervals:
        return ""
    low, high = report.intervals[name]
    return f"[{_number(low)}, {_number(high)}]"


def _number(value: Any) -> str:
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return "none" if value != value else f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else _number(value)
