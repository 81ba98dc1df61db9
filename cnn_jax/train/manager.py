"""Orbax's manager of a directory of checkpoints, with the options of this package."""

import errno
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

log = logging.getLogger(__name__)

LOWEST = -sys.float_info.max  # of one that was not evaluated: infinity is no JSON
SCORE = "score"  # ranks the checkpoints; a reader need not know which metric it is


class Manager(ocp.CheckpointManager):
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


def writer(directory: Path, *, keep: int, first_only: bool, create: bool = True) -> Manager:
    """The manager that writes, and reads in a single process.

    Args:
        directory: directory of the checkpoints; it is created if it is missing.
        keep: number of the newest checkpoints to keep, beside the best one.
        first_only: whether process 0 alone, of several, has this manager.
        create: whether it may be created. Orbax writes nothing else before the first save.
    """
    more: dict[str, Any] = {"create": create}
    if first_only:
        directory.mkdir(parents=True, exist_ok=True)
        more = {"create": False, "multiprocessing_options": _of_first("writer")}
    best = checkpoint_managers.BestN(
        get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False
    )
    return Manager(
        directory,
        options=ocp.CheckpointManagerOptions(
            **more,
            enable_async_checkpointing=True,
            best_fn=score,
            best_mode="max",
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(keep), best]
            ),
        ),
        item_names=("state", "meta"),
    )


def reader(directory: Path) -> Manager:
    """A manager that process 0 alone, of several, reads with."""
    return Manager(
        directory,
        options=ocp.CheckpointManagerOptions(
            read_only=True, create=False, multiprocessing_options=_of_first("reader")
        ),
        item_names=("state", "meta"),
    )


def _of_first(name: str) -> ocp.options.MultiprocessingOptions:
    """Options for a manager that only process 0 has."""
    return ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix=name
    )


def score(metrics: Mapping[str, Any]) -> float:
    """What ranks a checkpoint; -inf if it was not evaluated."""
    value = metrics.get(SCORE)
    return value if isinstance(value, (int, float)) and value > LOWEST else -np.inf


def reason(error: BaseException) -> str:
    """The operating system's reason, if there is one; else the error's text."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    text = " ".join(map(str, chain))
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EIO):
        if os.strerror(code) in text:
            return os.strerror(code)
    return short(error)


def short(error: BaseException) -> str:
    """The kind of an error, and the first line of its text."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
