"""A progress bar in a notebook, by IPython alone: Rich's and tqdm's need ipywidgets there."""

import html
import time
from typing import Any

from rich.progress import TaskID

INTERVAL = 0.2  # seconds between two drawings


class NotebookBar:
    """A bar that is drawn in place, with the interface of `rich.progress.Progress` that a log uses.

    Attributes:
        task_ids: one task, as Rich has them.
    """

    task_ids = (TaskID(0),)

    def __init__(self, total: int, completed: int, figures: str = ""):
        """
        Args:
            total: number of steps.
            completed: number of steps that are done.
            figures: text behind the bar.
        """
        from IPython.display import display

        self._total, self._completed, self._figures = total, completed, figures
        self._drawn = time.monotonic()
        self._handle: Any = display(self._forms(), raw=True, display_id=True)

    def update(
        self, task_id: TaskID, *, completed: int | None = None, figures: str | None = None
    ) -> None:
        """Notes what is given, and draws it if the last drawing is old enough."""
        self._completed = self._completed if completed is None else completed
        self._figures = self._figures if figures is None else figures
        if time.monotonic() - self._drawn >= INTERVAL:
            self._draw()

    def stop(self) -> None:
        """Draws the bar as it is in the end."""
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._handle is not None:  # None outside of a kernel
            self._handle.update(self._forms(), raw=True)

    def _forms(self) -> dict[str, str]:
        text = f"step {self._completed}/{self._total}  {self._figures}".rstrip()
        bar = f'<progress value="{self._completed}" max="{self._total}"></progress>'
        return {"text/plain": text, "text/html": f"{bar} {html.escape(text)}"}
