"""The child process that tries oneDNN's calls, and what its end says about them.

It tries what this process would call: it is given this process's path of modules and what of the
environment reaches the compiler or oneDNN, and nothing that could make it wait for other processes,
take a GPU, write files, or start a child of its own. It is in a session of its own, so that a
Ctrl-C is for this process alone, and ends itself after `proof.LIMIT` seconds.
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
# Settings of XLA that do not matter on a CPU, or would make a child write files or be slow
_NOT_FOR_CHILD = ("--xla_dump", "--xla_gpu", "--xla_tpu", "--xla_force_host_platform_device_count")


class Verdict(NamedTuple):
    """Whether programs may call oneDNN, and why, as part of a sentence.

    `lost`: jaxlib has it, nobody switched it off, and it is not used all the same.
    """

    works: bool
    why: str
    lost: bool = False


def ask() -> tuple[Verdict, bool]:
    """The child's verdict, and whether it is one about oneDNN, to be kept."""
    if not _carries():
        return Verdict(False, f"no oneDNN in this build of jaxlib {jaxlib.__version__}"), True
    if not sys.executable or getattr(sys, "frozen", False):
        return Verdict(False, "there is no Python here to try it in a child process", True), False
    start = time.monotonic()
    # the modules of this process, whatever brought them onto its path
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
            start_new_session=True,  # a Ctrl-C is for this process, not an answer of the child
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
    """What a child that ended so has shown."""
    lines = out.splitlines()
    tried = [line.removeprefix(proof.STARTED) for line in lines if line.startswith(proof.STARTED)]
    said = [line.removeprefix(proof.FINISHED) for line in lines if line.startswith(proof.FINISHED)]
    where = f"at {tried[-1]}" if tried else "before its first call"
    try:
        report = json.loads(said[-1]) if said and tried and status == 0 else {}
    except ValueError:  # somebody else wrote into its line
        report = {}
    if report == {"wrong": "", "error": ""}:
        what = f"{len(tried)} forms of call proved on jaxlib {jaxlib.__version__}"
        return Verdict(True, f"{what} by a child process in {seconds:.1f} s"), True
    last = (error.strip().splitlines() or [""])[-1].strip()[:200]
    keep = bool(tried)
    if report:
        wrong = report["wrong"] and f"gave a wrong number for {report['wrong']}"
        how = wrong or f"failed {where}: {report['error']}"
    elif status == -signal.SIGALRM:
        how = f"hung {where} for {proof.LIMIT} s"
    else:
        # by one of these somebody ended it, or the kernel, for want of memory
        keep &= -status not in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
        by = f"by signal {-status}" if status < 0 else f"with status {status}"
        how = f"ended {by} {where}{last and f' ({last})'}"
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
    except (OSError, ValueError):  # no room for it among this process's addresses, say
        return True  # the child will find out
    return False


def libraries() -> list[Path]:
    """jaxlib's own, the largest first."""
    folder = Path(jaxlib.__file__).parent
    found = (path for path in folder.glob("*.so*") if path.stat().st_size)
    return sorted(found, key=lambda path: -path.stat().st_size)


def _environment() -> dict[str, str]:
    """The child's: a CPU alone, none of JAX's own settings, and no oneDNN but in the proof."""
    ours = (SWITCH, "PYTHONINSPECT", "XLA_FLAGS", "ONEDNN_VERBOSE", "DNNL_VERBOSE")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("JAX_")
    }
    own = flags()
    return kept | ({"XLA_FLAGS": own} if own else {}) | {"JAX_PLATFORMS": "cpu", SWITCH: "0"}


def flags() -> str:
    """XLA_FLAGS without what is not for the child; the name of a file of flags as it is."""
    text = os.environ.get("XLA_FLAGS", "").strip()
    if not text.startswith("-"):
        return text
    return " ".join(flag for flag in text.split() if not flag.startswith(_NOT_FOR_CHILD))
