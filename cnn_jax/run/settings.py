"""The fields of a recipe, and a recipe as text.

The text is that of a flagfile: one line for each setting, two dashes and `name=value`. Each run
writes it to recipe.flags, and commands read such files.
"""

import dataclasses
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")

_MARK = "--"  # how a line with a setting begins
# Where a run is, and how it is resumed: not part of what it is.
NOT_KEPT = ("workdir", "resume", "accept_changed_data")


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    result: bool = True,
    read: Callable[[Any], str] | None = None,
    least: float | None = None,
    below: float | None = None,
    missing: str | None = None,
) -> Any:
    """A field of a recipe.

    Args:
        default: value unless another is given; its type is the field's.
        help: what it is, with the unit.
        choices: the values allowed, if they are few.
        result: whether the field can change the result. A run can be resumed with other values of
            the fields that cannot: the directories, the layout, the interval of logging.
        read: for a text that may be given in several ways, such as weights by name: what is given
            -> the text that is kept.
        least: the smallest number allowed; None: any.
        below: what a number must stay below; None: any.
        missing: what runs of versions without this setting did, if that is not the default.
    """
    metadata = {"help": help, "choices": choices, "result": result, "read": read}
    metadata |= {"least": least, "below": below, "missing": missing}
    return dataclasses.field(default=default, metadata=metadata)


def with_defaults(**defaults: Any) -> Callable[[type[R]], type[R]]:
    """Class decorator, below `dataclass`: other defaults for settings that a recipe inherits.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    @with_defaults(epochs=9.0)
    class Mine(TrainingRecipe): ...
    """

    def change(recipe: type[R]) -> type[R]:
        own = inspect.get_annotations(recipe)
        inherited = {field.name: field for field in dataclasses.fields(recipe)}  # type: ignore
        for name, value in defaults.items():
            own[name] = inherited[name].type
            field = dataclasses.field(default=value, metadata=inherited[name].metadata)
            setattr(recipe, name, field)
        recipe.__annotations__ = own
        return recipe

    return change


def checked(name: str, value: Any, field: dataclasses.Field) -> Any:
    """The value of a setting, of the type of its default.

    Raises:
        ValueError: it is of another type, no finite number, out of range, none of the choices, or
            a text of several lines.
    """
    default, choices = field.default, field.metadata["choices"]
    if read := field.metadata.get("read"):
        try:
            value = read(value)
        except (TypeError, AttributeError):
            raise ValueError(
                f"{name}={value!r}: wanted a text such as {default or 'a,b'!r}, or names."
            ) from None
    if isinstance(default, str):
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            raise ValueError(f"{name}={value!r}: wanted a string.")
        if any(end in value for end in "\r\n"):
            raise ValueError(f"{name}={value!r}: it must be one line.")
        if choices and value not in choices:
            shown = ", ".join(each or "''" for each in choices)
            raise ValueError(f"{name}={value!r}: wanted one of {shown}.")
        return value
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: wanted True or False.")
        return value
    if isinstance(default, tuple):
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise ValueError(f"{name}={value!r}: wanted numbers, such as (0.1, 0.2).")
        return tuple(_bounded(name, _number(name, item, float), field) for item in value)
    return _bounded(name, _number(name, value, type(default)), field)


def _bounded(name: str, number: Any, field: dataclasses.Field) -> Any:
    least, below = field.metadata.get("least"), field.metadata.get("below")
    if (least is None or number >= least) and (below is None or number < below):
        return number
    ends = [f"at least {least}"] if least is not None else []
    ends += [f"below {below}"] if below is not None else []
    raise ValueError(f"{name}={number}: it must be {' and '.join(ends)}.")


def _number(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        raise ValueError(f"{name}={value!r}: wanted a number.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}={number}: it must be finite.")
    if kind is float:
        return number
    if number != int(value):
        raise ValueError(f"{name}={value!r}: wanted a whole number.")
    return int(value)


def to_flagfile(recipe: Any) -> str:
    """The recipe as text: every field except the run directory."""
    lines = []
    for field in dataclasses.fields(recipe):
        if field.name in NOT_KEPT:
            continue
        value = getattr(recipe, field.name)
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, tuple):
            value = ",".join(repr(item) for item in value)
        lines.append(f"{_MARK}{field.name}={value}")
    # the count reveals a file that has lost some of its lines
    head = (
        f"# Every setting of this run, {len(lines)} of them. To repeat it: "
        f"{_MARK}flagfile=THIS_FILE"
    )
    return "\n".join([head, *lines]) + "\n"


def from_flagfile(recipe: type[R], settings: Mapping[str, str]) -> R:
    """The recipe of settings as `parse_flagfile` gives them.

    Settings that the recipe does not know, of another version, are left out; those that are missing
    have their defaults, or what runs without them did.

    Raises:
        ValueError: a value is of another type than the setting.
    """
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):  # type: ignore[arg-type]
        if field.name not in settings and field.metadata.get("missing") is not None:
            chosen[field.name] = field.metadata["missing"]
        if field.name in settings:
            value, least = _parsed(field, settings[field.name]), field.metadata.get("least")
            # older versions took keep=0 or intervals below 0, which changed no result
            clamped = least is not None and not field.metadata["result"]
            chosen[field.name] = max(value, least) if clamped else value
    return recipe(**chosen)


def _parsed(field: dataclasses.Field, text: str) -> Any:
    default: Any = field.default
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text]
        if isinstance(default, tuple):
            return tuple(float(item) for item in text.split(",") if item)
        kind: Any = type(default)
        return kind(text)
    except (ValueError, KeyError):
        kind = type(default).__name__
        raise ValueError(f"{field.name}={text!r} of the run's recipe is no {kind}.") from None


def read_text(path: Path) -> str:
    """The text of a file that a run wrote. A path in it need not be UTF-8."""
    return path.read_bytes().decode("utf-8", errors="surrogateescape")


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or not at all, and to the disk before anything written later."""
    partial = path.with_name(path.name + ".new")
    with partial.open("wb") as file:
        file.write(text.encode("utf-8", errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def counted(text: str) -> int | None:
    """The number of settings that a flagfile says it has; None if it does not say."""
    first = re.search(r"^# .*?, (\d+) of them\.", text.partition("\n")[0])
    return int(first.group(1)) if first else None


def parse_flagfile(text: str) -> dict[str, str]:
    """The settings in the text of a flagfile written by `to_flagfile`, as strings by name."""
    settings = {}
    for line in text.split("\n"):
        line = line.removesuffix("\r")  # an editor's
        if line.startswith(_MARK):
            name, _, value = line.removeprefix(_MARK).partition("=")
            settings[name] = value
    return settings


def differences(recipe: Any, earlier: Mapping[str, str]) -> dict[str, str]:
    """The settings that can change the result and differ from `earlier`, each with a phrase.

    {'seed': '`seed` was 0 and is now 1'}

    A setting that `earlier` lacks, because an older version wrote it, is left out.
    """
    now = parse_flagfile(to_flagfile(recipe))
    found = {}
    for field in dataclasses.fields(recipe):
        name = field.name
        if not field.metadata["result"] or name not in now:
            continue
        missing = field.metadata.get("missing") if earlier else None
        before = now[name] if missing is None else missing
        if earlier.get(name, before) != now[name]:
            was, become = (_shown(field, text) for text in (earlier.get(name, before), now[name]))
            found[name] = f"`{name}` was {was} and is now {become}"
    return found


def _shown(field: dataclasses.Field, text: str) -> str:
    return (text.capitalize() if isinstance(field.default, bool) else text) or "''"
