"""What surrounds a run: a command, a notebook, another program."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType

import rich.console

from cnn_jax.printable import PlainConsole, printable


class Program:
    """What a run tells the program around it. This one prints, and does nothing else.

    A command overrides the methods, to answer signals at moments when the training loop does not.
    The library itself ends no process and installs no handler that it does not remove.

    Attributes:
        console: where lines and the progress bar go.
        ends: whether a run that hangs, or that loses its directory, may end the process.
        sources: packages, besides cnn_jax, whose code must be the same in all processes of a run.
        again: what resumes a run: "the same call".
    """

    ends: bool = False
    sources: tuple[ModuleType, ...] = ()
    again: str = "the same call"

    def __init__(self, console: rich.console.Console | None = None, *, quiet: bool = False):
        """
        Args:
            console: default: one on standard output, or in the notebook.
            quiet: print nothing.
        """
        self.console = console or PlainConsole(quiet=quiet)

    def say(self, line: str) -> None:
        """Prints one line of any length, without markup."""
        self.console.print(printable(line), soft_wrap=True)

    def interrupts(self, situation: str) -> None:
        """Notes what a signal from here on interrupts: 'while drawing figures: ...', the end of a
        sentence that begins with 'stopped'."""

    def until_started(self, then: str) -> AbstractContextManager[Callable[[], None]]:
        """Within the block the training loop starts; it calls what is yielded once it is running.

        Args:
            then: what a second signal interrupts from then on; see `interrupts`.
        """
        return contextlib.nullcontext(lambda: None)

    def without_output(self, note: str) -> None:
        """Notes what to say on standard error once standard output is gone."""

    def resumes(self, place: str) -> str:
        """What resumes the run in this place, a sentence without its end."""
        return f"To resume: {self.again} with workdir={place}"
