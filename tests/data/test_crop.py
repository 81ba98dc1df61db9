"""Windows and resampling, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax.data import crop
from cnn_jax.data.loaders import image as image_module
from cnn_jax.data.loaders.image import LoadImage
from tests.data.pictures import encode

sides = st.integers(1, 400)


@given(height=sides, width=sides, seed=st.integers(0, 1000))
def test_random_windows_lie_inside(height, width, seed):
    rng = np.random.default_rng(seed)
    top, left, h, w = crop.random_resized_window(rng, height, width)
    assert 0 <= top < top + h <= height
    assert 0 <= left < left + w <= width


def test_random_windows_have_the_distribution_of_the_paper():
    """Of a large square nearly nothing is refused: area uniform, ratio log-uniform, place uniform.

    Below the area 0.75 = 1 / (4/3) every window fits, so there the distribution is exact.
    """
    side = 10_000
    windows = np.array(
        [crop.random_resized_window(np.random.default_rng(i), side, side) for i in range(4000)]
    )
    area = windows[:, 2] * windows[:, 3] / side**2
    small = area < 0.75
    share, n = area[small], small.sum()
    assert share.min() >= 0.0799
    uniform = (share - 0.08) / (0.75 - 0.08)
    log_ratio = np.log(windows[small, 3] / windows[small, 2]) / math.log(4 / 3)  # in -1..1
    for value in (uniform, (log_ratio + 1) / 2, *_places(windows[small], side)):
        assert value.min() >= -0.001
        assert value.max() <= 1.001
        assert abs(value.mean() - 0.5) < 5 * math.sqrt(1 / 12 / n)
        assert abs(value.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / n)


def _places(windows, side):
    yield windows[:, 0] / (side - windows[:, 2])
    yield windows[:, 1] / (side - windows[:, 3])


def test_where_no_window_fits_the_largest_central_one():
    rng = np.random.default_rng(0)
    assert crop.random_resized_window(rng, 10, 1000, area_range=(1, 1)) == (0, 493, 10, 13)
    assert crop.random_resized_window(rng, 1000, 10, area_range=(1, 1)) == (493, 0, 13, 10)


def test_the_centre_is_that_of_resize_256_crop_224():
    assert crop.center_window(256, 256, (224, 224)) == (16, 16, 224, 224)
    assert crop.center_window(512, 1024, (224, 224)) == (32, 288, 448, 448)
    assert crop.center_window(100, 300, (50, 100), fraction=1.0) == (0, 50, 100, 200)


def brute_force(image, size, window):
    """Bilinear with antialiasing: each output pixel averages the input under a triangle."""
    top, left, h, w = window
    rows = _triangles(image.shape[0], top, h, size[0])
    columns = _triangles(image.shape[1], left, w, size[1])
    return np.einsum("ph,hwc,qw->pqc", rows, image.astype(float), columns)


def _triangles(n_in, start, length, n_out):
    scale = length / n_out
    support = max(scale, 1.0)
    weights = np.zeros((n_out, n_in))
    for i in range(n_out):
        middle = start + (i + 0.5) * scale
        for j in range(n_in):
            inside = middle - support <= j + 0.5 <= middle + support
            weights[i, j] = (1 - abs(j + 0.5 - middle) / support) * inside
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("size", "window"),
    [((9, 7), (0, 0, 30, 40)), ((30, 20), (3, 5, 12, 25)), ((8, 8), (2.5, 3.25, 20.5, 21.75))],
)
def test_resampling_is_the_antialiased_bilinear_one(channels, size, window):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, channels), np.uint8)
    resampled = crop.resample(image, size, window)
    assert resampled.dtype == np.uint8
    assert resampled.shape == (*size, channels)
    if channels == 4:  # alpha weighs the colours: compare it alone
        image, resampled = image[..., 3:], resampled[..., 3:]
    np.testing.assert_allclose(resampled, brute_force(image, size, window), atol=2)


def test_an_image_of_the_right_size_is_left_alone():
    image = np.zeros((5, 6, 3), np.uint8)
    assert crop.resample(image, (5, 6)) is image


@pytest.mark.parametrize("how", ["random_resized", "center", None])
def test_reduced_decoding_is_close_to_full_decoding(how, monkeypatch):
    """A photograph-like JPEG shrunk sixfold: the DCT's own filter costs less than 1% of white."""
    grid = np.linspace(0, 9, 600)
    waves = np.sin(grid)[:, None] * np.cos(1.7 * grid)[None] + np.sin(grid * grid)[None] / 3
    image = np.uint8(127 + 90 * np.stack([waves, waves.T, -waves], -1))
    record = {"image": encode(image, format="JPEG", quality=95), "label": 0}
    load = LoadImage(3, (64, 64), how)
    fast = load(record, np.random.default_rng(3))["image"]
    whole = image_module.decode_image
    monkeypatch.setattr(image_module, "decode_image", lambda *a, min_size, **k: whole(*a, **k))
    exact = load(record, np.random.default_rng(3))["image"]
    assert np.abs(fast.astype(int) - exact).mean() < 2.5


def test_against_torchvision():
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    chw = torch.from_numpy(image.transpose(2, 0, 1).copy())
    theirs = transforms.resized_crop(chw, 7, 11, 40, 50, [24, 24], antialias=True)
    ours = crop.resample(image, (24, 24), (7, 11, 40, 50))
    # Ours sees the pixels around the window, theirs cuts first: compare the inside.
    np.testing.assert_allclose(
        ours[1:-1, 1:-1].astype(int), theirs.numpy().transpose(1, 2, 0)[1:-1, 1:-1], atol=2
    )


def test_sizes():
    sizes = {"360": (360, 360), "360x480": (360, 480), "": None}
    assert {text: crop.parse_size(text) for text in sizes} == sizes


@pytest.mark.parametrize("text", ["0", "3x4x5", "axb", "-3", "3.5"])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError, match=f"image_size={text}: wanted '256', or HEIGHTxWIDTH"):
        crop.parse_size(text)
