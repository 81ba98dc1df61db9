"""Runs beside each other: their groups, what may be compared, and the differences."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.run.comparing import comparable, disagreements
from cnn_jax.run.comparing.comparable import Field
from cnn_jax.run.comparing.disagreements import Disagreement
from cnn_jax.run.comparing.groups import Difference, Group, differences, grouped
from cnn_jax.run.comparing.records import Record, read_all


class Comparison(NamedTuple):
    """Runs beside each other.

    Attributes:
        groups: the runs by what they repeat.
        fields: the groups by what their figures are of: only within a field may be compared.
        differences: each group of a field against its first.
        notes: what to mind, a sentence each.
        disagreements: examples that networks judge differently; [] if they were not looked for.
        page: path of the page; None if nothing was written.
    """

    groups: list[Group]
    fields: list[Field]
    differences: list[Difference]
    notes: list[str]
    disagreements: list[Disagreement]
    page: Path | None = None

    @property
    def runs(self) -> list[Record]:
        return [run for group in self.groups for run in group.runs]

    @property
    def chosen_by(self) -> str:
        """The figure that most groups are chosen by: 'val_accuracy'; '' if that is not known."""
        names = [str(run.result["chosen_by"]) for run in self.runs if run.result.get("chosen_by")]
        known = {name for group in self.groups for name in group.figure_names()}
        for part in ("val", "test"):  # of runs with several seeds
            names += [n for n in (f"{part}_{b}" for b in _BEST) if n in known and not names]
        return max(names, key=names.count) if names else ""


_BEST = ("accuracy", "map", "mean_iou", "ap")  # the metrics that the tasks choose by


def gathered(
    places: Iterable[str | os.PathLike[str]],
    *,
    reference: str,
    evaluate: bool,
    evaluations: Path,
    say: Callable[[str], None],
) -> Comparison:
    """The runs in these places; see `cnn_jax.run.compare`."""
    records, left = read_all(places)
    groups = grouped(records)
    if reference:
        groups = _first(groups, reference)
    found = comparable.fields(groups)
    known = [name for group in groups for name in group.figure_names() if "/" not in name]
    names = list(dict.fromkeys(known))
    between = [
        difference
        for field in found
        for difference in differences(
            field.groups, field.groups[0], [n for n in names if n.startswith(f"{field.part}_")]
        )
    ]
    notes = [*left, *comparable.notes(groups, found)]
    looked, more = disagreements.of_groups(
        found, evaluate=evaluate, evaluations=evaluations, say=say
    )
    return Comparison(groups, found, between, [*notes, *more], looked)


def _first(groups: Sequence[Group], reference: str) -> list[Group]:
    wanted = _without_dashes(reference.rstrip("/"))
    for group in groups:
        runs = [*group.runs, *group.spare]
        places = {name for run in runs for name in (run.name, run.place.rstrip("/"))}
        if wanted in map(_without_dashes, {group.name, *places}):
            return [group, *(other for other in groups if other is not group)]
    names = ", ".join(comparable.called(group) for group in groups)
    raise ValueError(f"reference={reference}: no run and no group is called so. Groups: {names}.")


def _without_dashes(name: str) -> str:
    """A command writes the settings in the name of a group as its flags, with two dashes."""
    return re.sub(r"(^|, )-{2}(?=\w)", r"\1", name)
