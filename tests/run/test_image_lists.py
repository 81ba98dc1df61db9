"""The images that a user means by folders, patterns and lists."""

import pytest
from PIL import Image

from cnn_jax.run import image_lists


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.jpg", "in/c.PNG", "in/.hidden.png", "@eaDir/d.png", "[x].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("L", (2, 2)).save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "in" / "up").symlink_to(tmp_path)  # each folder once
    (tmp_path / "none").mkdir()
    return tmp_path


def test_what_is_meant(photos):
    def expand(*names):
        return image_lists.expand(names)

    whole = ["./[x].png", "./a.jpg", "./b.png", "./in/c.PNG"]
    assert expand(".") == whole
    assert expand("*.png") == ["[x].png", "b.png"]
    assert expand("[x].png") == ["[x].png"]  # a file before a pattern
    assert "in/c.PNG" in expand("**/*.PNG")
    assert expand("b.png", "missing.png", "b.png") == ["b.png", "missing.png"]
    (photos / "list.txt").write_text("b.png\n\nin\nmissing.png\n")
    assert expand("@list.txt") == ["b.png", "in/c.PNG", "in/up/[x].png", "in/up/a.jpg",
                                   "in/up/b.png", "missing.png"]  # fmt: skip
    (photos / "in" / "own.txt").write_text("c.PNG\n")
    assert expand("@in/own.txt") == ["in/c.PNG"]


def test_what_holds_none(photos):
    for name, message in (
        ("none", "none is a folder without an image"),
        ("*.gif", r"No image is called \*\.gif"),
        ("@gone.txt", r"gone\.txt"),
        ("@none.txt", "names no image"),
        ("@self.txt", "names itself"),
    ):
        (photos / "none.txt").write_text("\n")
        (photos / "self.txt").write_text("@self.txt\n")
        with pytest.raises(ValueError, match=message):
            image_lists.expand([name])
