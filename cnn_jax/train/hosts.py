"""Several processes, on one machine or many, that train together with JAX's distributed runtime.

`cnn_jax.train.joining` brings them together. All processes send heartbeats to process 0; one that
falls silent is reported to the others, which cannot continue, name it and exit. None waits for
ever: with gloo on a CPU a lost connection is noticed at once, and elsewhere after `heartbeat`.
"""

import contextlib
import faulthandler
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax import jax_internals
from cnn_jax.train import ending

# The exit status of a process that cannot continue because another is lost: sysexits.h's
# EX_TEMPFAIL. Nothing is wrong with it, and the same command may be repeated.
PEER_LOST = 75

LINGER = 2.0  # seconds
OWN_WORDS = 0.5  # seconds for each process to report an error that several have
_FOREVER = 10**9  # milliseconds; a missing process is noticed by its heartbeat
_heartbeat = 0  # seconds; 0 in a single process
_questions = iter(range(2**62))  # numbers of the calls of `from_first`, equal in all processes
_meetings = iter(range(2**62))  # numbers of the calls of `introduce`, likewise


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


def introduce(mesh: Mesh) -> None:
    """Connects the devices of several processes in advance: all together, and along each axis.

    gloo, which sums between CPUs, gives the members of a new group 30 s to connect; once connected
    it waits as long as necessary. A step that one process finds in its cache and another compiles
    for a minute would end the run. So they wait for each other and connect here, before anything is
    compiled. Every process calls it. Nothing happens in a single process or on other platforms.
    """
    devices = mesh.devices.ravel()
    if devices[0].platform != "cpu" or len({device.process_index for device in devices}) == 1:
        return
    client().wait_at_barrier(f"cnn_jax/introduce/{next(_meetings)}", _FOREVER)
    spec = PartitionSpec(*mesh.axis_names)
    ones = jax.make_array_from_callback(
        mesh.devices.shape,
        NamedSharding(mesh, spec),
        lambda _: np.ones((1,) * mesh.devices.ndim, np.float32),
    )
    for axes in dict.fromkeys((mesh.axis_names, *((name,) for name in mesh.axis_names))):
        left = PartitionSpec(*(None if name in axes else name for name in mesh.axis_names))
        add = jax.shard_map(
            lambda x, axes=axes: jax.lax.psum(x, axes), mesh=mesh, in_specs=spec, out_specs=left
        )
        jax.block_until_ready(jax.jit(add)(ones))


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
