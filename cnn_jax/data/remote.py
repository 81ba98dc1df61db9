"""Data sets in a store: copied to this machine, file by file, before they are opened.

array_record reads from a disk. What a run needs from data_dir=s3://BUCKET/DATA is copied once, to
~/.cache/cnn_jax/data: the small metadata files of a set, and the records of the requested splits. A
copy is reused as long as the store has a file with the same size and ETag.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cnn_jax.data.errors import DataError
from cnn_jax.stores import Entry, Store, StoreError, cache_directory, is_store

_log = logging.getLogger(__name__)

_RECORDS = re.compile(r".*-\d{5}-of-\d{5}")  # the files of a split, as TFDS names them
_ORIGIN = ".origin.json"  # in the copy: the URL
_TAGS = ".tags"  # in the copy: for each file, a file with its size and ETag in the store


def here(dataset: str, path: str) -> Path:
    """The folder of a data set that is read in place.

    Raises:
        DataError: `path` is a store's URL, which as a path would be a folder named 's3:'.
    """
    if is_store(path):
        raise DataError(
            f"{dataset}: folders are read from a disk of this machine. Copy it to one; from a "
            "store only sets prepared by TFDS and UCR's files are read, by data_dir=URL"
        )
    return Path(os.path.expanduser(path))  # Path.expanduser raises for an unknown user


def fetch(url: str, folder: str, *, wanted: Callable[[str], bool] | None = None) -> Path:
    """Copies the files of one folder of a store, and removes copies of files that it no longer has.

    Args:
        url: URL of the store's directory: s3://BUCKET/DATA.
        folder: folder below it: the name of a data set.
        wanted: name -> whether to copy the file; by default all but a set's records.

    Returns:
        The directory on this machine that corresponds to `url`.

    Raises:
        DataError: the store cannot be read, or the disk cannot be written.
    """
    with _one_line():
        root = cache_directory("data", url)
        store = Store(url)
        entries = store.entries(folder)
        (root / _ORIGIN).write_text(json.dumps({"url": url}))
        with _locked(root):
            for path in (root / folder).rglob("*"):
                name = str(path.relative_to(root))
                if path.is_file() and name not in entries:
                    path.unlink()
            chosen = wanted or (lambda name: not _RECORDS.fullmatch(name))
            _copy(store, root, {name: e for name, e in entries.items() if chosen(name)})
    return root


def fetch_records(directory: Path, files: Sequence[str | Path]) -> None:
    """Copies requested records of a set that `fetch` has copied; records that the store lacks stay
    missing. For a set that is not from a store, nothing happens.

    Raises:
        DataError: the store cannot be read, or the disk cannot be written.
    """
    root = next((p for p in directory.parents if (p / _ORIGIN).is_file()), None)
    if root is None:
        return
    with _one_line():
        store = Store(json.loads((root / _ORIGIN).read_text())["url"])
        entries = store.entries(str(directory.relative_to(root)))
        names = [str(Path(file).relative_to(root)) for file in files]
        with _locked(root):
            _copy(store, root, {name: entries[name] for name in names if name in entries})


def _copy(store: Store, root: Path, entries: dict[str, Entry]) -> None:
    stale = {name: entry for name, entry in entries.items() if not _is_copied(root, name, entry)}
    if any(_RECORDS.fullmatch(name) for name in stale):
        total = sum(entry.size for entry in stale.values())
        _log.warning(
            "Fetching %d files, %.1f MB, from %s to %s.", len(stale), total / 1e6, store.url, root
        )
    store.download({name: root / name for name in stale})
    for name, entry in stale.items():
        found = (root / name).stat().st_size
        if found != entry.size:
            (root / name).unlink()
            raise DataError(
                f"{store.url}/{name} has {entry.size} bytes and {found} arrived: it was changed "
                "meanwhile, or is damaged. Repeat the command"
            )
        tag = root / _TAGS / name
        tag.parent.mkdir(parents=True, exist_ok=True)
        tag.write_text(json.dumps(entry))


def _is_copied(root: Path, name: str, entry: Entry) -> bool:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        noted = json.loads((root / _TAGS / name).read_text())
        return noted == list(entry) and (root / name).stat().st_size == entry.size
    return False


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Lets one process of this machine at a time copy; the others then find the copies."""
    with (root / ".lock").open("w") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows; file systems without locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"data cannot be copied from the store: {error}") from error
