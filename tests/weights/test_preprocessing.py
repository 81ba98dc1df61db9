"""Preprocessing, against torchvision's own transforms and timm's configurations."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.weights import preprocessing
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.preprocessing import Preprocessing
from cnn_jax.weights.published import published


def picture(height, width, seed=0):
    """Smooth colours with some noise, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / a + y / b) for a, b in [(9, 17), (23, 5), (13, 13)]]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def test_by_hand():
    settings = Preprocessing(resize=4, crop=(2, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0))
    flat = np.full((8, 12, 3), 255, np.uint8)
    out = settings(flat)
    assert out.shape == (2, 2, 3)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, 0], [1.0, 2.0, 0.5])


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (257, 641), (100, 90), (224, 224)])
@pytest.mark.parametrize(
    "model", ["resnet18", "resnet50", "efficientnet_b0", "efficientnet_v2_l", "convnext_tiny"]
)
def test_equal_to_torchvision(size, model):
    models = pytest.importorskip("torchvision").models
    image = Image.fromarray(picture(*size))
    transform = models.get_model_weights(model).DEFAULT.transforms()
    theirs = transform(image).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(published("torchvision", model)(image), theirs)


def test_a_picture_smaller_than_the_crop_is_padded_as_by_torchvision():
    transforms = pytest.importorskip("torchvision").transforms
    presets = pytest.importorskip("torchvision.transforms._presets")
    assert transforms is not None
    transform = presets.ImageClassification(crop_size=51, resize_size=40)
    image = Image.fromarray(picture(60, 80))
    theirs = transform(image).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(Preprocessing(40, (51, 51))(image), theirs)


@pytest.mark.parametrize("model", ["r3d_18", "s3d"])
def test_clips_are_equal_to_torchvisions_but_for_rounding(model):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    clip = np.stack([picture(140, 190, seed) for seed in range(3)])  # [T, H, W, 3]
    transform = models.get_model_weights(model).DEFAULT.transforms()
    theirs = transform(torch.from_numpy(clip).permute(0, 3, 1, 2)).numpy()  # [3, T, H, W]
    ours = published("torchvision", model)(clip)
    difference = np.abs(ours - theirs.transpose(1, 2, 3, 0))
    one_step = 1 / 255 / 0.21
    assert difference.max() <= one_step
    assert (difference > 1e-6).mean() < 1e-3


def test_the_table_is_torchvisions():
    """Every network, every set of weights, against the `transforms` of torchvision."""
    torchvision = pytest.importorskip("torchvision")
    from cnn_jax.models import describe, list_models

    checked = 0
    for name in torchvision.models.list_models():
        if name not in list_models() or "torchvision" not in describe(name).rules:
            continue
        for weights in torchvision.models.get_model_weights(name):
            if not weights.name.endswith("1K_V1") and weights.name not in (
                "IMAGENET1K_V2",
                "KINETICS400_V1",
            ):
                continue  # SWAG's and the features of SSD
            theirs = weights.transforms()
            is_default = weights is torchvision.models.get_model_weights(name).DEFAULT
            stem = weights.url.rpartition("/")[2].removesuffix(".pth")
            if name == "efficientnet_b1" and not is_default:
                continue  # the first weights want 256 bicubic: pass `preprocessing` yourself
            ours = published("torchvision", name, stem)
            resize, crop = theirs.resize_size, theirs.crop_size
            assert ours.resize == (resize[0] if len(resize) == 1 else tuple(resize)), name
            assert ours.crop == tuple(crop * 2 if len(crop) == 1 else crop), name
            assert ours.interpolation == theirs.interpolation.value, name
            if name not in ("googlenet", "inception_v3"):  # transform_input, see the table
                assert ours.mean == tuple(theirs.mean), name
                assert ours.std == tuple(theirs.std), name
            checked += 1
    assert checked > 90


def test_transform_input_is_the_same_as_half_and_half():
    """torchvision normalises, and its GoogLeNet undoes that: to values from -1 to 1."""
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    image = Image.fromarray(picture(300, 300))
    network = models.googlenet(transform_input=True, init_weights=False, aux_logits=False)
    normal = models.get_model_weights("googlenet").DEFAULT.transforms()(image)
    theirs = network._transform_input(normal[None])[0].permute(1, 2, 0).numpy()
    assert isinstance(normal, torch.Tensor)
    np.testing.assert_allclose(published("torchvision", "googlenet")(image), theirs, atol=1e-6)


def test_timms_configuration():
    config = {
        "input_size": [3, 288, 288],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_mode": "center",
    }
    settings = preprocessing.from_timm({"pretrained_cfg": config}, "hf:timm/a")
    assert settings == Preprocessing(
        303, (288, 288), "bicubic", True, (0.5,) * 3, (0.25,) * 3, "hf:timm/a"
    )
    with pytest.raises(WeightsError, match="crop_mode 'squash'"):
        preprocessing.from_timm({**config, "crop_mode": "squash"}, "x")


def test_equal_to_timm():
    data = pytest.importorskip("timm.data")
    config = {
        "input_size": (3, 240, 240),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop_mode": "center",
    }
    image = Image.fromarray(picture(300, 500))
    theirs = data.create_transform(**config, is_training=False)(image).numpy()
    ours = preprocessing.from_timm(config, "")(image)
    np.testing.assert_allclose(ours, theirs.transpose(1, 2, 0), atol=1e-6)


def test_json_round_trip():
    for settings in (published("torchvision", "r3d_18"), Preprocessing(interpolation="lanczos")):
        assert preprocessing.from_json(settings.to_json()) == settings
    for text in ("{}x", "[]", '{"resize": 3, "colour": 1}', '{"interpolation": "magic"}'):
        with pytest.raises(WeightsError, match="header is damaged"):
            preprocessing.from_json(text)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)], ids=["float", "grey"]
)
def test_wrong_pictures(wrong):
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        Preprocessing()(wrong)


def test_wrong_settings():
    with pytest.raises(ValueError, match="interpolation is 'cubic'"):
        Preprocessing(interpolation="cubic")
    with pytest.raises(ValueError, match="do not belong together"):
        Preprocessing(std=(1.0, 0.0, 1.0))
