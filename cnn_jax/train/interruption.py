"""Signals that ask a training run to stop, turned into an answer that the loop asks for."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from jax.experimental import multihost_utils

from cnn_jax.train import hosts, signals

Stopped = Callable[[], signal.Signals | None]


def stop_signals() -> contextlib.AbstractContextManager[Stopped]:
    """Turns SIGTERM, SIGHUP and the first Ctrl-C into requests.

        with stop_signals() as stopped:
            fit(..., stopped=stopped)

    The function returns the signal, or None. A second Ctrl-C is a KeyboardInterrupt as usual. With
    several processes a signal to any of them stops all at the same step. Outside the main thread of
    a single process it does nothing.
    """
    return _of_several() if hosts.several() else _of_one()


@contextlib.contextmanager
def _of_one() -> Iterator[Stopped]:
    received: list[signal.Signals] = []

    def remember(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in signals.that_stop():
            before[number] = signal.signal(number, remember)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def _of_several() -> Iterator[Stopped]:
    """JAX's preemption service takes SIGTERM (since `joining.connect`; Python does not see it) and
    answers all processes at the same one of their calls, which must agree in number and order."""
    stopped: list[signal.Signals] = []
    asked = iter(range(1, 2**62))

    def to_sigterm(number, frame):
        if stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    def ask() -> signal.Signals | None:
        if not stopped and multihost_utils.reached_preemption_sync_point(next(asked)):
            stopped.append(signal.SIGTERM)
        return stopped[0] if stopped else None

    passed_on = [number for number in signals.that_stop() if number != signal.SIGTERM]
    before = {number: signal.signal(number, to_sigterm) for number in passed_on}
    try:
        yield ask
    finally:
        for number, old in before.items():
            signal.signal(number, old)
