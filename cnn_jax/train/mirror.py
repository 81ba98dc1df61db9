"""A run directory in a store, and the copy of it that this machine works on.

Orbax writes a checkpoint to the disk as usual. From there its files are uploaded under a unique
name, checkpoints/STEP-TOKEN/..., and once all are there an object checkpoints/STEP.json lists them
with their sizes and checksums. Only listed files count: a kill in the middle leaves earlier
checkpoints unchanged. A machine without a copy fetches what the store has. The store's content
counts, never the copy's.
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
_OWN = re.compile(r".*\.(new|tmp)|lock|\.fetching-.*")  # files that stay on this machine


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
        directory: directory on this machine, created if missing.
        store: the store's directory of the run.
        check: raises StoreError if this process may no longer write.
        last: the file that is uploaded after all others, because it marks them as complete.
        """
        self.directory, self.store = directory, store
        self._check, self._last = check, last
        self._sent: dict[str, tuple[int, int]] = {}  # name -> (time, size) of uploaded files
        self._manifests: dict[int, dict[str, Any]] = {}
        self._sending = threading.Lock()

    def fetch(self, files: Collection[str], *, ahead: bool = False) -> None:
        """Makes the copy match the store: the given files, and all checkpoints that are complete.

        An incomplete checkpoint is left out, with a warning.

        Args:
            files: names of files outside the checkpoints.
            ahead: whether only this copy's process has written to the store, so that the copy may
                hold files that were not uploaded: then only missing files are fetched. Otherwise
                everything else in the copy is removed.
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
        """Uploads the checkpoints that only the copy has."""
        names = [path.name for path in (self.directory / CHECKPOINTS).iterdir()]
        for step in sorted(int(name) for name in names if name.isdigit()):
            if step not in self._manifests:
                self.send_step(step)

    def clear_leftovers(self) -> None:
        """Removes what interrupted attempts have left in the store. Only its holder may call it."""
        prefixes = tuple(f"{manifest['prefix']}/" for manifest in self._manifests.values())
        self.store.delete(
            name
            for name in self.store.entries(CHECKPOINTS)
            if not name.startswith(prefixes) and not name.endswith(".json")
        )

    def send_step(self, step: int) -> None:
        """Uploads the checkpoint of this step and the logs up to it, and removes from the store the
        checkpoints that were removed here.

        Raises:
            StoreError: the upload failed; earlier checkpoints are untouched.
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
            self.store.delete([f"{CHECKPOINTS}/{gone}.json"])  # first: it lists the files
            self._delete(self._manifests.pop(gone))

    def _delete(self, manifest: dict[str, Any]) -> None:
        self.store.delete(f"{manifest['prefix']}/{name}" for name in manifest["files"])

    def steps(self) -> list[int]:
        """The steps whose checkpoints the store has, ascending."""
        return sorted(self._manifests)

    def send_files(self) -> None:
        """Uploads every file outside the checkpoints that has changed."""
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
                    # in one piece, since it may be growing
                    self.store.write(name, found[name].read_bytes())
                    self._sent[name] = signature


def fetch_run(url: str, directory: Path, files: Collection[str]) -> None:
    """Fetches a run for reading; the store is not changed.

    Raises:
        StoreError: it cannot be read.
    """
    Mirror(directory, Store(url)).fetch(files)


def _signature(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _parse(content: bytes | None) -> dict[str, Any] | None:
    """The manifest of a checkpoint; None if it is not one."""
    try:
        manifest = json.loads(content or b"")
        names = [Path(name) for name in manifest["files"]]
        if any(name.is_absolute() or ".." in name.parts for name in names):
            return None
        return manifest if isinstance(manifest["prefix"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _differences(directory: Path, files: dict[str, Any]) -> list[str]:
    """How a checkpoint differs from what was uploaded."""
    if not directory.is_dir():
        return ["there is none"]
    found = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    wrong = [f"{name} is missing" for name in sorted(files.keys() - found)]
    wrong += [f"{name} does not belong to it" for name in sorted(found - files.keys())]
    return wrong or [
        f"the checksum of {name} does not match"
        for name, (size, checksum) in files.items()
        if (directory / name).stat().st_size != size or digest(directory / name) != checksum
    ]
