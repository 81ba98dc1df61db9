"""The run directory: choosing it, locking it, and writing the result into it."""

import contextlib
import datetime
import importlib.metadata
import logging
import os
import platform
import secrets
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax

import cnn_jax.cpu
from cnn_jax import plugins, strict_json
from cnn_jax.run import resuming
from cnn_jax.run import settings as recipes
from cnn_jax.stores import local_path
from cnn_jax.train import agreement, hosts

RECIPE_FILE = "recipe.flags"
RESULT_FILE = "result.json"
LOCK_FILE = "lock"
SEEN_WITHIN = 10.0  # seconds, for file systems that cache directory listings


def open_workdir(recipe: Any, *, name: str, held: contextlib.ExitStack) -> Path:
    """Opens the directory of this run. A new one is created, and the recipe written into it.

    Without `workdir` it is runs/<date>-<name>, or the first of -2, -3, ... that is new or holds
    an unfinished run of the same recipe that is not running, which is then resumed. With several
    processes, process 0 chooses, locks and writes.

    Args:
        recipe: a recipe with the fields `workdir` and `resume`.
        name: name of the experiment: '<model>-<dataset>'.
        held: keeps the directory locked against other runs until it is closed.

    Raises:
        ValueError: it holds another experiment, or one that `resume=False` says not to resume;
            or another run is using it; or another process does not see the directory of process 0,
            in which case every process raises the error.
    """
    workdir, mark = hosts.from_first(lambda: _marked(open_local(recipe, name, held)))
    if hosts.several():
        seen = hosts.is_first() or sees(Path(workdir), mark)
        agreement.settle("the run directory", seen, partial(_judge_seen, workdir))
    return Path(workdir)


def _marked(workdir: Path) -> tuple[str, str]:
    """The absolute path of the directory, and a unique mark written into its lock file.

    A lock file alone would prove nothing: an earlier run on the other host may have left it.
    """
    if not hosts.several():
        return str(workdir), ""
    mark = secrets.token_hex(16)
    with (workdir / LOCK_FILE).open("a") as file:
        file.write(f"{mark}\n")
        file.flush()
        os.fsync(file.fileno())  # makes NFS send it at once
    return str(workdir.absolute()), mark


def sees(workdir: Path, mark: str) -> bool:
    """Whether this process finds the mark of process 0 in the directory, within SEEN_WITHIN."""
    deadline = time.monotonic() + SEEN_WITHIN
    while True:
        for folder in (workdir.parent, workdir):  # makes NFS refresh its listing
            with contextlib.suppress(OSError):
                os.listdir(folder)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if mark in (workdir / LOCK_FILE).read_text().split():
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def _judge_seen(workdir: str, seen: list[bool], machines: list[str]) -> str:
    """The error message if some process does not see the directory of process 0; else ''."""
    blind = [f"{index} ({machines[index]})" for index, each in enumerate(seen) if not each]
    if not blind:
        return ""
    more = f" and {len(blind) - 4} more" if len(blind) > 4 else ""
    return (
        f"{workdir} of process 0 ({machines[0]}) is not the same directory in process "
        f"{', '.join(blind[:4])}{more}: with several hosts `workdir` must be on a file system that "
        "all of them share."
    )


def open_local(recipe: Any, name: str, held: contextlib.ExitStack) -> Path:
    """As `open_workdir`, for a single process, in a directory of this machine."""
    if recipe.workdir:
        workdir = local_path(recipe.workdir)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(
                f"workdir={recipe.workdir} is a file, or is below one; wanted a directory, "
                "which is created if it is missing."
            ) from error
        lock(workdir, held)
        _check_same_experiment(recipe, workdir)
    else:
        base = f"{datetime.date.today():%Y-%m-%d}-{name.replace('/', '_').replace(':', '_')}"
        workdir, number = Path("runs") / base, 1
        while not _take(recipe, workdir, held):
            number += 1
            workdir = Path("runs") / f"{base}-{number}"
    if not resuming.read_recipe(workdir / RECIPE_FILE):
        keep_recipe(workdir, recipe)
    return workdir


def keep_recipe(workdir: Path, recipe: Any) -> None:
    """Writes the recipe into the directory; for a resumed run, once it is known to be valid."""
    recipes.write_text(workdir / RECIPE_FILE, recipes.to_flagfile(recipe))


def _take(recipe: Any, workdir: Path, held: contextlib.ExitStack) -> bool:
    """Takes this directory for a new or resumed run; returns whether it was available."""
    if workdir.exists() and not _can_go_on(recipe, workdir):
        return False
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        lock(workdir, held)
    except BusyError:
        return False
    return True


class BusyError(ValueError):
    """Another run is using the directory."""


def lock(workdir: Path, held: contextlib.ExitStack) -> None:
    """Locks the directory until `held` is closed; the kernel releases it if the run is killed.

    Raises:
        BusyError: another run has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    file = held.enter_context((workdir / LOCK_FILE).open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = next(iter(file.read().splitlines()), "").strip() or "another process"
        raise BusyError(
            f"{workdir} is in use by {owner}. Two runs cannot share a directory: choose another "
            "`workdir`, or stop that run."
        ) from None
    except OSError as error:  # a file system without locks
        logging.warning(
            "%s cannot be locked (%s): do not start a second run in it.", workdir, error
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()


def _can_go_on(recipe: Any, workdir: Path) -> bool:
    try:
        earlier = resuming.read_recipe(workdir / RECIPE_FILE)
    except resuming.LostRecipeError as error:
        logging.warning("%s It is left alone.", error)
        return False
    return (
        recipe.resume
        and not (workdir / RESULT_FILE).exists()
        and (workdir / RECIPE_FILE).exists()
        and not resuming.differences(recipe, earlier)
    )


def _check_same_experiment(recipe: Any, workdir: Path) -> None:
    earlier = resuming.read_recipe(workdir / RECIPE_FILE)
    if not earlier:
        return
    # a folder that moved is compared by its fingerprint in the checkpoints, or else by its name
    known = any(name.startswith(resuming.CHECKPOINTS) for name in resuming.left_behind(workdir))
    if changes := (resuming if known else recipes).differences(recipe, earlier):
        raise ValueError(
            f"{workdir} holds another experiment: {'; '.join(changes.values())}. "
            "Choose another `workdir`, or give the same settings to resume it."
        )
    if not recipe.resume:
        raise ValueError(
            f"{workdir} already holds a run, and resume=False forbids resuming it. "
            "Choose another `workdir`, or delete it."
        )


def write_result(workdir: Path, result: dict[str, Any]) -> Path:
    """Writes result.json whole or not at all, with versions and hardware added."""
    path = workdir / RESULT_FILE
    partial = path.with_suffix(".json.new")
    partial.write_text(strict_json.dumps({**result, **environment()}, indent=2) + "\n")
    partial.replace(path)
    return path


def environment() -> dict[str, Any]:
    """What a result depends on besides our code: versions, hardware and plug-ins."""
    packages = ("cnn-jax", "jax", "jaxlib", "flax", "optax", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = jax.devices()
    return {
        **({"plugins": added} if (added := plugins.record()) else {}),
        "versions": versions,
        "hardware": {
            "platform": devices[0].platform,
            "device": devices[0].device_kind,
            "devices": len(devices),
            "cpu": _cpu_name(),
            "cpu_cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "cpu_convolutions": str(cnn_jax.cpu.status()),
        },
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
