"""The address at which gloo, which carries sums between CPUs, is reached by the other hosts.

Left alone, gloo listens at the address of the machine's own name. In Debian's /etc/hosts that is
127.0.1.1, so that every other host then talks to itself (tried: "Connection refused" after 30 s).
Here each process listens where it is reached by the others instead: the operating system says which
of its addresses is on the way to them.
"""

import contextlib
import json
import platform
import socket
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging

from cnn_jax import jax_internals

_FOREVER = 10**9  # milliseconds: who waits for longer than it is allowed is ended by `hosts`


def on_the_way_to(host: str, port: int) -> str:
    """This machine's address on the way to another; '' where there is no way. Nothing is sent."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, where in socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM
        ):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(where)
                return probe.getsockname()[0]
    return ""


def choose(own: str, others: Sequence[str], port: int) -> str:
    """The address to listen at: `own`, or, where only this machine reaches that, one for all.

    Args:
        own: this machine's address on the way to process 0. It is a loopback in process 0 itself if
            that knows itself by such a name, and in its neighbours on the same machine.
        others: the same of the other processes.
        port: any.
    """
    far = [address for address in others if address and not _is_loopback(address)]
    if far and (not own or _is_loopback(own)):
        return on_the_way_to(far[0], port) or own
    return own


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "localhost")


def named_loopback() -> str:
    """The loopback that this machine's own name stands for; '' where it stands for no loopback."""
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        return address if _is_loopback(address) else ""
    return ""


def listen_where_reached(state: Any) -> None:
    """Lets the processes tell each other where they are, and gloo listen there.

    To be called after the processes have met, and before JAX is used for anything else. Where JAX
    has no way to say it, or something else than gloo is in use, all is left as it was.

    Args:
        state: JAX's, of the coordination service.

    Raises:
        ValueError: the processes count themselves differently, or JAX has no way to say it and what
            it would use cannot be reached by the others.
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
    """Makes gloo listen there. To be called before JAX is used for anything.

    Args:
        address: of this machine.
        client: of the coordination service.

    Returns:
        False where JAX has no way to say it (seen in 0.10.2 and 0.12.0: it has).
    """
    try:
        jax_internals.listen_by_gloo_at(address, client)
    except jax_internals.MovedError as error:
        logging.warning("gloo's address cannot be chosen: %s.", error)
        return False
    return True
