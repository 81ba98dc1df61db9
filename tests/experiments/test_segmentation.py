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


@pytest.mark.parametrize(
    "name", ["camvid_segnet_basic", "camvid_unet", "digit_scenes_mlp", "oxford_pets_deeplabv3"]
)
def test_recipes_are_readable(name):
    recipe = recipe_of(f"--flagfile=experiments/recipes/{name}.flags")
    augment.parse(recipe.augment, holds="mask")
    create_model(recipe.model, recipe, num_classes=3)
