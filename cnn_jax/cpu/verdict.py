"""Whether programs call oneDNN on this machine, and why: a child process decides, once.

There is no list of versions with which oneDNN's calls work. A child process tries them (`child`,
`proof`), because a call that does not work may crash or hang. Its verdict is kept in a small file
(beside JAX's compiled programs, or in the user's cache), whose name is a hash of everything that it
depends on: jaxlib, the code that writes the calls and that tries them, the processor, and those
environment variables that affect the compiler or oneDNN. "Yes" holds for good; "no" is asked again
after a day. An outcome that says nothing about oneDNN, such as a killed child, is not kept.
"""

import datetime
import functools
import hashlib
import json
import os
import platform
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import jaxlib

from cnn_jax import jax_internals, scratch
from cnn_jax.cpu import child, onednn, products, proof, proof_of_layers
from cnn_jax.cpu.child import SWITCH, Verdict

AGAIN = 24 * 3600  # seconds after which a "no" is asked again


def verdict() -> Verdict:
    """The verdict for this process; starts the child the first time, if nothing is known."""
    if os.environ.get(SWITCH, "1") == "0":
        return Verdict(False, f"{SWITCH}=0 in the environment")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        machine = f"{platform.system()} {platform.machine()}"
        return Verdict(False, f"not asked for on {machine}: jaxlib has oneDNN on Linux x86_64")
    with _one_at_a_time:
        return _withdrawn[0] if _withdrawn else _decided()


_one_at_a_time = threading.RLock()
_withdrawn: list[Verdict] = []  # verdicts from the compilation of a program
_warned: set[str] = set()


def usable(ctx: Any) -> bool:
    """Whether a lowering rule may write such calls into its program.

    Args:
        ctx: context of the rule. Refused are exported programs, those for several platforms, and
            those that the compiler divides among devices: it would gather all operands on each.
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
    """Warns once (RuntimeWarning) if jaxlib has oneDNN and runs without it."""
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
    """Makes this process decide anew, from the verdict on disk."""
    _decided.cache_clear()
    _withdrawn.clear()
    _warned.clear()


@functools.cache
def _decided() -> Verdict:
    key = _key()
    name = f"onednn-{_hash(json.dumps(key))}.json"
    found = _read(name)
    if found is None:
        start = time.monotonic()
        found, keep = child.ask()
        if keep:
            record = {"seconds": round(time.monotonic() - start, 1), "when": time.time()}
            _write(name, {**found._asdict(), **record, "for": key})
    if found.works:
        try:
            jax_internals.keep_out_of_compilation_cache("__onednn$")
        except jax_internals.MovedError as error:
            return Verdict(False, f"{error}, and programs that call it must not be cached", True)
    return found


def _key() -> dict[str, Any]:
    settings = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(("ONEDNN_", "DNNL_")) and not name.endswith("VERBOSE")
    )
    flags = child.flags()
    if flags and not flags.startswith("-"):  # the name of a flag file
        flags += _text(flags)
    return {
        "jaxlib": jaxlib.__version__,
        "library": sum(path.stat().st_size for path in child.libraries()),
        "code": _hash(
            "".join(_text(str(m.__file__)) for m in (onednn, products, proof, proof_of_layers))
        ),
        "processor": _processor(),
        "settings": [flags, *settings],
    }


def _text(path: str) -> str:
    """The content of a file; '' if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except (OSError, ValueError):
        return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _processor() -> str:
    """The processor's name, and a hash of its features."""
    text, fields = _text("/proc/cpuinfo"), {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    can = " ".join(sorted(fields.get("flags", "").split()))
    return f"{fields.get('model name', platform.machine())} {_hash(can)}"


def _places() -> list[Path]:
    """Directories for the verdict, the best first; some may not exist or not be writable."""
    places = []
    compiled = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if compiled and "://" not in compiled:
        places.append(Path(compiled))
    return [*places, *scratch.caches()]


def _read(name: str) -> Verdict | None:
    for place in _places():
        try:
            kept = json.loads((place / name).read_text())
            when, works = float(kept["when"]), kept["works"] is True
            if not works and not 0 <= time.time() - when < AGAIN:
                continue
            date = datetime.datetime.fromtimestamp(when).strftime("%Y-%m-%d")
            lost, layers = kept["lost"] is True, kept["layers"] is True
            return Verdict(works, f"{kept['why']} on {date}", lost, layers)
        except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            continue
    return None


def _write(name: str, record: dict[str, Any]) -> None:
    """Writes to the first directory that allows it, whole or not at all; failing is harmless."""
    for place in _places():
        try:
            place.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=f"{name}.", dir=place)
            os.fchmod(handle, 0o644)  # a group may share JAX's cache
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(json.dumps(record, indent=1) + "\n")
                os.replace(partial, place / name)
                return
            except OSError:
                os.unlink(partial)
        except OSError:
            continue
