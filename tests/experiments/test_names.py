"""A run, and a prediction, on files and classes of any name, as a user sees them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax.run import classification
from experiments import entry, predict
from tests.run import as_command

CLASSES = ("$5", "$$", "US$1_CA$2", "[red]x", ":smile:", "猫", "a\x1b[2Jb", "n\nl")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "fd[" / "b] \x1b[31m:smile:"
    for k, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (8, 8), (30 * k, i, 0)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    recipe = classification.ClassificationRecipe(
        model="mlp", dataset=f"folder:{root}", image_size=8, steps=2, batch_size=8, devices=1,
        compilation_cache="", workdir=str(tmp_path_factory.mktemp("runs") / "[/b]$"),
    )  # fmt: skip
    with entry.CONSOLE.capture() as said:
        assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
    return recipe.workdir, said.get()


def test_a_run_ends_with_its_result_and_figures(done):
    workdir, said = done
    result = json.loads((Path(workdir) / "result.json").read_text())
    assert result["num_classes"] == len(CLASSES)
    assert list(Path(workdir).glob("*.png"))
    assert "b] \\x1b[31m:smile:" in said, "the data set's name is in the title as it is"
    assert "\x1b" not in said
    assert "[/b]$" in said


def test_a_list_of_classes_of_another_length(done, root, tmp_path, monkeypatch):
    """Fewer names were an IndexError, and more were names of nothing."""
    flags.FLAGS.mark_as_parsed()
    for count in (len(CLASSES) - 1, len(CLASSES) + 1):
        (tmp_path / "classes.txt").write_text("".join(f"name {i}\n" for i in range(count)))
        monkeypatch.setattr(flags.FLAGS["run"], "value", done[0])
        monkeypatch.setattr(flags.FLAGS["classes"], "value", str(tmp_path / "classes.txt"))
        with pytest.raises(ValueError, match=f"has {count} names.* {len(CLASSES)} classes"):
            predict.main([str(root / "猫" / "0.png")])


def test_a_prediction_names_files_and_classes_as_they_are(done, root, tmp_path, capsys):
    picture = tmp_path / "a\n[red]:smile:\x1b[2J$x$.png"
    os.link(root / "猫" / "0.png", picture)
    flags.FLAGS.mark_as_parsed()
    before = {name: flags.FLAGS[name].value for name in ("run", "output", "top", "grad_cam")}
    values = {"run": done[0], "output": str(tmp_path / "out"), "top": 8, "grad_cam": False}
    for name, value in values.items():
        flags.FLAGS[name].value = value
    try:
        assert predict.main([str(picture)]) == 0
    finally:
        for name, value in before.items():
            flags.FLAGS[name].value = value
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "a\\n[red]:smile:\\x1b[2J$x$.png" in said
    for name in ("$5", "US$1_CA$2", "[red]x", ":smile:", "猫", "a\\x1b[2Jb", "n\\nl"):
        assert any(line.endswith(f"%  {name}") for line in said.splitlines()), name
    (drawn,) = (tmp_path / "out").iterdir()
    assert np.asarray(Image.open(drawn)).std() > 0
