"""`experiments.evaluate` from flags to its files, on runs and on other data."""

import csv
import html.parser
import json
import math
import shutil
import types

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import data, run
from cnn_jax.run import measuring, reports
from experiments import evaluate
from tests.run import as_command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run over two devices that tells most digits apart."""
    where = tmp_path_factory.mktemp("runs") / "first"
    recipe = run.Recipe(
        model="mlp", steps=60, figures=False, compilation_cache="", devices=2, workdir=str(where),
        evaluate_every_epochs=0.0, checkpoint_every_epochs=0.0, augment="", mixup=0.0,
        cpu_convolutions=False, test_split="test[:300]",
    )  # fmt: skip
    as_command.run(recipe, run.TASKS["classification"].make_experiment(recipe))
    return where


def command(*arguments):
    """The exit status of the command with these flags."""
    values = flags.FlagValues()
    evaluate.define(values)
    values(["evaluate", *arguments])
    return evaluate.main(values)


def test_what_is_no_number_is_compared_with_the_null_of_result_json(tmp_path):
    recorded = {"steps": 3, "test_ap": 0.5, "test_loss": None, "test_f1": None}
    (tmp_path / "result.json").write_text(json.dumps(recorded))

    def said(**figures):
        network = types.SimpleNamespace(step=3)
        found = types.SimpleNamespace(predictor=network, figures=figures)
        return evaluate._recorded(str(tmp_path), found)

    assert said(ap=0.5, loss=math.nan) == "Equal to result.json, to the last bit: ap, loss."
    assert said(ap=0.25, loss=math.inf, f1=1.0) == "result.json has ap 0.5, f1 no number."
    assert said(auc=1.0) == "result.json has none of these figures."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Test digits as files: 3, 7 and 8, and a split without labels."""
    where = tmp_path_factory.mktemp("digits")
    source = data.load_source("digits", "test")
    batch = data.eval_batches(source, data.image_loader(source), batch_size=len(source))[0]
    for i, (image, label) in enumerate(zip(batch["image"], batch["label"], strict=True)):
        if label in (3, 7, 8):
            for split, name in (("val", str(label)), ("test", "")):
                place = where / split / name / f"{i}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[..., 0]).save(place)
    shutil.copytree(where / "val", where / "train")
    return where


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Page(html.parser.HTMLParser):
    """What a page shows and where it looks for more."""

    def __init__(self, text):
        super().__init__()
        self.open, self.places, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.places += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)


def test_a_run_has_the_figures_of_its_result(trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(f"--run={trained}", f"--output={out}", "--resamples=100") == 0
    assert "Equal to result.json, to the last bit: accuracy, top5, loss" in capsys.readouterr().out
    found = json.loads((out / "figures.json").read_text())
    result = json.loads((trained / "result.json").read_text())
    for name in ("accuracy", "top5", "loss"):
        assert found["figures"][name] == result[f"test_{name}"]
    assert found["data"] == {
        "dataset": "digits", "split": "test[:300]", "examples": 300, "left_out": 0
    }  # fmt: skip
    for name, (low, high) in found["intervals"].items():
        assert low <= found["figures"][name] <= high or name == "calibration_error"
    assert found["network"]["parameters"] == result["parameters"]
    classes = rows(out / "classes.csv")
    assert [row["class"] for row in classes] == list("0123456789")
    own = rows(trained / "classes.csv")
    assert own == [{name: row[name] for name in own[0]} for row in classes]
    assert result["per_class"]["split"] == "test"
    for row, mine in zip(classes, result["per_class"]["classes"], strict=True):
        assert {name: str(value) for name, value in mine.items()}.items() <= row.items()
    with (out / "confusion.csv").open(newline="") as file:
        counts = np.array([row[1:] for row in list(csv.reader(file))[1:]], int)
    assert counts.sum() == 300
    assert np.trace(counts) / 300 == pytest.approx(found["figures"]["accuracy"])
    recall = [float(row["recall"]) for row in classes]
    assert recall == pytest.approx(list(np.diag(counts) / counts.sum(1)))
    examples = rows(out / "examples.csv")
    losses = [float(row["loss"]) for row in examples]
    assert losses == sorted(losses, reverse=True)
    assert np.mean(losses) == pytest.approx(found["figures"]["loss"], abs=1e-6)
    page = Page((out / "index.html").read_text())
    assert page.open == []
    assert all(place.startswith("data:") for place in page.places)
    assert len(page.places) == 5  # the icon and four figures
    assert f"{found['figures']['accuracy']:.4f}" in page.words
    for name in ("confusion", "reliability", "classes", "hardest"):
        with Image.open(out / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 3


def test_a_frozen_network_has_the_same_figures_to_the_last_digits(trained, tmp_path, capsys):
    """And they are not compared with the run's, bit by bit."""
    out = tmp_path / "out"
    flags = (f"--run={trained}", f"--output={out}", "--resamples=0", "--freeze_inference")
    assert command(*flags) == 0
    said = capsys.readouterr().out
    assert "The network was frozen" in " ".join(said.split())
    assert "to the last bit" not in said
    found = json.loads((out / "figures.json").read_text())
    assert found["settings"]["freeze_inference"] is True
    plain = run.evaluate(trained)
    frozen = run.evaluate(trained, freeze_inference=True)
    for name in ("accuracy", "loss"):
        assert found["figures"][name] == pytest.approx(plain[name], abs=1e-5)
        assert frozen[name] == pytest.approx(plain[name], abs=1e-5)


def test_other_data_by_the_names_of_their_classes(trained, folder, tmp_path):
    opened = run.open(trained, checkpoint="last")
    options = {"dataset": f"folder:{folder}", "split": "val"}
    found = measuring.measure(opened, **options)
    assert len(found.counted) == 108
    assert found.figures["accuracy"] > 0.8
    table = reports.report(found, resamples=0)
    assert {row["class"] for row in table.classes if row["examples"]} == {"3", "7", "8"}
    assert all(row["example"].split("/")[-2] == row["class"] for row in table.examples)
    assert "found by name" in found.notes[0]
    assert "read with 1 channel and resized whole to 8x8" in found.notes[1]  # not in colour
    chosen = measuring.measure(opened, **options, among="data")
    assert {row["predicted"] for row in reports.report(chosen, resamples=0).examples} <= set("378")
    assert chosen.figures["accuracy"] >= found.figures["accuracy"]
    file = tmp_path / "labels.csv"  # two of its classes are right for this image
    file.write_text("file,label\n" + "".join(f"{i}.png,3 7 8\n" for i in range(200)))
    either = measuring.measure(opened, **options, labels=str(file))
    assert 0 < len(either.counted) < 108
    lenient = reports.report(either, resamples=0).figures["accuracy"]
    assert lenient > found.figures["accuracy"] - 0.05
    with pytest.raises(ValueError, match="no labels"):
        measuring.measure(opened, **{**options, "split": "test"})
    (folder / "val" / "cow").mkdir()
    shutil.copy(next((folder / "val" / "3").iterdir()), folder / "val" / "cow" / "a.png")
    (folder / "train" / "cow").mkdir()
    shutil.copy(next((folder / "val" / "3").iterdir()), folder / "train" / "cow" / "a.png")
    with pytest.raises(ValueError, match="cow is none of them by name"):
        measuring.measure(opened, **options)


def test_views_precision_and_what_does_not_go(trained):
    opened = run.open(trained, checkpoint="last")
    plain = measuring.measure(opened)
    seen = measuring.measure(opened, views="flip,half_turn", batch_size=50)
    logits = [np.asarray(opened.apply(view(opened_images(plain)))) for view in (
        lambda x: x, lambda x: x[:, :, ::-1], lambda x: x[:, ::-1, ::-1])]  # fmt: skip
    np.testing.assert_allclose(seen.row("logits"), np.mean(logits, 0), atol=2e-5)
    for changes, message in (
        ({"views": "left"}, "views=left: wanted flip"),
        ({"views": "flip,flip"}, "given twice"),
        ({"precision": "int8"}, "precision=int8: wanted float32"),
        ({"among": "some"}, "among=some"),
        ({"labels": "none.csv"}, "none.csv"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            measuring.measure(opened, **changes)


def opened_images(measured):
    """The images of an evaluation as its network gets them."""
    return measured.held.prepare(dict(measured.batches.at(measured.counted)))["image"]


def test_several_are_a_table_that_goes_on(trained, tmp_path, capsys, monkeypatch):
    runs = trained.parent
    shutil.copytree(trained, runs / "second", dirs_exist_ok=True)
    (runs / "third").mkdir(exist_ok=True)
    (runs / "third" / "recipe.flags").write_text("")
    asked = (f"--run={runs}/*", f"--output={tmp_path}", "--resamples=20")
    assert command(*asked) == 1  # the third cannot be read
    table = rows(tmp_path / "networks.csv")
    assert [row["network"] for row in table] == [str(runs / "first"), str(runs / "second")]
    result = json.loads((trained / "result.json").read_text())
    for row in table:
        assert float(row["accuracy"]) == result["test_accuracy"]
        assert float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"])
        assert int(row["parameters"]) == result["parameters"]
        assert float(row["images_per_second"]) > 0
    monkeypatch.setattr(evaluate, "_row", None)  # nothing is measured again
    shutil.rmtree(runs / "third")
    assert command(*asked) == 0
    assert rows(tmp_path / "networks.csv") == table
    monkeypatch.undo()
    with pytest.raises(ValueError, match="needs --pretrained"):
        command("--model=mlp")
    names = tmp_path / "names.txt"
    names.write_text("# ours\nmlp\n")
    assert command(f"--model=@{names}", f"--output={tmp_path}", "--batch_size=8") == 0
    last = rows(tmp_path / "networks.csv")[-1]
    assert (last["network"], last["accuracy"]) == ("mlp", "")  # no weights, no accuracy
    assert int(last["multiply_adds"]) > 0
    with pytest.raises(ValueError, match="no run directory is called so"):
        command(f"--run={runs}/none*")
    with pytest.raises(ValueError, match="No network is given"):
        command()
