"""The child process that tries oneDNN's calls, and the verdict that its end gives.

It tries what this process would call. So it gets this process's module path and those environment
variables that affect the compiler or oneDNN, but nothing that could make it wait for other
processes, take a GPU, write files, or start a child of its own. It has its own session, so that
Ctrl-C reaches this process alone, and it ends itself after `proof.LIMIT` seconds.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jaxlib

from cnn_jax.cpu import onednn, proof

SWITCH = "CNN_JAX_ONEDNN"  # "0" in the environment: never use oneDNN
PROGRAM = "from cnn_jax.cpu import proof; proof.main()"
RIGHT = {"wrong": "", "error": ""}  # a report without a fault
# Settings of XLA that do not matter on a CPU, or would make a child slow or make it write files
_NOT_FOR_CHILD = ("--xla_dump", "--xla_gpu", "--xla_tpu", "--xla_force_host_platform_device_count")


class Verdict(NamedTuple):
    """Whether programs may call oneDNN, and why, as part of a sentence.

    `lost`: whether jaxlib has oneDNN, nobody has switched it off, and it still cannot be used.
    `layers`: whether a product may be a whole layer, with what follows it (`proof_of_layers`).
    """

    works: bool
    why: str
    lost: bool = False
    layers: bool = False


def ask() -> tuple[Verdict, bool]:
    """The child's verdict, and whether it is about oneDNN and so worth keeping."""
    if not _carries():
        return Verdict(False, f"no oneDNN in this build of jaxlib {jaxlib.__version__}"), True
    if not sys.executable or getattr(sys, "frozen", False):
        return Verdict(False, "there is no Python to try it in a child process", True), False
    start = time.monotonic()
    # the modules of this process, however they came onto its path
    path = [os.fspath(entry) for entry in sys.path if isinstance(entry, str | os.PathLike)]
    program = f"import sys; sys.path[:] = {path!r}; {PROGRAM}"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=proof.LIMIT,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process, and no answer of the child
        )
        status, out, error = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        status, error = -signal.SIGALRM, ""  # as if its own alarm had come first
        said = expired.stdout or b""
        out = said if isinstance(said, str) else said.decode(errors="replace")
    except OSError as failure:
        return Verdict(False, f"the child process did not start ({failure})", True), False
    return _judge(status, out, error, time.monotonic() - start)


def _judge(status: int, out: str, error: str, seconds: float) -> tuple[Verdict, bool]:
    """The verdict after a child has ended like this, and whether to keep it."""
    lines = out.splitlines()
    tried = [line.removeprefix(proof.STARTED) for line in lines if line.startswith(proof.STARTED)]
    said = [line.removeprefix(proof.FINISHED) for line in lines if line.startswith(proof.FINISHED)]
    moment = f"at {tried[-1]}" if tried else "before its first call"
    layers = status == 0 and f"{proof.LAYERS}{json.dumps(RIGHT)}" in lines
    # what ended it while it tried layers is no matter of the other calls
    whole = status == 0 or (said and not lines[-1].startswith(proof.FINISHED))
    try:
        report = json.loads(said[-1]) if said and tried and whole else {}
    except ValueError:  # something else wrote into its line
        report = {}
    # a user has ended it by one of these, or the kernel for lack of memory
    by_others = -status in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
    if report == RIGHT:
        what = f"{len(tried)} forms of call proved on jaxlib {jaxlib.__version__}"
        how = f"{what} by a child process in {seconds:.1f} s"
        if not layers:
            how += f", without those of frozen layers: it stopped {moment}"
        return Verdict(True, how, layers=layers), not by_others
    last = (error.strip().splitlines() or [""])[-1].strip()[:200]
    keep = bool(tried)
    if report:
        wrong = report["wrong"] and f"gave a wrong number for {report['wrong']}"
        how = wrong or f"failed {moment}: {report['error']}"
    elif status == -signal.SIGALRM:
        how = f"hung {moment} for {proof.LIMIT} s"
    else:
        keep &= not by_others
        by = f"by signal {-status}" if status < 0 else f"with status {status}"
        how = f"ended {by} {moment}{last and f' ({last})'}"
    return Verdict(False, f"the child process {how}", lost=True), keep


def _carries() -> bool:
    """Whether the names of oneDNN's calls are in jaxlib's library."""
    name = onednn.CONVOLUTION.encode()
    try:
        for path in libraries():
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
            ):
                if text.find(name) >= 0:
                    return True
    except (OSError, ValueError):  # for example no room in this process's address space
        return True  # the child will find out
    return False


def libraries() -> list[Path]:
    """jaxlib's libraries, the largest first."""
    folder = Path(jaxlib.__file__).parent
    found = (path for path in folder.glob("*.so*") if path.stat().st_size)
    return sorted(found, key=lambda path: -path.stat().st_size)


def _environment() -> dict[str, str]:
    """The child's environment: only a CPU, no JAX_* settings, and oneDNN in the proof alone."""
    ours = (SWITCH, "PYTHONINSPECT", "XLA_FLAGS", "ONEDNN_VERBOSE", "DNNL_VERBOSE")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("JAX_")
    }
    own = flags()
    return kept | ({"XLA_FLAGS": own} if own else {}) | {"JAX_PLATFORMS": "cpu", SWITCH: "0"}


def flags() -> str:
    """XLA_FLAGS without those that are not for the child; the name of a flag file stays."""
    text = os.environ.get("XLA_FLAGS", "").strip()
    if not text.startswith("-"):
        return text
    return " ".join(flag for flag in text.split() if not flag.startswith(_NOT_FOR_CHILD))
