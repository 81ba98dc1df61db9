"""What a run is chosen on, what it is tested on, and when it stops early."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, run
from cnn_jax.data.division import fold_of, share_of
from cnn_jax.run import classification, splits
from cnn_jax.train import checkpoint

QUIET = run.Program(quiet=True)
QUICK = {
    "model": "mlp_300",
    "batch_size": 32,
    "steps": 6,
    "augment": "",
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "evaluate_every_steps": 2,
    "checkpoint_every_steps": 1,
    "figures": False,
    "devices": 1,
    "cpu_convolutions": False,
    "compilation_cache": "",
}
SIZES = {"train": 60, "val": 20, "test": 40}


def small_set(where, names=("train", "val", "test"), classes=2):
    """Noise: what is learnt is by heart."""
    rng, arrays = np.random.default_rng(0), {}
    for split in names:
        arrays[f"{split}_images"] = rng.integers(0, 256, (SIZES[split], 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(SIZES[split]) % classes
    np.savez(where, **arrays)
    return f"npz:{where}"


def folder(root, labelled=(), flat=()):
    """PATH/<split>/<class>/<i>.png, and PATH/<split>/<i>.png."""
    for split in (*labelled, *flat):
        for number in range(20):
            where = root / split / ("ab"[number % 2] if split in labelled else "")
            where.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * number).save(where / f"{split}{number}.png")
    return f"folder:{root}"


def recipe(dataset, **changes):
    return run.Recipe(**{**QUICK, "dataset": dataset, **changes})


def divided(chosen):
    """(number of examples in train, validation and test, the notes)."""
    found = splits.open_splits(chosen, lambda split: classification.open_split(chosen, split))
    sizes = {part: len(source) for part, source in found.sources().items()}
    return sizes, " ".join(found.notes)


def rows(where):
    lines = map(json.loads, (where / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if not k.startswith("wall_")} for row in lines]


def test_the_best_is_chosen_on_val_and_test_comes_once(tmp_path, capsys):
    chosen = recipe(small_set(tmp_path / "own.npz"))
    result = run.train(chosen, workdir=tmp_path / "run", program=run.Program())
    said = " ".join(capsys.readouterr().out.split())
    assert "Chosen on validation, 20 examples (validation_split=auto); trained on 60." in said
    assert "test, 40 examples, is evaluated once, at the end." in said
    evaluations = [row for row in rows(tmp_path / "run") if row["split"] == "val"]
    assert [row["step"] for row in evaluations] == [2, 4, 6]
    assert not [row for row in rows(tmp_path / "run") if row["split"] == "test"]
    best = max(evaluations, key=lambda row: (row["accuracy"], row["step"]))
    assert result.json["chosen_by"] == "val_accuracy"
    assert result.json["val_accuracy"] == best["accuracy"]
    step = result.json["chosen_step"]
    assert {row["step"]: row["accuracy"] for row in evaluations}[step] == best["accuracy"]
    # what is opened is what was tested
    assert run.evaluate(result.place)["accuracy"] == result.json["test_accuracy"]
    assert result.metrics["loss"] == result.json["test_loss"]
    facts = run.open(result.place).facts.data
    assert {part: held["examples"] for part, held in facts.items()} == {
        "train": 60, "validation": 20, "test": 40,
    }  # fmt: skip
    # a finished run says the same again, and with '' it is the run of an earlier version
    assert run.train(chosen, workdir=tmp_path / "run", program=QUIET).metrics == result.metrics
    before = dataclasses.replace(chosen, validation_split="")
    old = run.train(before, workdir=tmp_path / "old", program=QUIET)
    assert [row["step"] for row in rows(tmp_path / "old") if row["split"] == "test"] == [2, 4, 6]
    assert old.json["chosen_by"] == "test_accuracy"


def test_a_run_of_an_earlier_version_goes_on_choosing_on_test(tmp_path):
    chosen = recipe(small_set(tmp_path / "own.npz"), steps=2, validation_split="")
    run.train(chosen, workdir=tmp_path / "run", program=QUIET)
    flagfile = tmp_path / "run" / "recipe.flags"
    lines = flagfile.read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("--validation_split")]
    count = len(lines) - 1
    lines[0] = f"# Every setting of this run, {count} of them. To repeat it: --flagfile=THIS_FILE\n"
    flagfile.write_text("".join(lines))
    auto = dataclasses.replace(chosen, validation_split="auto")
    again = run.train(auto, workdir=tmp_path / "run", program=QUIET)
    assert again.json["chosen_by"] == "test_accuracy"
    with pytest.raises(ValueError, match="`validation_split` was '' and is now 10%"):
        run.train(
            dataclasses.replace(chosen, validation_split="10%"),
            workdir=tmp_path / "run",
            program=QUIET,
        )


def test_the_splits_that_people_have(tmp_path):
    both = folder(tmp_path / "both", labelled=("train", "valid"), flat=("test",))
    sizes, said = divided(recipe(both, channels=1))
    assert sizes == {"train": 20, "validation": 20}  # ImageNet's and Roboflow's test has no labels
    assert "No test figures: test has no labels." in said
    two = folder(tmp_path / "two", labelled=("train", "val"))
    sizes, said = divided(recipe(two, channels=1))
    assert sizes == {"train": 20, "validation": 20}
    assert "No test figures: there is no test split." in said
    without = folder(tmp_path / "without", labelled=("train", "test"))
    sizes, said = divided(recipe(without, channels=1))
    assert sizes == {"train": 18, "validation": 2, "test": 20}
    assert "no validation split was found, and validation_split=auto holds 10% out" in said
    # what is asked for is done
    assert divided(recipe(without, channels=1, test_split="train[50%:]"))[0] == {
        "train": 20, "test": 10,
    }  # fmt: skip
    assert divided(recipe(without, validation_split="25%"))[0]["validation"] == 4
    assert divided(recipe(both, validation_split="train[:6]"))[0]["validation"] == 6
    for wrong, message in (
        ("0%", "above 0% and below 100%"),
        ("x%", "wanted the name of a split, or a share"),
        ("other", "has no split 'other'"),
    ):
        with pytest.raises(ValueError, match=message):
            divided(recipe(two, validation_split=wrong))
    # the sets that come along keep what they have, and say so
    sizes, said = divided(recipe("digits"))
    assert set(sizes) == {"train", "test"}
    assert (
        "chosen on test, which is evaluated during the training too; validation_split=10%" in said
    )


@pytest.mark.slow
def test_a_run_without_a_test_split_has_no_test_figures(tmp_path):
    two = small_set(tmp_path / "two.npz", names=("train", "val"))
    result = run.train(recipe(two, steps=2), workdir=tmp_path / "run", program=QUIET)
    assert not [name for name in result.json if name.startswith("test_")]
    assert result.metrics["accuracy"] == result.json["val_accuracy"]
    assert run.evaluate(result.place)["accuracy"] == result.json["val_accuracy"]
    own = result.json["per_class"]
    assert own["split"] == "val"
    right = sum(row["recall"] * row["examples"] for row in own["classes"] if row["examples"])
    examples = sum(row["examples"] for row in own["classes"])
    assert right / examples == pytest.approx(result.json["val_accuracy"])  # of the best one
    several = run.train(recipe(two, steps=2, seeds=2), workdir=tmp_path / "seeds", program=QUIET)
    assert "val_accuracy" in several.json["summary"][0]
    three = small_set(tmp_path / "three.npz")
    several = run.train(recipe(three, steps=2, seeds=2), workdir=tmp_path / "both", program=QUIET)
    assert {"val_accuracy", "test_accuracy"} <= set(several.json["summary"][0])


def test_folds_are_stratified_functions_of_the_seed():
    whole = data.load_source("digits", "train[:103]")
    labels = np.array([record["label"] for record in whole.__getitems__(range(len(whole)))])

    def fold(number, seed=0):
        rest, held = fold_of(whole, number, 5, seed=seed)
        assert len(rest) + len(held) == len(whole)
        return [held.records.describe(i) for i in range(len(held))], data.class_counts(held)

    names = [fold(number)[0] for number in range(1, 6)]
    assert len({name for some in names for name in some}) == sum(map(len, names)) == 103
    assert {len(some) for some in names} == {20, 21}
    counts = np.stack([fold(number)[1] for number in range(1, 6)])
    assert (counts.max(0) - counts.min(0)).max() <= 1
    assert (counts.sum(0) == np.bincount(labels)).all()
    assert fold(2)[0] == names[1] != fold(2, seed=1)[0]
    held = share_of(whole, 0.2)[1]
    assert abs(data.class_counts(held) - 0.2 * np.bincount(labels)).max() <= 0.5
    with pytest.raises(data.DataError, match="103 examples make no 104 folds"):
        fold_of(whole, 1, 104, seed=0)


def test_a_fold_is_held_out_to_choose_on(tmp_path):
    own = small_set(tmp_path / "own.npz")
    result = run.train(recipe(own, fold="2/5", steps=2), workdir=tmp_path / "run", program=QUIET)
    again = run.evaluate(result.place, split="val")
    assert again["accuracy"] == result.json["val_accuracy"]
    sizes, said = divided(recipe(own, fold="2/5"))
    assert sizes == {"train": 48, "validation": 12, "test": 40}
    assert "Chosen on fold 2/5 of train, 12 examples (fold 2/5 of the seed)" in said
    for wrong in ("6/5", "0/5", "1/1", "2", "a/b"):
        with pytest.raises(ValueError, match="wanted one of so many parts, from 1: '2/5'"):
            recipe(own, fold=wrong)
    with pytest.raises(ValueError, match="names another: leave one of them out"):
        divided(recipe(own, fold="2/5", validation_split="val"))


def test_a_run_stops_early_and_resumes_bit_for_bit(tmp_path, monkeypatch, capsys):
    chosen = recipe(small_set(tmp_path / "own.npz"), steps=100, patience=2, keep=100)
    whole = run.train(chosen, workdir=tmp_path / "whole", program=run.Program())
    said = " ".join(capsys.readouterr().out.split())
    assert f"Stopped early, at step {whole.step} of 100: 2 evaluations without a better" in said
    evaluations = [row for row in rows(tmp_path / "whole") if row["split"] == "val"]
    best = [row["accuracy"] for row in evaluations].index(
        max(row["accuracy"] for row in evaluations)
    )
    assert len(evaluations) == best + 3
    manager = checkpoint.Checkpoints(tmp_path / "whole" / "checkpoints", read_only=True)
    assert manager.best_step() == whole.json["chosen_step"] == evaluations[best]["step"]
    manager.close()
    # stopped one step before the end, in the middle of the count
    from cnn_jax.data import pipeline

    make = pipeline.TrainBatches._make

    def stopping(self, at):
        if at == whole.step - 2:
            raise KeyboardInterrupt
        return make(self, at)

    with monkeypatch.context() as once:
        once.setattr(pipeline.TrainBatches, "_make", stopping)
        with pytest.raises(KeyboardInterrupt):
            run.train(chosen, workdir=tmp_path / "parts", program=QUIET)
    parts = run.train(chosen, workdir=tmp_path / "parts", program=QUIET)
    assert parts.step == whole.step
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert parts.metrics == whole.metrics
    again = run.train(chosen, workdir=tmp_path / "parts", program=QUIET)
    assert (again.step, again.metrics) == (whole.step, whole.metrics)
    with pytest.raises(ValueError, match="patience=2: several runs at once do not stop early"):
        run.train(dataclasses.replace(chosen, seeds=2), workdir=tmp_path / "s", program=QUIET)


def images(folder, count=6):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (16, 16), (10 * number, 0, 0)).save(folder / f"{number}.png")


def coco_file(path, count=6, boxes=True):
    """Annotations in COCO's form: a box for each image, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"id": i, "file_name": f"{i}.png", "width": 16, "height": 16} for i in range(count)]
    own = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 8, 8], "area": 64, "iscrowd": 0}
        for i in range(count)
    ]
    categories = [{"id": 1, "name": "cell"}]
    content = {"images": listed, "annotations": own if boxes else [], "categories": categories}
    path.write_text(json.dumps(content))


def detected(dataset, **changes):
    """(the examples of each part, the notes) of a detector's experiment."""
    chosen = run.DetectionRecipe(dataset=dataset, image_size="32", batch_size=2, **changes)
    made = run.TASKS["detection"].make_experiment(chosen)
    sizes = {part: held["examples"] for part, held in made.facts.data.items()}
    assert (made.final is not None) == ("test" in sizes)
    return sizes, " ".join(made.notes)


def test_the_trees_of_coco_and_roboflow(tmp_path):
    coco = tmp_path / "coco"
    for split in ("train2017", "val2017", "test2017"):
        images(coco / split)
    coco_file(coco / "annotations" / "instances_train2017.json")
    coco_file(coco / "annotations" / "instances_val2017.json", count=4)
    coco_file(coco / "annotations" / "image_info_test2017.json", boxes=False)
    sizes, said = detected(f"coco:{coco}")
    assert sizes == {"train": 6, "validation": 4}
    assert "No test figures: there is no test split." in said
    exported = tmp_path / "roboflow"
    for split in ("train", "valid", "test"):
        images(exported / split)
        coco_file(exported / split / "_annotations.coco.json", boxes=split != "test")
    sizes, said = detected(f"coco:{exported}")
    assert sizes == {"train": 6, "validation": 6}
    assert "No test figures: roboflow, split test, holds no usable box." in said
    yolo = tmp_path / "yolo"
    for split in ("train", "valid", "test"):
        images(yolo / split / "images")
        (yolo / split / "labels").mkdir()
        for number in range(6 * (split != "test")):
            (yolo / split / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    lines = [f"{name}: ../{split}/images" for name, split in
             (("train", "train"), ("val", "valid"), ("test", "test"))]  # fmt: skip
    (yolo / "data.yaml").write_text("\n".join([*lines, "nc: 1", "names: ['cell']"]) + "\n")
    sizes, said = detected(f"yolo:{yolo}")
    assert sizes == {"train": 6, "validation": 6}
    assert "No test figures: test has no labels." in said


def test_masks_are_chosen_on_val(tmp_path):
    for split in ("train", "val", "test"):
        images(tmp_path / split)
        (tmp_path / f"{split}annot").mkdir()
        for number in range(6):
            mask = np.zeros((16, 16), np.uint8)
            mask[number:] = 1
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"{number}.png")
    chosen = run.SegmentationRecipe(dataset=f"masks:{tmp_path}", batch_size=2)
    made = run.TASKS["segmentation"].make_experiment(chosen)
    assert set(made.facts.data) == {"train", "validation", "test"}
    assert made.part == "val"
    assert len(list(made.final())) == 3
