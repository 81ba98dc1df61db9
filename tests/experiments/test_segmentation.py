"""`experiments.segmentation` from flags to the result, on a street-scene set in SegNet's layout."""

import json

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import augment
from cnn_jax.run import segmentation
from cnn_jax.run.network import create_model
from experiments import recipe as recipes
from tests.run import as_command


def recipe_of(*arguments):
    values = flags.FlagValues()
    recipes.define_flags(segmentation.SegmentationRecipe, values)
    values(["program", *arguments])
    return recipes.from_flags(segmentation.SegmentationRecipe, values)


@pytest.fixture
def streets(tmp_path):
    """Sky above road, void between: pictures 24x16, values 0 and 1 and 11."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3), ("test", 5)):
        for folder in (tmp_path / "set" / split, tmp_path / "set" / f"{split}annot"):
            folder.mkdir(parents=True)
        for i in range(count):
            horizon = rng.integers(5, 11)
            mask = np.zeros((16, 24), np.uint8)
            mask[horizon:] = 1
            picture = np.where(mask[..., None] == 1, 60, 200) + rng.integers(-40, 40, (16, 24, 3))
            mask[horizon] = 11
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "set" / split / f"{i}.png")
            Image.fromarray(mask).save(tmp_path / "set" / f"{split}annot" / f"{i}.png")
    return tmp_path / "set"


def test_a_street_scene_set_trains_with_flags_alone(streets, tmp_path):
    recipe = recipe_of(
        f"--dataset=masks:{streets}",
        "--ignore=11",
        "--classes=sky,road",
        "--model=unet_small",
        "--model_options=width=4,depth=1",
        "--class_weights=median_frequency",
        "--loss=cross_entropy+dice",
        "--augment=flip,scaled_crop:0.8:1.2:16:24",
        "--batch_size=8",
        "--steps=25",
        "--learning_rate=0.02",
        "--compilation_cache=",
        f"--workdir={tmp_path / 'run'}",
        "--layout=pmap",
        "--devices=2",
    )
    assert as_command.run(recipe, segmentation.make_experiment(recipe)) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_mean_iou"] > 0.9
    assert result["test_iou/road"] > 0.9
    for figure in ("predictions", "confusion_matrix", "learning_curves"):
        assert (tmp_path / "run" / f"{figure}.png").stat().st_size > 1000


def test_a_split_without_a_labelled_pixel_is_null_and_said(streets, tmp_path, capsys):
    """D9: its figures were NaN, which no other reader of JSON takes."""
    for file in (streets / "testannot").iterdir():
        Image.fromarray(np.full((16, 24), 11, np.uint8)).save(file)
    recipe = recipe_of(
        f"--dataset=masks:{streets}",
        "--ignore=11",
        "--classes=sky,road",
        "--model=unet_small",
        "--model_options=width=4,depth=1",
        "--batch_size=8",
        "--steps=2",
        "--checkpoint_every_steps=1",
        "--evaluate_every_steps=1",
        "--nofigures",
        "--compilation_cache=",
        f"--workdir={tmp_path / 'run'}",
        "--devices=1",
    )
    assert as_command.run(recipe, segmentation.make_experiment(recipe)) == 0
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    texts = [path.read_bytes() for path in written if "events" not in path.name]
    plain = [text.decode() for text in texts if text.startswith(b"{")]
    rows = [json.loads(line, parse_constant=pytest.fail) for each in plain for line in lines(each)]
    (result,) = (row for row in rows if "test_mean_iou" in row)
    assert result["test_mean_iou"] is result["test_loss"] is None
    said = capsys.readouterr().out
    assert "Undefined for the test split, and null in result.json: mean_iou, pixel_accuracy" in said


def lines(text):
    """The JSON texts in a file: a row a line, or one over all lines."""
    return [text] if text.startswith("{\n") else text.splitlines()


@pytest.mark.parametrize(
    "name", ["camvid_segnet_basic", "camvid_unet", "digit_scenes_mlp", "oxford_pets_deeplabv3"]
)
def test_recipes_are_readable(name):
    recipe = recipe_of(f"--flagfile=experiments/recipes/{name}.flags")
    augment.parse(recipe.augment, holds="mask")
    create_model(recipe.model, recipe, num_classes=3)
