"""Several processes, on one machine or many, that train together with JAX's distributed runtime.

Process 0 runs the coordination service. All processes send it heartbeats; one that falls silent is
reported to the others, which cannot continue, name it and exit. None waits for ever: with gloo on a
CPU a lost connection is noticed at once, and elsewhere after `heartbeat`.
"""

import contextlib
import faulthandler
import importlib.util
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax import jax_internals
from cnn_jax.train import ending, gloo, meeting

# The exit status of a process that cannot continue because another is lost: sysexits.h's
# EX_TEMPFAIL. Nothing is wrong with it, and the same command may be repeated.
PEER_LOST = 75

# The variables in which Slurm, Open MPI and indexed Kubernetes Jobs give the index of a process.
OWN_ID = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JOB_COMPLETION_INDEX")

LINGER = 2.0  # seconds
OWN_WORDS = 0.5  # seconds for each process to report an error that several have
LONGEST = 10**7  # seconds, some months: XLA counts in 32 bits, in places in milliseconds
_FOREVER = 10**9  # milliseconds; a missing process is noticed by its heartbeat
_heartbeat = 0  # seconds; 0 in a single process
_questions = iter(range(2**62))  # numbers of the calls of `from_first`, equal in all processes
_meetings = iter(range(2**62))  # numbers of the calls of `introduce`, likewise


class HostsError(ConnectionError):
    """The processes cannot find each other; the message names the setting to check."""


class FirstFailed(RuntimeError):
    """An action of process 0 failed there; process 0 reports the error itself."""


def detected() -> dict[str, str]:
    """The launchers of several processes that the environment reveals; {} for none.

    Slurm (srun), Open MPI (mpirun) and indexed Kubernetes Jobs set variables; a Cloud TPU is
    recognised by its library.
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
    """Whether this may be process 0, as far as is known before JAX asks the environment."""
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
    """Joins the other processes. Call it before JAX is used for anything else.

    Without arguments it joins those started by Slurm, Open MPI, an indexed Kubernetes Job or a
    Cloud TPU, if any. With a process count of 1 it does nothing.

    Args:
        coordinator: HOST:PORT at which the others reach process 0.
        process_count: number of processes; 0 if the environment gives it.
        process_id: index of this process, from 0; -1 if the environment gives it.
        bind_address: ADDRESS:PORT on which process 0 listens, to restrict it to one of its
            addresses, such as 127.0.0.1 or that of an internal network; by default all. Anyone who
            can connect there can join the run, and end it.
        heartbeat: seconds without a sign of life after which a process counts as lost.
        patience: seconds to wait at the start until all are there.

    Raises:
        ValueError: the arguments are incomplete or contradict each other.
        HostsError: the port is taken, or the environment is not as JAX expects. If the others do
            not arrive within `patience`, the process prints one line and ends with status 1.
    """
    bind_address = bind_address or os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "")
    _check(coordinator, process_count, process_id, bind_address, heartbeat, patience)
    if process_count == 1 or not (coordinator or detected()):
        return
    try:
        client()
    except jax_internals.MovedError as error:
        raise HostsError(
            f"several processes need a part of JAX that has moved: {error}. Run one process, or "
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
            f"all {process_count or ''} started, with different ids? --connect_timeout sets how "
            "long to wait.".replace("  ", " "),
        )

    # XLA's client aborts the process with a stack trace after its own timeout: be earlier.
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
            # Without an answer to a heartbeat XLA aborts, after half of this at the earliest, but
            # not in process 0; `_watch_first` reports the silence of process 0 before that.
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
        # if XLA aborts before we exit, its message is enough
        faulthandler.disable()
        for watch in (_watch, _listen, *((_watch_first,) if jax.process_index() else ())):
            threading.Thread(target=watch, daemon=True).start()


def _check(coordinator, process_count, process_id, bind_address, heartbeat, patience) -> None:
    if not (1 <= heartbeat <= LONGEST and 1 <= patience <= LONGEST):
        raise ValueError(
            f"--heartbeat={heartbeat} and --connect_timeout={patience} must be seconds from 1 to "
            f"{LONGEST:,}."
        )
    if process_count < 0 or process_id < -1:
        raise ValueError(
            f"--process_count={process_count} --process_id={process_id}: wanted the number of "
            "processes, and the index of this one, from 0."
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
            "Cloud TPU gives them."
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
    """Whether an address is a name or number with a port: HOST:1 to HOST:65535."""
    found = re.fullmatch(r".+:([0-9]{1,5})", address)
    return found is not None and 1 <= int(found[1]) <= 65535


def _check_port(bind_address: str, where: str) -> None:
    """Raises HostsError if the port is taken: XLA's service (0.10.2) would crash."""
    host, _, port = bind_address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run may just have ended
        try:
            probe.bind(("" if host == "::" else host, int(port)))
        except OSError as error:
            at = f"{where} ({bind_address})" if host else where
            raise HostsError(
                f"process 0 cannot listen at {at}: the port is taken or not allowed, or the "
                f"address is not this machine's ({error.strerror})."
            ) from error


def _explain(error: Exception, where: str) -> str:
    text = " ".join(str(error).split())
    if "Failed to start RPC server" in text:
        return f"process 0 cannot listen at {where}: the port is taken, or not allowed."
    if "coordinator_address" in text:
        return (
            f"{where} started this process, but JAX cannot find process 0. Give "
            "--coordinator=HOST:PORT too (on Kubernetes, or install the package `kubernetes`)."
        )
    return f"the processes cannot meet at {where}: {text[:300]}"


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
