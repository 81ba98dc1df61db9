"""Says that a program is being compiled, which may take minutes, where no bar says so."""

import threading
from collections.abc import Callable

from cnn_jax.train.callback import COMPILING, Callback

SOON, OFTEN = 3.0, 60.0  # seconds until it is said first, and from then on


class Compiling(Callback):
    """A line after SOON seconds of compiling, and one every minute, from a thread of its own."""

    def __init__(self, say: Callable[[str], None], *, soon: float = SOON, often: float = OFTEN):
        """
        Args:
            say: what takes the line.
            soon, often: seconds until the first line, and between the others.
        """
        self._say, self._soon, self._often = say, soon, often
        self._done: threading.Event | None = None

    def on_phase(self, phase: str, step: int) -> None:
        self._stop()
        if phase == COMPILING:
            self._done = threading.Event()
            threading.Thread(target=self._tell, args=(self._done,), daemon=True).start()

    def on_dispatch(self, step: int, examples: int) -> None:
        self._stop()

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._done is not None:
            self._done.set()
            self._done = None

    def _tell(self, done: threading.Event) -> None:
        if done.wait(self._soon):
            return
        self._say("Compiling: the first step takes longer than all others.")
        minutes = 0
        while not done.wait(self._often):
            minutes += 1
            self._say(f"Still compiling, after {minutes} min.")
