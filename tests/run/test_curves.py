"""Why the training loss of a run stands above that of its evaluation: only what is so."""

import types

import flax.linen as nn
import pytest

from cnn_jax.run import curves
from cnn_jax.run.classification import ClassificationRecipe
from cnn_jax.run.segmentation import SegmentationRecipe


class Net(nn.Module):
    drop_rate: float = 0.0


@pytest.mark.parametrize(
    ("recipe", "drop_rate", "images", "expected"),
    [
        (ClassificationRecipe(), 0.0, True, ["augmentation", "label smoothing 0.1"]),
        (ClassificationRecipe(), 0.5, False, ["label smoothing 0.1", "dropout"]),
        (ClassificationRecipe(augment="", label_smoothing=0.0), 0.0, True, []),
        (ClassificationRecipe(augment="", label_smoothing=0.0, freeze=True), 0.5, True, []),
        (ClassificationRecipe(augment="", label_smoothing=0.0, mixup=0.2), 0.0, True,
         ["augmentation (mixup too)"]),
        (ClassificationRecipe(augment="", label_smoothing=0.0, ema_decay=0.9), 0.0, True,
         ["weights as they are, not their moving average"]),
        (SegmentationRecipe(augment="flip"), 0.2, True, ["augmentation", "dropout"]),
    ],
)  # fmt: skip
def test_what_is_harder_in_training(recipe, drop_rate, images, expected):
    assert curves.harder(recipe, Net(drop_rate), images) == expected


def test_a_network_of_ones_own_need_not_be_a_dataclass():
    assert curves.harder(types.SimpleNamespace(augment="flip"), object(), True) == ["augmentation"]
