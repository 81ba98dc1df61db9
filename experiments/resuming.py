"""Whether a run may go on in a directory: nothing about what it was is ever guessed.

`recipe.flags` says by which settings a run was made, and its checkpoints what data it was trained
on. Where the file is missing or cut short, or the data are others, the run is refused by name: to
go on with other settings, or as if nothing had been there, would look like a result.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import recipe as recipes

# What only a run that has begun leaves behind.
CHECKPOINTS, FILES = "checkpoints", ("metrics.jsonl", "result.json")
# What the files that did not count their settings, until November 2026, ended with.
LAST_SETTINGS = {"test_time_flip", "label_smoothing", "class_weights", "pretrained_backbone"}
# --dataset=KIND:PATH, where PATH is only a place: what lies there is in the data's fingerprint.
PLACES = ("folder", "masks", "coco", "voc")


class LostRecipeError(ValueError):
    """Nothing says any more by which settings a run was made."""


def read_recipe(flagfile: Path) -> dict[str, str]:
    """The settings of a run, as text by name; {} where no run has begun in the directory.

    Raises:
        LostRecipeError: there was a run, and the file is missing, empty, cut short or no text.
    """
    settings: dict[str, str] = {}
    wrong = "is missing"
    if flagfile.exists():
        try:
            text = recipes.read_text(flagfile)
        except OSError as error:
            wrong = f"cannot be read ({error.strerror})"
        else:
            settings = recipes.parse_flagfile(text)
            wrong = _what_is_wrong(text, settings)
            if not wrong:
                return settings
    left = left_behind(flagfile.parent)
    if not left and not settings:  # at most a run that was killed before it had written anything
        return {}
    raise LostRecipeError(
        f"{flagfile} {wrong}: nothing says by which settings the run was made that left "
        f"{', '.join(left) or 'it'} there. Put a copy of the file back (the settings are in the "
        "'meta' of newer checkpoints too), or choose another --workdir."
    )


def _what_is_wrong(text: str, settings: Mapping[str, str]) -> str:
    """'' where the file is whole."""
    if not text.strip():
        return "is empty"
    count = recipes.counted(text)
    if count is None:
        whole = bool(settings) and [*settings][-1] in LAST_SETTINGS
        return "" if whole and text.endswith("\n") else "is cut short"
    if len(settings) != count:
        return f"is not whole, it has {len(settings)} of its {count} settings"
    return "" if text.endswith("\n") else "is cut short"


def left_behind(directory: Path) -> list[str]:
    """What a run left in a directory: ['checkpoints/12', 'metrics.jsonl']."""
    found = []
    if (directory / CHECKPOINTS).is_dir():
        names = [each.name for each in (directory / CHECKPOINTS).iterdir()]
        steps = [int(name) for name in names if name.isdecimal()]
        found += [f"{CHECKPOINTS}/{max(steps)}"] if steps else []
    files = [directory / name for name in FILES]
    return found + [file.name for file in files if file.exists()]


def differences(recipe: Any, earlier: Mapping[str, str]) -> list[str]:
    """`recipes.differences`, but for a folder of data that lies elsewhere now.

    Whether it is the same data is for `check_data` to say, by what the checkpoint knows of it.
    """
    changes = recipes.differences(recipe, earlier)
    if _moved(earlier.get("dataset"), getattr(recipe, "dataset", None)):
        changes = [change for change in changes if not change.startswith("--dataset was ")]
    return changes


def _moved(was: Any, now: Any) -> bool:
    """Whether both are folders of the same kind: 'folder:a' and 'folder:b'."""
    kinds = {str(dataset).partition(":")[0] for dataset in (was, now)}
    return len(kinds) == 1 and kinds <= {*PLACES} and ":" in str(was) and ":" in str(now)


def check(directory: Path, recipe: Any, facts: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that was made by other settings, of another network or other data.

    Args:
        directory: of the checkpoints.
        recipe: of the run that is to go on.
        facts: of that run: JSON.
        meta: of the checkpoint.

    Raises:
        ValueError: with what was and what is now.
    """
    saved = meta.get("facts", {})
    if changes := differences(recipe, meta.get("settings", {})):
        raise ValueError(
            f"The checkpoint in {directory} is of another experiment: {'; '.join(changes)}. "
            "Choose another --workdir, or give the same settings to go on with it."
        )
    if not recipe.accept_changed_data and (changes := data_changes(facts, meta)):
        raise ValueError(
            f"The data of the run in {directory.parent} are not what they were: "
            f"{'; '.join(changes)}. Put them back, choose another --workdir, or give "
            "--accept_changed_data to go on with them as they are."
        )
    for name, now in facts.items():
        if name == "data" or name not in saved or saved[name] == now:
            continue
        if name == "dataset" and "data" in saved and _moved(saved[name], now):
            continue
        raise ValueError(
            f"The checkpoint in {directory} has {name} {saved[name]!r}, "
            f"and this run has {now!r}. Choose another --workdir."
        )


def data_changes(facts: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    """How the data differ from those of the checkpoint, a phrase for each part that does."""
    changes = []
    for part, was in meta.get("facts", {}).get("data", {}).items():
        now = facts.get("data", {}).get(part)
        if now is None:
            continue
        before, after = was["examples"], now["examples"]
        if before != after:
            change = f"{abs(after - before):,} {'fewer' if after < before else 'more'}"
            changes.append(f"{part} had {before:,} examples and has {after:,} now, {change}")
        elif was["fingerprint"] != now["fingerprint"]:
            changes.append(
                f"{part} has {after:,} examples as before, but their names, sizes or labels differ"
            )
    return changes


def what_to_know(facts: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """What to say of the data of a run that goes on; '' where there is nothing to say."""
    if "data" in facts and "data" not in meta.get("facts", {}):
        return (
            "The checkpoint is of a version that did not note what its data were: whether they "
            "are the same now could not be compared."
        )
    if changes := data_changes(facts, meta):
        return f"Going on with changed data: {'; '.join(changes)}."
    return ""
