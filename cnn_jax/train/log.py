"""The log of a run: metrics.jsonl, TensorBoard events, and the console."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import rich.console
import rich.logging
import rich.progress

from cnn_jax import strict_json
from cnn_jax.printable import PlainConsole, PlainFormatter, printable
from cnn_jax.train.notebook_bar import NotebookBar

Bar = rich.progress.Progress | NotebookBar


class RunLog:
    """Rows of metrics, each written to `metrics.jsonl`, to TensorBoard and to the console.

    A row is one JSON object: `step`, `split`, the metrics, and fields that begin with `wall_`,
    which depend on the machine and the moment and are not results. A metric that is undefined, such
    as the mean IoU of a split without a labelled pixel, is null.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        first_step: int = 0,
        evaluated: bool = True,
        console=None,
        hand_on: Callable[[Mapping], None] = lambda row: None,
    ):
        """Opens the log of a run that (re)starts at `first_step`.

        Args:
            workdir: an existing directory.
            first_step: the step the run starts at; rows of later steps, left by an interrupted
                attempt, are dropped, since they will be written again.
            evaluated: whether the checkpoint of `first_step` holds its evaluation. If not, that row
                will be written again too.
            console: a rich Console; default: one on standard output.
            hand_on: called with each row once it is written.
        """
        self.console = console or PlainConsole()
        self._hand_on = hand_on
        self.path = Path(workdir) / "metrics.jsonl"
        self._start = time.monotonic()
        kept = [
            row
            for row in read_rows(self.path)
            if row["step"] < first_step
            or (row["step"] == first_step and (evaluated or row["split"] != "test"))
        ]
        self._wall_before = kept[-1].get("wall_seconds", 0.0) if kept else 0.0
        replacement = self.path.with_suffix(".jsonl.new")
        replacement.write_text("".join(strict_json.dumps(row) + "\n" for row in kept))
        replacement.replace(self.path)
        self._file = self.path.open("a")
        from cnn_jax.train.events import Events  # late: it may import PyTorch

        self._events = Events(workdir, first_step=first_step, again=bool(kept))
        self._progress: Bar | None = None

    def row(
        self, step: int, split: str, figures: Mapping[str, float], **wall: float
    ) -> dict[str, float | int | str]:
        """Writes one row; `wall` are values that depend on the machine, named without `wall_`."""
        wall = {"seconds": self._wall_before + time.monotonic() - self._start, **wall}
        row: dict[str, float | int | str] = {
            "step": step,
            "split": split,
            **figures,
            **{f"wall_{name}": round(value, 3) for name, value in wall.items()},
        }
        with self._writing():
            self._file.write(strict_json.dumps(row) + "\n")
            self._file.flush()
            for name, value in {**figures, **wall}.items():
                if name != "seconds" and math.isfinite(value):
                    self._events.scalar(step, f"{split}/{name}", value)
            self._events.flush()
        self._hand_on(row)
        return row

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def rows(self) -> list[dict]:
        """All rows written so far, including those of earlier attempts."""
        return read_rows(self.path)

    def say(self, message: str) -> None:
        """Prints a line on the console, above the progress bar."""
        self.console.print(printable(message), soft_wrap=True)

    def progress(self, total: int, completed: int) -> Bar | None:
        """A progress bar over steps on a terminal or in a notebook; None, and plain lines, anywhere
        else."""
        if self.console.is_jupyter and not self.console.quiet:
            self._progress = NotebookBar(total, completed, "compiling")
            return self._progress
        if not self.console.is_terminal:
            return None
        self._progress = bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[figures]}", markup=False),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("ETA"),
            rich.progress.TimeRemainingColumn(),
            console=self.console,
        )
        bar.add_task("train", total=total, completed=completed, figures="compiling")
        bar.start()
        return bar

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        with self._writing():
            self._file.close()
            self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class NoLog(RunLog):
    """The log of a process that writes nothing, because process 0 does."""

    def __init__(self):
        pass

    def row(self, step, split, figures, **wall):
        return {}

    def rows(self):
        return []

    def say(self, message):
        pass

    def progress(self, total, completed):
        return None

    def close(self):
        pass


def read_rows(path: str | Path) -> list[dict]:
    """The rows of a metrics.jsonl, without invalid lines, which a kill or a full disk cut short."""
    path = Path(path)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int) and "split" in row:
                rows.append(row)
    return rows


def handler(console: rich.console.Console) -> logging.Handler:
    """A log handler that writes above the progress bar."""
    made = rich.logging.RichHandler(console=console, show_path=False, show_time=False)
    made.setFormatter(PlainFormatter("%(message)s"))
    return made
