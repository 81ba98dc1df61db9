"""Finds out why processes did not meet: who is connected, or why one cannot connect."""

import contextlib
import ipaddress
import socket
import sys
from pathlib import Path

ESTABLISHED = "01"  # in /proc/net/tcp: include/net/tcp_states.h of Linux
PATIENCE = 3.0  # seconds for a connection


def seen_by_first(port: int, count: int) -> str:
    """The processes connected to this one, process 0, as a sentence; '' if not known.

    Args:
        port: port on which it listens.
        count: expected number of processes; 0 if not known.
    """
    files = [file for name in ("tcp", "tcp6") if (file := Path("/proc/net") / name).exists()]
    if not files:  # not Linux
        return ""
    there = connected(port, "".join(file.read_text() for file in files))
    of = f" of {count}" if count else ""
    return f"{len(there)}{of} connected: {', '.join(there) or 'none'}."


def connected(port: int, table: str) -> list[str]:
    """The remote addresses of connections to a port of this machine.

    Args:
        port: a port of this machine.
        table: the text of /proc/net/tcp and /proc/net/tcp6.
    """
    found = []
    for row in table.splitlines():
        words = row.split()
        if len(words) > 3 and words[3] == ESTABLISHED and words[1].endswith(f":{port:04X}"):
            found.append(_address(words[2].partition(":")[0]))
    return sorted(found)


def _address(digits: str) -> str:
    """'0100007F' -> '127.0.0.1': 32-bit words in the machine's byte order."""
    words = [bytes.fromhex(digits[i : i + 8]) for i in range(0, len(digits), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    address = ipaddress.ip_address(b"".join(words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def seen_by_other(host: str, port: int) -> str:
    """Whether process 0 can be reached from here, and if not, why, as a sentence."""
    try:
        with contextlib.closing(socket.create_connection((host, port), PATIENCE)):
            return "Process 0 answers: another process is missing."
    except socket.gaierror as error:
        return f"This machine does not know the name {host} ({error.strerror})."
    except TimeoutError:
        return "Nothing answers there: was process 0 started, and does a firewall block it?"
    except OSError as error:
        return f"Process 0 cannot be reached there ({error.strerror})."
