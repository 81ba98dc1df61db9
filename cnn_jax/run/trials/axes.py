"""Settings to try, as text: 'learning_rate=0.03,0.1;optimizer=sgd,adamw'.

Values stand between commas. Where a value has commas itself, all of that setting stand between
bars: 'augment=flip,crop:4|flip', and an empty one is the empty text.
"""

import dataclasses
import difflib
import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cnn_jax.run.recipe import TrainingRecipe

MOST = 10_000  # runs
# What is of the whole process, or of the sweep itself.
FIXED = (
    *("workdir", "resume", "accept_changed_data", "plugin", "interrupted_status", "cpu_devices"),
    *("coordinator", "coordinator_bind_address", "process_count", "process_id", "heartbeat"),
    *(
        "connect_timeout",
        "step_timeout",
        "seeds",
        "learning_rates",
        "continue_run",
        "continue_step",
    ),
)
_SAFE = re.compile(r"[^\w.=,+-]")
_LONGEST = 100  # characters of the name of a directory


def parse(text: str, kind: type[TrainingRecipe], *, given: str = "sweep") -> dict[str, str]:
    """The settings in a text, each with the text of its values.

    Args:
        text: see above.
        kind: class of the recipe.
        given: name of the parameter that the text was given as, for messages.

    Raises:
        ValueError: it is of another form, or a setting is unknown, given twice or fixed.
    """
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, equals, values = part.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(
                f"{given}={text!r}: {part.strip()!r} is no setting with its values, such as "
                "'learning_rate=0.03,0.1'."
            )
        if name in found:
            raise ValueError(f"{given}: {name} is given twice.")
        field_of(name, kind, given=given)
        found[name] = values
    if not found:
        raise ValueError(f"{given}={text!r}: wanted settings, such as 'learning_rate=0.03,0.1'.")
    return found


def field_of(name: str, kind: type[TrainingRecipe], *, given: str) -> dataclasses.Field:
    """The field of a setting that may be varied.

    Raises:
        ValueError: there is none of this name, or it is one for all runs.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    if name in ("seeds", "learning_rates"):
        raise ValueError(f"{given}: {name} is for runs in one step. Write {name[:-1]}=... here.")
    if name in FIXED:
        raise ValueError(f"{given}: {name} is the same for all runs. Give it beside {given}.")
    if name not in known:
        near = difflib.get_close_matches(name, [n for n in known if n not in FIXED], 1)
        hint = f" Is {near[0]} meant?" if near else ""
        raise ValueError(f"{given}: {name!r} is no setting of this task.{hint}")
    return known[name]


def values_of(name: str, text: str, field: dataclasses.Field, *, given: str = "sweep") -> list[Any]:
    """The values of a setting, out of their text.

    Raises:
        ValueError: one is of another type, or given twice.
    """
    bars, many = "|" in text, isinstance(field.default, tuple)
    if many and "," in text and not bars:
        raise ValueError(
            f"{given}: {name} has several numbers. Put bars between its values: {name}=30,60|50,80."
        )
    parts = [part.strip() for part in text.split("|" if bars else ",")]
    return distinct(name, [_parsed(name, part, field, given) for part in parts], given=given)


def distinct(name: str, values: Iterable[Any], *, given: str = "sweep") -> list[Any]:
    """The values as a list.

    Raises:
        ValueError: there is none, or one is given twice.
    """
    listed = list(values)
    if not listed:
        raise ValueError(f"{given}: {name} has no values.")
    for value in listed:
        if listed.count(value) > 1:
            raise ValueError(f"{given}: {name}={value} is given twice.")
    return listed


def _parsed(name: str, text: str, field: dataclasses.Field, given: str) -> Any:
    default: Any = field.default
    if isinstance(default, bool):
        truth = {"true": True, "false": False, "1": True, "0": False}
        if text.lower() not in truth:
            raise ValueError(f"{given}: {name}={text!r}: wanted true or false.")
        return truth[text.lower()]
    try:
        if isinstance(default, tuple):
            return tuple(float(item) for item in text.split(",") if item.strip())
        if isinstance(default, int):
            return int(text) if re.fullmatch(r"\s*[+-]?\d+\s*", text) else _whole(float(text))
        if isinstance(default, float):
            return float(text)
    except (ValueError, OverflowError):
        wanted = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{given}: {name}={text!r}: wanted {wanted}.") from None
    return text


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


def combinations(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting changing fastest.

    Raises:
        ValueError: there are more than MOST.
    """
    values = [list(each) for each in axes.values()]
    count = math.prod(map(len, values))
    if count > MOST:
        raise ValueError(f"sweep: these are {count:,} runs; the limit is {MOST:,}.")
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*values)]


def called(changes: Mapping[str, Any]) -> str:
    """The name of a run by what is its own, for its directory: 'learning_rate=0.1_seed=1'."""
    text = "_".join(f"{name}={_text(value)}" for name, value in changes.items())
    safe = _SAFE.sub("_", text)
    if safe == text and len(text) <= _LONGEST:
        return text
    return f"{safe[:_LONGEST]}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def said(changes: Mapping[str, Any]) -> str:
    """What is a run's own, in words."""
    return ", ".join(f"{name}={_text(value)}" for name, value in changes.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
