"""Runs that differ only in their seed, or their fold, are one group: means, intervals, differences.

Intervals are Student's t over the seeds, from three on and where a share stays one; otherwise the
lowest and the highest run stand in their place. A difference between two groups is that of the runs
with the same seed, which shares what the seed decides (the order of the data, the held-out fold),
and its interval is that of these differences.
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnn_jax.analysis.interval import Spread, spread
from cnn_jax.run.comparing.records import FINISHED, Record

# Settings that tell repetitions of one experiment apart; and the record of which were given.
_REPEATS = frozenset({"seed", "fold", "seeds", "learning_rates", "fine_tuning"})
LONGEST = 30  # characters of a value in the name of a group
_PLACES = ("folder", "csv", "npz", "hf", "masks", "coco", "voc", "yolo")  # kind:PATH


class Mean(NamedTuple):
    """A figure over the runs of a group.

    Attributes:
        values: the figure of each finished run by its repetition; None where it is no number.
        mean: None if one of them is None: a mean over those that are left would flatter.
        half_width: half the 95% interval of the mean; None where it would say nothing, see
            `cnn_jax.analysis.interval.spread`.
        extremes: the lowest and the highest; None for fewer than two runs.
    """

    values: dict[tuple[str, str], float | None]
    mean: float | None
    half_width: float | None
    extremes: tuple[float, float] | None

    def text(self, number: Callable[[float], str] = "{:.4f}".format) -> str:
        """The mean with its interval or its extremes; a dash where there is no mean."""
        if self.mean is None:
            return "–"
        return Spread(self.mean, self.half_width, self.extremes).text(number)


class Difference(NamedTuple):
    """A group against the reference, in one figure.

    Attributes:
        group: name of the group.
        figure: name of the figure.
        pairs: the repetitions that both have.
        mean: of (group - reference) over the pairs.
        half_width: half its 95% interval; None where it would say nothing.
        extremes: the lowest and the highest difference; None for fewer than two pairs.
    """

    group: str
    figure: str
    pairs: list[tuple[str, str]]
    mean: float
    half_width: float | None
    extremes: tuple[float, float] | None


@dataclasses.dataclass(eq=False)
class Group:
    """Runs that repeat one experiment.

    Attributes:
        name: what tells it from the other groups: 'learning_rate=0.1'.
        runs: its runs; of several with the same seed the first that is finished.
        spare: the others with the same seed.
    """

    name: str
    runs: list[Record]
    spare: list[Record]

    @property
    def finished(self) -> list[Record]:
        return [run for run in self.runs if run.state == FINISHED]

    @property
    def first(self) -> Record:
        return self.runs[0]

    def figure(self, name: str) -> Mean:
        """A figure over the finished runs."""
        values = {r.repetition: r.figures[name] for r in self.finished if name in r.figures}
        return over(values)

    def figure_names(self) -> list[str]:
        return list(dict.fromkeys(name for run in self.finished for name in run.figures))


def over(
    values: Mapping[tuple[str, str], float | None], reach: tuple[float, float] = (0.0, 1.0)
) -> Mean:
    """The mean of a figure over repetitions, and its interval or its extremes."""
    known = [value for value in values.values() if value is not None]
    if not known or len(known) < len(values):
        return Mean(dict(values), None, None, None)
    found = spread(known, reach=reach)
    return Mean(dict(values), statistics.fmean(known), found.half_width, found.extremes)


def grouped(records: Sequence[Record]) -> list[Group]:
    """The runs by what they repeat, in the order of their first runs."""
    found: dict[Any, list[Record]] = {}
    for record in records:
        found.setdefault(_experiment(record), []).append(record)
    groups = []
    for runs in found.values():
        kept: dict[tuple[str, str], Record] = {}
        for run in sorted(runs, key=lambda run: run.state != FINISHED):  # stable
            kept.setdefault(run.repetition, run)
        own = sorted(kept.values(), key=_by_repetition)
        groups.append(Group("", own, [run for run in runs if run not in own]))
    differing = differences_in([group.first for group in groups])
    names = [", ".join(f"{n}={_short(g.first, n)}" for n in differing) for g in groups]
    for group, name in zip(groups, names, strict=True):
        alone = names.count(name) == 1 and len(name) <= 120
        group.name = name if name and alone else _own_name(group, names)
    return groups


def _short(record: Record, name: str) -> str:
    """The value of a setting; of a long one, such as a path, the end."""
    value = record.settings.get(name, "")
    return value if len(value) <= LONGEST else f"…{value[-LONGEST:]}"


def _own_name(group: Group, names: Sequence[str]) -> str:
    if len(names) == 1 and len(group.runs) > 1:
        return str(group.first.settings.get("model") or "the runs")
    return group.first.name


def _experiment(record: Record) -> tuple:
    """What the runs of a group have in common."""
    own = {n: v for n, v in record.settings.items() if n in record.counting and n not in _REPEATS}
    own["fold"] = record.settings.get("fold", "").partition("/")[2]  # the number of folds
    own["dataset"] = content(record) or own.get("dataset", "")
    return (record.task, *sorted(own.items()))


def content(record: Record) -> str:
    """The data that it learns from, where they are known; '' if they are not.

    Of one fold of many the training examples are a part, which depends on seed and fold.
    """
    parts = ("test",) if record.settings.get("fold") else ("train", "test")
    kind = record.settings.get("dataset", "").partition(":")[0]
    prints = [str(record.data.get(part, {}).get("fingerprint", "")) for part in parts]
    if kind not in _PLACES or "" in prints:
        return ""
    return f"{kind}:{','.join(prints)}"


def _by_repetition(record: Record) -> tuple:
    seed, fold = record.repetition
    return (0, int(seed), fold) if seed.lstrip("-").isdecimal() else (1, 0, f"{seed} {fold}")


def differences_in(records: Sequence[Record], *, counting: bool = True) -> list[str]:
    """Names of the settings in which the runs differ, in the order of the recipe.

    Args:
        records: the runs.
        counting: those that can change the result, or those that cannot.
    """
    names = dict.fromkeys(name for record in records for name in record.settings)
    found = []
    for name in names:
        counts = any(name in record.counting for record in records)
        values = {record.settings.get(name) for record in records}
        if name == "dataset" and all(content(record) for record in records):
            values = {content(record) for record in records}
        if counts == counting and name not in _REPEATS and len(values) > 1:
            found.append(name)
    return found


def differences(
    groups: Sequence[Group], reference: Group, names: Sequence[str]
) -> list[Difference]:
    """Each group against the reference, by the repetitions that both have.

    Figures that are no number in one of the pairs have no difference.
    """
    found = []
    for group in groups:
        if group is reference:
            continue
        for name in names:
            one, other = group.figure(name).values, reference.figure(name).values
            pairs = [pair for pair in one if pair in other]
            by_pair = {p: _minus(one[p], other[p]) for p in pairs}
            mean = over(by_pair, (-1.0, 1.0))
            if mean.mean is not None:
                own = (mean.mean, mean.half_width, mean.extremes)
                found.append(Difference(group.name, name, pairs, *own))
    return found


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def ranked(groups: Sequence[Group], figure: str) -> list[Group]:
    """The groups with this figure, the highest mean first; those without a mean are left out."""
    known = [(group, group.figure(figure).mean) for group in groups]
    return [g for g, mean in sorted(known, key=lambda p: -(p[1] or 0)) if mean is not None]
