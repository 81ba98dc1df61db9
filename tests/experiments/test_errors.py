"""What a user mistypes is answered in one line that says what to do, with exit status 1."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnn_jax.run import classification
from experiments import entry
from tests.run import as_command

FAST = {"model": "mlp", "steps": 1, "figures": False, "compilation_cache": "", "devices": 1}


def message(workdir, **changes):
    """The error of a run with these settings, which must be of the kind that is shown plainly."""
    chosen = classification.ClassificationRecipe(
        **{**FAST, "workdir": str(workdir / "run"), **changes}
    )
    with pytest.raises(entry.EXPECTED) as caught:
        as_command.run(chosen, classification.make_experiment(chosen))
    assert not (workdir / "run").exists(), "a run that cannot begin leaves nothing behind"
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"model": "resnet19"}, ["resnet19", "resnet18"]),
        ({"model": "resnet8", "model_options": "shortcat=B"}, ["shortcat", "shortcut"]),
        ({"model_options": "drop_rate"}, ["drop_rate", "name=value"]),
        ({"dataset": "digitz"}, ["digitz", "digits"]),
        ({"dataset": "folder:/no/such/folder"}, ["/no/such/folder"]),
        ({"train_split": "training"}, ["training", "train", "test"]),
        ({"optimizer": "adamm"}, ["adamm", "adam"]),
        ({"schedule": "cosin"}, ["cosin", "cosine"]),
        ({"augment": "flap"}, ["flap", "flip"]),
        ({"batch_size": 100, "devices": 8}, ["100", "8 devices", "multiple of 8"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
        ({"accumulate": 3}, ["128", "3 equal microbatches"]),
        ({"accumulate": 0}, ["accumulate", "at least 1"]),
        ({"model": "vgg11"}, ["VGG", "8x8", "32"]),
        ({"label_smoothing": 1.5}, ["label_smoothing", "1.5"]),
        ({"learning_rate": -0.1}, ["-0.1", "above 0"]),
        ({"steps": 0, "epochs": 0.0}, ["epochs", "no step"]),
        ({"devices": 99}, ["99", "8 devices"]),
        ({"interrupted_status": 300}, ["interrupted_status", "300", "0 to 255"]),
        ({"mixup": -1.0}, ["mixup", "-1"]),
        ({"dataset": "mnist1d", "test_time_flip": True}, ["test_time_flip", "mnist1d", "mirror"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_line_that_names_what_came_and_what_was_wanted(settings, parts, tmp_path):
    text = message(tmp_path, **settings)
    for part in parts:
        assert part in text
    assert "\n" not in text.strip()


def test_corrupt_picture_names_the_file(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(
                tmp_path / "set" / "train" / name / f"{i}.png"
            )
    bad = tmp_path / "set" / "train" / "dog" / "2.png"
    bad.write_bytes(bad.read_bytes()[:40])
    settings = {
        "dataset": f"folder:{tmp_path / 'set'}",
        "test_split": "train",
        "batch_size": 8,
        "image_size": 8,
    }
    assert "2.png" in message(tmp_path, **settings)


@pytest.mark.slow
def test_command_line(tmp_path):
    """The same through the shell: exit status 1, one line, no traceback."""
    for flag, part in [("--model=resnet19", "resnet18"), ("--batch_sise=3", "batch_size")]:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.classification", flag, f"--workdir={tmp_path}/r"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert part in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "r").exists()


def test_a_flag_that_does_not_exist_is_answered_without_pytorch(tmp_path):
    """tensorboardX imports PyTorch where it is installed: two seconds for a mistyped flag."""
    (tmp_path / "torch.py").write_text("print('PyTorch is imported')")
    command = [sys.executable, "-X", "importtime", "-m", "experiments.classification", "--stepz=3"]
    paths = os.pathsep.join([os.getcwd(), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ended.returncode == 1
    assert "Unknown command line flag 'stepz'" in ended.stderr
    assert "PyTorch" not in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "jax" in imported
    assert not {"torch", "tensorboardX", "tensorflow", "pandas"} & imported
