"""Decides whether a run may be resumed in a directory, without guessing what it was.

`recipe.flags` holds the settings of a run, and its checkpoints describe the data it was trained on.
If the file is missing or cut short, or the data differ, resuming is refused with the reason: to
resume with other settings, or to start over, would produce something that looks like a result.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_jax.run import settings as recipes

# Files that only a run that has begun leaves behind.
CHECKPOINTS, FILES = "checkpoints", ("metrics.jsonl", "result.json")
# The last setting of files from before November 2026, which did not count their settings.
LAST_SETTINGS = {"test_time_flip", "label_smoothing", "class_weights", "pretrained_backbone"}
# dataset=KIND:PATH, where PATH is only a location: the content is in the data's fingerprint.
PLACES = ("folder", "csv", "npz", "hf", "masks", "coco", "voc", "yolo")


class LostRecipeError(ValueError):
    """The settings of a run are lost."""


def read_recipe(flagfile: Path) -> dict[str, str]:
    """The settings of a run, as strings by name; {} if no run has begun in the directory.

    Raises:
        LostRecipeError: there was a run, and the file is missing, empty, cut short or not text.
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
    if not left and not settings:  # at most a run that was killed before it wrote anything
        return {}
    raise LostRecipeError(
        f"{flagfile} {wrong}: the settings of the run that left "
        f"{', '.join(left) or 'it'} there are lost. Restore a copy of the file (newer checkpoints "
        "also have the settings, in their 'meta'), or choose another `workdir`."
    )


def _what_is_wrong(text: str, settings: Mapping[str, str]) -> str:
    """What is wrong with the file; '' if it is whole."""
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
    """The files that a run left in a directory: ['checkpoints/12', 'metrics.jsonl']."""
    found = []
    if (directory / CHECKPOINTS).is_dir():
        names = [each.name for each in (directory / CHECKPOINTS).iterdir()]
        steps = [int(name) for name in names if name.isdecimal()]
        found += [f"{CHECKPOINTS}/{max(steps)}"] if steps else []
    files = [directory / name for name in FILES]
    return found + [file.name for file in files if file.exists()]


def differences(recipe: Any, earlier: Mapping[str, str]) -> dict[str, str]:
    """`recipes.differences`, without those of a data folder or a file of weights that has moved.

    `check` decides whether the data are the same, by their fingerprint in the checkpoint.
    """
    changes = recipes.differences(recipe, earlier)
    if _moved(earlier.get("dataset"), getattr(recipe, "dataset", None)):
        changes.pop("dataset", None)
    for weights in ("pretrained", "pretrained_backbone"):  # the checkpoint holds them
        was, now = earlier.get(weights, ""), getattr(recipe, weights, "")
        if was and now and Path(was).name == Path(now).name:
            changes.pop(weights, None)
    return changes


def _moved(was: Any, now: Any) -> bool:
    """Whether both are folders of the same kind: 'folder:a' and 'folder:b'."""
    kinds = {str(dataset).partition(":")[0] for dataset in (was, now)}
    return len(kinds) == 1 and kinds <= {*PLACES} and ":" in str(was) and ":" in str(now)


def check(directory: Path, recipe: Any, facts: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of other settings, another network or other data.

    Args:
        directory: directory of the checkpoints.
        recipe: recipe of the run to resume.
        facts: facts of that run: JSON.
        meta: meta of the checkpoint.

    Raises:
        ValueError: they differ; the message says what was and what is now.
    """
    saved = meta.get("facts", {})
    if changes := differences(recipe, meta.get("settings", {})):
        raise ValueError(
            f"The checkpoint in {directory} is of another experiment: "
            f"{'; '.join(changes.values())}. Choose another `workdir`, or give "
            "the same settings to resume it."
        )
    if not recipe.accept_changed_data and (news := data_changes(facts, meta)):
        raise ValueError(
            f"The data of the run in {directory.parent} have changed: "
            f"{'; '.join(news)}. Put them back, choose another `workdir`, or give "
            "accept_changed_data=True to resume with the data as they are."
        )
    bits = facts.get("sample_bits", 0)
    if "pixel_rule" not in saved and bits not in (0, 16):
        raise ValueError(
            f"The run in {directory.parent} was trained by a version that took the high byte of 16 "
            f"bits, and its images hold {bits}: it saw them {2 ** (16 - bits)} times darker than "
            "this version shows them. Predict and evaluate with it as before, and choose another "
            "`workdir` to train anew."
        )
    for name, now in facts.items():
        if name == "data" or name not in saved or saved[name] == now:
            continue
        if name == "dataset" and "data" in saved and _moved(saved[name], now):
            continue
        raise ValueError(
            f"The checkpoint in {directory} has {name} {saved[name]!r}, "
            f"and this run has {now!r}. Choose another `workdir`."
        )


def data_changes(facts: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    """How the data differ from those of the checkpoint, one phrase per part that differs."""
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
    """What to log about the data of a resumed run; '' for nothing."""
    if "data" in facts and "data" not in meta.get("facts", {}):
        return (
            "The checkpoint is of a version that did not record its data: whether they are still "
            "the same cannot be checked."
        )
    if changes := data_changes(facts, meta):
        return f"Resuming with changed data: {'; '.join(changes)}."
    return ""
