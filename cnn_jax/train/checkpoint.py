"""Checkpoints: Orbax's files with our checksums inside.

With several processes each writes its part. Process 0 reads and broadcasts to the others, so that
all start from the same numbers, or all raise the same error.
"""

import contextlib
import errno
import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from cnn_jax.train import hosts
from cnn_jax.typing import PyTree

log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says which, why and what to do."""


class OtherNetworkError(CheckpointError):
    """A checkpoint is intact, but belongs to another network or optimiser."""


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """False: the loop itself asks, and its counter must not be mixed with Orbax's."""
        return False

    def metrics(self, step: int) -> dict[str, Any] | None:
        """None also if they cannot be read: the directory must open all the same."""
        try:
            return super().metrics(step)
        except Exception as error:
            log.warning("The metrics of the checkpoint of step %d are lost (%s).", step, error)
            return None


_SCORE = "score"  # ranks the checkpoints; a reader need not know which metric it is


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
    ):
        """Opens the directory, and creates it if it is missing.

        Args:
            directory: directory of the checkpoints, with one sub-directory per step.
            keep: number of the newest checkpoints to keep.
            best: the metric whose highest value marks the best checkpoint, which is kept too. Only
                `save` needs it.
            shared: whether all processes see the directory. If not, process 0 writes whole
                checkpoints and the others nothing.
        """
        self.directory = Path(directory).absolute()
        self._best = best
        self._alone: _Manager | None = None
        self._first_only = hosts.several() and not shared
        more: dict[str, Any] = {"create": True}
        if self._first_only:
            if not hosts.is_first():
                return
            self.directory.mkdir(parents=True, exist_ok=True)
            more = {"create": False, "multiprocessing_options": _of_first("writer")}
        self._manager = _Manager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                **more,
                enable_async_checkpointing=True,
                best_fn=_score,
                best_mode="max",
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [
                        checkpoint_managers.LatestN(keep),
                        checkpoint_managers.BestN(
                            get_metric_fn=_score,
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
            ),
            item_names=("state", "meta"),
        )

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; [] if this process sees no files."""
        if self._is_blind():
            return []
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None if none was evaluated."""
        step = self._manager.best_step()
        if step is None or _score(self._manager.metrics(step) or {}) == -np.inf:
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
            KeyError: `best` is not among the metrics.
            CheckpointError: this checkpoint or the previous one cannot be written.
        """
        if self._is_blind():
            return
        if self._first_only:
            # numpy, since Orbax rejects an array that belongs to one of several processes
            state = jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), state)
        meta = {**meta, "crc32": checksums(state), "arrays": describe(state)}
        meta["own_crc32"] = _text_checksum(meta)
        score = -np.inf if metrics is None else metrics[self._best]
        if np.isnan(score):  # a metric that is undefined for this set
            score = -np.inf
        with self._writing(step):
            # saved before its evaluation was finished; or later ones, too damaged to resume from
            for old in [old for old in self._manager.all_steps() if old >= step]:
                self._manager.delete(old)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
                ),
                metrics={**(metrics or {}), _SCORE: score},
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
        return _broadcast(read[0] if read else None, like), meta

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
                f"{self._where(step)} cannot be read ({_short(error)})."
            ) from error
        meta = restored["meta"]
        # checkpoints from before November 2026 have no checksum
        if "own_crc32" in meta and meta["own_crc32"] != _text_checksum(meta):
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
                f"{what} cannot be written to {self.directory} ({_reason(error)}). "
                f"Make room or choose another workdir=DIRECTORY. Checkpoints kept: "
                f"{', '.join(kept) or 'none'}."
            ) from error

    def _reader(self) -> ocp.CheckpointManager:
        """The manager that reads; with several processes only process 0 uses it."""
        if not hosts.several() or self._first_only:
            return self._manager
        if self._alone is not None:
            return self._alone
        self._alone = _Manager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                read_only=True, create=False, multiprocessing_options=_of_first("reader")
            ),
            item_names=("state", "meta"),
        )
        return self._alone

    def _restore(
        self, like: PyTree, step: int, accept: Callable[[dict[str, Any]], None]
    ) -> tuple[PyTree, dict[str, Any]]:
        meta = self.meta(step)
        accept(meta)
        _check_same_arrays(self._where(step), meta["arrays"], describe(like))
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
            raise CheckpointError(f"{self._where(step)} is damaged ({_short(error)}).") from error

    def _check(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        found = checksums(state)
        for path, saved in meta["crc32"].items():
            if found.get(path) != saved:
                raise CheckpointError(
                    f"{self._where(step)} is damaged: the checksum of {path} does not match."
                )

    def _where(self, step: int) -> str:
        return f"The checkpoint of step {step} in {self.directory}"


def _of_first(name: str) -> ocp.options.MultiprocessingOptions:
    """Options for a manager that only process 0 has."""
    return ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix=name
    )


def _broadcast(tree: PyTree | None, like: PyTree) -> PyTree:
    """Sends the arrays of process 0, bit for bit, to all others, where `tree` is None."""
    if not hosts.several():
        return tree
    leaves, structure = jax.tree.flatten(like)
    total = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    content = np.zeros(total, np.uint8)  # bytes: as numbers, -0.0 would come back as 0.0
    if tree is not None:
        parts = [np.asarray(leaf).reshape(-1).view(np.uint8) for leaf in jax.tree.leaves(tree)]
        content = np.concatenate(parts)
    content = np.asarray(multihost_utils.broadcast_one_to_all(content))
    arrays, start = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape) * leaf.dtype.itemsize
        arrays.append(content[start : start + size].view(leaf.dtype).reshape(leaf.shape))
        start += size
    return jax.tree.unflatten(structure, arrays)


def _score(metrics: Mapping[str, Any]) -> float:
    value = metrics.get(_SCORE)
    return value if isinstance(value, (int, float)) else -np.inf


def _text_checksum(meta: Mapping[str, Any]) -> str:
    """CRC-32 of the meta, independent of the order of its keys."""
    rest = {name: value for name, value in meta.items() if name != "own_crc32"}
    return f"{zlib.crc32(json.dumps(rest, sort_keys=True).encode()):08x}"


def checksums(tree: PyTree) -> dict[str, str]:
    """CRC-32 of the bytes of every array, by its path."""
    return {
        _name(path): f"{zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1)):08x}"
        for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree))
    }


def describe(tree: PyTree) -> dict[str, str]:
    """Dtype and shape of every array by path: {'params/conv1/kernel': 'float32[3, 3, 1, 16]'}."""
    return {
        _name(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_same_arrays(where: str, saved: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises OtherNetworkError with the first few differences."""
    if saved == wanted:
        return
    differences = [
        f"{path} is {saved.get(path, 'absent')} and should be {wanted.get(path, 'absent')}"
        for path in sorted(saved.keys() | wanted.keys())
        if saved.get(path) != wanted.get(path)
    ]
    more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise OtherNetworkError(
        f"{where} belongs to another network or optimiser: {'; '.join(differences[:3])}{more}."
    )


def _reason(error: BaseException) -> str:
    """The operating system's reason, if there is one; else the error's text."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    text = " ".join(map(str, chain))
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EIO):
        if os.strerror(code) in text:
            return os.strerror(code)
    return _short(error)


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
