"""Chooses an address of gloo, which sums between CPUs, that the other hosts can reach.

By default gloo listens on the address of the machine's own name. In Debian's /etc/hosts that is
127.0.1.1, so every other host then connects to itself (seen: "Connection refused" after 30 s). Here
each process listens on an address that the others reach: the operating system says which of its
addresses is on the route to them.
"""

import contextlib
import json
import logging
import platform
import socket
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax import jax_internals
from cnn_jax.train import hosts

log = logging.getLogger(__name__)

_FOREVER = 10**9  # milliseconds; `hosts` ends a process that waits too long
_meetings = iter(range(2**62))  # numbers of the calls of `introduce`, likewise


def on_the_way_to(host: str, port: int) -> str:
    """This machine's address on the route to another; '' without a route. Nothing is sent."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, where in socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM
        ):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(where)
                return probe.getsockname()[0]
    return ""


def choose(own: str, others: Sequence[str], port: int) -> str:
    """The address to listen on: `own`, or an address that all reach if `own` is a loopback.

    Args:
        own: this machine's address on the route to process 0. It is a loopback in process 0 and its
            neighbours on the same machine, if process 0 knows itself by such a name.
        others: the addresses of the other processes on their route to process 0.
        port: any port.
    """
    far = [address for address in others if address and not _is_loopback(address)]
    if far and (not own or _is_loopback(own)):
        return on_the_way_to(far[0], port) or own
    return own


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost")


def named_loopback() -> str:
    """The loopback address that this machine's own name resolves to; '' if it does not."""
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        return address if _is_loopback(address) else ""
    return ""


def listen_where_reached(state: Any) -> None:
    """Exchanges the addresses of the processes and makes gloo listen on them.

    Call it after the processes have met, and before JAX is used for anything else. If JAX offers no
    way to set the address, or does not use gloo, nothing is changed.

    Args:
        state: JAX's state of the coordination service.

    Raises:
        ValueError: the processes disagree on their number; or JAX offers no way to set the address
            and the others cannot reach its default.
    """
    host, _, port = state.coordinator_address.rpartition(":")
    number = int(port)
    mine = {
        "processes": state.num_processes,
        "machine": platform.node(),
        "address": on_the_way_to(host.strip("[]"), number),
    }
    state.client.key_value_set(f"cnn_jax/address/{state.process_id}", json.dumps(mine))
    others = []
    for index in range(state.num_processes):
        if index != state.process_id:
            text = state.client.blocking_key_value_get(f"cnn_jax/address/{index}", _FOREVER)
            others.append(json.loads(text))
            if others[-1]["processes"] != state.num_processes:
                raise ValueError(
                    f"the number of processes is {others[-1]['processes']} in process {index} "
                    f"({others[-1]['machine']}) and {state.num_processes} in process "
                    f"{state.process_id} ({platform.node()})."
                )
    address = choose(mine["address"], [each["address"] for each in others], number)
    gloo = getattr(jax.config, "jax_cpu_collectives_implementation", "gloo") == "gloo"
    if not gloo or not address:
        return
    if not listen_at(address, state.client) and named_loopback() and not _is_loopback(address):
        raise ValueError(
            f"this machine's own name, {socket.gethostname()}, stands for {named_loopback()}, "
            f"where no other host reaches it. Write {address} in its place in /etc/hosts."
        )


def listen_at(address: str, client: Any) -> bool:
    """Makes gloo listen on an address. Call it before JAX is used for anything.

    Args:
        address: an address of this machine.
        client: client of the coordination service.

    Returns:
        False if JAX offers no way to set it (0.10.2 and 0.12.0 do).
    """
    try:
        jax_internals.listen_by_gloo_at(address, client)
    except jax_internals.MovedError as error:
        log.warning("gloo's address cannot be chosen: %s.", error)
        return False
    return True


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
    hosts.client().wait_at_barrier(f"cnn_jax/introduce/{next(_meetings)}", _FOREVER)
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
