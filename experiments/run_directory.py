"""Where a run lives: in a directory of this machine, or in a store, with a copy here.

With --workdir=s3://BUCKET/RUN the run belongs to the store. This machine works on a copy below
~/.cache/cnn_jax/runs, which may be deleted when nothing runs and all has arrived: the same command,
here or on another machine, fetches what the store has and goes on. With several processes the first
one alone reads and writes, so that they need no file system in common.
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

from cnn_jax.stores import Store, StoreError, cache_directory, is_store
from cnn_jax.train import goodput, hosts, lease
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.mirror import Mirror, fetch_run
from cnn_jax.train.stored_checkpoints import NotStoredError, StoredCheckpoints
from experiments import workdir as workdirs

# What a run reads again when it goes on; all other files only go up.
READ_AGAIN = (
    workdirs.RECIPE_FILE,
    workdirs.RESULT_FILE,
    "metrics.jsonl",
    goodput.ATTEMPTS_FILE,
)
_HOLD_FILE = "hold.json"  # beside the copy: which hold on the store this machine had


class RunDirectory(NamedTuple):
    """An opened run directory.

    Attributes:
        path: on this machine.
        place: for messages: the path, or the URL.
        stored: whether it belongs to a store.
        mirror: what carries it there; None in processes that do not write, and without a store.
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
        """Puts the files that have changed into the store, if there is one."""
        if self.mirror is not None:
            self.mirror.send_files()


def open_run_directory(recipe: Any, *, name: str, held: contextlib.ExitStack) -> RunDirectory:
    """The directory for this run; see `workdir.open_workdir`.

    When `held` closes, a store gets the files that it has not got yet, and is let go of.

    Raises:
        ValueError: it holds another experiment, or another run is using it.
        StoreError: the store cannot be used.
    """
    # whether it is in a store is for process 0 to say, as where it is
    recipe = dataclasses.replace(recipe, workdir=hosts.from_first(lambda: recipe.workdir))
    if not is_store(recipe.workdir):
        path = workdirs.open_workdir(recipe, name=name, held=held)
        return RunDirectory(path, str(path))
    mirrors: list[Mirror] = []

    def first() -> str:
        mirrors.append(_open_stored(recipe, name, held))
        return str(mirrors[0].directory)

    path = Path(hosts.from_first(first))
    return RunDirectory(path, recipe.workdir, True, mirrors[0] if mirrors else None)


def _open_stored(recipe: Any, name: str, held: contextlib.ExitStack) -> Mirror:
    store = Store(recipe.workdir)
    url = store.url
    home = cache_directory("runs", url)
    with _said_of(url, home):
        workdirs.lock(home, held)  # whoever else uses the copy is on this machine
    hold = _hold(store, home, silence=float(recipe.heartbeat))
    held.callback(_quietly, hold.release)
    mirror = Mirror(home / "copy", store, check=hold.check, last=workdirs.RESULT_FILE)
    # what an outage kept from the store is still here, unless another machine has gone on meanwhile
    mirror.fetch(READ_AGAIN, ahead=hold.inherited)
    mirror.clear_leftovers()
    held.push(lambda kind, error, trace: _last_files(mirror, error))
    held.push(lambda kind, error, trace: _rename(error, url, mirror.directory))
    with _said_of(url, mirror.directory):
        workdirs.open_local(dataclasses.replace(recipe, workdir=str(mirror.directory)), name, held)
    mirror.send_files()
    mirror.send_steps()
    return mirror


def _hold(store: Store, home: Path, *, silence: float) -> lease.Lease:
    """Takes the store's directory. What this machine held before is known to be dead, for the lock
    of the copy went with it: nobody has to wait for that."""
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
        on_lost=lambda message: hosts.leave(1, f"error: {message}"),
    )
    note.write_text(json.dumps({"token": token, "boot": boot}))
    return hold


def _boot() -> str:
    """Which machine this is, since when; '' where it does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _quietly(action: Any) -> None:
    """For what is not worth a run: a hold that is not released ends by itself."""
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
    """Messages about the copy are about the store."""
    try:
        yield
    except ValueError as error:
        _rename(error, url, copy)
        raise


def _rename(error: BaseException | None, url: str, copy: Path) -> None:
    """Raises the error anew, with the store's name in the place of the copy's."""
    if isinstance(error, ValueError) and not isinstance(error, NotStoredError):
        text = str(error)
        if str(copy) in text:
            raise type(error)(text.replace(str(copy), url)) from error


@contextlib.contextmanager
def readable(place: str) -> Iterator[Path]:
    """A run to be looked at, as a directory of this machine; of a store a copy for as long as this
    is open. Nothing is locked and nothing written.

    Raises:
        StoreError: the store cannot be read.
    """
    if not is_store(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="cnn_jax-run-") as scratch:
        fetch_run(place, Path(scratch), READ_AGAIN)
        with _said_of(place, Path(scratch)):
            yield Path(scratch)
