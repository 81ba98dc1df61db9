"""Predictions from a run of ours, as a user sees them."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import data, run
from cnn_jax.run import classification
from experiments import predict
from tests.run import as_command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seconds of training are enough to tell most digits apart."""
    where = tmp_path_factory.mktemp("run")
    recipe = classification.ClassificationRecipe(
        model="mlp", epochs=8.0, figures=False, compilation_cache="", devices=1,
        workdir=str(where), evaluate_every_epochs=0.0, checkpoint_every_epochs=0.0, augment="",
    )  # fmt: skip
    as_command.run(recipe, classification.make_experiment(recipe))
    return where


@pytest.fixture
def parsed():
    """Flags as after parsing, put back afterwards."""
    flags.FLAGS.mark_as_parsed()
    modules = flags.FLAGS.flags_by_module_dict()
    homes = ("experiments.predict", "experiments.network_flags")
    names = [flag.name for home in homes for flag in modules[home]]
    before = {name: flags.FLAGS[name].value for name in names}
    yield flags.FLAGS
    for name, value in before.items():
        flags.FLAGS[name].value = value


@pytest.fixture
def digits(tmp_path):
    """Ten test digits as picture files, with their labels."""
    batch = data.eval_batches(data.load_source("digits", "test"), batch_size=10)[0]
    paths = []
    for i, image in enumerate(batch["image"]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image[..., 0]).save(paths[-1])
    return paths, batch["label"]


def test_names_the_digits_and_draws_them(trained, parsed, digits, tmp_path, capsys):
    paths, labels = digits
    parsed.run, parsed.output = str(trained), str(tmp_path / "out")
    assert predict.main(paths) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [lines[i + 1].split()[-1] for i, line in enumerate(lines) if line.endswith(".png")
             and not line.startswith("  ")]  # fmt: skip
    assert np.mean([name == str(label) for name, label in zip(first, labels, strict=True)]) >= 0.8
    assert len(list((tmp_path / "out").glob("*_predicted.png"))) == 10
    why = "The network has no layer with a spatial output, which Grad-CAM needs."
    assert lines.count(f"  without Grad-CAM: {why}") == 10


def test_a_broken_image_is_named_and_the_others_are_looked_at(
    trained, parsed, digits, tmp_path, capsys
):
    paths, _ = digits
    parsed.run, parsed.output = str(trained), str(tmp_path / "out")
    (tmp_path / "text.png").write_text("not an image")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(Path(paths[0]).read_bytes())
    others = [str(tmp_path / folder / "0.png") for folder in ("a", "b")]
    assert predict.main([others[0], str(tmp_path / "text.png"), others[1]]) == 1
    said = capsys.readouterr()
    assert said.err.count("error: ") == 1
    assert "text.png cannot be read as an image" in said.err
    assert [line for line in said.out.splitlines() if line[0] == "/"] == others
    assert "1 of 3 images cannot be read." in said.out
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    assert drawn == {"0_predicted.png", "0-2_predicted.png"}, "one file each"


def test_many_become_tables_in_the_order_of_their_names(trained, parsed, digits, tmp_path, capsys):
    paths, labels = digits
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "names.txt").write_text("\n".join(f"digit {i}" for i in range(10)))
    parsed.run, parsed.classes = str(trained), str(tmp_path / "names.txt")
    parsed.csv, parsed.json = str(tmp_path / "out" / "a.csv"), str(tmp_path / "a.json")
    parsed.quiet, parsed.top, parsed.batch_size = True, 2, 4
    assert predict.main([str(tmp_path)]) == 1  # one of eleven is no image
    said = capsys.readouterr()
    assert "text.png cannot be read" in said.err
    assert "digit" not in said.out
    with (tmp_path / "out" / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [p for p in sorted(paths) for _ in range(2)]
    assert [row["rank"] for row in rows] == ["1", "2"] * 10
    first = [row for row in rows if row["rank"] == "1"]
    assert all(row["class"] == f"digit {row['label']}" for row in first)
    assert np.mean([int(row["label"]) == label for row, label in zip(first, labels, strict=True)]
                   ) >= 0.8  # fmt: skip
    opened = run.open(trained)
    for row, path in zip(first, sorted(paths), strict=True):
        share = opened.predict(path).probabilities.max()
        assert float(row["probability"]) == pytest.approx(share, abs=1e-5)
    content = json.loads((tmp_path / "a.json").read_text())
    assert [each["image"] for each in content] == [*sorted(paths), str(tmp_path / "text.png")]
    assert "cannot be read" in content[-1]["error"]
    assert content[0]["classes"][0]["probability"] == float(first[0]["probability"])
    assert not list(tmp_path.rglob("*.part"))
    for name in ("coco_json", "masks"):
        parsed[name].value = str(tmp_path / "x")
        with pytest.raises(ValueError, match=f"--{name}="):
            predict.main(paths)
        parsed[name].value = ""


def test_a_run_that_learnt_from_sequences_is_refused():
    facts = run.Facts(task="classification", image_shape=(40, 1))
    predictor = run.ClassPredictor(model=None, variables={}, facts=facts)
    with pytest.raises(ValueError, match=r"sequences of shape \[40, 1\]"):
        predictor.predict(Image.new("RGB", (8, 8)))


def test_errors(trained, parsed, tmp_path):
    with pytest.raises(ValueError, match="No image is given"):
        predict.main([])
    with pytest.raises(ValueError, match="no image"):
        predict.main([str(tmp_path / "none.png")])
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as an image"):
        predict.main([str(tmp_path / "text.png")])
    Image.new("1", (20_000, 9_000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match=r"huge\.png cannot be read .*180,000,000 pixels"):
        predict.main([str(tmp_path / "huge.png")])
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png.*it is a pipe"):
        predict.main([str(tmp_path / "pipe.png")])
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match="No network is given"):
        predict.main([str(tmp_path / "black.png")])
    parsed.run = str(tmp_path)
    with pytest.raises(ValueError, match="is no run directory"):
        predict.main([str(tmp_path / "black.png")])
