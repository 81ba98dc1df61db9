"""A run's hold on a directory of a store: the equivalent of a lock on a disk.

A hold is a numbered object, lock/000001, that only one process can create. The process with the
highest number holds the directory, and confirms it every few seconds in another object, its
heartbeat. A process that wants the directory creates the next number once the holder has released
it or has been silent for longer than it promised. A holder that was only thought dead (a frozen
machine, a broken network) sees the higher number and stops: the fencing token of Kleppmann, "How to
do distributed locking" (2016). All times are the store's, so that no two clocks are compared.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from cnn_jax.stores import Store, StoreError

log = logging.getLogger(__name__)

FOLDER = "lock"
_RELEASED = b"released"
_BEATS = 5  # heartbeats within the silence that counts as death


class HeldError(ValueError):
    """Another run holds the directory."""


class LostError(StoreError):
    """Another run took the directory, because this one was silent for too long."""


class Holder(NamedTuple):
    """The present or a former holder.

    Attributes:
        number: number of the hold; it only grows.
        owner: name for messages: 'process 12 on host'.
        token: token unique to the hold.
        silence: seconds without a heartbeat after which it counts as dead.
    """

    number: int
    owner: str
    token: str
    silence: float


class Lease:
    """The hold of this process, from `Lease(...)` to `release()`.

    Attributes:
        inherited: whether the hold before it was that of `dead`, with nobody in between.
    """

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        token: str,
        silence: float,
        dead: str = "",
        on_lost: Callable[[str], None] | None = None,
    ):
        """Takes the directory; if its holder may be dead, waits until that is certain.

        Args:
            store: the directory.
            owner: name of this process, for messages.
            token: token unique to this hold.
            silence: seconds without a heartbeat after which this process counts as dead.
            dead: token of a hold whose process is known to have ended; '' for none.
            on_lost: called with a message, from another thread, when another run takes over.

        Raises:
            HeldError: another run holds it, and is alive.
            StoreError: the store cannot be used.
        """
        self._store, self._on_lost = store, on_lost
        self._stopped, self._silent = threading.Event(), False
        while True:
            last = newest(store)
            if last is not None and last.token != dead:
                _await_end(store, last)
            holder = Holder(last.number + 1 if last else 1, owner, token, silence)
            made = store.create(_name(holder.number), json.dumps(holder._asdict()).encode())
            # read again, since some S3-like stores lack conditional writes
            found = newest(store)
            if made and found == holder:
                break  # else another process was faster, and is the holder to check
            if found is None or found.number < holder.number:
                raise StoreError(
                    f"{store.url} does not list what was written to it, so no run can hold it. "
                    "Choose a plainer name, or another store."
                )
        self.inherited = bool(dead) and last is not None and last.token == dead
        self._holder, self._count = holder, 0
        self._beat()
        old = [name for name in store.entries(FOLDER) if _number(name) < holder.number]
        store.delete(name for name in old if _number(name))
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LostError if another run has taken over."""
        last = newest(self._store)
        if last is None or last.token != self._holder.token:
            raise LostError(
                f"{self._store.url} was taken over by {last.owner if last else 'another run'}, "
                f"because this run was silent for more than {self._holder.silence:g} s. It stops "
                "here; the other run resumes from the last checkpoint."
            )

    def release(self) -> None:
        """Releases the directory."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join(timeout=60)
        self._store.write(_heartbeat(self._holder.number), _RELEASED)

    def _beat(self) -> None:
        self._count += 1
        content = f"{self._holder.token} {self._count}"
        self._store.write(_heartbeat(self._holder.number), content.encode())

    def _keep(self) -> None:
        while not self._stopped.wait(self._holder.silence / _BEATS):
            try:
                self.check()
                self._beat()
                self._silent = False
            except LostError as error:
                self._stopped.set()
                if self._on_lost is not None:
                    self._on_lost(str(error))
            except StoreError as error:  # the store may answer again before this run counts as dead
                if not self._silent:
                    log.warning("The heartbeat could not be written. %s", error)
                self._silent = True


def newest(store: Store) -> Holder | None:
    """The hold with the highest number, or None."""
    numbers = {_number(name) for name in store.entries(FOLDER)} - {0}
    for number in sorted(numbers, reverse=True):
        content = store.read(_name(number))
        if content is not None:  # None: a heartbeat whose hold was removed
            try:
                return Holder(**{**json.loads(content), "number": number})
            except (ValueError, TypeError):
                return Holder(number, "a run that left no name", "", 60.0)
    return None


def _await_end(store: Store, holder: Holder) -> None:
    """Waits until the holder has released it or counts as dead; raises HeldError if it is alive."""
    name = _heartbeat(holder.number)
    first = beat = store.read(name)
    told = False
    while beat != _RELEASED:
        if beat != first:
            raise HeldError(
                f"{store.url} is in use by {holder.owner}. Two runs cannot share a directory: "
                "choose another `workdir`, or stop that run."
            )
        seen = store.modified(name if beat is not None else _name(holder.number))
        silent = store.now(f"{FOLDER}/clock") - seen
        if silent > holder.silence:
            log.warning("%s was held by %s, which is dead.", store.url, holder.owner)
            return
        if not told:
            log.warning(
                "%s is held by %s: waiting up to %.0f s for a sign of life.",
                store.url, holder.owner, holder.silence - silent,
            )  # fmt: skip
            told = True
        time.sleep(min(1.0, holder.silence / 10))
        beat = store.read(name)


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}"


def _heartbeat(number: int) -> str:
    return f"{_name(number)}.alive"


def _number(name: str) -> int:
    """The number of a hold or a heartbeat; 0 for other objects."""
    text = name.rpartition("/")[2].partition(".")[0]
    return int(text) if text.isdigit() else 0
