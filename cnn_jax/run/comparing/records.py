"""What run directories say about their runs: settings, rows, figures, and how they stand.

Nothing is locked or written, no checkpoint is opened and no data set is needed, so that runs may be
read while they go on.
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax.run import directory as directories
from cnn_jax.run import failures, resuming, saved
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.comparing.places import directories_in, short_names
from cnn_jax.run.opening import kind_of
from cnn_jax.run.tasks import name_of, task_of
from cnn_jax.stores import StoreError
from cnn_jax.train import log

SEEDS_FILE = "runs.jsonl"  # of a run with several seeds, see `cnn_jax.run.sweep`
FINISHED, RUNNING, FAILED, UNFINISHED = "finished", "running", "failed", "unfinished"
# Figures that result.json has beside those of the evaluations, and what they are called here.
SPEEDS = {
    "images_per_second": "images/s",
    "mfu": "MFU",
    "seconds": "seconds, last start",
    "wall_seconds_total": "from first start",
    "goodput": "goodput",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A run, as its directory tells of it.

    Attributes:
        name: what it is called here; unique among those that were read together.
        place: its directory or URL.
        task: name of the task; '' if it is not known here.
        settings: every setting as text, by name, with the defaults of those it does not have.
        counting: names of the settings that can change the result.
        rows: of metrics.jsonl.
        figures: figures of the result by name: 'val_accuracy'; None for what is no number.
        result: content of result.json; {} before the end.
        state: 'finished', 'running', 'failed', or 'unfinished': interrupted, or running elsewhere.
        why: why it failed, in one line; else ''.
        data: number and fingerprint of the examples of each split; {} if they are not known.
        facts: other facts of its checkpoints.
        shared: whether its directory holds other runs too, of other seeds.
    """

    name: str
    place: str
    task: str
    settings: Mapping[str, str]
    counting: frozenset[str]
    rows: tuple[dict[str, Any], ...]
    figures: Mapping[str, float | None]
    result: Mapping[str, Any]
    state: str
    why: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shared: bool = False

    @property
    def repetition(self) -> tuple[str, str]:
        """Seed and fold: runs that differ in these alone repeat one experiment."""
        return self.settings.get("seed", "0"), self.settings.get("fold", "")

    @property
    def step(self) -> int:
        """The last step that is known of."""
        return max((row["step"] for row in self.rows), default=0)

    @property
    def part(self) -> str:
        """What it is chosen on: 'val' or 'test'; '' if that is not known yet."""
        parts = [row["split"] for row in self.rows if row["split"] in ("val", "test")]
        return str(self.result.get("chosen_by", parts[-1] if parts else "")).partition("_")[0]

    @property
    def diverged(self) -> int | None:
        """The first step whose loss is no number; None if there is none."""
        bad = (r["step"] for r in self.rows if "loss" in r and _number(r["loss"]) is None)
        return next(bad, None)

    @property
    def speeds(self) -> dict[str, float]:
        """Speeds and times, by the names of SPEEDS, and the seconds before the steps."""
        if self.shared:
            return {}
        own = {name: _number(self.result.get(name)) for name in SPEEDS}
        first = next((r for r in self.rows if r.get("wall_images_per_second")), None)
        if first is not None and "batch_size" in self.settings:
            seconds = first["step"] * float(self.settings["batch_size"])
            own["start"] = max(
                0.0, first["wall_seconds"] - seconds / first["wall_images_per_second"]
            )
        return {name: value for name, value in own.items() if value is not None}


def read_all(places: Iterable[str | os.PathLike[str]]) -> tuple[list[Record], list[str]]:
    """The runs in these places, in their order, each once; and what was left out, a line each.

    Args:
        places: run directories, s3:// URLs of some, patterns of them, or directories with runs in
            them, at any depth.

    Raises:
        ValueError: there is no run in one of them.
    """
    found: list[Record] = []
    left: list[str] = []
    for place in directories_in(places):
        try:
            found += _read(place)
        except (ValueError, StoreError) as error:
            left.append(f"{place} is left out: {' '.join(str(error).split())}")
    if not found:
        raise ValueError(left[0] if left else "No run is given: give run directories.")
    names = short_names([(record.place, record.name) for record in found])
    return [dataclasses.replace(r, name=n) for r, n in zip(found, names, strict=True)], left


def _read(place: str) -> list[Record]:
    with directories.readable(place) as directory:
        flagged = saved.settings_of(directory, place)
        facts = _facts(directory / resuming.CHECKPOINTS)
        settings, counting, task = _settings(flagged)
        result = _json(directory / workdirs.RESULT_FILE)
        state, why = FINISHED if result else UNFINISHED, ""
        if not result and _in_use(directory / workdirs.LOCK_FILE):
            state = RUNNING
        elif not result and (said := failures.read(directory)):
            state, why = FAILED, said
        whole = Record(
            name=place,
            place=place,
            task=facts.get("task") or task,
            settings=settings,
            counting=counting,
            rows=tuple(log.read_rows(directory / "metrics.jsonl")),
            figures=_figures(result),
            result=result,
            state=state,
            why=why,
            data=facts.get("data", {}),
            facts=facts,
        )
        seeds = _lines(directory / SEEDS_FILE)
    if settings.get("seeds", "1") != "1" or settings.get("learning_rates"):
        return _of_seeds(whole, seeds)
    return [whole]


def _of_seeds(whole: Record, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The runs of a directory with several, of which each is what it would have been alone."""
    ended = {(r["seed"], r["learning_rate"]): r for r in whole.result.get("runs", [])}
    keys = dict.fromkeys([*ended, *((row["seed"], row["learning_rate"]) for row in rows)])
    found = []
    for seed, rate in keys:
        own = [row for row in rows if (row["seed"], row["learning_rate"]) == (seed, rate)]
        changed = {"seed": str(seed), "learning_rate": str(float(rate)), "seeds": "1"}
        several = bool(whole.settings.get("learning_rates"))
        found.append(
            dataclasses.replace(
                whole,
                name=f"{whole.name}, seed {seed}" + (f", rate {rate:g}" if several else ""),
                settings={**whole.settings, **changed, "learning_rates": ""},
                rows=tuple(split for row in own for split in _split(row)),
                figures=_figures(ended.get((seed, rate), {})),
                shared=True,
            )
        )
    return found or [whole]


def _split(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row of runs.jsonl as those of metrics.jsonl."""
    parts = []
    for part in ("train", "val", "test"):
        own = {n.removeprefix(f"{part}_"): v for n, v in row.items() if n.startswith(f"{part}_")}
        if own:
            parts.append({"step": row["step"], "split": part, **own})
    return parts


def _settings(flagged: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str], str]:
    """Every setting as text, the names of those that count, and the task."""
    kept = {name: value for name, value in flagged.items() if name not in texts.NOT_KEPT}
    try:
        kind = kind_of(flagged)
        recipe = texts.from_flagfile(kind, flagged)
    except ValueError:  # of a plug-in that is not loaded, or with a value of another version
        return kept, frozenset(kept), ""
    whole = {**kept, **texts.parse_flagfile(texts.to_flagfile(recipe))}
    silent = {f.name for f in dataclasses.fields(kind) if not f.metadata["result"]}
    return whole, frozenset(whole) - silent, name_of(task_of(recipe))


def _facts(checkpoints: Path) -> dict[str, Any]:
    """The facts in the newest checkpoint whose description can be read; {} if there is none."""
    with contextlib.suppress(OSError):
        steps = sorted(
            (int(e.name) for e in checkpoints.iterdir() if e.name.isdecimal()), reverse=True
        )
        for step in steps:
            meta = _json(checkpoints / str(step) / "meta" / "metadata")
            if isinstance(meta.get("facts"), dict):
                return {"task": "classification", **meta["facts"]}
    return {}


def _figures(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of the evaluations."""
    return {
        name: _number(value)
        for name, value in result.items()
        if name.startswith(("val_", "test_")) and not isinstance(value, (str, list, dict))
    }


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; {} if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        return content if isinstance(content, dict) else {}
    return {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The rows of runs.jsonl that are whole."""
    rows = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict) and {"seed", "learning_rate", "step"} <= row.keys():
                    rows.append(row)
    return rows


def _in_use(lock: Path) -> bool:
    """Whether a process of this machine holds the lock, without trying to take it: a run that is
    just starting would find it taken. Only Linux tells."""
    with contextlib.suppress(OSError):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and "->" not in words and words[5].rpartition(":")[2] == inode:
                return True
    return False
