"""Copes with what a machine lacks: with a warning, or with one line that says what to do.

A read-only home, few file descriptors and an ASCII terminal are coped with. A platform that JAX
does not have ends the program, with one line instead of JAX's traceback.
"""

import contextlib
import errno
import os
import re
import shutil
import traceback
from pathlib import Path

import jax
from absl import flags

from cnn_jax.printable import never_fail_to_print

DESCRIPTORS = 65_536  # file descriptors; more than any data set here opens at once


def prepare() -> None:
    """Prepares the process. Call it before anything else."""
    never_fail_to_print()
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows; not allowed
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def explained(error: BaseException) -> BaseException:
    """A ValueError that explains what this machine lacks, in place of a library's error; any other
    error unchanged."""
    if (line := _explanation(error)) is None:
        return error
    explanation = ValueError(line)
    explanation.__cause__ = error
    return explanation


def _explanation(error: BaseException) -> str | None:
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        who = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
        return (
            f"A path begins with ~, and {who} has no home directory: set HOME, or write the path "
            "in full."
        )
    if _is_about_platforms(error):
        return _no_platform(error)
    if not isinstance(error, OSError):
        return None
    if isinstance(error, FileNotFoundError) and _here() is None:
        return (
            "The current directory has been deleted: change to another one, cd DIRECTORY, and "
            "start again."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error}: allow more with 'ulimit -n 4096'."
    if error.errno == errno.ENOSPC and not error.filename and _workers():
        free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
        return (
            f"{error}: the processes of --workers={_workers()} pass batches through /dev/shm, "
            f"where {free:,} bytes are free. Enlarge it, or read with threads: --workers=0."
        )
    if error.errno in (errno.EROFS, errno.EACCES) and str(error.filename).startswith("runs"):
        return (
            f"The run directory cannot be created in {_here()} ({error.strerror}): give one, "
            "--workdir=DIRECTORY."
        )
    return None


def _here() -> Path | None:
    """The current directory; None if it has been deleted."""
    with contextlib.suppress(FileNotFoundError):
        return Path.cwd()
    return None


def _workers() -> int:
    return flags.FLAGS.workers if "workers" in flags.FLAGS else 0


def _is_about_platforms(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return "Unable to initialize backend" in str(error)
    if isinstance(error, AssertionError):  # jax 0.10 to 0.12, if 'cuda' has no plug-in
        frames = traceback.extract_tb(error.__traceback__)
        return bool(frames) and frames[-1].filename.endswith("xla_bridge.py")
    return False


def _no_platform(error: BaseException) -> str:
    wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
    jax.config.update("jax_platforms", "")
    try:
        there = sorted({jax.devices()[0].platform, "cpu"})
    except Exception:  # whatever is wrong here, the message is about another platform
        there = ["cpu"]
    finally:
        jax.config.update("jax_platforms", wanted)
    said = re.split(r"\((?:set JAX_PLATFORMS|you may need)", str(error))[0].strip(" .")
    reason = f" ({said[:300]})" if said else ""
    if not wanted:  # no platform was requested, so something else is wrong
        given = os.environ.get("XLA_FLAGS", "").strip()
        suspect = f" XLA_FLAGS is set, to {given[:200]!r}: try without it." if given else ""
        return f"JAX cannot start on this machine{reason}.{suspect}"
    cure = "unset JAX_PLATFORMS, or set it to one of these"
    if wanted and any(name in wanted for name in ("cuda", "gpu", "rocm", "tpu")):
        cure += "; a GPU or TPU needs its driver and its build of JAX, pip install 'jax[cuda13]'"
    return (
        f"JAX_PLATFORMS={wanted}: JAX has no such device here{reason}. It has {', '.join(there)}: "
        f"{cure}."
    )
