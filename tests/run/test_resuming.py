"""A run directory is never guessed: what is missing or changed in it, or in its data, is named."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from cnn_jax import run as run_library
from cnn_jax.run import classification, resuming, workdir
from cnn_jax.run import settings as texts
from cnn_jax.train import checkpoint
from tests.run import as_command

SMALL = {
    "validation_split": "",  # the numbers of examples below are those of the folder
    "model": "mlp",
    "model_options": "hidden=(8,)",
    "image_size": 8,
    "crop": "whole",
    "augment": "",
    "channels": 1,
    "epochs": 2.0,
    "batch_size": 8,
    "warmup_epochs": 0.0,
    "checkpoint_every_steps": 2,
    "figures": False,
    "compilation_cache": "",
    "devices": 1,
}


def folder(root, per_class=10):
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.random.default_rng(i).integers(0, 128, (8, 8)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def recipe(where, data, **changes):
    return classification.ClassificationRecipe(
        **{**SMALL, "dataset": f"folder:{data}", "workdir": str(where), **changes}
    )


def run(where, data, **changes):
    chosen = recipe(where, data, **changes)
    return as_command.run(chosen, classification.make_experiment(chosen))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run and its data: 4 steps of 8, with checkpoints of steps 2 and 4."""
    root = tmp_path_factory.mktemp("made")
    folder(root / "data")
    assert run(root / "run", root / "data") == 0
    return root


@pytest.fixture
def unfinished(made, tmp_path):
    """The same run as it was after step 2: (the run's directory, the data)."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copytree(made / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    (tmp_path / "run" / "result.json").unlink()
    flagfile = tmp_path / "run" / "recipe.flags"
    flagfile.write_text(flagfile.read_text().replace(str(made / "data"), str(tmp_path / "data")))
    return tmp_path / "run", tmp_path / "data"


def final(where):
    checkpoints = checkpoint.Checkpoints(where / "checkpoints")
    meta = checkpoints.meta(checkpoints.steps()[-1])
    checkpoints.close()
    return meta["crc32"]


def cut(text):
    return text[: len(text) // 2]


def one_line_less(text):
    return "".join(text.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (None, "is missing"),
        (lambda text: "", "is empty"),
        (lambda text: "\n \n", "is empty"),
        (cut, r"is not whole, it has \d+ of its \d+ settings"),
        (one_line_less, r"is not whole, it has \d+ of its \d+ settings"),
        (lambda text: text[:-3], "is cut short"),
        (lambda text: "\0" * len(text), "is cut short"),
        (lambda text: "some other text\n", "is cut short"),
    ],
)
def test_a_lost_recipe_is_refused_by_name_and_a_copy_goes_on(damage, said, unfinished, made):
    where, data = unfinished
    flagfile = where / "recipe.flags"
    whole = flagfile.read_text()
    flagfile.unlink() if damage is None else flagfile.write_text(damage(whole))
    pattern = rf"run/recipe\.flags {said}.*checkpoints/2, metrics\.jsonl.*choose another `workdir`"
    with pytest.raises(ValueError, match=pattern) as raised:
        run(where, data)
    assert "\n" not in str(raised.value)
    # by other settings neither, nor for predictions
    with pytest.raises(ValueError, match=said):
        run(where, data, learning_rate=0.9)
    with pytest.raises(ValueError, match=said):
        run_library.open(where)
    assert sorted(p.name for p in (where / "checkpoints").iterdir()) == ["2"]
    if damage is cut:
        flagfile.write_text(whole)
        assert run(where, data) == 0
        assert final(where) == final(made / "run")


def test_a_recipe_that_does_not_count_its_settings_is_of_an_older_version(unfinished, made):
    where, data = unfinished
    flagfile = where / "recipe.flags"
    lines = flagfile.read_text().splitlines(keepends=True)
    lines[0] = "# Every setting of this run. To repeat it: --flagfile=THIS_FILE\n"
    flagfile.write_text("".join(lines[:-4]))
    with pytest.raises(ValueError, match="is cut short"):
        run(where, data)
    flagfile.write_text("".join(lines))
    assert run(where, data) == 0
    assert final(where) == final(made / "run")


def test_a_directory_in_which_nothing_began_is_new(tmp_path):
    folder(tmp_path / "data")
    where = tmp_path / "run"
    where.mkdir()
    (where / "recipe.flags").write_text("")  # killed while it wrote its first file
    (where / "lock").write_text("process 1 on host\n")
    assert run(where, tmp_path / "data", steps=1) == 0
    assert resuming.read_recipe(where / "recipe.flags")["steps"] == "1"


def test_a_full_disk_leaves_the_recipe_as_it_was(unfinished, monkeypatch):
    where, data = unfinished
    before = (where / "recipe.flags").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(texts.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(where, data)
    assert (where / "recipe.flags").read_bytes() == before


def test_without_workdir_a_lost_run_is_left_alone(unfinished, monkeypatch, caplog, tmp_path):
    where, data = unfinished
    monkeypatch.chdir(tmp_path)
    chosen = recipe("", data)
    experiment = classification.make_experiment(chosen)._replace(name="x")
    import datetime

    default = tmp_path / "runs" / f"{datetime.date.today():%Y-%m-%d}-x"
    default.parent.mkdir()
    shutil.move(where, default)
    (default / "recipe.flags").write_text("")
    assert as_command.run(chosen, experiment) == 0
    assert (default.parent / f"{default.name}-2" / "result.json").exists()
    assert not (default / "result.json").exists()
    assert "is empty" in caplog.text


def test_other_settings_than_the_checkpoint_was_made_by_are_refused(unfinished):
    """A recipe.flags of another run in the place of its own."""
    where, data = unfinished
    flagfile = where / "recipe.flags"
    flagfile.write_text(flagfile.read_text().replace("--seed=0\n", "--seed=1\n"))
    with pytest.raises(ValueError, match="`seed` was 0 and is now 1"):
        run(where, data, seed=1)


def test_a_set_that_shrank_is_told_and_the_whole_one_goes_on(unfinished, made, tmp_path):
    where, data = unfinished
    shutil.copytree(data, tmp_path / "whole")
    gone = [data / "cat" / f"{i}.png" for i in range(4)]
    for file in gone:
        file.unlink()
    pattern = (
        r"run have changed: train had 16 examples and has 13 now, 3 fewer; "
        r"test had 4 examples and has 3 now, 1 fewer\..*accept_changed_data=True"
    )
    with pytest.raises(ValueError, match=pattern):
        run(where, data)
    for file in gone:
        shutil.copy(tmp_path / "whole" / "cat" / file.name, file)
    assert run(where, data) == 0
    assert final(where) == final(made / "run")


def test_changed_data_may_be_accepted(unfinished, capsys):
    where, data = unfinished
    for i in range(10, 14):
        shutil.copy(data / "cat" / "0.png", data / "cat" / f"{i}.png")
    with pytest.raises(ValueError, match="train had 16 examples and has 19 now, 3 more"):
        run(where, data)
    assert run(where, data, accept_changed_data=True) == 0
    assert "Resuming with changed data: train had 16 examples" in capsys.readouterr().out
    assert "accept" not in (where / "recipe.flags").read_text()
    assert run(where, data) == 0  # the newest checkpoint is one of the new data


def test_the_same_number_of_other_examples_is_told(unfinished):
    where, data = unfinished
    for file in data.glob("*/*.png"):
        if file.stem in "012":
            file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(ValueError, match="train has 16 examples as before, but their names, sizes"):
        run(where, data)


def test_a_run_beyond_its_end_is_told(unfinished):
    """So few examples are left that the checkpoint is of a later step than the run now has."""
    where, data = unfinished
    for file in data.glob("*/*.png"):
        if int(file.stem) >= 3:
            file.unlink()
    with pytest.raises(ValueError, match="is of step 2, and with the data as they are now the run"):
        run(where, data, accept_changed_data=True)


def test_data_that_moved_go_on(unfinished, made, tmp_path):
    """E1: another absolute path, the same relative names: the order depends on those alone."""
    where, data = unfinished
    (tmp_path / "elsewhere").mkdir()
    shutil.move(data, tmp_path / "elsewhere" / "renamed")
    assert run(where, tmp_path / "elsewhere" / "renamed") == 0
    assert final(where) == final(made / "run")
    again = resuming.read_recipe(where / "recipe.flags")
    assert again["dataset"] == f"folder:{tmp_path / 'elsewhere' / 'renamed'}"


def test_other_data_at_another_place_are_refused(unfinished, tmp_path):
    where, data = unfinished
    folder(tmp_path / "other", per_class=12)
    with pytest.raises(ValueError, match=r"train had 16 examples and has \d+ now"):
        run(where, tmp_path / "other")
    assert resuming.read_recipe(where / "recipe.flags")["dataset"] == f"folder:{data}"
    # without a checkpoint nothing can be compared: as any other experiment
    shutil.rmtree(where / "checkpoints")
    with pytest.raises(ValueError, match="holds another experiment: `dataset` was folder:"):
        run(where, tmp_path / "other")


def test_a_checkpoint_of_an_older_version_goes_on_with_a_word(unfinished, made, capsys):
    where, data = unfinished
    forget(where, data)
    assert run(where, data) == 0
    assert "did not record its data" in capsys.readouterr().out
    assert final(where) == final(made / "run")


def test_a_checkpoint_of_an_older_version_does_not_move(unfinished, tmp_path):
    where, data = unfinished
    forget(where, data)
    shutil.move(data, tmp_path / "moved")
    with pytest.raises(ValueError, match=r"has dataset 'folder:.*data', and this run has 'folder:"):
        run(where, tmp_path / "moved")


def forget(where, data):
    """Makes a checkpoint's meta one that knows neither its data nor its settings."""
    (file,) = (where / "checkpoints" / "2").glob("meta/metadata")
    meta = json.loads(file.read_text())
    meta["facts"]["dataset"] = f"folder:{data}"
    del meta["facts"]["data"], meta["settings"], meta["own_crc32"]
    file.write_text(json.dumps(meta))


def test_the_recipe_holds_any_path(tmp_path):
    """Names of files need not be UTF-8; what is one line comes back as it was."""
    odd = "folder:/tmp/\udce9t\u2028e\x0b"
    chosen = recipe(tmp_path, "x", dataset=odd)
    texts.write_text(tmp_path / "recipe.flags", texts.to_flagfile(chosen))
    assert resuming.read_recipe(tmp_path / "recipe.flags")["dataset"] == odd
    assert texts.parse_flagfile("--a=1\r\n--b=2\r\n") == {"a": "1", "b": "2"}
    assert not texts.differences(chosen, resuming.read_recipe(tmp_path / "recipe.flags"))
    assert sys.getfilesystemencoding() == "utf-8"
    assert workdir.RECIPE_FILE == "recipe.flags"


def test_weights_that_are_gone_are_not_needed_by_a_checkpoint(made, tmp_path, caplog):
    """The file of the weights to begin with is needed to begin, and not to go on."""
    where, data, weights = tmp_path / "run", made / "data", tmp_path / "weights"
    shutil.copytree(made / "run", weights)
    assert run(where, data, pretrained=str(weights)) == 0
    whole = final(where)
    shutil.rmtree(where / "checkpoints" / "4")
    (where / "result.json").unlink()
    shutil.rmtree(weights)
    assert run(where, data, pretrained=str(weights)) == 0
    assert final(where) == whole
    assert "weights cannot be read (There is no weights file" in caplog.text
    assert "they are not needed" in caplog.text
    with pytest.raises(FileNotFoundError, match="There is no weights file"):
        run(tmp_path / "another", data, pretrained=str(weights))


def test_weights_that_moved_are_the_same_and_others_are_not(tmp_path):
    was = texts.parse_flagfile(texts.to_flagfile(recipe(tmp_path, "d", pretrained="a/net.pth")))
    for now, changed in (("b/net.pth", False), ("a/net.pth", False), ("a/o.pth", True), ("", True)):
        differs = resuming.differences(recipe(tmp_path, "d", pretrained=now), was)
        assert ("pretrained" in differs) == changed
