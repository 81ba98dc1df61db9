"""One process of the drill: `experiments.classification` with one fault.

The environment variable DRILL holds the fault, as JSON; see `Fault`. Without it, or if the file
`fired` in the run directory says that the fault has struck, this is the experiment itself.
"""

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax import run
from cnn_jax.train import checkpoint, evaluation, layout
from experiments import command, entry

MOMENTS = ("step", "save", "evaluation")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault: which one, when, and in which process.

    Attributes:
        signal: name of a signal, 'SIGKILL'; or 'FSIZE' for a limit on the size of files, like a
            full disk; or 'FREEZE' for a main thread that hangs.
        moment: moment at which it strikes, one of MOMENTS.
        count: number of such moments that pass before it.
        delay: seconds from the beginning of the moment.
        process: index of the process.
        fired: path of a file that exists once the fault has struck.
    """

    signal: str
    moment: str
    count: int
    delay: float
    process: int
    fired: str


def arm(fault: Fault) -> None:
    """Installs the fault at its moment."""
    passed = 0

    def noticing(function: Callable) -> Callable:
        def call(*arguments: Any, **more: Any):
            nonlocal passed
            passed += 1
            if passed == fault.count + 1 and fault.signal == "FREEZE":
                Path(fault.fired).touch()
                time.sleep(10**6)
            if passed == fault.count + 1:
                timer = threading.Timer(fault.delay, strike, args=(fault,))
                timer.daemon = True
                timer.start()
                time.sleep(
                    fault.delay / 2
                )  # so that it strikes sometimes during the call, sometimes after
            return function(*arguments, **more)

        return call

    if fault.moment == "save":
        checkpoint.Checkpoints.save = noticing(checkpoint.Checkpoints.save)  # type: ignore
    elif fault.moment == "evaluation":
        evaluation.evaluate = noticing(evaluation.evaluate)
    else:
        make = layout.make_layout

        def make_layout(*arguments):
            placed = make(*arguments)
            return placed._replace(compile_train=lambda step: noticing(placed.compile_train(step)))

        layout.make_layout = make_layout


def strike(fault: Fault) -> None:
    with open(fault.fired, "x"):
        pass
    if fault.signal == "FSIZE":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, resource.RLIM_INFINITY))
    else:
        os.kill(os.getpid(), signal.Signals[fault.signal])


def main() -> int:
    text = os.environ.get("DRILL")
    if text:
        fault = Fault(**json.loads(text))
        if max(flags.FLAGS.process_id, 0) == fault.process and not Path(fault.fired).exists():
            arm(fault)
    return command.train(run.Recipe)


if __name__ == "__main__":
    command.define(run.Recipe)
    entry.launch(main)
