"""A recipe is a frozen dataclass; its fields are the flags, its defaults the flags' defaults.

A flagfile (`--flagfile=experiments/recipes/cifar10_resnet20.flags`) is a recipe on disk, and so is
the recipe.flags that each run writes.
"""

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

R = TypeVar("R")


def setting(default: Any, help: str, *, choices: tuple[str, ...] = (), result: bool = True) -> Any:
    """A field of a recipe.

    Args:
        default: value unless the flag is given.
        help: the text of `--help`, with the unit.
        choices: the values allowed, if they are few.
        result: whether the field can change the result. A run can be resumed with other values of
            the fields that cannot: the directories, the layout, the interval of logging.
    """
    metadata = {"help": help, "choices": choices, "result": result}
    return dataclasses.field(default=default, metadata=metadata)


def define_flags(recipe: type, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one absl flag for each field of the recipe."""
    for field in dataclasses.fields(recipe):
        text, choices = field.metadata["help"], field.metadata["choices"]
        default: Any = field.default
        if choices:
            flags.DEFINE_enum(field.name, default, list(choices), text, flag_values=values)
        elif isinstance(default, bool):
            flags.DEFINE_bool(field.name, default, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(field.name, default, text, flag_values=values)
        elif isinstance(default, float):
            flags.DEFINE_float(field.name, default, text, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(field.name, [str(item) for item in default], text, flag_values=values)
        else:
            flags.DEFINE_string(field.name, default, text, flag_values=values)


def from_flags(recipe: type[R], values: flags.FlagValues = flags.FLAGS) -> R:
    """The recipe that the parsed flags describe.

    Raises:
        ValueError: an item of a list is not a number, a number is infinite or NaN, or a string has
            several lines.
    """
    chosen = {}
    for field in dataclasses.fields(recipe):  # type: ignore[arg-type]
        value = getattr(values, field.name)
        if isinstance(field.default, tuple):
            try:
                value = tuple(float(item) for item in value)
            except ValueError:
                raise ValueError(
                    f"--{field.name} is {','.join(value)}; it must be numbers separated by commas."
                ) from None
        if isinstance(value, str) and any(end in value for end in "\r\n"):
            raise ValueError(f"--{field.name} is {value!r}; it must be one line.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"--{field.name} is {number}; it must be finite.")
        chosen[field.name] = value
    return recipe(**chosen)


def to_flagfile(recipe: Any) -> str:
    """The recipe as the text of a flagfile: every field except the run directory."""
    lines = []
    for field in dataclasses.fields(recipe):
        if field.name in ("workdir", "resume", "accept_changed_data"):
            continue
        value = getattr(recipe, field.name)
        if isinstance(value, bool):
            lines.append(f"--{field.name}={str(value).lower()}")
        elif isinstance(value, tuple):
            lines.append(f"--{field.name}={','.join(repr(item) for item in value)}")
        else:
            lines.append(f"--{field.name}={value}")
    # the count reveals a file that has lost some of its lines
    head = f"# Every setting of this run, {len(lines)} of them. To repeat it: --flagfile=THIS_FILE"
    return "\n".join([head, *lines]) + "\n"


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
        if line.startswith("--"):
            name, _, value = line[2:].partition("=")
            settings[name] = value
    return settings


def differences(recipe: Any, earlier: Mapping[str, str]) -> list[str]:
    """The settings that can change the result and differ from `earlier`: '--a was 1 and is now 2'.

    A setting that `earlier` lacks, because an older version wrote it, is left out.
    """
    now = parse_flagfile(to_flagfile(recipe))
    return [
        f"--{field.name} was {earlier[field.name]} and is now {now[field.name]}"
        for field in dataclasses.fields(recipe)
        if field.metadata["result"]
        and field.name in now
        and earlier.get(field.name, now[field.name]) != now[field.name]
    ]
