"""Training by the command on the layouts that people have: csv:, npz: and yolo:."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.run import classification, detection
from tests.run import as_command

RNG = np.random.default_rng(0)


def csv_list(root):
    lines = ["image;label;split"]
    for i in range(16):
        Image.new("RGB", (8, 8), (200 * (i % 2), i, 0)).save(root / f"{i}.png")
        lines.append(f"{i}.png;{('dark', 'red')[i % 2]};{'test' if i > 11 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines))
    return f"csv:{root}/labels.csv"


def arrays(root):
    """Volumes, in MedMNIST's form."""
    labels = np.arange(12) % 2
    volumes = RNG.integers(0, 256, (12, 5, 8, 8), np.uint8)
    np.savez_compressed(
        root / "set.npz",
        train_images=volumes, train_labels=labels[:, None],
        test_images=volumes[:4], test_labels=labels[:4, None],
    )  # fmt: skip
    return f"npz:{root}/set.npz"


def classify(dataset, workdir, **settings):
    recipe = classification.ClassificationRecipe(
        model="mlp", dataset=dataset, steps=1, batch_size=4, devices=1, compilation_cache="",
        workdir=str(workdir), **settings,
    )  # fmt: skip
    assert as_command.run(recipe, classification.make_experiment(recipe)) == 0
    return json.loads((workdir / "result.json").read_text())


def test_volumes(tmp_path):
    result = classify(arrays(tmp_path), tmp_path / "run")
    assert result["num_classes"] == 2
    assert 0 <= result["test_accuracy"] <= 1


def test_a_list_and_that_its_changes_are_noticed_on_resuming(tmp_path):
    (tmp_path / "set").mkdir()
    result = classify(csv_list(tmp_path / "set"), tmp_path / "run", image_size=8)
    assert result["num_classes"] == 2
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = f"csv:{tmp_path}/moved/labels.csv"
    classify(moved, tmp_path / "run", image_size=8)
    file = tmp_path / "moved" / "labels.csv"
    file.write_text(file.read_text().replace("0.png;dark", "0.png;red"))
    with pytest.raises(ValueError, match=r"data of the run .* have changed"):
        classify(moved, tmp_path / "run", image_size=8)


@pytest.mark.slow
def test_detection(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [ball, cube]\n"
    )
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "labels"):
            (tmp_path / "set" / kind / split).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (32, 32), (60 * i, 0, 0)).save(
                tmp_path / "set" / "images" / split / f"{i}.png"
            )
            text = f"{i % 2} 0.5 0.5 0.25 0.5\n"
            (tmp_path / "set" / "labels" / split / f"{i}.txt").write_text(text)
    recipe = detection.DetectionRecipe(
        dataset=f"yolo:{tmp_path}/set", test_split="val", image_size="32x32",
        model_options="features=8,depth=1", batch_size=2, eval_batch_size=2, steps=1,
        devices=1, compilation_cache="", workdir=str(tmp_path / "run"),
    )  # fmt: skip
    assert as_command.run(recipe, detection.make_experiment(recipe)) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"test_ap/ball", "test_ap/cube"} <= result.keys()
