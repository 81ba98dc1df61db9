"""Several processes, on one machine or many, that train together by JAX's own distributed runtime.

Process 0 runs the coordination service. Everyone sends it heartbeats; whoever falls silent is
reported to the others, which then cannot go on, say who is missing and leave. Nobody waits for
ever: with gloo on a CPU a lost connection is noticed at once, and elsewhere after `heartbeat`.
"""

import contextlib
import faulthandler
import importlib.util
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax import jax_internals
from cnn_jax.train import ending, gloo, meeting, signals

# The exit status of a process that cannot go on because another went: sysexits.h's EX_TEMPFAIL.
# Nothing was wrong with it, and the same command may be given again.
PEER_LOST = 75

# Where Slurm, Open MPI and indexed Kubernetes Jobs say which process this is.
OWN_ID = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JOB_COMPLETION_INDEX")

LINGER = 2.0  # seconds
OWN_WORDS = 0.5  # seconds for an error that several processes meet to be said by each of them
LONGEST = 10**7  # seconds, some months: XLA counts them in 32 bits, as milliseconds in places
_FOREVER = 10**9  # milliseconds: who does not come is noticed by its heartbeat
_heartbeat = 0  # seconds; 0 in a single process
_questions = iter(range(2**62))  # of `from_first`, the same number in every process
_meetings = iter(range(2**62))  # of `introduce`, likewise


class HostsError(ConnectionError):
    """The processes do not find each other; the message says which setting to look at."""


class FirstFailed(RuntimeError):
    """What process 0 was asked to do went wrong there, and it says so itself."""


def detected() -> dict[str, str]:
    """What the environment says about several processes: {} where it speaks of none.

    Slurm (srun), Open MPI (mpirun) and indexed Kubernetes Jobs set variables; a Cloud TPU is known
    by its library.
    """
    found = {}
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_NODELIST" in os.environ:
        found["Slurm"] = f"SLURM_PROCID={os.environ.get('SLURM_PROCID')}"
    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        found["Open MPI"] = f"OMPI_COMM_WORLD_RANK={os.environ.get('OMPI_COMM_WORLD_RANK')}"
    if {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys():
        found["Kubernetes"] = f"JOB_COMPLETION_INDEX={os.environ['JOB_COMPLETION_INDEX']}"
    if _is_tpu():
        found["Cloud TPU"] = "libtpu"
    return found


def _may_be_first(process_id: int) -> bool:
    """Whether this is process 0, as far as it is known before JAX has asked the environment."""
    said = (os.environ.get(name) for name in OWN_ID)
    return process_id == 0 or (process_id < 0 and next(filter(None, said), "0") == "0")


def _is_tpu() -> bool:
    if "tpu" not in os.environ.get("JAX_PLATFORMS", "tpu"):
        return False
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def connect(
    coordinator: str = "",
    process_count: int = 0,
    process_id: int = -1,
    *,
    bind_address: str = "",
    heartbeat: int = 100,
    patience: int = 300,
) -> None:
    """Joins the other processes, before JAX is used for anything else.

    Without arguments it joins those that Slurm, Open MPI, an indexed Kubernetes Job or a Cloud TPU
    started, and does nothing where none of them did. A process count of 1 joins nobody.

    Args:
        coordinator: HOST:PORT where process 0 listens, and where all others reach it.
        process_count: how many there are; 0 where the environment says it.
        process_id: which of them this is, from 0; -1 where the environment says it.
        bind_address: ADDRESS:PORT where process 0 listens, if it is to do so at one of its
            addresses only, such as 127.0.0.1 or the one of an inner network; by default at all.
            Whoever can connect there can take part in the run, and end it.
        heartbeat: seconds without a sign of life after which a process counts as gone.
        patience: seconds to wait at the start until all are there.

    Raises:
        ValueError: the arguments are incomplete or contradict each other.
        HostsError: the port is taken, or the environment is not as JAX wants it. Where the others
            do not come within `patience`, one line says so and the process ends with status 1.
    """
    bind_address = bind_address or os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "")
    _check(coordinator, process_count, process_id, bind_address, heartbeat, patience)
    if process_count == 1 or not (coordinator or detected()):
        return
    try:
        client()
    except jax_internals.MovedError as error:
        raise HostsError(
            f"several processes need a part of JAX that moved: {error}. Run one process, or "
            "install an earlier JAX."
        ) from error
    where = coordinator or " and ".join(f"{name} ({what})" for name, what in detected().items())
    if coordinator and process_id == 0:
        _check_port(bind_address or f":{coordinator.rpartition(':')[2]}", where)

    def give_up() -> None:
        seen = ""
        if coordinator:
            host, _, port = coordinator.rpartition(":")
            seen = (
                meeting.seen_by_other(host.strip("[]"), int(port))
                if process_id
                else meeting.seen_by_first(int(port), process_count)
            )
        leave(
            1,
            f"error: the processes did not all meet at {where} within {patience} s. {seen} Were "
            f"all {process_count or ''} started, with different ids? --connect_timeout says how "
            "long to wait.".replace("  ", " "),
        )

    # XLA's client aborts the process when its own time is over, with a stack trace: be earlier.
    alarm = threading.Timer(patience, give_up)
    alarm.daemon = True
    alarm.start()
    global _heartbeat
    try:
        jax.distributed.initialize(
            coordinator or None,
            process_count or None,
            process_id if process_id >= 0 else None,
            initialization_timeout=patience + 30,
            coordinator_bind_address=bind_address or None,
            # Where a heartbeat is not answered XLA aborts, half of this after it was sent at the
            # earliest: in all but the first, whose silence `_watch_first` names before.
            heartbeat_timeout_seconds=(
                heartbeat if _may_be_first(process_id) else -(-3 * heartbeat // 2)
            ),
            shutdown_timeout_seconds=3600,  # the others wait while process 0 draws
        )
        if jax_internals.coordination_state().num_processes > 1:
            _heartbeat = heartbeat
            gloo.listen_where_reached(jax_internals.coordination_state())
    except (RuntimeError, ValueError) as error:  # JaxRuntimeError is a RuntimeError
        raise HostsError(_explain(error, where)) from error
    finally:
        alarm.cancel()
    if jax.process_count() > 1:
        # where XLA is quicker to abort than we are to leave, its message is enough
        faulthandler.disable()
        for watch in (_watch, _listen, *((_watch_first,) if jax.process_index() else ())):
            threading.Thread(target=watch, daemon=True).start()


def _check(coordinator, process_count, process_id, bind_address, heartbeat, patience) -> None:
    if not (1 <= heartbeat <= LONGEST and 1 <= patience <= LONGEST):
        raise ValueError(
            f"--heartbeat={heartbeat} and --connect_timeout={patience} are seconds, from 1 to "
            f"{LONGEST:,}."
        )
    if process_count < 0 or process_id < -1:
        raise ValueError(
            f"--process_count={process_count} --process_id={process_id}: wanted a number of "
            "processes and, from 0, which of them this is."
        )
    if process_count == 1 and process_id < 1:
        return
    given = {
        "--coordinator": bool(coordinator),
        "--process_count": process_count > 0,
        "--process_id": process_id >= 0,
    }
    missing = [name for name, there in given.items() if not there]
    if 0 < len(missing) < 3 and not detected():
        raise ValueError(
            f"{' and '.join(missing)} missing: several processes need --coordinator=HOST:PORT "
            "--process_count=N --process_id=I, all three, unless Slurm, Open MPI, Kubernetes or a "
            "Cloud TPU says them."
        )
    if coordinator and not _has_port(coordinator):
        raise ValueError(f"--coordinator={coordinator}: wanted HOST:PORT, such as 10.0.0.1:1234.")
    if bind_address and not _has_port(bind_address):
        raise ValueError(
            f"bind_address={bind_address}: wanted ADDRESS:PORT, one of this machine's, such as "
            "10.0.0.1:1234."
        )
    if process_count and process_id >= process_count:
        raise ValueError(
            f"--process_id={process_id}, but there are {process_count} processes: they are "
            f"numbered from 0 to {process_count - 1}."
        )


def _has_port(address: str) -> bool:
    """Whether it is a name or number with a port: HOST:1 to HOST:65535."""
    found = re.fullmatch(r".+:([0-9]{1,5})", address)
    return found is not None and 1 <= int(found[1]) <= 65535


def _check_port(bind_address: str, where: str) -> None:
    """Raises HostsError where somebody listens already: XLA's service (0.10.2) crashes on that."""
    host, _, port = bind_address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not for what has just ended
        try:
            probe.bind(("" if host == "::" else host, int(port)))
        except OSError as error:
            at = f"{where} ({bind_address})" if host else where
            raise HostsError(
                f"process 0 cannot listen at {at}: the port is taken, or not allowed, or the "
                f"address is not this machine's ({error.strerror})."
            ) from error


def _explain(error: Exception, where: str) -> str:
    text = " ".join(str(error).split())
    if "Failed to start RPC server" in text:
        return f"process 0 cannot listen at {where}: the port is taken, or not allowed."
    if "coordinator_address" in text:
        return (
            f"{where} started this process, but JAX does not see where process 0 is. Give "
            "--coordinator=HOST:PORT too (on Kubernetes, or install the package `kubernetes`)."
        )
    return f"the processes cannot meet at {where}: {text[:300]}"


def client() -> Any:
    """The client of the coordination service."""
    return jax_internals.coordination_state().client


def _watch() -> None:
    """Waits at a barrier of its own until the coordination service says why it cannot be passed."""
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
    """Asks process 0 whether it is there: XLA's own check of that ends in a stack trace."""
    while not _leaving.is_set():
        alarm = threading.Timer(0.6 * _heartbeat, _say_lost, args=(0,))
        alarm.daemon = True
        alarm.start()
        while not _answers() and not _leaving.is_set():
            time.sleep(min(1.0, _heartbeat / 10))
        alarm.cancel()
        time.sleep(min(1.0, _heartbeat / 10))


def _answers() -> bool:
    """Whether process 0 says anything; a network that is gone is an error too."""
    try:
        client().key_value_try_get("cnn_jax/left/0")
    except Exception as error:
        return "NOT_FOUND" in str(error)
    return True


def _listen() -> None:
    """Hears the last words of any process, which may have failed before it met the others."""
    while not _leaving.is_set():
        with contextlib.suppress(Exception):
            for name, said in client().key_value_dir_get("cnn_jax/left"):
                time.sleep(OWN_WORDS)
                _say_lost(int(name.rpartition("/")[2]), said)
        time.sleep(min(1.0, _heartbeat / 10))


_leaving = threading.Event()


def stop_watching() -> None:
    """Before an end that all processes know of: from here on none that leaves is missed."""
    _leaving.set()


def _say_lost(index: int | None, said: str = "") -> None:
    """Names the process that is gone, with its last words, and leaves."""
    if _leaving.is_set():
        return
    who = "another process" if index is None else f"process {index} of {jax.process_count()}"
    why = f"ended: {said}" if said else f"is gone, or was silent for {_heartbeat} s"
    leave(
        PEER_LOST,
        f"error: {who} {why}. Process {jax.process_index()} cannot go on without it, and stops. "
        "The same command, for all processes, goes on from the last checkpoint.",
    )


def _last_words(index: int) -> str:
    """What a process that left by `leave` said; '' where it could not."""
    try:
        return client().key_value_try_get(f"cnn_jax/left/{index}")
    except Exception:
        return ""


def is_remote(error: BaseException) -> bool:
    """Whether a failed communication, or XLA at least, is what the error comes from."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    # gloo's come as a ValueError at times
    return any(
        isinstance(each, jax.errors.JaxRuntimeError) or "Gloo" in str(each) for each in chain
    )


def await_verdict() -> None:
    """After a failed communication: returns only if no process turns out to be gone."""
    deadline = time.monotonic() + _heartbeat + 5
    while time.monotonic() < deadline:
        for index in range(jax.process_count()):
            if index != jax.process_index() and (said := _last_words(index)):
                _say_lost(index, said)
        time.sleep(0.1)


def leave(status: int, message: str = "", *, tell: bool | None = None) -> NoReturn:
    """Says why, tells the other processes, and ends this one at once.

    An ordinary exit would wait in a hook for processes that are gone.

    Args:
        status: of the exit.
        message: a line for standard error.
        tell: whether the others are told; by default of an error that is this process's own.
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
            time.sleep(LINGER)  # the service goes with it: the others must hear it first
    ending.end(status)


def finish(status: int) -> NoReturn:
    """The ordinary end: waits for the others, then ends this process."""
    _leaving.set()
    with contextlib.suppress(Exception):
        jax.distributed.shutdown()
    leave(status)


def several() -> bool:
    """Whether there is more than one process."""
    return _heartbeat > 0


def introduce(mesh: Mesh) -> None:
    """Lets the devices of several processes form their groups: all together, and along each axis.

    gloo, which carries sums between CPUs, gives the members of a new group 30 s to come, and waits
    for as long as it takes once they know each other. A step that one process finds in its cache
    and another compiles for a minute would end the run, so they meet here, before anything is
    compiled, and wait for each other first. Every process calls it. Nothing happens in a single
    process or on other platforms.
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
    """Where each process says that it is, by the coordination service: a `watchdog.Others`."""

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
    """What `make` returns in process 0, in every process: JSON. Only process 0 calls it.

    Raises:
        FirstFailed: in the others, where it raised an error in process 0.
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


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """As `loop.stop_signals`, for several processes: whoever is asked, all stop at the same place.

    JAX's preemption service takes SIGTERM (since `connect`; Python does not see it), and lets all
    processes know at the same one of their questions, which must be the same in number and order.
    """
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
