"""The run directory: on this machine, or in a store with a copy on this machine.

With `workdir=s3://BUCKET/RUN` the run belongs to the store. This machine works on a copy under
~/.cache/cnn_jax/runs, which may be deleted when nothing runs and all is uploaded: the same command,
here or on another machine, fetches what the store has and resumes. With several processes only
process 0 reads and writes, so they need no shared file system.
"""

import contextlib
import dataclasses
import json
import logging
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.run import workdir as workdirs
from cnn_jax.stores import Store, StoreError, cache_directory, is_store, local_path
from cnn_jax.train import goodput, hosts, lease
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.mirror import Mirror, fetch_run
from cnn_jax.train.stored_checkpoints import NotStoredError, StoredCheckpoints

# Files that a resumed run reads again; all others are only uploaded.
READ_AGAIN = (
    workdirs.RECIPE_FILE,
    workdirs.RESULT_FILE,
    "metrics.jsonl",
    goodput.ATTEMPTS_FILE,
    "tracked.json",
    "train_batch.png",  # of the first batch, and not of the one after the interruption
)
_HOLD_FILE = "hold.json"  # beside the copy: this machine's last hold on the store


class RunDirectory(NamedTuple):
    """An opened run directory.

    Attributes:
        path: path on this machine.
        place: the path or the URL, for messages.
        stored: whether the run belongs to a store.
        mirror: uploads to the store; None in processes that do not write, and without a store.
    """

    path: Path
    place: str
    stored: bool = False
    mirror: Mirror | None = None

    def checkpoints(self, *, keep: int, best: str) -> Checkpoints:
        """The checkpoints of the run; see `Checkpoints`."""
        directory = self.path / "checkpoints"
        if self.stored:
            return StoredCheckpoints(directory, self.mirror, keep=keep, best=best)
        return Checkpoints(directory, keep=keep, best=best)

    def send(self) -> None:
        """Uploads the files that have changed, if there is a store."""
        if self.mirror is not None:
            self.mirror.send_files()


def open_run_directory(
    recipe: Any, *, name: str, held: contextlib.ExitStack, ends: bool = False
) -> RunDirectory:
    """Opens the directory of this run; see `workdir.open_workdir`.

    When `held` closes, the files still missing from a store are uploaded, and it is released.

    Args:
        recipe, name, held: see `workdir.open_workdir`.
        ends: end the process at once when another run takes a store over; if not, the next upload
            raises the error.

    Raises:
        ValueError: it holds another experiment, or another run is using it.
        StoreError: the store cannot be used.
    """
    # process 0 decides whether the run is in a store, and where
    recipe = dataclasses.replace(recipe, workdir=hosts.from_first(lambda: recipe.workdir))
    if not is_store(recipe.workdir):
        path = workdirs.open_workdir(recipe, name=name, held=held)
        return RunDirectory(path, str(path))
    mirrors: list[Mirror] = []

    def first() -> str:
        mirrors.append(_open_stored(recipe, name, held, ends))
        return str(mirrors[0].directory)

    path = Path(hosts.from_first(first))
    return RunDirectory(path, recipe.workdir, True, mirrors[0] if mirrors else None)


def _open_stored(recipe: Any, name: str, held: contextlib.ExitStack, ends: bool) -> Mirror:
    store = Store(recipe.workdir)
    url = store.url
    home = cache_directory("runs", url)
    with _said_of(url, home):
        workdirs.lock(home, held)  # only runs on this machine use the copy
    hold = _hold(store, home, silence=float(recipe.heartbeat), ends=ends)
    held.callback(_quietly, hold.release)
    mirror = Mirror(home / "copy", store, check=hold.check, last=workdirs.RESULT_FILE)
    # the copy is ahead of the store after an outage, unless another machine has resumed meanwhile
    mirror.fetch(READ_AGAIN, ahead=hold.inherited)
    mirror.clear_leftovers()
    held.push(lambda kind, error, trace: _last_files(mirror, error))
    held.push(lambda kind, error, trace: _rename(error, url, mirror.directory))
    with _said_of(url, mirror.directory):
        workdirs.open_local(dataclasses.replace(recipe, workdir=str(mirror.directory)), name, held)
    mirror.send_files()
    mirror.send_steps()
    return mirror


def _hold(store: Store, home: Path, *, silence: float, ends: bool) -> lease.Lease:
    """Takes a hold on the store's directory. This machine's previous hold is known to be dead, as
    the lock of the copy is free: there is no need to wait for it."""
    note, boot = home / _HOLD_FILE, _boot()
    dead = ""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        before = json.loads(note.read_text())
        dead = before["token"] if boot and before["boot"] == boot else ""
    token = secrets.token_hex(8)
    hold = lease.Lease(
        store,
        owner=f"process {os.getpid()} on {platform.node()}",
        token=token,
        silence=silence,
        dead=dead,
        on_lost=(lambda message: hosts.leave(1, f"error: {message}")) if ends else None,
    )
    note.write_text(json.dumps({"token": token, "boot": boot}))
    return hold


def _boot() -> str:
    """An id of this boot of this machine; '' if there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _quietly(action: Any) -> None:
    """Runs an action whose failure is not worth a run: a hold not released expires by itself."""
    try:
        action()
    except StoreError as error:
        logging.warning("%s", error)


def _last_files(mirror: Mirror, error: BaseException | None) -> bool:
    if error is None:
        mirror.send_files()
    else:
        _quietly(mirror.send_files)
    return False


@contextlib.contextmanager
def _said_of(url: str, copy: Path) -> Iterator[None]:
    """Within the block, errors about the copy name the store instead."""
    try:
        yield
    except ValueError as error:
        _rename(error, url, copy)
        raise


def _rename(error: BaseException | None, url: str, copy: Path) -> None:
    """Raises the error again, with the store's name in place of the copy's."""
    if isinstance(error, ValueError) and not isinstance(error, NotStoredError):
        text = str(error)
        if str(copy) in text:
            raise type(error)(text.replace(str(copy), url)) from error


@contextlib.contextmanager
def readable(place: str) -> Iterator[Path]:
    """A run as a directory of this machine, to read; for a store, a copy that lasts as long as the
    block. Nothing is locked and nothing is written.

    Raises:
        StoreError: the store cannot be read.
    """
    if not is_store(place):
        yield local_path(place)
        return
    with tempfile.TemporaryDirectory(prefix="cnn_jax-run-") as scratch:
        fetch_run(place, Path(scratch), READ_AGAIN)
        with _said_of(place, Path(scratch)):
            yield Path(scratch)
