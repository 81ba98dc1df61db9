"""A run directory in a store, and the copy of it that this machine works on.

Orbax writes a checkpoint to the disk, as ever. From there its files go up under a name that nobody
has used, checkpoints/STEP-TOKEN/..., and when all are there an object checkpoints/STEP.json names
them with their sizes and checksums. Only what such an object names exists: a kill in the middle
leaves the checkpoints before it as they were. A machine that has no copy fetches what the store
has. The store's content counts, never the copy's.
"""

import json
import logging
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from cnn_jax.stores import Store, StoreError, digest

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_OWN = re.compile(r".*\.(new|tmp)|lock|\.fetching-.*")  # files that are this machine's business


class Mirror:
    """The copy `directory` of the run in `store`."""

    def __init__(
        self,
        directory: Path,
        store: Store,
        *,
        check: Callable[[], None] = lambda: None,
        last: str = "",
    ):
        """Args:
        directory: of this machine; made if it is not there.
        store: the run.
        check: raises StoreError where this process may no longer write.
        last: the file that goes up after all others, because it says that they are there.
        """
        self.directory, self.store = directory, store
        self._check, self._last = check, last
        self._sent: dict[str, tuple[int, int]] = {}  # name -> (time, size) of what went up
        self._manifests: dict[int, dict[str, Any]] = {}
        self._sending = threading.Lock()

    def fetch(self, files: Collection[str], *, ahead: bool = False) -> None:
        """Makes the copy what the store says: these files, and all checkpoints that are whole.

        A checkpoint that is not whole is left out, with a warning.

        Args:
            files: of those that are not checkpoints.
            ahead: whether nobody has written to the store but who wrote to this copy, so that it
                may hold what did not arrive: then only what it lacks is fetched. Otherwise
                whatever else it holds is removed.
        """
        entries = self.store.entries()
        there = {name: self.directory / name for name in files if name in entries}
        if ahead:
            there = {name: path for name, path in there.items() if not path.exists()}
        elif self.directory.exists():
            for path in self.directory.iterdir():
                if path.name not in (*there, CHECKPOINTS):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.store.download(there)
        self._sent = {name: _signature(path) for name, path in there.items()}
        self._manifests = {}
        for name in entries:
            if match := re.fullmatch(rf"{CHECKPOINTS}/(\d+)\.json", name):
                manifest = _parse(self.store.read(name))
                if manifest is not None:
                    self._manifests[int(match[1])] = manifest
        (self.directory / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for path in (self.directory / CHECKPOINTS).iterdir():
            known = path.name.isdigit() and (ahead or int(path.name) in self._manifests)
            if not known:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for step, manifest in sorted(self._manifests.items()):
            self._fetch_step(step, manifest)

    def _fetch_step(self, step: int, manifest: dict[str, Any]) -> None:
        final = self.directory / CHECKPOINTS / str(step)
        if not _differences(final, manifest["files"]):
            return
        shutil.rmtree(final, ignore_errors=True)
        partial = final.with_name(f"{step}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        prefix = manifest["prefix"]
        try:
            partial.mkdir(parents=True)
            self.store.download({f"{prefix}/{name}": partial / name for name in manifest["files"]})
            wrong = _differences(partial, manifest["files"])
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            wrong = ["a file is missing"]
        if wrong:
            log.warning(
                "The checkpoint of step %d in %s is damaged (%s). It is left out.",
                step, self.store.url, wrong[0],
            )  # fmt: skip
            shutil.rmtree(partial)
        else:
            partial.rename(final)

    def send_steps(self) -> None:
        """Puts the checkpoints that the copy has and the store has not into it."""
        names = [path.name for path in (self.directory / CHECKPOINTS).iterdir()]
        for step in sorted(int(name) for name in names if name.isdigit()):
            if step not in self._manifests:
                self.send_step(step)

    def clear_leftovers(self) -> None:
        """Removes what attempts that were cut short have left in the store. For its holder only."""
        prefixes = tuple(f"{manifest['prefix']}/" for manifest in self._manifests.values())
        self.store.delete(
            name
            for name in self.store.entries(CHECKPOINTS)
            if not name.startswith(prefixes) and not name.endswith(".json")
        )

    def send_step(self, step: int) -> None:
        """Puts the checkpoint of this step into the store, with the logs up to it, and removes
        from the store what was removed here.

        Raises:
            StoreError: it cannot; the checkpoints before it are untouched.
        """
        source = self.directory / CHECKPOINTS / str(step)
        paths = {str(p.relative_to(source)): p for p in source.rglob("*") if p.is_file()}
        prefix = f"{CHECKPOINTS}/{step}-{secrets.token_hex(4)}"
        files = {name: [path.stat().st_size, digest(path)] for name, path in paths.items()}
        self.store.upload({f"{prefix}/{name}": path for name, path in paths.items()})
        self.send_files()
        self._check()
        old = self._manifests.get(step)
        manifest = {"step": step, "prefix": prefix, "files": files}
        self.store.write(f"{CHECKPOINTS}/{step}.json", json.dumps(manifest).encode())
        self._manifests[step] = manifest
        if old is not None:
            self._delete(old)
        self.drop_removed()

    def drop_removed(self) -> None:
        """Removes from the store the checkpoints that were removed here."""
        kept = {path.name for path in (self.directory / CHECKPOINTS).iterdir()}
        removed = [known for known in self._manifests if str(known) not in kept]
        if removed:
            self._check()
        for gone in removed:
            self.store.delete([f"{CHECKPOINTS}/{gone}.json"])  # first: it must not name what goes
            self._delete(self._manifests.pop(gone))

    def _delete(self, manifest: dict[str, Any]) -> None:
        self.store.delete(f"{manifest['prefix']}/{name}" for name in manifest["files"])

    def steps(self) -> list[int]:
        """The steps whose checkpoints the store has, ascending."""
        return sorted(self._manifests)

    def send_files(self) -> None:
        """Puts every file that has changed, checkpoints left out, into the store."""
        with self._sending:
            found = {str(p.relative_to(self.directory)): p for p in self.directory.rglob("*")}
            names = [
                name
                for name, path in sorted(found.items())
                if not name.startswith(f"{CHECKPOINTS}/")
                and not _OWN.fullmatch(path.name)
                and path.is_file()
            ]
            for name in sorted(names, key=lambda name: name == self._last):
                signature = _signature(found[name])
                if self._sent.get(name) != signature:
                    self._check()
                    # in one piece, for it may be growing
                    self.store.write(name, found[name].read_bytes())
                    self._sent[name] = signature


def fetch_run(url: str, directory: Path, files: Collection[str]) -> None:
    """Fetches a run to be looked at; the store is only read.

    Raises:
        StoreError: it cannot be read.
    """
    Mirror(directory, Store(url)).fetch(files)


def _signature(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _parse(content: bytes | None) -> dict[str, Any] | None:
    """What names a checkpoint; None where it does not."""
    try:
        manifest = json.loads(content or b"")
        names = [Path(name) for name in manifest["files"]]
        if any(name.is_absolute() or ".." in name.parts for name in names):
            return None
        return manifest if isinstance(manifest["prefix"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _differences(directory: Path, files: dict[str, Any]) -> list[str]:
    """What of a checkpoint is not as it was sent."""
    if not directory.is_dir():
        return ["there is none"]
    found = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    wrong = [f"{name} is missing" for name in sorted(files.keys() - found)]
    wrong += [f"{name} is not of it" for name in sorted(found - files.keys())]
    return wrong or [
        f"the checksum of {name} does not fit"
        for name, (size, checksum) in files.items()
        if (directory / name).stat().st_size != size or digest(directory / name) != checksum
    ]
