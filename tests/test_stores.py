"""Stores by URL: what they promise, and one line for whatever is wrong."""

import importlib.util
import pathlib
import stat

import pytest

from cnn_jax import stores


@pytest.fixture
def store(tmp_path):
    return stores.Store(f"memory://{tmp_path.name}/run")


def test_only_one_creates(store):
    assert store.create("lock", b"first")
    assert not store.create("lock", b"second")
    assert store.read("lock") == b"first"
    store.write("lock", b"third")
    assert store.read("lock") == b"third"
    assert store.read("other") is None
    assert store.now("clock") >= store.modified("lock")


def test_files_go_and_come_back(store, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"22")
    store.upload({"a/one": tmp_path / "one", "a/b/two": tmp_path / "two"})
    store.write("abc", b"")  # begins alike, and is not below a
    assert {name: e.size for name, e in store.entries("a").items()} == {"a/one": 1, "a/b/two": 2}
    store.download({"a/b/two": tmp_path / "new" / "two"})
    assert (tmp_path / "new" / "two").read_bytes() == b"22"
    store.delete(["a/one", "a/none"])
    assert set(store.entries()) == {"a/b/two", "abc"}


def test_a_failed_download_leaves_nothing(store, tmp_path):
    with pytest.raises(stores.StoreError, match=r"^memory://"):
        store.download({"none": tmp_path / "new" / "none"})
    assert not list((tmp_path / "new").iterdir())


def test_what_is_no_store_is_said(monkeypatch):
    odd = ("s3://bucket//run", "s3://bucket/./run", "s3://bucket/a/../run")
    for url in ("ftp://host/run", "s3://", "memory:///", "s3:/bucket/run", "file:///run", *odd):
        with pytest.raises(stores.StoreError, match=r"wanted s3://BUCKET/PATH"):
            stores.Store(url)
    monkeypatch.setattr(stores, "_installed", lambda name: name != "s3fs")
    with pytest.raises(stores.StoreError, match=r"needs s3fs: pip install 'cnn-jax\[cloud\]'"):
        stores.Store("s3://bucket/run")
    assert stores.is_store("s3://bucket/run")
    assert stores.is_store("s3:/bucket/run")  # no directory of that name is meant
    for path in ("runs/s3", "/data/a:b", "C:/runs", "./s3:/x"):
        assert not stores.is_store(path)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="needs s3fs")
@pytest.mark.slow  # it tries again for ten seconds
def test_an_unreachable_store_is_one_line(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(stores.StoreError, match="cannot be reached") as error:
        stores.Store("s3://bucket/unreachable")
    assert "\n" not in str(error.value)


def test_a_copy_has_a_place_without_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = stores.cache_directory("runs", "s3://bucket/run")
    assert first.is_relative_to(tmp_path / "cache")
    assert first != stores.cache_directory("runs", "s3://other/run")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = stores.cache_directory("runs", "s3://bucket/run")
    assert place.is_relative_to(tmp_path)
    own = next(tmp_path.glob("cnn_jax-*"))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700  # a run's files are nobody else's business
    own.chmod(0o777)  # whoever may write there could lay checkpoints there
    with pytest.raises(stores.StoreError, match="set XDG_CACHE_HOME or TMPDIR"):
        stores.cache_directory("runs", "s3://bucket/run")


def test_a_home_directory_is_meant_by_a_tilde(monkeypatch, tmp_path):
    """One rule for every path in a setting: a shell expands it at the beginning of a word alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stores.local_path("~/run") == tmp_path / "run"
    assert stores.local_path("~") == tmp_path
    for name in ("./~/run", "a~", "~nobody-of-this-name/run", "a/~/b"):
        assert stores.local_path(name) == pathlib.Path(name)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # neither HOME nor a user
    with pytest.raises(ValueError, match=r"~/run: no home directory is known: set HOME, or write"):
        stores.local_path("~/run")
