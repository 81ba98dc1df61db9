"""How several processes meet: the arguments, the launcher that gives them, and what may go wrong.

Process 0 runs the coordination service of JAX's distributed runtime; the others connect to it.
"""

import importlib.util
import os
import re
import socket
import threading
from pathlib import Path

import jax

from cnn_jax import jax_internals
from cnn_jax.train import gloo, hosts, meeting

# The variables in which Slurm, Open MPI and indexed Kubernetes Jobs give the index of a process.
OWN_ID = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "JOB_COMPLETION_INDEX")

LONGEST = 10**7  # seconds, some months: XLA counts in 32 bits, in places in milliseconds


class HostsError(ConnectionError):
    """The processes cannot find each other; the message names the setting to check."""


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
    coordinator_bind_address: str = "",
    heartbeat: int = 100,
    connect_timeout: int = 300,
) -> None:
    """Joins the other processes. Call it before JAX is used for anything else.

    Without arguments it joins those started by Slurm, Open MPI, an indexed Kubernetes Job or a
    Cloud TPU, if any. With a process count of 1 it does nothing.

    Args:
        coordinator: HOST:PORT at which the others reach process 0.
        process_count: number of processes; 0 if the environment gives it.
        process_id: index of this process, from 0; -1 if the environment gives it.
        coordinator_bind_address: ADDRESS:PORT on which process 0 listens, to restrict it to one of
            its addresses, such as 127.0.0.1 or that of an internal network; by default all. Anyone
            who can connect there can join the run, and end it.
        heartbeat: seconds without a sign of life after which a process counts as lost.
        connect_timeout: seconds to wait at the start until all are there.

    Raises:
        ValueError: the arguments are incomplete or contradict each other.
        HostsError: the port is taken, or the environment is not as JAX expects. If the others do
            not arrive within `connect_timeout`, the process prints one line and ends with status 1.
    """
    coordinator_bind_address = coordinator_bind_address or os.environ.get(
        "JAX_COORDINATOR_BIND_ADDRESS", ""
    )
    _check(
        coordinator, process_count, process_id, coordinator_bind_address, heartbeat, connect_timeout
    )
    if process_count == 1 or not (coordinator or detected()):
        return
    try:
        hosts.client()
    except jax_internals.MovedError as error:
        raise HostsError(
            f"several processes need a part of JAX that has moved: {error}. Run one process, or "
            "install an earlier JAX."
        ) from error
    where = coordinator or " and ".join(f"{name} ({what})" for name, what in detected().items())
    if coordinator and process_id == 0:
        _check_port(coordinator_bind_address or f":{coordinator.rpartition(':')[2]}", where)

    def give_up() -> None:
        seen = ""
        if coordinator:
            host, _, port = coordinator.rpartition(":")
            seen = (
                meeting.seen_by_other(host.strip("[]"), int(port))
                if process_id
                else meeting.seen_by_first(int(port), process_count)
            )
        hosts.leave(
            1,
            f"error: the processes did not all meet at {where} within {connect_timeout} s. {seen} "
            f"Were all {process_count or ''} started, with different ids? "
            "`connect_timeout` sets how long to wait.".replace("  ", " "),
        )

    # XLA's client aborts the process with a stack trace after its own timeout: be earlier.
    alarm = threading.Timer(connect_timeout, give_up)
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            coordinator or None,
            process_count or None,
            process_id if process_id >= 0 else None,
            initialization_timeout=connect_timeout + 30,
            coordinator_bind_address=coordinator_bind_address or None,
            # Without an answer to a heartbeat XLA aborts, after half of this at the earliest, but
            # not in process 0; `hosts` reports the silence of process 0 before that.
            heartbeat_timeout_seconds=(
                heartbeat if _may_be_first(process_id) else -(-3 * heartbeat // 2)
            ),
            shutdown_timeout_seconds=3600,  # the others wait while process 0 draws
        )
        if jax_internals.coordination_state().num_processes > 1:
            hosts.joined(heartbeat)
            gloo.listen_where_reached(jax_internals.coordination_state())
    except (RuntimeError, ValueError) as error:  # JaxRuntimeError is a RuntimeError
        raise HostsError(_explain(error, where)) from error
    finally:
        alarm.cancel()
    if jax.process_count() > 1:
        hosts.watch()


def _check(
    coordinator, process_count, process_id, coordinator_bind_address, heartbeat, connect_timeout
) -> None:
    if not (1 <= heartbeat <= LONGEST and 1 <= connect_timeout <= LONGEST):
        raise ValueError(
            f"heartbeat={heartbeat} and connect_timeout={connect_timeout} must be seconds from 1 "
            f"to {LONGEST:,}."
        )
    if process_count < 0 or process_id < -1:
        raise ValueError(
            f"process_count={process_count} process_id={process_id}: wanted the number of "
            "processes, and the index of this one, from 0."
        )
    if process_count == 1 and process_id < 1:
        return
    given = {
        "coordinator": bool(coordinator),
        "process_count": process_count > 0,
        "process_id": process_id >= 0,
    }
    missing = [f"`{name}`" for name, there in given.items() if not there]
    if 0 < len(missing) < 3 and not detected():
        raise ValueError(
            f"{' and '.join(missing)} missing: several processes need coordinator=HOST:PORT "
            "process_count=N process_id=I, all three, unless Slurm, Open MPI, Kubernetes or a "
            "Cloud TPU gives them."
        )
    if coordinator and not _has_port(coordinator):
        raise ValueError(f"coordinator={coordinator}: wanted HOST:PORT, such as 10.0.0.1:1234.")
    if coordinator_bind_address and not _has_port(coordinator_bind_address):
        raise ValueError(
            f"coordinator_bind_address={coordinator_bind_address}: wanted ADDRESS:PORT, one of "
            "this machine's, such as 10.0.0.1:1234."
        )
    if process_count and process_id >= process_count:
        raise ValueError(
            f"process_id={process_id}, but there are {process_count} processes: they are "
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
            "coordinator=HOST:PORT too (on Kubernetes, or install the package `kubernetes`)."
        )
    return f"the processes cannot meet at {where}: {text[:300]}"
