"""What may be compared with what, and what must not: said by name, and never averaged over."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnn_jax.run.comparing.groups import Group, differences_in
from cnn_jax.run.comparing.records import FAILED, FINISHED, RUNNING, UNFINISHED, Record

PARTS = {"val": "validation", "test": "test"}
_LOSS = ("loss", "label_smoothing", "class_weights")  # settings that make another loss


class Field(NamedTuple):
    """Groups whose figures on a part are of the same examples.

    Attributes:
        part: 'val' or 'test'.
        what: the examples, in words.
        groups: in their order.
    """

    part: str
    what: str
    groups: list[Group]


def fields(groups: Sequence[Group]) -> list[Field]:
    """The groups by what each part of their figures is of; those without any are in none."""
    found = []
    for part in PARTS:
        those = [g for g in groups if any(n.startswith(f"{part}_") for n in g.figure_names())]
        known = all(_fingerprint(group.first, part) for group in those)
        parted: dict[tuple, list[Group]] = {}
        for group in those:
            parted.setdefault(_examples(group.first, part, known), []).append(group)
        found += [Field(part, _in_words(own[0].first, part), own) for own in parted.values()]
    return found


def _fingerprint(record: Record, part: str) -> str:
    return str(record.data.get(PARTS[part], {}).get("fingerprint", ""))


def _examples(record: Record, part: str, known: bool) -> tuple:
    """What tells the examples of a part apart; of folds the parts are many, and are those of the
    same seed and fold in all groups."""
    split = record.settings.get("fold", "").partition("/")[2] if part == "val" else ""
    if known and not split:
        return record.task, _fingerprint(record, part)
    names = ("dataset", "train_split", "validation_split", "test_split")
    chosen = names[:3] if part == "val" else (names[0], names[3])
    return (record.task, split, *(record.settings.get(name, "") for name in chosen))


def _in_words(record: Record, part: str) -> str:
    settings, described = record.settings, record.data.get(PARTS[part], {})
    split = described.get("split") or settings.get(
        "test_split" if part == "test" else "validation_split", ""
    )
    fold = settings.get("fold", "").partition("/")[2]
    if part == "val" and fold:
        split = f"each of {fold} folds of {settings.get('train_split', 'train')}"
        described = {}
    count = f", {described['examples']:,} examples" if "examples" in described else ""
    return f"{settings.get('dataset', record.task)}, {split}{count}"


def notes(groups: Sequence[Group], found: Sequence[Field]) -> list[str]:
    """What to mind when these groups are compared, a sentence each."""
    runs = [run for group in groups for run in [*group.runs, *group.spare]]
    said = []
    if len(tasks := {run.task for run in runs}) > 1:
        said.append(f"Not comparable: tasks, {_listed(runs, lambda r: r.task or 'unknown')}.")
    for part, title in PARTS.items():
        own = [field for field in found if field.part == part]
        if len(own) > 1 and len(tasks) == 1:
            each = "; ".join(f"{_names(f.groups)} on {f.what}" for f in own)
            said.append(f"Not comparable: {title} figures are of different examples: {each}.")
    rules = {run.facts["pixel_rule"] for run in runs if "pixel_rule" in run.facts}
    if len(rules) > 1:
        said.append(
            "Images became pixels by different rules (versions of this package): "
            f"{_listed(runs, lambda r: str(r.facts.get('pixel_rule', 'not known')))}."
        )
    parts = {group.first.part for group in groups} - {""}
    if len(parts) > 1:
        said.append(
            "Test figures are of the best checkpoint by validation, or of the last one where the "
            f"run was chosen on the test split: {_listed(runs, lambda r: PARTS.get(r.part, ''))}."
        )
    elif parts == {"test"}:
        said.append(
            "These runs were evaluated on the test split while they trained. To choose between "
            "them by it flatters the one that is chosen; validation_split=10% holds examples out."
        )
    own_loss = [n for n in differences_in([g.first for g in groups]) if n in _LOSS]
    if own_loss:
        said.append(f"Losses are not comparable: {', '.join(own_loss)} differ.")
    said += _versions(runs) + _hardware(runs)
    for group in groups:
        said += _of_group(group)
    return said


def _versions(runs: Sequence[Record]) -> list[str]:
    versions = [run.result.get("versions", {}) for run in runs]
    packages = dict.fromkeys(name for each in versions for name in each)
    said = []
    for name in packages:
        if len({each[name] for each in versions if name in each}) > 1:
            own = {id(r): str(v.get(name, "")) for r, v in zip(runs, versions, strict=True)}
            each_of = _listed(runs, lambda run, own=own: own[id(run)])  # type: ignore
            said.append(f"Versions of {name} differ: {each_of}.")
    return said


def _hardware(runs: Sequence[Record]) -> list[str]:
    def machine(run: Record) -> str:
        own = run.result.get("hardware", {})
        count, cores = own.get("devices", "?"), own.get("cpu_cores", "?")
        device = own.get("cpu") if own.get("platform") == "cpu" else own.get("device")
        return f"{count} x {device}, {cores} cores" if own else ""

    if len({machine(run) for run in runs} - {""}) < 2:
        return []
    return [f"Speeds are of different machines: {_listed(runs, machine)}."]


def _of_group(group: Group) -> list[str]:
    said = []
    for run in group.runs:
        if run.state == FAILED:
            at = f" at about step {run.step}" if run.step else ""
            said.append(f"{run.name} failed{at}: {run.why}")
        elif run.state == RUNNING:
            said.append(f"{run.name} is running, at step {run.step}: it has curves, no figures.")
        elif run.state == UNFINISHED:
            said.append(
                f"{run.name} is unfinished, at step {run.step}: it was interrupted, or runs on "
                "another machine. It has curves, no figures."
            )
        if run.diverged is not None:
            said.append(f"{run.name} diverged: its loss is no number from step {run.diverged} on.")
    if group.spare:
        names = ", ".join(run.name for run in group.spare)
        said.append(
            f"Left out of {called(group)}, as they repeat a seed: {names}. That is no new sample."
        )
    whole = {name for run in group.finished for name in run.figures}
    for run in group.finished:
        if lacking := sorted(whole - set(run.figures)):
            said.append(f"{run.name} has no {', '.join(lacking[:5])}.")
    if any(run.settings.get("fold") for run in group.runs):
        said.append(
            f"{called(group)}: each fold is validated on other examples, and trained on examples "
            "that the others share, so that the interval is too narrow."
        )
    return said


def finished(groups: Sequence[Group]) -> str:
    """'5 of 6 runs are finished', in words."""
    runs = [run for group in groups for run in group.runs]
    ended = sum(run.state == FINISHED for run in runs)
    return f"{ended} of {len(runs)} runs are finished" if ended < len(runs) else "all are finished"


def _names(groups: Sequence[Group]) -> str:
    return _few([called(group) for group in groups])


def called(group: Group) -> str:
    """The name of a group in a sentence: in quotes where it has commas itself."""
    return f"'{group.name}'" if ", " in group.name else group.name


def _listed(runs: Sequence[Record], what: Callable[[Record], str]) -> str:
    """'a (run1, run2); b (run3)': the runs by what they have."""
    by: dict[str, list[str]] = {}
    for run in runs:
        if what(run):
            by.setdefault(what(run), []).append(run.name)
    return "; ".join(f"{value} ({_few(names)})" for value, names in by.items())


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
