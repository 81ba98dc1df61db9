"""Earlier surveys, kept in ~/.cache/cnn_jax/surveys, or below $XDG_CACHE_HOME.

A survey is taken again while the names, sizes, times of change and annotations of all files are
what they were. Not noticed is a file that is written over with the same size within a tick of the
clock, a few milliseconds, after it was read. Nothing is written beside the data.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from cnn_jax import scratch
from cnn_jax.data.fingerprint import fingerprint
from cnn_jax.data.survey.rows import in_chunks
from cnn_jax.data.survey.values import VERSION, Survey
from cnn_jax.data.types import Source

MANY = 1000  # surveys that are kept; beyond, the oldest are removed


@runtime_checkable
class InFiles(Protocol):
    """Records in files that hold many of them."""

    def stored(self) -> Iterable[Path]:
        """The files."""
        ...


class Place(NamedTuple):
    """Where a survey is kept, and the mark of the data that it is of."""

    file: Path
    mark: str

    def read(self) -> Survey | None:
        """The survey of the data as they are; None if there is none."""
        try:
            saved = json.loads(self.file.read_bytes())
            return Survey.from_json(saved["survey"]) if saved["mark"] == self.mark else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, survey: Survey) -> None:
        """Keeps a survey, whole or not at all; where nothing can be written, not at all."""
        content = json.dumps({"mark": self.mark, "survey": survey.to_json()})
        partial = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # names that are not UTF-8 hold surrogates, which JSON writes as escapes
            partial.write_text(content, encoding="utf-8")
            partial.replace(self.file)
            others = sorted(self.file.parent.glob("*.json"), key=os.path.getmtime)
            for old in others[:-MANY]:
                old.unlink(missing_ok=True)


def place_of(
    sources: Mapping[str, Source],
    dataset: str,
    *,
    threads: int,
    stopped: Callable[[], bool],
) -> Place | None:
    """Where the survey of these splits is kept; None if changes of their files would go unnoticed.

    Raises:
        Stopped: `stopped` said so.
    """
    directory = next(scratch.caches(), None)
    if directory is None:
        return None
    mark, name = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for digest in (mark, name):
        digest.update(repr((VERSION, _absolute(dataset))).encode(errors="surrogatepass"))
    for part, source in sources.items():
        name.update(repr((part, source.split)).encode())
        state = _state(source, threads, stopped)
        if state is None:
            return None
        about = (part, source.split, fingerprint(source), source.upright, len(source))
        left_out = sorted((reason, *files) for reason, files in source.left_out.items())
        more = getattr(source, "values", ()), getattr(source, "ignored", ())
        mark.update(repr((about, left_out, more)).encode(errors="surrogatepass") + state)
    return Place(directory / "surveys" / f"{name.hexdigest()}.json", mark.hexdigest())


def _absolute(dataset: str) -> str:
    kind, _, path = dataset.partition(":")
    with contextlib.suppress(OSError, ValueError):  # where one is may be gone
        path = os.path.abspath(os.path.expanduser(path))
    return f"{kind}:{path}"


def _state(source: Source, threads: int, stopped: Callable[[], bool]) -> bytes | None:
    """The sizes and times of change of the files of a split; None for records without files."""
    digest = hashlib.blake2b()
    if isinstance(source.records, InFiles):
        digest.update(_stats(map(os.fspath, source.records.stored())).tobytes())
    if not isinstance(source[0].get("image"), Path):
        return digest.digest() if isinstance(source.records, InFiles) else None

    def read(indices: Sequence[int]) -> bytes:
        records = source.__getitems__(list(indices))
        files = (
            os.fspath(record[name])
            for record in records
            for name in ("image", "mask")
            if isinstance(record.get(name), Path)
        )
        return _stats(files).tobytes()

    for _, part in in_chunks(read, range(len(source)), threads, stopped):
        digest.update(part)
    return digest.digest()


def _stats(files: Iterable[str]) -> np.ndarray:
    """int64 [n, 3]: size, and the times of change of content and of entry, in nanoseconds."""
    found = []
    for file in files:
        try:
            status = os.stat(file)
            found.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        except OSError:
            found.append((-1, 0, 0))
    return np.array(found, np.int64).reshape(-1, 3)
