"""The tables of `experiments.benchmark.fine_tuning`, as Markdown."""

import statistics
from collections.abc import Sequence
from typing import Any

Rows = Sequence[dict[str, Any]]

REFERENCE = "fine-tuned"  # what others are compared with, seed by seed


def of(rows: Rows, *, part: str) -> str:
    """The table of the runs on one part, 'validation' or 'test'."""
    rows = [row for row in rows if row["part"] == part]
    if not rows:
        return f"No runs on {part} parts yet."
    return compared(rows) if part == "validation" else paired(rows)


def compared(rows: Rows) -> str:
    """Candidates in the order of their mean accuracy over the sets; loss decides ties."""
    names, sets = _names(rows, "candidate"), _names(rows, "set")
    lines = []
    for name in names:
        own = [row for row in rows if row["candidate"] == name]
        cells = [[row for row in own if row["set"] == each] for each in sets]
        whole = all(cells)
        accuracy, loss = (
            statistics.mean(statistics.mean(row[what] for row in cell) for cell in cells if cell)
            for what in ("accuracy", "loss")
        )
        texts = [f"{_mean(cell, 'accuracy')} ({_mean(cell, 'loss')})" for cell in cells]
        seeds = len({row["seed"] for row in own})
        mean = f"{accuracy:.3f} ({loss:.3f})" if whole else "-"
        lines.append((not whole, -round(accuracy, 4), loss, [name, *texts, mean, str(seeds)]))
    head = ["candidate", *sets, "mean", "n"]
    return _table(head, [line[-1] for line in sorted(lines)])


def paired(rows: Rows) -> str:
    """Each contender on each set, and its difference to REFERENCE, seed by seed: the mean and all
    values."""
    lines = []
    for small in _names(rows, "set"):
        own = [row for row in rows if row["set"] == small]
        base = {row["seed"]: row for row in own if row["candidate"] == REFERENCE}
        for name in _names(own, "candidate"):
            cell = sorted((r for r in own if r["candidate"] == name), key=lambda r: r["seed"])
            texts = [f"{_mean(cell, what)}{_spread(cell, what)}" for what in ("accuracy", "loss")]
            for what in ("accuracy", "loss"):
                gains = [base[r["seed"]][what] - r[what] for r in cell if r["seed"] in base]
                if name == REFERENCE or not gains:
                    texts.append("")
                    continue
                each = ", ".join(f"{gain:+.3f}" for gain in gains)
                texts.append(f"{statistics.mean(gains):+.3f} ({each})")
            lines.append([small, name, *texts, str(len(cell))])
    head = ["set", "", "accuracy", "loss", "gain in accuracy", "change of loss", "n"]
    return _table(head, lines)


def _names(rows: Rows, what: str) -> list[str]:
    return list(dict.fromkeys(row[what] for row in rows))


def _mean(cell: Rows, what: str) -> str:
    return f"{statistics.mean(row[what] for row in cell):.3f}" if cell else "-"


def _spread(cell: Rows, what: str) -> str:
    return f" ± {statistics.stdev(row[what] for row in cell):.3f}" if len(cell) > 1 else ""


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])
