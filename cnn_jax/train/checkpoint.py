"""Checkpoints: Orbax's files with our checksums inside.

With several processes each writes its part. Process 0 reads and broadcasts to the others, so that
all start from the same numbers, or all raise the same error.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from cnn_jax.train import hosts, manager
from cnn_jax.train.contents import checksums, describe, difference, is_intact, signed
from cnn_jax.train.errors import CheckpointError as CheckpointError
from cnn_jax.train.errors import OtherNetworkError as OtherNetworkError
from cnn_jax.typing import PyTree

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, in `directory`: the newest ones and the best one.

    Saving returns as soon as the arrays are copied; the files are written in the background. A kill
    in the middle of a save leaves earlier checkpoints untouched.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 2,
        best: str = "accuracy",
        shared: bool = True,
        read_only: bool = False,
    ):
        """Opens the directory, and creates it if it is missing.

        Args:
            directory: directory of the checkpoints, with one sub-directory per step.
            keep: number of the newest checkpoints to keep.
            best: the metric whose highest value marks the best checkpoint, which is kept too. Only
                `save` needs it.
            shared: whether all processes see the directory. If not, process 0 writes whole
                checkpoints and the others nothing.
            read_only: write nothing, nor create the directory, which must be there: for looking
                into a run that may be going on.
        """
        self.directory = Path(directory).absolute()
        self._best = best
        self._alone: manager.Manager | None = None
        self._first_only = hosts.several() and not shared
        if not self._is_blind():
            self._manager = manager.writer(
                self.directory, keep=keep, first_only=self._first_only, create=not read_only
            )

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; [] if this process sees no files."""
        if self._is_blind():
            return []
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None if none was evaluated."""
        step = self._manager.best_step()
        if step is None or manager.score(self._manager.metrics(step) or {}) == -np.inf:
            return None
        return step

    def save(
        self, step: int, state: PyTree, *, meta: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        """Saves the state, which must be a copy whose buffers no later step donates.

        Args:
            step: number of updates made.
            state: any tree of arrays, whole in every process.
            meta: what is needed to interpret the state: JSON.
            metrics: the metrics of an evaluation at this step, if there was one.

        Raises:
            ValueError: `best` is not among the metrics.
            CheckpointError: this checkpoint or the previous one cannot be written.
        """
        if self._is_blind():
            return
        if self._first_only:
            # numpy, since Orbax rejects an array that belongs to one of several processes
            state = jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), state)
        meta = signed({**meta, "crc32": checksums(state), "arrays": describe(state)})
        if metrics is not None and self._best not in metrics:
            raise ValueError(
                f"best={self._best} marks the best checkpoint, and the evaluation gives "
                f"{', '.join(metrics)}. Choose one of these."
            )
        known = {name: value for name, value in (metrics or {}).items() if np.isfinite(value)}
        score = known.get(self._best, manager.LOWEST)  # it may be undefined for this set
        with self._writing(step):
            # saved before its evaluation was finished; or later ones, too damaged to resume from
            for old in [old for old in self._manager.all_steps() if old >= step]:
                self._manager.delete(old)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
                ),
                metrics={**known, manager.SCORE: score},
            )

    def restore(
        self,
        like: PyTree,
        *,
        step: int | None = None,
        accept: Callable[[dict[str, Any]], None] = lambda meta: None,
    ) -> tuple[PyTree, dict[str, Any]]:
        """The state and its meta at `step`, or at the newest step that is intact.

        Args:
            like: a tree of the same structure and shapes; arrays or ShapeDtypeStructs.
            step: step of the checkpoint; None tries them from the newest backwards.
            accept: called with the meta before the arrays are read; raises an error if this is not
                a checkpoint to resume from.

        Raises:
            CheckpointError: there is none, or none that is intact and fits `like`.
        """
        read: list[PyTree] = []

        def newest() -> dict[str, Any]:
            state, meta = self._restore_newest(like, step, accept)
            read.append(state)
            return meta

        meta = hosts.from_first(newest)
        return hosts.arrays_from_first(read[0] if read else None, like), meta

    def _restore_newest(self, like, step, accept) -> tuple[PyTree, dict[str, Any]]:
        candidates = [step] if step is not None else self.steps()[::-1]
        if not candidates:
            raise CheckpointError(f"{self.directory} holds no checkpoint.")
        troubles = []
        for candidate in candidates:
            try:
                return self._restore(like, candidate, accept)
            except OtherNetworkError:
                raise
            except CheckpointError as error:
                troubles.append(str(error))
                if candidate != candidates[-1]:
                    log.warning("%s Trying the one before it.", error)
        raise CheckpointError(" ".join(troubles))

    def restore_as_saved(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state as nested dicts, and its meta, without knowing the structure.

        Raises:
            CheckpointError: it is damaged.
        """
        meta = self.meta(step)
        state = self._read(step, ocp.args.StandardRestore())
        self._check(step, state, meta)
        return state, meta

    def meta(self, step: int) -> dict[str, Any]:
        """The meta of the checkpoint at `step`.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            restored = self._reader().restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            )
        except Exception as error:  # Orbax raises bare Exception, KeyError, JSONDecodeError ...
            raise CheckpointError(
                f"{self._where(step)} cannot be read ({manager.short(error)})."
            ) from error
        meta = restored["meta"]
        if not is_intact(meta):
            raise CheckpointError(
                f"{self._where(step)} is damaged: the checksum of its meta does not match."
            )
        return meta

    def wait(self) -> None:
        """Waits until everything saved so far is on disk.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._is_blind():
            return
        with self._writing(None):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until all is on disk, and closes the directory."""
        if self._is_blind():
            return
        with self._writing(None):
            self._manager.close()
        if self._alone is not None:
            self._alone.close()

    def _is_blind(self) -> bool:
        """Whether this process neither reads nor writes the files."""
        return self._first_only and not hosts.is_first()

    @contextlib.contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        """Turns errors of writing into a CheckpointError; Orbax raises many kinds."""
        try:
            yield
        except Exception as error:
            if hosts.several() and hosts.is_remote(error):
                raise  # another process is lost; the disk is fine
            kept = [str(old) for old in self.steps() if old != step]
            what = "A checkpoint" if step is None else f"The checkpoint of step {step} or before it"
            raise CheckpointError(
                f"{what} cannot be written to {self.directory} ({manager.reason(error)}). "
                f"Make room or choose another `workdir`. Checkpoints kept: "
                f"{', '.join(kept) or 'none'}."
            ) from error

    def _reader(self) -> ocp.CheckpointManager:
        """The manager that reads; with several processes only process 0 uses it."""
        if not hosts.several() or self._first_only:
            return self._manager
        if self._alone is not None:
            return self._alone
        self._alone = manager.reader(self.directory)
        return self._alone

    def _restore(
        self, like: PyTree, step: int, accept: Callable[[dict[str, Any]], None]
    ) -> tuple[PyTree, dict[str, Any]]:
        meta = self.meta(step)
        accept(meta)
        if found := difference(meta["arrays"], describe(like)):
            raise OtherNetworkError(
                f"{self._where(step)} belongs to another network or optimiser: {found}."
            )
        single = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=single), like
        )
        state = self._read(step, ocp.args.StandardRestore(abstract))
        self._check(step, state, meta)
        return state, meta

    def _read(self, step: int, how: ocp.args.StandardRestore) -> PyTree:
        try:
            return self._reader().restore(step, args=ocp.args.Composite(state=how))["state"]
        except Exception as error:
            raise CheckpointError(
                f"{self._where(step)} is damaged ({manager.short(error)})."
            ) from error

    def _check(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        found = checksums(state)
        for path, saved in meta["crc32"].items():
            if found.get(path) != saved:
                raise CheckpointError(
                    f"{self._where(step)} is damaged: the checksum of {path} does not match."
                )

    def _where(self, step: int) -> str:
        return f"The checkpoint of step {step} in {self.directory}"
