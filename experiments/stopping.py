"""Answers a signal outside the training loop with one line and an immediate exit.

`loop.fit` answers SIGTERM, Ctrl-C and SIGHUP with a checkpoint. Before its first step and after its
last there is nothing to save, and the main thread may be deep in a library for minutes: importing,
preparing data, compiling. So a separate thread listens, says what is saved, and ends the process
with the exit status that the training loop would have used.

This module is imported before anything slow, so it imports only the standard library.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from cnn_jax.train import ending, signals

# The programs that train; in others Ctrl-C is a KeyboardInterrupt, so that they can clean up.
TRAINING = ("train", "classification", "segmentation", "detection", "drill.run", "launch")
FLAG = "--interrupted_status"

_situation = "before the first step: nothing new was saved"
_status = 0
_broken = False  # whether a signal from here on loses steps
_claimed = False
_several: list[Callable[[], bool]] = []  # whether there are several processes, once known
_asked = False
_answer = threading.Lock()  # held by the thread that reports the signal, for ever


def install() -> None:
    """Starts listening, in a program that trains. Call it once, from the main thread."""
    program, arguments = _command()
    if program not in TRAINING:
        return
    given = [a.partition("=")[2] for a in arguments if a.lstrip("-").startswith(FLAG[2:] + "=")]
    ends_with(int(given[-1]) if given and given[-1].isdecimal() else 0)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in signals.that_stop():
        signal.signal(number, _noticed)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_listen, args=(reading,), name="signals", daemon=True).start()


def _command() -> tuple[str, list[str]]:
    """('classification', its arguments) for `python -m experiments.classification ...`."""
    words = sys.orig_argv
    where = next((i for i, word in enumerate(words) if word.startswith("experiments.")), None)
    if where is None:
        return "", []
    return words[where].removeprefix("experiments."), words[where + 1 :]


def _noticed(number: int, frame: object) -> None:
    """Does nothing: with a handler in place Python notifies the listening thread."""


def _forget() -> None:
    """Restores the default handlers in a forked child, which has no listening thread."""
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in signals.that_stop():
            if signal.getsignal(number) is _noticed:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)


def now(situation: str, *, broken: bool = False) -> None:
    """Sets what a signal from here on is reported to interrupt: 'while drawing figures: ...'.

    Args:
        situation: end of a sentence that begins with 'stopped'.
        broken: whether steps are lost, so that the exit status is the signal's.
    """
    global _situation, _broken
    _situation, _broken = situation, broken


def answer() -> None:
    """Claims the report of the signal for this thread, which then ends the program.

    Waits for the end of the program if the other thread has claimed it: a second Ctrl-C reaches
    both, as a KeyboardInterrupt here and as a byte there.
    """
    _answer.acquire()


def ends_with(status: int) -> None:
    """Sets the exit status after a signal."""
    global _status
    _status = status


def together(several: Callable[[], bool]) -> None:
    """Sets how to ask whether there are several processes, which must stop at the same step."""
    _several[:] = [several]


def _together() -> bool:
    return any(several() for several in _several)


@contextlib.contextmanager
def until_started(then: str) -> Iterator[Callable[[], None]]:
    """Keeps listening in spite of the training loop's own handlers, until the yielded function is
    called. With several processes the loop's own are better: they stop all at the same step.

    From then on `then` is what a second signal interrupts, which does not wait for the loop.
    """
    global _claimed

    def started() -> None:
        global _claimed
        now(then, broken=True)
        _claimed = False

    _claimed = not _together()
    try:
        yield started
    finally:
        _claimed = False


def _listen(descriptor: int) -> None:
    while True:
        for number in os.read(descriptor, 64):
            if number not in signal.valid_signals():
                continue
            if _claimed or signal.getsignal(number) is _noticed:
                _stop(signal.Signals(number))


def _stop(number: signal.Signals) -> None:
    global _asked
    if number not in signals.that_stop():
        return
    if _together() and not _asked:  # JAX's preemption service handles SIGTERM and tells the others
        _asked = True
        os.kill(os.getpid(), signal.SIGTERM)
        return
    if _answer.acquire(blocking=False):
        ending.end(128 + number if _broken else _status, f"{number.name}: stopped {_situation}")
