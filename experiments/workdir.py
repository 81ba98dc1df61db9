"""The directory of a run: which one, whose it is, and the result it ends with."""

import contextlib
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import time
from pathlib import Path
from typing import Any

import jax

from cnn_jax.train import hosts
from experiments import recipe as recipes

RECIPE_FILE = "recipe.flags"
RESULT_FILE = "result.json"
LOCK_FILE = "lock"
SEEN_WITHIN = 30.0  # seconds, for file systems that cache what a directory holds


def open_workdir(recipe: Any, *, name: str, held: contextlib.ExitStack) -> Path:
    """The directory for this run, made if it is new, with the recipe written into it.

    Without --workdir it is runs/<date>-<name>, or the first of -2, -3, ... that is new or holds
    this very recipe unfinished and not running, which is then gone on with. With several processes
    the first one chooses, locks and writes.

    Args:
        recipe: with fields `workdir` and `resume`.
        name: of the experiment: '<model>-<dataset>'.
        held: keeps the directory locked against other runs until it is closed.

    Raises:
        ValueError: --workdir holds another experiment, or one that --noresume says not to resume;
            or another run is using it.
    """
    workdir = Path(hosts.from_first(lambda: str(_open(recipe, name, held))))
    _check_shared(workdir)
    return workdir


def _check_shared(workdir: Path) -> None:
    """Raises ValueError where process 0 writes into a directory that this process does not see."""
    deadline = time.monotonic() + SEEN_WITHIN
    while not hosts.is_first() and not (workdir / LOCK_FILE).exists():
        if time.monotonic() > deadline:
            raise ValueError(
                f"{workdir} of process 0 is not seen on {platform.node()}: with several hosts "
                "--workdir must be on a file system that all of them share."
            )
        time.sleep(0.1)


def _open(recipe: Any, name: str, held: contextlib.ExitStack) -> Path:
    if recipe.workdir:
        workdir = Path(recipe.workdir).expanduser()
        workdir.mkdir(parents=True, exist_ok=True)
        _lock(workdir, held)
        _check_same_experiment(recipe, workdir)
    else:
        base = f"{datetime.date.today():%Y-%m-%d}-{name.replace('/', '_').replace(':', '_')}"
        workdir, number = Path("runs") / base, 1
        while not _take(recipe, workdir, held):
            number += 1
            workdir = Path("runs") / f"{base}-{number}"
    text = recipes.to_flagfile(recipe)
    (workdir / RECIPE_FILE).write_bytes(text.encode("utf-8", errors="surrogateescape"))
    return workdir


def _take(recipe: Any, workdir: Path, held: contextlib.ExitStack) -> bool:
    """Makes or goes on with this directory, if it is nobody else's."""
    if workdir.exists() and not _can_go_on(recipe, workdir):
        return False
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        _lock(workdir, held)
    except BusyError:
        return False
    return True


class BusyError(ValueError):
    """Another run is using the directory."""


def _lock(workdir: Path, held: contextlib.ExitStack) -> None:
    """Locks the directory until `held` is closed; the kernel lets go of it if the run is killed.

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
        owner = file.read().strip() or "another process"
        raise BusyError(
            f"{workdir} is in use by {owner}. Two runs cannot share a directory: choose another "
            "--workdir, or stop that run."
        ) from None
    except OSError as error:  # a file system without locks
        logging.warning("%s cannot be locked (%s): start no second run in it.", workdir, error)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()


def _can_go_on(recipe: Any, workdir: Path) -> bool:
    flagfile = workdir / RECIPE_FILE
    return (
        recipe.resume
        and flagfile.exists()
        and not (workdir / RESULT_FILE).exists()
        and not recipes.differences(recipe, recipes.from_flagfile(flagfile))
    )


def _check_same_experiment(recipe: Any, workdir: Path) -> None:
    flagfile = workdir / RECIPE_FILE
    if not flagfile.exists():
        return
    changes = recipes.differences(recipe, recipes.from_flagfile(flagfile))
    if changes:
        raise ValueError(
            f"{workdir} holds another experiment: {'; '.join(changes)}. "
            "Choose another --workdir, or give the same settings to go on with it."
        )
    if not recipe.resume:
        raise ValueError(
            f"{workdir} holds a run already, and --noresume forbids to go on with it. "
            "Choose another --workdir, or delete it."
        )


def write_result(workdir: Path, result: dict[str, Any]) -> Path:
    """Writes result.json whole or not at all, with versions and hardware added."""
    path = workdir / RESULT_FILE
    partial = path.with_suffix(".json.new")
    partial.write_text(json.dumps({**result, **environment()}, indent=2) + "\n")
    partial.replace(path)
    return path


def environment() -> dict[str, Any]:
    """What a figure depends on beside the code: versions and hardware."""
    packages = ("cnn-jax", "jax", "jaxlib", "flax", "optax", "numpy")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = jax.devices()
    return {
        "versions": versions,
        "hardware": {
            "platform": devices[0].platform,
            "device": devices[0].device_kind,
            "devices": len(devices),
            "cpu": _cpu_name(),
            "cpu_cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
        },
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
