"""`run.compare` on run directories of every kind, against numpy; no network is trained here."""

import csv
import dataclasses
import fcntl
import html.parser
import json

import numpy as np
import pytest
from absl import flags

from cnn_jax import run
from cnn_jax.run import settings
from experiments import compare as command

# Student's t of two degrees of freedom, 97.5 % (any table)
T2 = 4.302653


def written(place, *, recipe=None, result=True, prints=("a", "b", "c"), rows=None, best="accuracy",
            facts=None, **changes):  # fmt: skip
    """A run directory as a run leaves it, with figures that depend on its seed."""
    own = recipe or run.Recipe(model="mlp", validation_split="10%", **changes)
    place.mkdir(parents=True)
    (place / "recipe.flags").write_text(settings.to_flagfile(own))
    task = {"Class": "classification", "Segme": "segmentation", "Detec": "detection",
            "Multi": "multilabel"}[type(own).__name__[:5]]  # fmt: skip
    examples = dict(zip(("train", "test", "validation"), prints, strict=True))
    data = {
        part: {"split": part, "examples": 100 + 10 * i, "fingerprint": text}
        for i, (part, text) in enumerate(examples.items())
    }
    meta = {"facts": {"task": task, "data": data, "pixel_rule": 2, **(facts or {})}}
    (place / "checkpoints/4/meta").mkdir(parents=True)
    (place / "checkpoints/4/meta/metadata").write_text(json.dumps(meta))
    value = 0.5 + own.learning_rate + 0.01 * (own.seed * 7 % 5)
    if rows is None:
        rows = [
            {"step": step, "split": "train", "loss": 1 / step, "wall_seconds": 3.0,
             "wall_images_per_second": 128.0} for step in (1, 2, 3, 4)
        ]  # fmt: skip
        rows += [
            {"step": step, "split": "val", best: value * step / 4, "loss": 1.0} for step in (2, 4)
        ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if result:
        figures = {f"val_{best}": value, f"test_{best}": value - 0.02, "test_loss": 1.0}
        content = {**figures, "chosen_by": f"val_{best}", "chosen_step": 4, "steps": 4,
                   "seconds": 5.0, "images_per_second": 128.0}  # fmt: skip
        (place / "result.json").write_text(json.dumps(content))
    return place


@pytest.fixture
def six(tmp_path):
    """Two learning rates with three seeds each; the second also has a fourth one."""
    for rate in (0.1, 0.3):
        for seed in (0, 1, 5):
            written(tmp_path / f"r{rate}-{seed}", seed=seed, learning_rate=rate)
    written(tmp_path / "more", seed=9, learning_rate=0.3)
    return tmp_path


class Page(html.parser.HTMLParser):
    """Whether a page is whole, and what it says."""

    def __init__(self, path):
        super().__init__()
        self.open, self.places, self.text = [], [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.places += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.text += words + "\n"


def test_two_runs_have_no_interval_that_an_accuracy_cannot_have(tmp_path, capsys):
    for rate in (0.1, 0.3):
        for seed in (0, 1):
            written(tmp_path / f"r/{rate}-{seed}", seed=seed, learning_rate=rate)
    assert asked(tmp_path / "r", f"--output={tmp_path / 'out'}") == 0
    out, page = capsys.readouterr().out, Page(tmp_path / "out/compare.html").text
    assert "0.8100 (0.8000 to 0.8200) (mean of 2 runs, lowest and highest)" in page
    assert "0.8100 (0.8000 to 0.8200)" in " ".join(out.split())
    assert "+0.2000 (+0.2000 to +0.2000)" in page
    assert "±" not in page.replace("± is half", "").replace("± half", "") + out
    content = json.loads((tmp_path / "out/compare.json").read_text())
    figure = content["groups"][1]["figures"]["val_accuracy"]
    assert figure["half_width_95"] is None
    assert figure["lowest_and_highest"] == [0.8, pytest.approx(0.82)]
    assert content["differences"][0]["half_width_95"] is None


def values_of(group):
    return [r.figures["val_accuracy"] for r in group.runs]


def test_means_and_paired_differences_are_numpys(six, tmp_path):
    made = run.compare(six, output=tmp_path / "out", reference="learning_rate=0.1")
    assert [group.name for group in made.groups] == ["learning_rate=0.1", "learning_rate=0.3"]
    one, other = made.groups
    mean = one.figure("val_accuracy")
    values = values_of(one)
    assert mean.mean == pytest.approx(np.mean(values))
    assert mean.half_width == pytest.approx(T2 * np.std(values, ddof=1) / 3**0.5, rel=1e-5)
    assert len(other.figure("val_accuracy").values) == 4
    difference = next(d for d in made.differences if d.figure == "val_accuracy")
    assert difference.pairs == [("0", ""), ("1", ""), ("5", "")]  # not that of seed 9
    paired = np.array(values_of(other)[:3]) - values
    assert difference.mean == pytest.approx(paired.mean())
    assert difference.half_width == pytest.approx(
        T2 * paired.std(ddof=1) / 3**0.5, rel=1e-4, abs=1e-9
    )
    assert made.chosen_by == "val_accuracy"
    content = json.loads((tmp_path / "out/compare.json").read_text())
    assert content["settings_that_differ"] == {
        "learning_rate": {"learning_rate=0.1": "0.1", "learning_rate=0.3": "0.3"}
    }
    assert content["groups"][0]["figures"]["val_accuracy"]["mean"] == mean.mean
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert {row["learning_rate"] for row in rows} == {"0.1", "0.3"}
    assert [float(row["val_accuracy"]) for row in rows[:3]] == values
    page = Page(tmp_path / "out/compare.html")
    assert page.open == []
    assert all(place.startswith("data:") for place in page.places)
    assert f"{mean.mean:.4f} ± {mean.half_width:.4f}" in page.text
    assert "Best by validation accuracy, on the validation split: learning_rate=0.3" in page.text
    assert page.text.count("training loss") >= 1
    assert "not known" not in page.text
    assert made.notes == []


def test_runs_in_every_state_are_said_and_only_finished_ones_count(tmp_path):
    runs = tmp_path / "runs"
    written(runs / "done", seed=0)
    written(runs / "cut", seed=1, result=False)
    held = (written(runs / "now", seed=2, result=False) / "lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    failed = written(runs / "bad", seed=3, result=False)
    (failed / "failure.json").write_text('{"message": "loss is nan at step 3."}')
    diverged = [
        {"step": 1, "split": "train", "loss": 1.0},
        {"step": 2, "split": "train", "loss": None},
    ]
    place = written(runs / "nan", seed=4, rows=diverged)
    result = json.loads((place / "result.json").read_text())
    (place / "result.json").write_text(json.dumps({**result, "val_accuracy": None}))
    written(runs / "again", seed=0)  # the same seed is no new sample
    (runs / "lost/checkpoints/3").mkdir(parents=True)
    with (runs / "cut/metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "spl')  # killed while writing
    made = run.compare(runs, output=tmp_path / "out")
    said = "\n".join(made.notes)
    assert "cut is unfinished, at step 4" in said
    assert "now is running, at step 4" in said
    assert "bad failed at about step 4: loss is nan at step 3." in said
    early = written(tmp_path / "early", seed=6, result=False, rows=[])
    (early / "failure.json").write_text('{"message": "loss is nan at step 1."}')
    assert "early failed: loss is nan at step 1." in run.compare([runs, early]).notes
    assert "nan diverged: its loss is no number from step 2 on" in said
    assert "as they repeat a seed: done" in said or "as they repeat a seed: again" in said
    assert "lost is left out" in said
    (group,) = made.groups
    mean = group.figure("val_accuracy")
    assert mean.mean is None  # the mean of those that are left would flatter
    assert list(mean.values.values()).count(None) == 1
    assert group.figure("test_accuracy").mean is not None
    page = Page(tmp_path / "out/compare.html")
    assert "2 of 5 runs are finished" in page.text
    assert "–" in page.text
    held.close()


def test_what_is_of_other_examples_is_not_compared(tmp_path):
    written(tmp_path / "a", seed=0)
    written(tmp_path / "b", seed=0, learning_rate=0.2)
    written(tmp_path / "c", seed=0, learning_rate=0.3, prints=("x", "y", "z"), dataset="folder:c")
    written(tmp_path / "d", seed=0, learning_rate=0.3, prints=("x", "y", "z"), dataset="folder:d")
    written(
        tmp_path / "e", recipe=run.SegmentationRecipe(), best="mean_iou", prints=("l", "m", "n")
    )
    written(
        tmp_path / "f", seed=1, label_smoothing=0.0, facts={"pixel_rule": 1}, prints=("a", "b", "q")
    )
    made = run.compare(tmp_path, output=tmp_path / "out")
    said = "\n".join(made.notes)
    assert "Not comparable: tasks, classification (a, b, c, d and 1 more); segmentation (e)" in said
    assert "Losses are not comparable: " in said
    assert "Images became pixels by different rules" in said
    grouped = [[record.name for record in group.runs + group.spare] for group in made.groups]
    assert ["c", "d"] in grouped  # the same data in another place
    by = {group.first.name: group.name for group in made.groups}
    tests = [{g.first.name for g in f.groups} for f in made.fields if f.part == "test"]
    assert tests == [{"a", "b", "f"}, {"c"}, {"e"}]
    validations = [{g.first.name for g in f.groups} for f in made.fields if f.part == "val"]
    assert {"f"} in validations  # its validation split has other examples
    for name in ("a", "c", "e"):  # the first of their fields are compared with nothing
        assert not any(d.group == by[name] for d in made.differences)
    assert Page(tmp_path / "out/compare.html").open == []
    other = run.compare([tmp_path / "a", tmp_path / "c"])
    assert "Not comparable: test figures are of different examples" in "\n".join(other.notes)


def test_runs_of_many_seeds_in_one_directory_are_single_ones(tmp_path):
    place = tmp_path / "seeds"
    recipe = run.Recipe(
        model="mlp", seeds=2, learning_rates=(0.1, 0.3), seed=3, validation_split=""
    )
    place.mkdir()
    (place / "recipe.flags").write_text(settings.to_flagfile(recipe))
    rows = [
        {"seed": seed, "learning_rate": rate, "step": step, "train_loss": 1.0,
         "test_accuracy": rate}
        for seed in (3, 4) for rate in (0.1, 0.3) for step in (1, 2)
    ]  # fmt: skip
    (place / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = run.compare(place)
    assert [group.name for group in made.groups] == ["learning_rate=0.1", "learning_rate=0.3"]
    assert all(run.state == "unfinished" for group in made.groups for run in group.runs)
    ended = [row for row in rows if row["step"] == 2]
    (place / "result.json").write_text(json.dumps({"runs": ended, "steps": 2}))
    alone = dataclasses.replace(recipe, seeds=1, learning_rates=(), learning_rate=0.3, seed=8)
    written(tmp_path / "alone", recipe=alone)
    made = run.compare([place, tmp_path / "alone"], output=tmp_path / "out")
    (second,) = (group for group in made.groups if group.name == "learning_rate=0.3")
    assert [record.repetition[0] for record in second.runs] == ["3", "4", "8"]
    assert "flatters the one that is chosen" in "\n".join(made.notes)


def test_folds_are_repetitions_and_pairs(tmp_path):
    for rate in (0.1, 0.2):
        for fold in ("1/3", "2/3", "3/3"):
            written(tmp_path / f"{rate}{fold[0]}", fold=fold, learning_rate=rate,
                    prints=("a" + fold, "b", "c" + fold))  # fmt: skip
    made = run.compare(tmp_path)
    assert [len(group.runs) for group in made.groups] == [3, 3]
    assert {len(d.pairs) for d in made.differences} == {3}
    assert "the interval is too narrow" in "\n".join(made.notes)


def test_groups_that_are_alike_and_those_with_commas_in_their_names(tmp_path):
    for momentum in (0.8, 0.9):
        for augment in ("", "flip"):
            written(tmp_path / f"{momentum}{augment}", momentum=momentum, augment=augment)
    written(tmp_path / "bad", momentum=0.7, result=False, rows=[])
    made = run.compare(tmp_path, output=tmp_path / "out")
    assert (
        "Best by validation accuracy, on the validation split, with 0.6000 each: 'momentum=0.8, "
        "augment=', 'momentum=0.8, augment=flip', 'momentum=0.9, augment=' and 1 more."
    ) in Page(tmp_path / "out/compare.html").text
    assert not any("?" in note for note in made.notes)


def test_many_groups_and_odd_names(tmp_path):
    for i in range(12):
        written(tmp_path / f"<b>{i}", learning_rate=0.1 + i / 100,
                augment="flip,crop:4" if i % 2 else "", model_options="$x^2$" if i == 3 else "",
        )  # fmt: skip
    made = run.compare(f"{tmp_path}/<b>*", output=tmp_path / "out")
    page = Page(tmp_path / "out/compare.html")
    assert page.open == []
    assert "4 other groups" in page.text
    assert "by chance alone" in page.text
    assert len(made.groups) == 12


def asked(*arguments):
    values = flags.FlagValues()
    command.define(values)
    places = values(["compare", *map(str, arguments)])[1:]
    return command.main(places, values)


def test_the_command_and_its_errors(six, tmp_path, capsys):
    left = tmp_path / "evaluations"
    for i, rate in enumerate((0.1, 0.3)):
        file = left / str(rate) / "figures.json"
        file.parent.mkdir(parents=True)
        content = {
            "network": {"run": str(six / f"r{rate}-0"), "step": 4},
            "settings": {"views": []},
            "data": {"dataset": "digits", "split": "test"},
        }
        file.write_text(json.dumps(content))
        said = ("7", "3") if i else ("3", "3")
        rows = [
            f"e{n},{true},{guess},0.9,0.1"
            for n, (true, guess) in enumerate(zip("33", said, strict=True))
        ]
        (file.parent / "examples.csv").write_text(
            "\n".join(["example,class,predicted,probability,loss", *rows])
        )
    given = (f"--output={tmp_path / 'out'}", "--reference=r0.1-1", f"--evaluations={left}")
    assert asked(six, *given) == 0
    out = capsys.readouterr().out
    assert "learning_rate=0.3" in out
    assert "Best by validation accuracy" in out
    content = json.loads((tmp_path / "out/compare.json").read_text())
    (two,) = content["disagreements"]
    assert two["counts"] == {"both right": 1, "only the first": 1, "only the second": 0,
                             "both wrong": 0, "different answers": 1}  # fmt: skip
    assert (two["examples"][0]["example"], two["accuracy_difference"]) == ("e0", -0.5)
    with pytest.raises(ValueError, match="No run is given"):
        asked()
    with pytest.raises(ValueError, match="no run directory is there, or below it"):
        asked(tmp_path / "none")
    with pytest.raises(ValueError, match="It has evaluations: give the runs that they are of"):
        asked(left)
    with pytest.raises(ValueError, match="'' is no place of runs"):
        asked("")
    assert asked(six, *given[::2], "--reference=--learning_rate=0.3") == 0  # as it is printed
    content = json.loads((tmp_path / "out/compare.json").read_text())
    assert content["groups"][0]["name"] == "learning_rate=0.3"
    with pytest.raises(ValueError, match="reference=x: no run and no group is called so"):
        asked(six, "--reference=x")
