"""Runs a learner's code in a process of its own, within a time limit."""

import json
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.concepts.exercises.exercise import Case, Exercise, Function

CHILD = Path(__file__).with_name("child.py")
WAITS = 4
OUT_OF_TIME = -getattr(signal, "SIGXCPU", 0)


class Failure(NamedTuple):
    """What came in place of an answer.

    Attributes:
        kind: 'raised', 'nothing' (None), 'type' (what is no array of numbers), 'count' (of values),
            'large' (more numbers than are looked at), 'endless' or 'died'.
        what: an error's type and message, the name of a type, a number.
        line: the learner's line, if it is known.
    """

    kind: str
    what: str = ""
    line: int | None = None


class Answer(NamedTuple):
    """Attributes:
    values: the arrays returned; None if there are none.
    failure: why there are none.
    changed: whether the arguments were changed.
    whole: whether each array is of whole numbers or truths, by NumPy's type.
    """

    values: tuple[np.ndarray, ...] | None
    failure: Failure | None = None
    changed: bool = False
    whole: tuple[bool, ...] = ()


class Ran(NamedTuple):
    """Attributes:
    answers: for each function, the answers for its cases so far; a function that is not defined
        is absent.
    failure: why the code could not be run at all.
    printed: what it printed.
    """

    answers: dict[str, list[Answer]]
    failure: Failure | None
    printed: str


def run(
    exercise: Exercise,
    code: str,
    cases: Mapping[str, Sequence[Case]],
    *,
    file: str,
    directory: Path,
    seconds: float,
) -> Ran:
    """Calls the functions of the code for all cases.

    Args:
        code: the learner's.
        cases: arguments for each function of the exercise.
        file: name of the code in messages.
        directory: where it may import other modules from.
        seconds: processor time for everything together; what only waits has WAITS times as long.
    """
    with tempfile.TemporaryDirectory() as scratch:
        calls, answers, output = (Path(scratch) / name for name in ("calls", "answers", "output"))
        functions = [(f.name, len(f.returns), list(cases[f.name])) for f in exercise.functions]
        message = {
            "code": code,
            "file": file,
            "directory": str(directory),
            "functions": functions,
            "seconds": seconds,
        }
        calls.write_bytes(pickle.dumps(message))
        with output.open("wb") as out:
            # -P: modules of ours beside the child are not to be found by their bare names
            process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(calls), str(answers)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            ended: int | None = None
            try:
                ended = process.wait(timeout=WAITS * seconds)
            except subprocess.TimeoutExpired:
                pass
            finally:
                process.kill()
                process.wait()
        lines = _lines(answers)
        printed = output.read_bytes()[:8_000].decode(errors="replace")
    return _read(exercise, lines, ended, seconds, printed)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that the child has written; the last may be cut."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def _read(
    exercise: Exercise, lines: list[dict[str, Any]], ended: int | None, seconds: float, printed: str
) -> Ran:
    endless = ended is None or (ended and ended == OUT_OF_TIME)
    unfinished = Failure("endless", f"{seconds:g}") if endless else None
    if ended and unfinished is None:
        unfinished = Failure("died", str(ended))
    functions = {function.name: function for function in exercise.functions}
    answers: dict[str, list[Answer]] = {}
    loaded, begun = False, None
    for line in lines:
        if "function" not in line:
            if "error" in line:
                return Ran({}, _raised(line["error"]), printed)
            loaded = True
            continue
        name = line["function"]
        if "missing" in line:
            continue
        if "begun" in line:
            begun = name
            continue
        begun = None
        answers.setdefault(name, []).append(_answer(line, functions[name]))
    if begun is not None:
        answers.setdefault(begun, []).append(Answer(None, unfinished or Failure("died", "0")))
    if not loaded:
        return Ran({}, unfinished or Failure("died", "0"), printed)
    return Ran(answers, None, printed)


def _raised(error: dict[str, Any]) -> Failure:
    message = f"{error['type']}: {error['message']}" if error["message"] else error["type"]
    return Failure("raised", message, error["line"])


def _answer(line: dict[str, Any], function: Function) -> Answer:
    if "error" in line:
        return Answer(None, _raised(line["error"]))
    given = line["values"]
    if any(value.get("type") == "None" for value in given):
        return Answer(None, Failure("nothing"))
    for value in given:
        if "type" in value:
            return Answer(None, Failure("type", value["type"]))
    if len(given) != len(function.returns):
        return Answer(None, Failure("count", str(len(given))))
    for value in given:
        if value["data"] is None:
            return Answer(None, Failure("large", str(tuple(value["shape"]))))
    values = tuple(np.array(v["data"], np.float64).reshape(v["shape"]) for v in given)
    return Answer(values, None, line["changed"], tuple(v["kind"] in "biu" for v in given))
