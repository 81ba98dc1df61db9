"""The side of the command that starts each measurement, waits no longer than it may, and reports.

No device is touched here. Every row is printed and written to result.json when it is there, so that
a run that is cut off keeps what it has measured; started again with the same directory, it goes on
with what is missing.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnn_jax import strict_json
from experiments.benchmark import timing

GRACE = 5.0  # seconds kept back for the last words


class ChildError(RuntimeError):
    """A measurement ended without its figures; the message is one line."""


class Report:
    """The rows of a run, its deadline, and its file."""

    def __init__(self, workdir: str, minutes: float, settings: Mapping[str, Any]):
        self._begun = time.monotonic()
        self._deadline = self._begun + 60 * minutes - GRACE
        self._file = Path(workdir) / "result.json" if workdir else None
        self.result: dict[str, Any] = {
            "machine": timing.machine(),
            "settings": dict(settings),
            "card": None,
            "rows": [],
            "skipped": [],
        }
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._continue(self._file)

    def _continue(self, file: Path) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            old = json.loads(file.read_text())
            if (old["machine"], old["settings"]) == (
                json.loads(strict_json.dumps(self.result["machine"])),
                json.loads(strict_json.dumps(self.result["settings"])),
            ):
                self.result["rows"], self.result["card"] = list(old["rows"]), old["card"]
                self.tell(f"{len(old['rows'])} rows of an earlier run in {file} are kept")
            else:
                self.tell(f"{file} is of another machine or other settings: it is replaced")

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def tell(self, text: str) -> None:
        """Prints a line, at once."""
        print(text, flush=True)

    def has(self, **names: Any) -> bool:
        """Whether there is a row with these entries."""
        return self.find(**names) is not None

    def find(self, **names: Any) -> dict[str, Any] | None:
        for row in self.result["rows"]:
            if all(row.get(key) == value for key, value in names.items()):
                return row
        return None

    def add(self, text: str, **row: Any) -> None:
        """A row of result.json, and the line of it."""
        self.result["rows"].append(row)
        self.write()
        self.tell(text)

    def skip(self, what: str, why: str) -> None:
        self.result["skipped"].append({"what": what, "why": why})
        self.write()
        self.tell(f"skipped: {what}: {why}")

    def on(self, card: Mapping[str, Any]) -> None:
        """Says which card it is, the first time."""
        named = {k: card[k] for k in ("card", "backend", "devices", "runtime") if k in card}
        if self.result["card"] is None:
            self.result["card"] = named
            self.write()
            self.tell(f"card: {named['card']} ({named['backend']}, {named['runtime']})")

    def fits(self, what: str, seconds: float) -> bool:
        """Whether a measurement of about so many seconds still fits; says so if it does not."""
        if self.left() >= seconds:
            return True
        self.skip(what, f"it takes about {seconds:.0f} s, and {max(self.left(), 0):.0f} s are left")
        return False

    def write(self) -> None:
        """Writes result.json, whole or not at all."""
        if self._file is None:
            return
        partial = self._file.with_suffix(".partial")
        self.result["seconds"] = round(self.seconds(), 1)
        partial.write_text(strict_json.dumps(self.result, indent=2) + "\n")
        os.replace(partial, self._file)


class Child:
    """A process of `child`, its answers one by one, and an end at the report's deadline."""

    def __init__(self, report: Report, spec: Mapping[str, Any], environment: Mapping[str, str]):
        self._report = report
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        spec = {**spec, "started": time.time()}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmark.accelerator.child", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **environment},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def answer(self) -> dict[str, Any] | None:
        """The next answer; None when there are no more.

        Raises:
            ChildError: the process failed, or time is up.
            ValueError: what a user has to change.
        """
        while True:
            try:
                line = self._lines.get(timeout=max(self._report.left(), 0.1))
            except queue.Empty:
                raise ChildError("it was cut off: the minutes are over") from None
            if line is None:
                status = self._process.wait()
                if status:
                    raise ChildError(f"it ended with status {status}: {self._last_words()}")
                return None
            if not line.startswith("{"):  # what a library prints
                continue
            answer = json.loads(line)
            if "error" in answer:
                if answer["fatal"]:
                    raise ValueError(answer["error"].partition(": ")[2])
                raise ChildError(_explained(answer["error"]))
            return answer

    def answers(self) -> Iterator[dict[str, Any]]:
        while (answer := self.answer()) is not None:
            yield answer

    def send(self, word: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return " ".join(lines[-1].split())[:300] if lines else "it said nothing"


def _explained(error: str) -> str:
    if "RESOURCE_EXHAUSTED" in error or "out of memory" in error.lower():
        return f"out of memory: give --batch_scale=0.5 ({error[:120]})"
    return error
