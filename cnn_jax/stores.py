"""Object stores: files under s3://BUCKET/... or gs://BUCKET/..., by way of fsspec.

A store has no rename, no lock and no append. What it has is used instead: an object appears whole
or not at all, and `Store.create` succeeds for one writer alone (S3's `If-None-Match: *`, Google's
`ifGenerationMatch=0`).
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax import scratch

# scheme -> the package that fsspec needs for it; memory is fsspec's own, within one process
SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "memory": "fsspec"}
AT_ONCE = 8  # files on their way at the same time


class StoreError(OSError):
    """A store that cannot be used; the message is one line: which, why and what to do."""


class Entry(NamedTuple):
    """What a store says about an object.

    Attributes:
        size: bytes.
        tag: another one where the content is another: an ETag, or a time.
    """

    size: int
    tag: str


def is_store(place: str | Path) -> bool:
    """Whether a place is a URL, or meant to be one (s3:/BUCKET), and no path of this machine."""
    return re.match(r"[A-Za-z][\w+.-]+:/", str(place)) is not None


def local_path(place: str | os.PathLike[str]) -> Path:
    """A place on this machine, as a setting names it.

    A leading `~` or `~user` is that home directory, as in a shell, which itself reads neither in
    workdir=~/run nor within quotes. Where there is no such user it is a name like any other; a
    folder that is called ~ is ./~.

    Raises:
        ValueError: it begins with ~, and there is no home directory.
    """
    path = os.path.expanduser(os.fspath(place))
    if path == "~" or path.startswith("~/"):
        raise ValueError(
            f"{path}: no home directory is known: set HOME, or write ./{path} for a folder named ~."
        )
    return Path(path)


def cache_directory(kind: str, url: str) -> Path:
    """Where this machine keeps its copy of what is at `url`: ~/.cache/cnn_jax/KIND/... .

    Stores of the same names behind other endpoints have other directories. Where the home
    directory cannot be written it is one of the user's own in the folder for temporary files.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    mark = hashlib.sha256(f"{url}\n{endpoint}".encode()).hexdigest()[:12]
    name = f"{url.rstrip('/').rpartition('/')[2] or 'root'}-{mark}"
    looked = []
    for cache in scratch.caches():
        looked.append(str(cache))
        with contextlib.suppress(OSError):
            directory = cache / kind / name
            directory.mkdir(parents=True, exist_ok=True)
            if os.access(directory, os.W_OK):
                return directory
    places = " and ".join(looked) or "no place for it"
    raise StoreError(
        f"{url} needs a copy on this machine, and {places} cannot be written: set XDG_CACHE_HOME "
        "or TMPDIR to a directory that can."
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """The objects under one URL, by their names below it.

    Its methods may be called from several threads. All raise StoreError.
    """

    def __init__(self, url: str):
        """Opens `url`, such as s3://BUCKET/run1, and looks whether it can be read.

        Credentials and endpoints are those of the environment: AWS_ACCESS_KEY_ID,
        AWS_ENDPOINT_URL, ~/.aws, GOOGLE_APPLICATION_CREDENTIALS ...
        """
        self.url = url.rstrip("/")
        scheme, _, path = self.url.partition("://")
        # in a store such a part is a name like any other, and its library removes it from some
        if scheme not in SCHEMES or {"", ".", ".."} & {*path.split("/")}:
            raise StoreError(f"{url}: wanted s3://BUCKET/PATH or gs://BUCKET/PATH, or a directory.")
        missing = [name for name in ("fsspec", SCHEMES[scheme]) if not _installed(name)]
        if missing:
            raise StoreError(f"{url} needs {missing[-1]}: pip install 'cnn-jax[cloud]'.")
        import fsspec

        with self._explained():
            # others write here too: what a listing said a minute ago is of no use
            self._fs: Any = fsspec.filesystem(scheme, use_listings_cache=False)
            self._root = self._fs._strip_protocol(self.url)
        self.entries()

    def entries(self, under: str = "") -> dict[str, Entry]:
        """All objects whose name begins with `under` and a slash, by name."""
        base = f"{self._root}/{under}".rstrip("/")
        with self._explained():
            found = self._fs.find(base, detail=True)
        entries = {}
        for path, info in found.items():
            # some programs mark a folder by an empty object
            if path.startswith(f"{base}/") and not path.endswith("/"):
                tag = next((info[key] for key in _TAGS if info.get(key)), "")
                entries[path[len(self._root) + 1 :]] = Entry(int(info["size"]), str(tag))
        return entries

    def read(self, name: str) -> bytes | None:
        """The content of an object; None where there is none."""
        with self._explained():
            try:
                return self._fs.cat_file(f"{self._root}/{name}")
            except FileNotFoundError as error:
                if _is_bucket(error):
                    raise
                return None

    def write(self, name: str, content: bytes) -> None:
        """Makes or replaces an object."""
        with self._explained():
            self._fs.pipe_file(f"{self._root}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        """Makes an object unless there is one: of all who try at once, one hears True."""
        with self._explained():
            try:
                self._fs.pipe_file(f"{self._root}/{name}", content, mode="create")
            except FileExistsError:
                return False
        return True

    def modified(self, name: str) -> float:
        """When an object was written, in seconds by the store's clock."""
        with self._explained():
            return self._fs.modified(f"{self._root}/{name}").timestamp()

    def upload(self, files: Mapping[str, Path]) -> None:
        """Writes files of this machine, {name: file}."""
        self._together(lambda name: self._fs.put_file(files[name], f"{self._root}/{name}"), files)

    def download(self, files: Mapping[str, Path]) -> None:
        """Fetches objects into files of this machine, {name: file}, each whole or not at all."""

        def fetch(name: str) -> None:
            path = files[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=".fetching-", dir=path.parent)
            os.close(handle)
            try:
                self._fs.get_file(f"{self._root}/{name}", partial)
                shutil.copymode(path, partial) if path.exists() else os.chmod(partial, 0o644)
                os.replace(partial, path)
            finally:
                Path(partial).unlink(missing_ok=True)

        self._together(fetch, files)

    def delete(self, names: Iterable[str]) -> None:
        """Removes objects; those that are gone already do no harm."""

        def remove(name: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._root}/{name}")

        self._together(remove, names)

    def now(self, name: str) -> float:
        """The store's own time in seconds, by an object that is written for that."""
        self.write(name, str(time.time()).encode())
        return self.modified(name)

    def _together(self, action: Any, names: Iterable[str]) -> None:
        with self._explained(), ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(action, names):
                pass

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Says in one line what a store's library raises, whatever that is."""
        try:
            yield
        except StoreError:
            raise
        except FileExistsError:
            raise
        except Exception as error:
            raise StoreError(f"{self.url}: {_reason(error)}") from error


_TAGS = ("ETag", "etag", "md5Hash", "created", "mtime")


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _is_bucket(error: BaseException) -> bool:
    return "bucket does not exist" in str(error) or "NoSuchBucket" in type(error.__cause__).__name__


def _reason(error: BaseException) -> str:
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    names = {type(each).__name__ for each in chain}
    short = " ".join(str(error).split())[:200]
    if any(_is_bucket(each) for each in chain):
        return "there is no such bucket. Make it, or choose another one."
    if names & {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}:
        return (
            "no credentials were found. For s3:// set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "or run `aws configure`; for gs:// `gcloud auth application-default login`."
        )
    if isinstance(error, PermissionError):
        return f"access is denied ({short}). Look at the credentials and at the bucket's policy."
    unreachable = ("Connection", "Connect", "Timeout", "EndpointConnection", "ClientConnector")
    if any(name.startswith(unreachable) or name.endswith("TimeoutError") for name in names):
        return f"the store cannot be reached ({short}). Look at the network and AWS_ENDPOINT_URL."
    return f"{type(error).__name__}: {short}"
