"""JAX on this machine, as a recipe wants it."""

import contextlib
import errno
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

import cnn_jax.cpu
from cnn_jax.run import agreement
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.stores import is_store, local_path
from cnn_jax.train import hosts, joining

_log = logging.getLogger(__name__)

LEAST_FREE = 64 * 2**20  # bytes for compiled programs; a large network's take 20 MB
LEAST_SECONDS = 0.1  # of compilation, for a program to be kept
_CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@contextlib.contextmanager
def configured(recipe: TrainingRecipe) -> Iterator[None]:
    """Within the block JAX has the convolutions and the cache of the recipe; afterwards its own."""
    with cnn_jax.cpu.enabled(recipe.cpu_convolutions), caching(recipe.compilation_cache):
        yield


def join(recipe: TrainingRecipe, sources: Sequence[ModuleType] = ()) -> None:
    """Joins the other processes, if there are any and it was not done yet.

    Args:
        recipe: recipe of the run.
        sources: packages, besides cnn_jax, whose code must be the same in all of them.

    Raises:
        DisagreementError: the processes differ in their settings, code or versions.
    """
    if not hosts.several():
        joining.connect(
            recipe.coordinator,
            recipe.process_count,
            recipe.process_id,
            coordinator_bind_address=recipe.coordinator_bind_address,
            heartbeat=recipe.heartbeat,
            connect_timeout=recipe.connect_timeout,
        )
    agreement.check_start(recipe, sources)


def split_cpu(count: int) -> None:
    """Splits the CPU into this many devices; 0 leaves JAX's default of one.

    Raises:
        ValueError: a negative number, or JAX has started with another one.
    """
    if count < 0:
        raise ValueError(f"cpu_devices={count}: it must be 0 (JAX's default) or more.")
    if not count:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # JAX has started
        there = len(jax.local_devices(backend="cpu"))
        if there != count:
            raise ValueError(
                f"cpu_devices={count}: JAX has started already, with {there} CPU device(s). Set "
                "it first in a new process."
            ) from None


@contextlib.contextmanager
def caching(directory: str) -> Iterator[None]:
    """Within the block compiled programs are kept in this directory; '' leaves JAX as it is."""
    before = {name: getattr(jax.config, name) for name in _CACHE}
    keep_compiled(directory)
    try:
        yield
    finally:
        _set(before)


def keep_compiled(directory: str) -> None:
    """Keeps compiled programs in this directory from now on; '' leaves JAX as it is."""
    where = cache_directory(directory) if directory else None
    if where is not None:
        _set(dict(zip(_CACHE, (str(where), LEAST_SECONDS), strict=True)))


def _set(settings: dict[str, Any]) -> None:
    if settings != {name: getattr(jax.config, name) for name in settings}:
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # which JAX opens once


def cache_directory(name: str) -> Path | None:
    """The directory of compiled programs, created if missing. If it cannot be written: None, with a
    warning, and each program is compiled anew."""
    if is_store(name):  # JAX itself can write to gs://, which was not tested here
        _log.warning(
            "compilation_cache=%s is in a store: compiled programs are not kept. Give a "
            "directory on this machine.",
            name,
        )
        return None
    try:
        directory = local_path(name)
        directory.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(directory).free) < LEAST_FREE:
            raise OSError(errno.ENOSPC, f"{free:,} bytes are free")
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except (OSError, ValueError) as error:  # ValueError: there is no home directory
        reason = getattr(error, "strerror", None) or error
        _log.warning(
            "%s cannot be written (%s): compiled programs are not kept. Choose another directory, "
            "compilation_cache=DIRECTORY.",
            name,
            reason,
        )
        return None
