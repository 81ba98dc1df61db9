"""Several processes, on one machine or many, that train together with JAX's distributed runtime.

`cnn_jax.train.joining` brings them together. All processes send heartbeats to process 0; one that
falls silent is reported to the others, which cannot continue, name it and exit. None waits for
ever: with gloo on a CPU a lost connection is noticed at once, and elsewhere after `heartbeat`.
"""

import contextlib
import faulthandler
import json
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax import jax_internals
from cnn_jax.train import ending
from cnn_jax.typing import PyTree

# The exit status of a process that cannot continue because another is lost: sysexits.h's
# EX_TEMPFAIL. Nothing is wrong with it, and the same command may be repeated.
PEER_LOST = 75

LINGER = 2.0  # seconds
OWN_WORDS = 0.5  # seconds for each process to report an error that several have
_FOREVER = 10**9  # milliseconds; a missing process is noticed by its heartbeat
_heartbeat = 0  # seconds; 0 in a single process
_questions = iter(range(2**62))  # numbers of the calls of `from_first`, equal in all processes


class FirstFailed(RuntimeError):
    """An action of process 0 failed there; process 0 reports the error itself."""


def client() -> Any:
    """The client of the coordination service."""
    return jax_internals.coordination_state().client


def _watch() -> None:
    """Waits at a barrier that no process passes until the service reports a lost process."""
    index = jax.process_index()
    try:
        client().wait_at_barrier(f"cnn_jax/watch/{index}", _FOREVER)
    except Exception as error:
        if client() is None or _leaving.is_set():
            return
        text = str(error)
        gone = re.search(r"[Tt]ask:? (\d+) (?:heartbeat|is|has|was)", text)
        _say_lost(int(gone.group(1)) if gone else 0 if "leader" in text else None)


def _watch_first() -> None:
    """Checks that process 0 answers: XLA's own check ends in a stack trace."""
    while not _leaving.is_set():
        alarm = threading.Timer(0.6 * _heartbeat, _say_lost, args=(0,))
        alarm.daemon = True
        alarm.start()
        while not _answers() and not _leaving.is_set():
            time.sleep(min(1.0, _heartbeat / 10))
        alarm.cancel()
        time.sleep(min(1.0, _heartbeat / 10))


def _answers() -> bool:
    """Whether process 0 answers; a lost network counts as no answer."""
    try:
        client().key_value_try_get("cnn_jax/left/0")
    except Exception as error:
        return "NOT_FOUND" in str(error)
    return True


def _listen() -> None:
    """Receives the last message of any process, which may have failed before it met the others."""
    while not _leaving.is_set():
        with contextlib.suppress(Exception):
            for name, said in client().key_value_dir_get("cnn_jax/left"):
                time.sleep(OWN_WORDS)
                _say_lost(int(name.rpartition("/")[2]), said)
        time.sleep(min(1.0, _heartbeat / 10))


_leaving = threading.Event()


def stop_watching() -> None:
    """Stops reporting lost processes, before an end that all of them know of."""
    _leaving.set()


def _say_lost(index: int | None, said: str = "") -> None:
    """Reports the lost process and its last message, and exits."""
    if _leaving.is_set():
        return
    who = "another process" if index is None else f"process {index} of {jax.process_count()}"
    why = f"ended: {said}" if said else f"is gone, or was silent for {_heartbeat} s"
    leave(
        PEER_LOST,
        f"error: {who} {why}. Process {jax.process_index()} cannot go on without it, and stops. "
        "The same command, for all processes, resumes from the last checkpoint.",
    )


def _last_words(index: int) -> str:
    """The last message of a process that exited by `leave`; '' if there is none."""
    try:
        return client().key_value_try_get(f"cnn_jax/left/{index}")
    except Exception:
        return ""


def is_remote(error: BaseException) -> bool:
    """Whether the error comes from a failed communication, or at least from XLA."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    # gloo's sometimes come as a ValueError
    return any(
        isinstance(each, jax.errors.JaxRuntimeError) or "Gloo" in str(each) for each in chain
    )


def await_verdict() -> None:
    """Waits after a failed communication; returns only if no process turns out to be lost."""
    deadline = time.monotonic() + _heartbeat + 5
    while time.monotonic() < deadline:
        for index in range(jax.process_count()):
            if index != jax.process_index() and (said := _last_words(index)):
                _say_lost(index, said)
        time.sleep(0.1)


def leave(status: int, message: str = "", *, tell: bool | None = None) -> NoReturn:
    """Prints a message, tells the other processes, and ends this one at once.

    An ordinary exit would wait in a hook for lost processes.

    Args:
        status: the exit status.
        message: a line for standard error.
        tell: whether to tell the others; by default if the error is this process's own.
    """
    _leaving.set()
    ending.say(message)
    if _heartbeat and (status not in (0, PEER_LOST) if tell is None else tell):
        with contextlib.suppress(Exception):
            client().key_value_set(
                f"cnn_jax/left/{jax_internals.coordination_state().process_id}",
                message.removeprefix("error: ") or ".",
            )
        if jax_internals.coordination_state().process_id == 0:
            time.sleep(LINGER)  # the service ends with this process: the others must hear first
    ending.end(status)


def finish(status: int) -> NoReturn:
    """Waits for the others, then ends this process: the ordinary end."""
    _leaving.set()
    with contextlib.suppress(Exception):
        jax.distributed.shutdown()
    leave(status)


def joined(heartbeat: int) -> None:
    """Notes that this process has joined others, which hear of its end from now on.

    Args:
        heartbeat: seconds without a sign of life after which a process counts as lost.
    """
    global _heartbeat
    _heartbeat = heartbeat


def watch() -> None:
    """Watches for the loss of another process, from threads of its own."""
    # if XLA aborts before we exit, its message is enough
    faulthandler.disable()
    for each in (_watch, _listen, *((_watch_first,) if jax.process_index() else ())):
        threading.Thread(target=each, daemon=True).start()


def several() -> bool:
    """Whether there is more than one process."""
    return _heartbeat > 0


class Places:
    """Shares the places of the processes through the coordination service: a `watchdog.Others`."""

    def tell(self, text: str) -> None:
        key = f"cnn_jax/place/{jax.process_index()}"
        client().key_value_set(key, text, allow_overwrite=True)

    def told(self) -> dict[int, str]:
        said = client().key_value_dir_get("cnn_jax/place/")
        return {int(key.rpartition("/")[2]): text for key, text in said}


def is_first() -> bool:
    """Whether this process is the one that writes logs, figures and results."""
    return not several() or jax.process_index() == 0


def from_first(make: Callable[[], Any]) -> Any:
    """Calls `make` in process 0 and returns its result, JSON, in every process.

    Raises:
        FirstFailed: in the other processes, if `make` raised an error in process 0.
    """
    if not several():
        return make()
    service, key = client(), f"cnn_jax/from_first/{next(_questions)}"
    if jax.process_index():
        answer = json.loads(service.blocking_key_value_get(key, _FOREVER))
        if answer["failed"]:
            raise FirstFailed(f"process 0: {answer['failed']}")
        return answer["value"]
    try:
        value = make()
    except Exception as error:
        service.key_value_set(key, json.dumps({"failed": str(error) or type(error).__name__}))
        raise
    service.key_value_set(key, json.dumps({"failed": "", "value": value}))
    return value


def arrays_from_first(tree: PyTree | None, like: PyTree) -> PyTree:
    """Sends the arrays of process 0, bit for bit, to all others, where `tree` is None."""
    if not several():
        return tree
    leaves, structure = jax.tree.flatten(like)
    total = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    content = np.zeros(total, np.uint8)  # bytes: as numbers, -0.0 would come back as 0.0
    if tree is not None:
        parts = [np.asarray(leaf).reshape(-1).view(np.uint8) for leaf in jax.tree.leaves(tree)]
        content = np.concatenate(parts)
    content = np.asarray(multihost_utils.broadcast_one_to_all(content))
    arrays, start = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape) * leaf.dtype.itemsize
        arrays.append(content[start : start + size].view(leaf.dtype).reshape(leaf.shape))
        start += size
    return jax.tree.unflatten(structure, arrays)
