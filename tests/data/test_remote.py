"""--data_dir in a store: what is needed is fetched once, and one line for whatever is wrong."""

import shutil

import pytest

from cnn_jax import stores
from cnn_jax.data import DataError, eval_batches, image_loader, load_source, open_source, remote
from tests.data.readers.test_tfds import Tiny, prepared  # noqa: F401  a fixture, and what registers it


@pytest.fixture
def url(prepared, tmp_path, monkeypatch, default_data_dir):  # noqa: F811
    """The prepared set in a store, and a machine that has never seen it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"memory://{tmp_path.name}/data"
    files = {str(p.relative_to(prepared)): p for p in prepared.rglob("*") if p.is_file()}
    stores.Store(url).upload(files)
    return url


@pytest.fixture
def fetched(monkeypatch):
    """The names of what was downloaded."""
    names = []
    download = stores.Store.download
    monkeypatch.setattr(
        stores.Store, "download", lambda self, files: (names.extend(files), download(self, files))
    )
    return names


def labels(source):
    (batch,) = eval_batches(source, image_loader(source, 4), batch_size=9)
    return batch["label"].tolist()


def test_the_splits_asked_for_are_fetched_once(url, prepared, fetched, caplog):  # noqa: F811
    here = load_source("tiny", "train", data_dir=str(prepared))
    there = load_source("tiny", "train[:5]+train[5:]", data_dir=url)
    assert labels(there) == labels(here)
    assert (there.class_names, there.name) == (here.class_names, here.name)
    records = [name for name in fetched if remote._RECORDS.fullmatch(name)]
    assert records
    assert all("train" in name for name in records)
    assert f"Fetching {len(records)} files" in caplog.text
    fetched.clear()
    load_source("tiny", "train", data_dir=url)
    assert fetched == []
    assert len(load_source("tiny", "test", data_dir=url)) == 3


def test_what_changed_in_the_store_is_fetched_again(url, fetched):
    load_source("tiny", "train", data_dir=url)
    store = stores.Store(url)
    (name,) = [n for n in store.entries() if remote._RECORDS.fullmatch(n) and "train" in n]
    store.write(name, store.read(name))  # another time, which is the tag here
    fetched.clear()
    load_source("tiny", "train", data_dir=url)
    assert fetched == [name]
    copy = stores.cache_directory("data", url) / name
    copy.write_bytes(copy.read_bytes()[:-1])  # cut short here
    fetched.clear()
    load_source("tiny", "train", data_dir=url)
    assert fetched == [name]
    store.delete(store.entries())
    with pytest.raises(DataError, match=r"tiny:9\.0\.0 could not be prepared"):
        load_source("tiny:9.0.0", "train", data_dir=url)
    assert not list((stores.cache_directory("data", url) / "tiny").rglob("features.json"))


def test_what_is_not_there_is_one_line(url, monkeypatch):
    for name, message in [
        ("tinny", rf"unknown data set 'tinny', and not in {url} or .*nearest names are tiny"),
        ("mnist", rf"mnist is not in {url} or .* TensorFlow"),
        ("ucr:GunPoint2", "ucr:GunPoint2 is in none of"),
    ]:
        if name == "mnist" and shutil.which("tensorflow"):
            continue
        with pytest.raises(DataError, match=message) as error:
            load_source(name, "train", data_dir=url)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"ftp://x: wanted s3://BUCKET/PATH"):
        load_source("tiny", "train", data_dir="ftp://x")
    store = stores.Store(url)
    store.delete(name for name in store.entries() if "test.array_record" in name)
    with pytest.raises(DataError, match=r"is incomplete, .*test.* is missing"):
        load_source("tiny", "test", data_dir=url)


def test_a_built_in_set_is_still_made_here(url, monkeypatch):
    """It is not in the store, which is only read."""
    assert len(load_source("digits", "test", data_dir=url)) == 359
    assert not stores.Store(url).entries("digits")


def test_a_half_read_file_is_refused(url, monkeypatch):
    def short(self, files):
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    monkeypatch.setattr(stores.Store, "download", short)
    with pytest.raises(DataError, match="bytes and 1 arrived"):
        load_source("tiny", "train", data_dir=url)


def test_series_come_from_a_store_too(url, fetched):
    text = "@problemName x\n@classLabel true a b\n@data\n1,2,3:a\n4,5,6:b\n"
    for part in ("TRAIN", "TEST"):
        stores.Store(url).write(f"Small/Small_{part}.ts", text.encode())
    source = load_source("ucr:Small", "train", data_dir=url)
    assert source.class_names == ("a", "b")
    assert len(source) == 2


@pytest.mark.parametrize("kind", ["folder", "masks", "coco", "voc"])
@pytest.mark.parametrize("url", ["s3://bucket/set", "gs:/bucket/set"])
def test_a_folder_in_a_store_is_not_looked_for_here(kind, url):
    holds = {"folder": "label", "masks": "mask"}.get(kind, "boxes")
    with pytest.raises(DataError, match=f"{kind}:{url}: folders are read from a disk"):
        open_source(f"{kind}:{url}", "train", holds=holds)
