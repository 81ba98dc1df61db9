"""Whether programs call oneDNN here, and why: asked of a child process once, and then remembered.

No list of versions says where oneDNN's calls work: `cnn_jax.cpu.proof` tries them, in a process of
its own, because what does not work there may crash or hang. Its verdict is kept in a small file
(beside JAX's compiled programs, or in the user's cache) whose name is a hash of all that it holds
for: jaxlib, the code that writes the calls and that tries them, the processor, and those settings
in the environment that reach the compiler or oneDNN. "Yes" holds for good; "no" is asked again
after a day. What says nothing about oneDNN, such as a child that was killed, is not kept.
"""

import contextlib
import datetime
import functools
import hashlib
import json
import mmap
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib

from cnn_jax import jax_internals
from cnn_jax.cpu import onednn, proof

SWITCH = "CNN_JAX_ONEDNN"  # "0" in the environment: never use oneDNN
PROGRAM = "from cnn_jax.cpu import proof; proof.main()"
AGAIN = 24 * 3600  # seconds after which a "no" is asked again
# Settings of XLA that do not matter on a CPU, or would make a child write files or be slow
_NOT_FOR_CHILD = ("--xla_dump", "--xla_gpu", "--xla_tpu", "--xla_force_host_platform_device_count")


class Verdict(NamedTuple):
    """Whether programs may call oneDNN, and why, as part of a sentence.

    `lost`: jaxlib has it, nobody switched it off, and it is not used all the same.
    """

    works: bool
    why: str
    lost: bool = False


def verdict() -> Verdict:
    """What is decided for this process; starts the child the first time, if nothing is known."""
    if os.environ.get(SWITCH, "1") == "0":
        return Verdict(False, f"{SWITCH}=0 in the environment")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        where = f"{platform.system()} {platform.machine()}"
        return Verdict(False, f"not asked for on {where}: jaxlib has oneDNN on Linux x86_64")
    with _one_at_a_time:
        return _withdrawn[0] if _withdrawn else _decided()


_one_at_a_time = threading.RLock()
_withdrawn: list[Verdict] = []  # what turned out only when a program was compiled
_warned: set[str] = set()


def usable(ctx: Any) -> bool:
    """Whether a lowering rule may write such calls into the program that it is part of.

    Args:
        ctx: the rule's context. Exported programs, those for several platforms, and those that the
            compiler divides among devices are refused: it would gather all operands on each.
    """
    try:
        alone = jax_internals.is_for_one_device(ctx)
    except jax_internals.MovedError as error:
        if verdict().works:
            _withdrawn.append(Verdict(False, str(error), lost=True))
        warn_if_lost()
        return False
    if not alone:
        return False
    warn_if_lost()
    return verdict().works


def warn_if_lost(stacklevel: int = 2) -> None:
    """Says once, as a RuntimeWarning, that a jaxlib with oneDNN runs without it."""
    found = verdict()
    if found.lost and found.why not in _warned:
        _warned.add(found.why)
        warnings.warn(
            f"cnn_jax.cpu runs without oneDNN, which this jaxlib has: {found.why}. Convolutions "
            f"take several times as long. {SWITCH}=0 in the environment silences this.",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )


def forget() -> None:
    """Lets this process decide anew, from what is kept on disk."""
    _decided.cache_clear()
    _withdrawn.clear()
    _warned.clear()


@functools.cache
def _decided() -> Verdict:
    key = _key()
    name = f"onednn-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    found = _read(name)
    if found is None:
        start = time.monotonic()
        found, keep = _ask()
        if keep:
            record = {"seconds": round(time.monotonic() - start, 1), "when": time.time()}
            _write(name, {**found._asdict(), **record, "for": key})
    if found.works:
        try:
            jax_internals.keep_out_of_compilation_cache("__onednn$")
        except jax_internals.MovedError as error:
            return Verdict(False, f"{error}, and programs that call it must not be cached", True)
    return found


# The child


def _ask() -> tuple[Verdict, bool]:
    """The child's verdict, and whether it is one about oneDNN, to be kept."""
    if not _carries():
        return Verdict(False, f"no oneDNN in this build of jaxlib {jaxlib.__version__}"), True
    if not sys.executable or getattr(sys, "frozen", False):
        return Verdict(False, "there is no Python here to try it in a child process", True), False
    start = time.monotonic()
    # the modules of this process, whatever brought them onto its path
    path = [os.fspath(entry) for entry in sys.path]
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
    report = json.loads(said[-1]) if said and status == 0 else {}
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
    for path in _libraries():
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text.find(onednn.CONVOLUTION.encode()) >= 0:
                return True
    return False


def _libraries() -> list[Path]:
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
    flags = _flags()
    return kept | ({"XLA_FLAGS": flags} if flags else {}) | {"JAX_PLATFORMS": "cpu", SWITCH: "0"}


def _flags() -> str:
    """XLA_FLAGS without what is not for the child; the name of a file of flags as it is."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not flags.startswith("-"):
        return flags
    return " ".join(flag for flag in flags.split() if not flag.startswith(_NOT_FOR_CHILD))


# What it holds for, and where it is kept


def _key() -> dict[str, Any]:
    settings = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(("ONEDNN_", "DNNL_")) and not name.endswith("VERBOSE")
    )
    flags = _flags()
    if flags and not flags.startswith("-") and Path(flags).is_file():
        flags = Path(flags).read_text(errors="replace")
    return {
        "jaxlib": jaxlib.__version__,
        "library": sum(path.stat().st_size for path in _libraries()),
        "code": _hash(b"".join(Path(str(m.__file__)).read_bytes() for m in (onednn, proof))),
        "processor": _processor(),
        "settings": [flags, *settings],
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _processor() -> str:
    """The processor's name, and a hash of what it can do."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    fields = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    can = " ".join(sorted(fields.get("flags", "").split()))
    return f"{fields.get('model name', platform.machine())} {_hash(can.encode())}"


def _places() -> list[Path]:
    """Directories for the verdict, the best first; some may not be there, or not writable."""
    places = []
    compiled = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if compiled and "://" not in compiled:
        places.append(Path(compiled))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(RuntimeError):  # nobody knows where home is
        places.append(Path(cache).expanduser() / "cnn_jax")
    with contextlib.suppress(OSError):  # there is no directory for temporary files
        shared = Path(tempfile.gettempdir()) / _shared_name()
        if not shared.exists() or shared.lstat().st_uid == os.getuid():  # not another user's word
            places.append(shared)
    return places


def _shared_name() -> str:
    """The name of our directory in one where every user may write."""
    return f"cnn_jax-{os.getuid()}"


def _read(name: str) -> Verdict | None:
    for place in _places():
        try:
            kept = json.loads((place / name).read_text())
            when, works = float(kept["when"]), kept["works"] is True
            if not works and not 0 <= time.time() - when < AGAIN:
                continue
            date = datetime.datetime.fromtimestamp(when).strftime("%Y-%m-%d")
            return Verdict(works, f"{kept['why']} on {date}", kept["lost"] is True)
        except (OSError, KeyError, TypeError, ValueError, OverflowError):
            continue
    return None


def _write(name: str, record: dict[str, Any]) -> None:
    """Into the first place that takes it, whole or not at all; nowhere is no harm."""
    for place in _places():
        try:
            mode = 0o700 if place.name == _shared_name() else 0o777
            place.mkdir(mode=mode, parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=f"{name}.", dir=place)
            os.fchmod(handle, 0o644)  # JAX's cache may be a group's
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(json.dumps(record, indent=1) + "\n")
                os.replace(partial, place / name)
                return
            except OSError:
                os.unlink(partial)
        except OSError:
            continue
