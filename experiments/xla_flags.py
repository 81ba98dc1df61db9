"""Explains XLA_FLAGS that XLA would abort the process over, before it does.

XLA reads them when its first backend starts, and aborts the process on a flag that it does not know
or a value that it cannot read. Only XLA knows which those are, and they differ between versions: so
if the variable is set, a child process starts a backend first. That takes two seconds, once for
each version and set of flags: flags that pass are noted in a file.
"""

import contextlib
import hashlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jaxlib

from cnn_jax import scratch

PATIENCE = 60.0  # seconds

_UNKNOWN = re.compile(r"Unknown flags? in XLA_FLAGS: (.+)")
_VALUE = re.compile(r"Couldn't interpret value (.*) for flag (\S+?)\.?\s*$", re.MULTILINE)
_FILE = re.compile(r'Could not open file "(.*)" to read flags')


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raises ValueError, with one line, if XLA would reject the flags."""
    given = environ.get("XLA_FLAGS", "").strip()
    if not given:
        return
    note = _note(given)
    if note is not None and note.exists():
        return
    said = _complaint(environ)
    if said is None:
        if note is not None:
            with contextlib.suppress(OSError):
                note.touch()
        return
    if line := _explanation(said, given):
        raise ValueError(line)


def warn_of_devices(cpu_devices: int, environ: Mapping[str, str] = os.environ) -> None:
    """Logs which number counts, if XLA_FLAGS has another number of CPU devices than the flag."""
    said = re.findall(r"--xla_force_host_platform_device_count=(\d+)", environ.get("XLA_FLAGS", ""))
    if cpu_devices and said and int(said[-1]) != cpu_devices:
        logging.warning(
            "XLA_FLAGS asks for %s CPU devices and --cpu_devices for %s: there are %s.",
            said[-1],
            cpu_devices,
            cpu_devices,
        )


def _note(given: str) -> Path | None:
    """The file that notes that this XLA accepts these flags."""
    if not given.startswith("-"):  # a file of flags, which may change
        return None
    key = hashlib.sha256(f"{jaxlib.__version__} {given}".encode(errors="replace")).hexdigest()
    with contextlib.suppress(OSError):
        return scratch.directory() / f"xla_flags-{key[:32]}"
    return None


def _complaint(environ: Mapping[str, str]) -> str | None:
    """What XLA says about the flags before it aborts; None if it starts."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env={**environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # the flags are then checked by the run itself
        return None
    return None if done.returncode == 0 else done.stderr.decode(errors="replace")


def _explanation(said: str, given: str) -> str | None:
    """One line for what XLA said; None if that is not about the flags."""
    version = f"XLA of jaxlib {jaxlib.__version__}"
    if found := _UNKNOWN.search(said):
        unknown = found[1].split()
        if not given.startswith("-"):
            return (
                f"The file {given} of XLA_FLAGS has {' '.join(unknown)}, which {version} does not "
                "know: take it out."
            )
        kept = " ".join(flag for flag in given.split() if flag not in unknown)
        return (
            f"XLA_FLAGS has {' '.join(unknown)}, which {version} does not know. Without it: "
            f"XLA_FLAGS='{kept}'"
        )
    if found := _VALUE.search(said):
        return f"XLA_FLAGS has --{found[2]}={found[1]}, a value that {version} cannot read."
    if found := _FILE.search(said):
        return (
            f"XLA_FLAGS={found[1]} does not begin with --, so it names a file of flags: there is "
            "no such file."
        )
    return None
