"""Checkpoints that are uploaded from the disk to a store."""

import logging
import threading
from pathlib import Path
from typing import Any

from cnn_jax.stores import StoreError
from cnn_jax.train.checkpoint import CheckpointError, Checkpoints
from cnn_jax.train.mirror import Mirror
from cnn_jax.typing import PyTree

log = logging.getLogger(__name__)

POLL = 0.02  # seconds


class NotStoredError(CheckpointError):
    """A checkpoint is on this machine's disk, but could not be uploaded."""


class StoredCheckpoints(Checkpoints):
    """As `Checkpoints`; each is uploaded to the store as soon as it is on the disk.

    One is uploaded at a time: `save` waits for the one before, as it does for the disk. If an
    upload fails, this is logged, and the run continues: the next checkpoint supersedes it. The last
    one must arrive: `wait` tries again, and then raises an error.
    """

    def __init__(self, directory: Path, mirror: Mirror | None, *, keep: int = 2, best: str):
        """Args:
        directory: directory of the checkpoints in this machine's copy.
        mirror: mirror of the run; None in processes that do not write.
        keep, best: see `Checkpoints`.
        """
        super().__init__(directory, keep=keep, best=best, shared=False)
        self._mirror = mirror
        self._sender: threading.Thread | None = None
        self._written = threading.Event()
        self._failed: tuple[int, StoreError] | None = None

    def save(
        self, step: int, state: PyTree, *, meta: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        self._settle()
        super().save(step, state, meta=meta, metrics=metrics)
        if self._mirror is not None:
            self._written.clear()
            self._sender = threading.Thread(
                target=self._send, args=(step, self._mirror), daemon=True
            )
            self._sender.start()

    def wait(self) -> None:
        self._settle()
        if self._failed is not None and self._mirror is not None:
            step = self._failed[0]
            self._send(step, self._mirror)
            if self._failed is not None:
                kept = self._mirror.steps()
                raise NotStoredError(
                    f"The checkpoint of step {step} is on this disk, in {self.directory}, but "
                    f"cannot be uploaded to the store. {self._failed[1]} Checkpoints kept there: "
                    f"{', '.join(map(str, kept)) or 'none'}."
                )
        if self._mirror is not None:  # Orbax removes old ones once a new one is there
            try:
                self._mirror.drop_removed()
            except StoreError as error:
                log.warning("An old checkpoint is left in the store. %s", error)

    def close(self) -> None:
        try:
            self._settle()
        finally:
            super().close()

    def _settle(self) -> None:
        """Waits until the last save is on the disk, and in the store unless the upload failed."""
        try:
            super().wait()
        finally:
            self._written.set()
            if self._sender is not None:
                self._sender.join()
                self._sender = None

    def _send(self, step: int, mirror: Mirror) -> None:
        # Orbax gives a checkpoint its final name once it is complete
        while not (there := (self.directory / str(step)).is_dir()) and not self._written.is_set():
            self._written.wait(POLL)
        if not (there or (self.directory / str(step)).is_dir()):
            return  # it could not be written; waiting for it raises that error
        try:
            mirror.send_step(step)
            self._failed = None
        except StoreError as error:
            log.warning("The checkpoint of step %d is not in the store yet. %s", step, error)
            self._failed = step, error
        except OSError as error:  # an error of the disk that it is read from
            log.warning("The checkpoint of step %d is not in the store yet: %s", step, error)
            self._failed = step, StoreError(f"{type(error).__name__}: {error}.")
