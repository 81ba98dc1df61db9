"""An evaluation of published weights against torchvision's own, on the same files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.run import measuring
from cnn_jax.run.held_examples import names_of
from cnn_jax.weights import imagenet

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

IDS = imagenet.wordnet_ids()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ImageNet's layout: folders of ids, with photograph-like JPEGs and PNGs of many sizes."""
    root, rng = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for i, (height, width) in enumerate(
        [(300, 400), (400, 300), (256, 256), (97, 211), (640, 479), (231, 1000), (224, 224)]
    ):
        place = root / "val" / IDS[100 * i + 7]
        place.mkdir(parents=True)
        small = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        image.save(place / f"a{i}.jpg", quality=90)
        image.save(place / f"b{i}.png")
    return root


@pytest.mark.slow
def test_as_torchvision_evaluates_random_weights(folder, tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    opened = run.published("resnet18", str(tmp_path / "resnet18.pth"))
    own = measuring.measure(
        opened, dataset=f"folder:{folder}", split="val", eval_batch_size=7, compilation_cache="",
        cpu_convolutions=False, devices=1,
    )  # fmt: skip
    preset = torchvision.transforms._presets.ImageClassification(crop_size=224)
    logits, labels = [], []
    with torch.no_grad():
        for path in map(Path, names_of(own.source)):  # a folder's files come in an order of ours
            with Image.open(path) as image:
                logits.append(theirs(preset(image.convert("RGB"))[None])[0].numpy())
            labels.append(IDS.index(path.parent.name))
    # 2.9e-7 of their range (torch 2.13.0, torchvision 0.29.1); Pillow resamples for both
    np.testing.assert_allclose(own.row("logits"), logits, atol=1e-5 * np.ptp(logits))
    assert list(own.row("label")) == labels
    five = [label in row.argsort()[::-1][:5] for row, label in zip(logits, labels, strict=True)]
    assert own.figures["top5"] == pytest.approx(np.mean(five))
    loss = torch.nn.functional.cross_entropy(torch.tensor(np.array(logits)), torch.tensor(labels))
    assert own.figures["loss"] == pytest.approx(float(loss), rel=1e-5)
    # and prediction is shown the same
    said = opened.predict(names_of(own.source)[0]).probabilities
    np.testing.assert_allclose(
        said, torch.softmax(torch.tensor(logits[0]), 0).numpy(), rtol=1e-3, atol=1e-6
    )
    print("largest difference", np.abs(own.row("logits") - logits).max() / np.ptp(logits))
