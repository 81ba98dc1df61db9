"""Classification with several labels for an image, from the file to the prediction."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, run
from cnn_jax.metrics import per_class, several
from cnn_jax.run import evaluation_files, measuring, reports
from cnn_jax.tasks import multilabel

QUIET = run.Program(quiet=True)
QUICK = {
    "model": "mlp_300",
    "batch_size": 32,
    "steps": 60,
    "augment": "",
    "learning_rate": 0.05,
    "warmup_epochs": 0.0,
    "evaluate_every_epochs": 0.0,
    "devices": 1,
    "cpu_convolutions": False,
    "compilation_cache": "",
}


def quadrants(rng, count):
    """Images whose labels say which of three quadrants are bright."""
    labels = rng.integers(0, 2, (count, 3))
    images = rng.integers(0, 60, (count, 8, 8)).astype(np.uint8)
    for k, (row, column) in enumerate(((0, 0), (0, 4), (4, 0))):
        images[labels[:, k] > 0, row : row + 4, column : column + 4] += 150
    return images, labels


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A file as MedMNIST's of several labels are."""
    arrays, rng = {}, np.random.default_rng(0)
    for split, count in (("train", 200), ("val", 50), ("test", 60)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = quadrants(rng, count)
    where = tmp_path_factory.mktemp("data") / "chest.npz"
    np.savez(where, **arrays)
    return where


@pytest.fixture(scope="module")
def done(chest, tmp_path_factory):
    recipe = run.MultilabelRecipe(dataset=f"npz:{chest}", **QUICK)
    return run.train(recipe, workdir=tmp_path_factory.mktemp("run") / "run", program=QUIET)


def test_a_run_finds_the_labels(done, chest, tmp_path):
    assert done.json["chosen_by"] == "val_map"
    assert done.metrics["map"] > 0.99
    assert done.metrics["auc"] > 0.99
    assert done.metrics["label_accuracy"] > 0.95
    assert {"ap/0", "ap/1", "ap/2"} <= set(done.metrics)
    assert (done.directory / "learning_curves.png").exists()
    assert run.evaluate(done.place) == pytest.approx(done.metrics, rel=1e-6)
    opened = run.open(done.place)
    assert done.json["per_class"]["split"] == "test"
    measured = measuring.measure(opened)
    closer = reports.report(measured, resamples=0)
    evaluation_files.write(measured, closer, tmp_path)
    own, its = ((where / "classes.csv").read_text() for where in (done.directory, tmp_path))
    assert own.splitlines()[0] == its.splitlines()[0]
    assert (tmp_path / "classes.png").exists()
    assert "of each class, the lowest first" in (tmp_path / "index.html").read_text()
    for mine, row in zip(done.json["per_class"]["classes"], closer.classes, strict=True):
        assert mine.pop("class") == row.pop("class")
        assert mine == pytest.approx(row, rel=1e-6)
        assert mine["f1"] > 0.9
    with np.load(chest) as file:
        images, labels = file["test_images"][:20], file["test_labels"][:20]
    found = opened.predict(list(images))
    right = [one.names == tuple("012"[k] for k in np.flatnonzero(row))
             for one, row in zip(found, labels, strict=True)]  # fmt: skip
    assert np.mean(right) > 0.8
    logits = opened.apply(opened.preprocess(images[0])[None])[0]
    assert found[0].probabilities == pytest.approx(1 / (1 + np.exp(-np.asarray(logits))), rel=1e-5)


def test_what_is_for_one_label_is_refused(chest):
    def refused(match, **changes):
        recipe = run.MultilabelRecipe(**{**QUICK, "dataset": f"npz:{chest}", **changes})
        with pytest.raises(ValueError, match=match):
            run.TASKS["multilabel"].make_experiment(recipe)

    refused("is for one label an image: choose binary_cross_entropy or focal", loss="cross_entropy")
    refused("several labels each, whose classes cannot be evened out", balance=1.0)
    refused("Leave them out", class_weights="balanced")
    refused(r"dataset='': wanted npz:PATH with labels \[N, K\] of 0 and 1", dataset="")
    refused("digits is not read with multilabel; leave it out", dataset="digits")
    with pytest.raises(data.DataError, match=r"experiments\.multilabel reads several"):
        data.load_source(f"npz:{chest}", "train")


def test_an_npz_with_other_labels_is_refused(tmp_path):
    images = np.zeros((4, 8, 8), np.uint8)
    for labels, match in (
        (np.arange(4), r"wanted a row of 0 and 1 for each image, \[N, K\]"),
        (np.full((4, 3), 2), "holds other values than 0 and 1"),
    ):
        np.savez(tmp_path / "x.npz", train_images=images, train_labels=labels)
        with pytest.raises(data.DataError, match=match):
            data.load_source(f"npz:{tmp_path}/x.npz", "train", multilabel=True)


@pytest.mark.parametrize(
    ("text", "names", "labels"),
    [
        ("file,label\n0.png,a|b c\n1.png,\n2.png,b c\n", ("a", "b c"), {(1, 1), (0, 0), (0, 1)}),
        ("file,label\n0.png,x y\n1.png,y\n2.png,x\n", ("x", "y"), {(1, 1), (0, 1), (1, 0)}),
        ("image,b,a\n0.png,1,1\n1.png,0,0\n2.png,1,0\n", ("a", "b"), {(1, 1), (0, 0), (0, 1)}),
    ],
)
def test_a_csv_with_several_labels(text, names, labels, tmp_path):
    for number in range(3):
        Image.new("L", (8, 8), 80 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "labels.csv").write_text(text)
    source = data.load_source(f"csv:{tmp_path}/labels.csv", "all", multilabel=True)
    assert source.class_names == names
    assert {tuple(record["label"]) for record in source.__getitems__(range(3))} == labels
    batch = data.eval_batches(source, data.image_loader(source, 8), batch_size=3)[0]
    assert batch["label"].shape == (3, 2)
    assert data.class_counts(source).tolist() == [sum(row[k] for row in labels) for k in (0, 1)]


def test_a_csv_of_columns_with_other_values_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("image,a,b\n0.png,1,0\n1.png,2,0\n")
    with pytest.raises(data.DataError, match=r"labels\.csv:3: a is '2': without a column 'label'"):
        data.load_source(f"csv:{tmp_path}/labels.csv", "all", multilabel=True)


def test_average_precision_and_area_by_hand():
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.1, 0.5]])
    truth = np.array([[1, 1], [0, 0], [1, 0], [0, 0]])
    # of the first class: precision 1 at the first image and 2/3 at the third; all equal: 1/4
    assert several.average_precision(scores, truth) == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])
    assert several.area_under_roc(scores, truth) == pytest.approx([3 / 4, 1 / 2])
    assert np.isnan(several.average_precision(scores, 0 * truth)).all()
    assert np.isnan(several.area_under_roc(scores, 0 * truth)).all()
    labels = np.array([0, 1, 0, 1])
    one_hot = np.eye(2)[labels]
    assert per_class.average_precision(scores, labels) == pytest.approx(
        several.average_precision(scores, one_hot)
    )


def test_smoothing_moves_labels_towards_one_half():
    task = multilabel.multilabel(("a", "b"), label_smoothing=0.2)
    batch = {"label": np.array([[1, 0]]), "mask": np.ones(1, np.float32)}
    logits = np.log(np.array([[0.9 / 0.1, 0.1 / 0.9]], np.float32))  # the smoothed labels
    least = task.loss(logits, batch)["binary_cross_entropy"].total
    assert least == pytest.approx(-2 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1)), rel=1e-5)
    assert json.dumps(task.report(task.observe(logits, batch)))
