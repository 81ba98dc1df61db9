"""The list of a large folder is read again when anything was added, removed or renamed."""

import os
import time

import pytest
from PIL import Image

from cnn_jax.data import load_source
from cnn_jax.data.readers import folder, folder_index


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two splits of two classes, one of them a level deeper; all changed long ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folder_index, "MANY", 5)
    root = tmp_path / "set"
    for split in ("train", "test"):
        for name in ("ant", "bee/monday", "bee/friday"):
            for i in range(4):
                file = root / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), i).save(file)
    (root / "train/ant/notes.txt").write_text("no image")
    age(root)
    return root


def age(root, seconds=10):
    """Puts back the time of change of all folders, which were changed a moment ago."""
    then = time.time() - seconds
    for top, _, _ in os.walk(root):
        os.utime(top, (then, then))


def test_a_kept_list_is_taken_until_something_changes(root, monkeypatch, caplog):
    walks = []
    walked = folder._walked
    monkeypatch.setattr(folder, "_walked", lambda *a: walks.append(1) or walked(*a))

    def opened(split="train"):
        """(files, whether the folders were walked through)"""
        walks.clear()
        caplog.clear()
        records = load_source(f"folder:{root}", split).records
        return list(zip(records.files, records.labels, strict=True)), bool(walks)

    first, read = opened()
    assert read
    assert len(first) == 12
    assert "1 .txt" in caplog.text
    assert opened() == (first, False)
    assert "1 .txt" in caplog.text  # what is to be said is said again
    assert load_source(f"folder:{root}", "train").left_out["not an image"]

    then = 5
    for change, count in (
        (lambda: Image.new("L", (4, 4)).save(root / "train/bee/monday/new.png"), 13),
        (lambda: (root / "train/bee/monday/new.png").unlink(), 12),
        (lambda: (root / "train/ant/0.png").rename(root / "train/ant/zero.png"), 12),
        (lambda: (root / "train/bee/sunday").mkdir(), 12),
        (lambda: (root / "train/wasp").mkdir(), 12),
    ):
        change()
        age(root, then)  # another time than before, and not a moment ago
        then -= 0.5
        found, read = opened()
        assert read
        assert len(found) == count
        assert opened() == (found, False)
    assert ("train/ant/zero.png", 0) in found
    for file in root.parent.glob("cache/cnn_jax/folders/*"):
        file.write_bytes(b"damaged")
    assert opened() == (found, True)


def test_a_folder_that_has_just_changed_is_not_kept(root):
    Image.new("L", (4, 4)).save(root / "train/ant/just.png")
    load_source(f"folder:{root}", "train")
    assert not list(root.parent.glob("cache/cnn_jax/folders/*"))


def test_a_folder_that_was_moved_is_read_at_its_new_place(root):
    files = load_source(f"folder:{root}", "train").records.files
    moved = root.rename(root.parent / "moved")
    records = load_source(f"folder:{moved}", "train").records
    assert records.files == files
    assert records.describe(0).startswith(str(moved))
