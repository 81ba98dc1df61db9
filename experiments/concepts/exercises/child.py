"""The process that runs a learner's code: `python child.py CALLS ANSWERS`.

It imports NumPy alone and nothing of ours. CALLS is a pickle of ours: the code, the name of its
file, and the functions with the arguments to call them with. To ANSWERS goes a JSON object a line,
as soon as it is known, so that whoever waits knows what was reached: {"loaded": true}, {"function",
"case", "values": [{"shape", "kind", "data"}]}, or {"error": {...}}. What the code prints goes to
standard output, so much and no more.
"""

import contextlib
import json
import linecache
import math
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

PRINTED = 4_000  # characters
SENT = 20_000  # numbers of an answer; of larger ones only the shape is sent
MEMORY = 4 * 2**30  # bytes


class Bounded:
    """A text stream that drops what goes beyond so many characters."""

    def __init__(self, stream, left: int):
        self._stream, self._left = stream, left

    def write(self, text: str) -> int:
        self._stream.write(text[: self._left])
        self._left = max(0, self._left - len(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def described(error: BaseException, file: str) -> dict[str, Any]:
    """An error with the learner's line in which it came up."""
    line = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == file:
            line = frame.lineno
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return {
        "type": type(error).__name__,
        "message": " ".join(str(message).split())[:300],
        "line": line,
    }


def value(answer: Any) -> dict[str, Any]:
    """An answer as JSON: shape, kind of numbers and the numbers; or the type that it has."""
    if answer is None:
        return {"type": "None"}
    try:
        array = np.asarray(answer)
    except Exception:  # such as rows of different lengths
        return {"type": type(answer).__name__}
    if array.dtype.kind not in "biuf":
        return {"type": type(answer).__name__}
    data = array.astype(np.float64).ravel().tolist() if array.size <= SENT else None
    return {"shape": list(array.shape), "kind": array.dtype.kind, "data": data}


def values(answer: Any, count: int) -> list[dict[str, Any]]:
    """The values that a function has returned, of which `count` are wanted."""
    if count == 1:
        return [value(answer)]
    if answer is None:
        return [value(None)]
    if not isinstance(answer, tuple | list):
        return [value(answer)]
    return [value(each) for each in answer]


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def main(calls_path: str, answers_path: str) -> None:
    calls = pickle.loads(Path(calls_path).read_bytes())
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        # of the processor, so that a busy machine ends nobody's code: SIGXCPU, then SIGKILL
        seconds = math.ceil(calls["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    file, code = calls["file"], calls["code"]
    # so that a traceback of the learner's own can show its lines
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    sys.path.insert(0, calls["directory"])
    sys.stdout = Bounded(sys.stdout, PRINTED)  # type: ignore[assignment]
    sys.stderr = Bounded(sys.stderr, 0)  # type: ignore[assignment]  # warnings of NumPy
    with open(answers_path, "w", encoding="utf-8") as out:

        def tell(**line: Any) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        names: dict[str, Any] = {"__name__": "exercise", "__file__": file, "np": np}
        try:
            exec(compile(code, file, "exec"), names)
        except BaseException as error:
            tell(error=described(error, file))
            return
        tell(loaded=True)
        for function, count, cases in calls["functions"]:
            found = names.get(function)
            if not callable(found):
                tell(function=function, missing=True)
                continue
            for case, arguments in enumerate(cases):
                tell(function=function, case=case, begun=True)
                given = pickle.loads(pickle.dumps(arguments))
                try:
                    got = values(found(*given), count)
                except BaseException as error:
                    tell(function=function, case=case, error=described(error, file))
                    continue
                tell(function=function, case=case, values=got, changed=not same(given, arguments))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
