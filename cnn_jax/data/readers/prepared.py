"""Finds the data sets of TFDS on disk, and prepares missing ones as array_record."""

import contextlib
import difflib
import importlib.util
import io
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax import scratch
from cnn_jax.data import remote
from cnn_jax.data.errors import DataError
from cnn_jax.stores import is_store

_log = logging.getLogger(__name__)

# name -> module that registers the builder with TFDS
BUILT_IN = {
    "digits": "cnn_jax.data.readers.digits",
    "digit_scenes": "cnn_jax.data.readers.digit_scenes",
}
# The configuration and version of a bare name: never an older one that happens to be on disk.
DEFAULTS = {"digit_scenes": ("64", "2.1.0")}

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>[\d.*]+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Name(NamedTuple):
    """A TFDS name: 'name', 'name/config', 'name:1.2.3', 'name/config:1.*.*'."""

    name: str
    config: str | None
    version: str | None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return self.name + config + (f":{self.version}" if self.version else "")


def parse_name(dataset: str) -> Name:
    """Parses a TFDS name; raises DataError if it is not one."""
    match = _NAME.fullmatch(dataset)
    if not match:
        raise DataError(
            f"{dataset!r} does not name a data set: write NAME, NAME:VERSION, NAME/CONFIG "
            "or folder:PATH"
        )
    return Name(match["name"], match["config"], match["version"])


def find_or_prepare(dataset: str, data_dir: str | None) -> Path:
    """The directory of a prepared set, such as .../cifar10/3.0.2.

    Raises:
        DataError: it is unknown, ambiguous, or missing and cannot be prepared here.
    """
    wanted = parse_name(dataset)
    config, version = DEFAULTS.get(wanted.name, (None, None))
    wanted = Name(wanted.name, wanted.config or config, wanted.version or version)
    if data_dir and is_store(data_dir):
        return _find_in_store(wanted, data_dir)
    roots = data_dirs(data_dir)
    with quiet_tfds():
        found = _find(wanted, roots) or _prepare(wanted, roots)
    if not any(found.is_relative_to(root) for root in roots):
        _log.warning("%s cannot be written: %s is kept in %s", roots[-1], wanted, found)
    return found


def _find_in_store(wanted: Name, url: str) -> Path:
    """As `find_or_prepare`, with a copy of the store's metadata. Records are copied when a split is
    opened; a missing set is prepared on this machine."""
    copy, roots = remote.fetch(url, wanted.name), data_dirs(None)
    with quiet_tfds():
        found = _find(wanted, [copy, *roots])
        return found or _prepare(wanted, roots, looked=(url, *map(str, roots)))


def data_dirs(data_dir: str | None) -> list[Path]:
    """The directories to search: the given one, then TFDS's default (~/tensorflow_datasets)."""
    import tensorflow_datasets as tfds

    given = [Path(data_dir).expanduser()] if data_dir else []
    with contextlib.suppress(RuntimeError):  # there is no home directory
        given.append(Path(tfds.core.constants.DATA_DIR).expanduser())
    return given or [scratch.directory() / "tensorflow_datasets"]


def _find(wanted: Name, roots: list[Path]) -> Path | None:
    """The newest version that fits, in the first directory that has one."""
    for root in roots:
        if not os.access(root, os.R_OK | os.X_OK):  # missing, or another user's
            continue
        home = root / wanted.name
        found: dict[str, list[Path]] = {}  # by configuration; '' where there are none
        for depth in ("*", "*/*"):
            for features in home.glob(f"{depth}/features.json"):
                version = features.parent
                if _fits(version.name, wanted.version):
                    config = "" if depth == "*" else version.parent.name
                    found.setdefault(config, []).append(version)
        config = wanted.config or _default_config(home, found)
        if config in found:
            return max(found[config], key=lambda v: [int(n) for n in v.name.split(".")])
    return None


def _default_config(home: Path, found: Collection[str]) -> str:
    """The configuration of a bare name: the one TFDS recorded, or the only one there."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads((home / ".config" / "metadata.json").read_text())["default_config_name"]
    if len(found) > 1:
        names = " or ".join(f"{home.name}/{config}" for config in sorted(found))
        raise DataError(f"{home.name} is prepared in several configurations: say {names}")
    return next(iter(found), "")


def _fits(version: str, wanted: str | None) -> bool:
    if not _VERSION.fullmatch(version):
        return False
    parts = zip(version.split("."), (wanted or "*").split("."), strict=False)
    return all(w in ("*", v) for v, w in parts)


def _prepare(wanted: Name, roots: list[Path], *, looked: Sequence[str] = ()) -> Path:
    places = " or ".join(looked or map(str, roots))
    if wanted.name in BUILT_IN:
        importlib.import_module(BUILT_IN[wanted.name])
    elif wanted.name not in (known := _known_names()):
        on_disk = {p.name for root in roots if root.is_dir() for p in root.iterdir() if p.is_dir()}
        near = difflib.get_close_matches(wanted.name, sorted(known | on_disk), cutoff=0.5)
        nearest = f"; the nearest names are {', '.join(near)}" if near else ""
        raise DataError(f"unknown data set {wanted.name!r}, and not in {places}{nearest}")
    elif _is_stock(wanted.name) and not importlib.util.find_spec("tensorflow"):
        raise DataError(
            f"{wanted} is not in {places}, and TFDS needs TensorFlow to download and prepare it: "
            "pip install 'cnn-jax[prepare]' and run this again"
        )
    return _prepare_in(_writable(wanted, roots), wanted)


def _prepare_in(root: Path, wanted: Name) -> Path:
    import tensorflow_datasets as tfds

    with _lock(root / wanted.name):
        if there := _find(wanted, [root]):  # another process was faster
            return there
        _log.info("Preparing %s in %s", wanted, root)
        try:
            builder = tfds.builder(str(wanted), data_dir=root, try_gcs=False)
            builder.download_and_prepare(file_format="array_record")
        except Exception as error:
            raise DataError(f"{wanted} could not be prepared in {root}: {error}") from error
        return Path(builder.data_path)


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Lets one process at a time prepare; what a killed one has left behind is removed.

    TFDS writes into `incomplete.*` beside the version and renames it once it is complete. The lock
    is the operating system's: it ends with the process that holds it, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows; file systems without locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            for leftover in home.glob("incomplete.*"):
                shutil.rmtree(leftover, ignore_errors=True)
        yield


def _writable(wanted: Name, roots: list[Path]) -> Path:
    """The first writable directory; one marked read-only is skipped, even for root."""
    for root in roots:
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            if os.access(root, os.W_OK) and root.stat().st_mode & 0o222:
                return root
    lacking = f"{' and '.join(map(str, roots))} cannot be written"
    if wanted.name in BUILT_IN and len(roots) == 1:  # made in seconds, and no data_dir was given
        with contextlib.suppress(OSError):
            root = scratch.directory() / "tensorflow_datasets"
            root.mkdir(exist_ok=True)
            return root
    raise DataError(f"{wanted} has to be prepared, but {lacking}: pass another, data_dir=DIR")


def _known_names() -> set[str]:
    # unlike tfds.list_builders(), this does not import TensorFlow
    from tensorflow_datasets.core import registered

    return {*registered.list_imported_builders(), *BUILT_IN}


def _is_stock(name: str) -> bool:
    """Whether the builder is one of TFDS's own, which need TensorFlow; a user's own may not."""
    from tensorflow_datasets.core import registered

    return registered.imported_builder_cls(name).__module__.startswith("tensorflow_datasets.")


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silences TFDS's progress bars, prints and INFO lines; warnings and errors remain."""
    import tensorflow_datasets as tfds

    told = logging.getLogger("absl")  # what TFDS logs to
    level = told.level
    told.setLevel(max(level, logging.WARNING))
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        told.setLevel(level)
        tfds.enable_progress_bar()
