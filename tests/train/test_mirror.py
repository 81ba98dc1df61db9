"""A run in a store: whole checkpoints or none, whatever happens on the way."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import stores
from cnn_jax.train import checkpoint, mirror, stored_checkpoints


@pytest.fixture
def store(tmp_path):
    return stores.Store(f"memory://{tmp_path.name}/run")


def tree(value):
    return {"kernel": jnp.linspace(0, value, 4096)}


def save(directory, store, steps, keep=2):
    copy = mirror.Mirror(directory, store, last="result.json")
    copy.fetch(["metrics.jsonl"])
    manager = stored_checkpoints.StoredCheckpoints(
        directory / "checkpoints", copy, keep=keep, best="a"
    )
    for step in steps:
        with (directory / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({"step": step}) + "\n")
        manager.save(step, tree(step), meta={}, metrics={"a": 1.0 / step})
    manager.wait()
    manager.close()
    return copy


def fetched(directory, store):
    """The steps that a machine without a copy finds, and the newest's state."""
    mirror.Mirror(directory, store).fetch(["metrics.jsonl"])
    manager = checkpoint.Checkpoints(directory / "checkpoints")
    state = manager.restore(tree(0))[0]
    steps = manager.steps()
    manager.close()
    return steps, state["kernel"]


def test_another_machine_finds_the_same(store, tmp_path):
    save(tmp_path / "a", store, [1, 2, 3, 4])
    steps, kernel = fetched(tmp_path / "b", store)
    assert steps == [1, 3, 4]  # the best and the newest two, as on a disk
    np.testing.assert_array_equal(kernel, tree(4)["kernel"])
    rows = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3, 4]
    # nothing of step 2 is left, and nothing that no checkpoint names
    assert {
        name.split("/")[1].split("-")[0].split(".")[0] for name in store.entries("checkpoints")
    } == {"1", "3", "4"}


def test_a_whole_copy_is_not_fetched_again(store, tmp_path, monkeypatch):
    save(tmp_path / "a", store, [1, 2])
    (tmp_path / "a" / "figure.png").write_bytes(b"")
    asked = []
    download = stores.Store.download
    monkeypatch.setattr(
        stores.Store, "download", lambda self, files: (asked.extend(files), download(self, files))
    )
    steps, _ = fetched(tmp_path / "a", store)
    assert (steps, asked) == ([1, 2], ["metrics.jsonl"])
    assert not (tmp_path / "a" / "figure.png").exists()


@pytest.mark.parametrize("at", ["files", "name"])
def test_killed_on_the_way_up_the_one_before_is_used(at, store, tmp_path, monkeypatch):
    save(tmp_path / "a", store, [1, 2])
    copy = mirror.Mirror(tmp_path / "a", store)
    copy.fetch([])
    shutil.copytree(tmp_path / "a/checkpoints/2", tmp_path / "a/checkpoints/3")

    def killed(*arguments):
        raise KeyboardInterrupt

    if at == "files":
        upload = stores.Store.upload

        def some(self, files):
            upload(self, dict(list(files.items())[:2]))
            killed()

        monkeypatch.setattr(stores.Store, "upload", some)
    else:
        monkeypatch.setattr(stores.Store, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        copy.send_step(3)
    monkeypatch.undo()
    leftovers = [name for name in store.entries("checkpoints") if name.startswith("checkpoints/3-")]
    assert leftovers
    assert fetched(tmp_path / "b", store)[0] == [1, 2]
    after = mirror.Mirror(tmp_path / "c", store)
    after.fetch([])
    after.clear_leftovers()
    assert not set(leftovers) & set(store.entries("checkpoints"))
    assert fetched(tmp_path / "d", store)[0] == [1, 2]


@pytest.mark.parametrize("damage", ["changed", "missing", "no names"])
def test_damage_in_the_store_is_found(damage, store, tmp_path, caplog):
    save(tmp_path / "a", store, [1, 2])
    if damage == "no names":
        store.write("checkpoints/2.json", b'{"step": 2')
    else:
        name = max(
            (n for n in store.entries("checkpoints") if n.startswith("checkpoints/2-")),
            key=lambda n: store.entries("checkpoints")[n].size,
        )
        content = bytearray(store.read(name))
        content[len(content) // 2] ^= 1
        store.write(name, bytes(content)) if damage == "changed" else store.delete([name])
    assert fetched(tmp_path / "b", store)[0] == [1]
    if damage != "no names":
        assert "step 2" in caplog.text
        assert "left out" in caplog.text


def test_names_that_lead_out_of_the_copy_are_not_followed(store, tmp_path):
    save(tmp_path / "a", store, [1])
    bad = {"step": 2, "prefix": "x", "files": {"../../escaped": [1, ""]}}
    store.write("x/../../escaped", b"1")
    store.write("checkpoints/2.json", json.dumps(bad).encode())
    assert fetched(tmp_path / "b", store)[0] == [1]
    assert not list(tmp_path.rglob("escaped"))


def test_an_outage_is_told_and_made_good(store, tmp_path, monkeypatch, caplog):
    upload = stores.Store.upload
    broken = [True]

    def sometimes(self, files):
        if broken[0]:
            raise stores.StoreError("memory://run: it cannot be reached.")
        upload(self, files)

    monkeypatch.setattr(stores.Store, "upload", sometimes)
    copy = mirror.Mirror(tmp_path / "a", store)
    copy.fetch([])
    manager = stored_checkpoints.StoredCheckpoints(tmp_path / "a/checkpoints", copy, best="a")
    manager.save(1, tree(1), meta={}, metrics=None)
    with pytest.raises(
        checkpoint.CheckpointError, match=r"step 1 is on this disk.*cannot be reached.*there: none"
    ):
        manager.wait()
    assert "step 1 is not in the store yet" in caplog.text
    broken[0] = False
    manager.wait()
    assert copy.steps() == [1]
    manager.close()
    assert fetched(tmp_path / "b", store)[0] == [1]


def test_who_lost_the_directory_changes_nothing_there(store, tmp_path):
    save(tmp_path / "a", store, [1])

    def lost():
        raise stores.StoreError("taken over")

    copy = mirror.Mirror(tmp_path / "a", store, check=lost)
    shutil.copytree(tmp_path / "a/checkpoints/1", tmp_path / "a/checkpoints/2")
    with pytest.raises(stores.StoreError, match="taken over"):
        copy.send_step(2)
    copy = mirror.Mirror(tmp_path / "a", store, check=lost)
    copy.fetch([])
    shutil.rmtree(tmp_path / "a/checkpoints/1")
    with pytest.raises(stores.StoreError, match="taken over"):
        copy.drop_removed()
    assert fetched(tmp_path / "b", store)[0] == [1]


def test_the_result_goes_up_last_and_what_did_not_change_not_again(store, tmp_path, monkeypatch):
    copy = mirror.Mirror(tmp_path, store, last="result.json")
    for name in ("a.png", "result.json", "z.png", "lock", "x.json.new"):
        (tmp_path / name).write_text(name)
    written = []
    monkeypatch.setattr(stores.Store, "write", lambda self, name, content: written.append(name))
    copy.send_files()
    assert written == ["a.png", "z.png", "result.json"]
    copy.send_files()
    assert len(written) == 3
