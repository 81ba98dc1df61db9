"""Turns the parameters in a message of the library into the flags of the running command.

The library writes `name=value`, and a parameter without a value in backticks. In a command the
same line has `--name=value`, or `--name` and `--noname` for a boolean. What is quoted, or was given
as the value of a flag, is the user's and stays as it is; so do calls, such as Array(dtype=int8),
and the directories of a sweep's runs, such as learning_rate=0.1_seed=0.
"""

import re
import sys

from absl import flags

_QUOTED = r"(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)\"(?:[^\"\\]|\\.)*\"(?!\w)"
_CALL = r"\w\((?:[^()]|\([^()]*\))*\)"


def in_flags(text: str, values: flags.FlagValues = flags.FLAGS) -> str:
    """The text with a flag in the place of each parameter that is one of `values`.

    Args:
        text: a message of the library.
        values: flags of the command; of absl's own, those that experiments define.
    """
    names = _names(values)
    if not names or ("=" not in text and "`" not in text):
        return text
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    directory = rf"(?<![\w./:\\=\-])(?:{known})=[^\s,]*_(?:{known})=\S*"  # a run of a sweep
    kept = [_QUOTED, _CALL, directory, *(re.escape(value) for value in _given(values, names))]
    pattern = (
        rf"`(?P<ticked>{known})(?:=(?P<to>[^`]*))?`"
        rf"|(?P<kept>{'|'.join(kept)})"
        rf"|(?<![\w./:\\=\-])(?P<name>{known})=(?P<truth>(?:True|False)\b)?"
    )

    def flag(match: re.Match[str]) -> str:
        name = match["ticked"] or match["name"]
        if name is None:
            return match[0]
        value = match["truth"] if match["name"] else match["to"]
        if values[name].boolean and value in ("True", "False"):
            return f"--{name}" if value == "True" else f"--no{name}"
        if match["ticked"] and value is None:
            return f"--{name}"
        return f"--{name}={value or ''}"

    return re.sub(pattern, flag, text)


def _names(values: flags.FlagValues) -> list[str]:
    if values is not flags.FLAGS:
        return list(values)
    modules = values.flags_by_module_dict()
    return [
        flag.name
        for module, own in modules.items()
        if module.startswith("experiments") or module in ("__main__", sys.argv[0])
        for flag in own
    ]


def _given(values: flags.FlagValues, names: list[str]) -> list[str]:
    """What the user gave and could look like parameters, the longest first."""
    texts = [value for name in names if isinstance(value := values[name].value, str)]
    if values is flags.FLAGS:
        texts += [word for word in sys.argv[1:] if not word.startswith("-")]
    return sorted({text for text in texts if "=" in text}, key=len, reverse=True)
