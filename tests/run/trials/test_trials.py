"""Sweeps: each run is what it would be alone, and what is there is not trained again."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cnn_jax import run
from cnn_jax.run.comparing import writing
from cnn_jax.run.trials import shared

RECIPE = run.Recipe(
    model="mlp", steps=12, batch_size=50, figures=False, compilation_cache="", log_every=6,
    evaluate_every_epochs=0.0, checkpoint_every_epochs=0.0, test_split="test[:60]",
    train_split="train[:300]", survey="off", augment="", cpu_convolutions=False, devices=1,
)  # fmt: skip
QUIET = run.Program(quiet=True)


class Saying(run.Program):
    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, line):
        self.said.append(line)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Three runs that differ in numbers, and one that diverges; how often a step was made."""
    where = tmp_path_factory.mktemp("sweeps") / "first"
    made = []
    with pytest.MonkeyPatch.context() as patch:
        step_of = shared.train_step_of
        patch.setattr(shared, "train_step_of", lambda *a: made.append(1) or step_of(*a))
        program = Saying()
        found = run.grid(RECIPE, "learning_rate=0.1,1e30;seed=0,1", workdir=where, program=program)
    return where, found, len(made), program.said


def content(place):
    return json.loads((place / "result.json").read_text())


def test_runs_of_one_step_are_those_of_single_runs(swept, tmp_path):
    where, found, made, said = swept
    assert made == 1  # one trace for all four
    assert found.finished == ("learning_rate=0.1_seed=0", "learning_rate=0.1_seed=1")
    assert set(found.failed) == {"learning_rate=1e+30_seed=0", "learning_rate=1e+30_seed=1"}
    assert all("Lower the learning rate" in why for why in found.failed.values())
    assert "on 10% of the training split, which is held out" in said[0]
    assert any("2 of 4 runs failed and are left alone" in line for line in said)
    alone = dataclasses.replace(RECIPE, seed=1, validation_split="10%", workdir=str(tmp_path / "a"))
    single = run.train(alone, program=QUIET).json
    own = content(where / "learning_rate=0.1_seed=1")
    for name in ("val_accuracy", "val_loss", "test_accuracy", "test_loss"):
        assert own[name] == pytest.approx(single[name], rel=1e-6)
    assert own["chosen_by"] == "val_accuracy"
    (field,) = (field for field in found.comparison.fields if field.part == "val")
    assert [len(group.finished) for group in field.groups] == [2]
    assert "learning_rate=1e+30_seed=0 failed" in "\n".join(found.comparison.notes)
    with (where / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "failed"]
    assert json.loads((where / "compare.json").read_text())["chosen_by"] == "val_accuracy"


def test_what_is_there_is_not_trained_again_and_more_may_come(swept):
    where, *_ = swept
    before = {path: path.read_bytes() for path in where.glob("*/result.json")}
    program = Saying()
    axes = {"learning_rate": (0.1, 1e30), "seed": (0, 1), "optimizer": ("sgd",)}
    again = run.grid(RECIPE, "learning_rate=0.1,1e30;seed=0,1", workdir=where, program=program)
    assert "4 of which are there" in program.said[0]
    assert not any(line.startswith("Run ") for line in program.said)
    assert len(again.failed) == 2  # the status still tells
    more = run.grid(RECIPE, axes, workdir=where, program=QUIET)  # other names: two more runs
    assert len(more.finished) == 2
    assert before == {path: path.read_bytes() for path in before}
    changed = dataclasses.replace(RECIPE, steps=6)
    with pytest.raises(ValueError, match="holds another experiment: `steps` was 12 and is now 6"):
        run.grid(changed, "learning_rate=0.1;seed=0", workdir=where, program=QUIET)
    with pytest.raises(ValueError, match="is a run itself"):
        run.grid(RECIPE, "seed=0,1", workdir=where / "learning_rate=0.1_seed=0", program=QUIET)


@pytest.mark.parametrize(
    ("axes", "changes", "message"),
    [
        ("optimizer=sgd,nadam", {}, "nadam"),
        ("learning_rate=0.1,-1", {}, "learning_rate=-1.0: it must be above 0"),
        ("seed=0,-9999999999", {}, "seed=-9999999999: it must be at least"),
        ("augment=|flipp", {}, "flipp"),
        ("batch_size=50,60", {"accumulate": 7}, "cannot be split into accumulate|accumulate=7"),
        ("seed=0,1", {"seeds": 2}, "vary seed in the sweep"),
        ("seed=0,1", {"workdir": "s3://bucket/x"}, "in a directory on this machine"),
        ({"seed": 3}, {}, "wanted several values"),
    ],
)
def test_all_is_checked_before_the_first_run(tmp_path, axes, changes, message):
    recipe = dataclasses.replace(RECIPE, **{"workdir": str(tmp_path / "s"), **changes})
    with pytest.raises(ValueError, match=message):
        run.grid(recipe, axes, program=QUIET)
    assert not list(tmp_path.glob("s/*=*"))


def test_networks_that_disagree_are_evaluated_if_asked(swept, tmp_path):
    where, *_ = swept
    places = [where / f"learning_rate=0.1_seed={seed}" for seed in (0, 1)]
    flags = places[1] / "recipe.flags"
    text = flags.read_text()
    assert run.compare(places).disagreements == []
    flags.write_text(text.replace("--momentum=0.9", "--momentum=0.8"))  # as if of another group
    try:
        made = run.compare(places, disagree=True, output=tmp_path / "out")
    finally:
        flags.write_text(text)
    (two,) = made.disagreements
    right = [two.counts["both right"] + two.counts[f"only the {n}"] for n in ("first", "second")]
    assert [n / 60 for n in right] == [
        pytest.approx(content(place)["test_accuracy"]) for place in places
    ]
    assert sum(two.counts.values()) - two.counts["different answers"] == 60
    assert len(two.examples) == two.counts["different answers"]
    assert all(picture.startswith(b"\x89PNG") for picture in two.images.values())
    assert (tmp_path / "out" / writing.PAGE_FILE).read_text().count("data:image/png") == len(
        two.images
    )


COMMAND = [
    sys.executable, "-m", "experiments.classification", "--model=mlp", "--steps=400",
    "--batch_size=50", "--nofigures", "--compilation_cache=", "--log_every=10",
    "--evaluate_every_steps=200", "--checkpoint_every_steps=50", "--test_split=test[:60]",
    "--train_split=train[:300]", "--survey=off", "--augment=", "--nocpu_convolutions",
]  # fmt: skip


def started(workdir, *more):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*COMMAND, f"--workdir={workdir}", *more], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def awaited(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_in_two_processes_in_turn(tmp_path):
    sweep = "--sweep=learning_rate=0.05,0.1;seed=0,1"
    place = tmp_path / "killed"
    second = place / "learning_rate=0.05_seed=1"
    first = started(place, sweep)
    awaited((second / "checkpoints" / "100").exists, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    both = [started(place, sweep) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    names = sorted(path.parent.name for path in place.glob("*/result.json"))
    assert len(names) == 4
    starts = {n: json.loads((place / n / "attempts.json").read_text())["starts"] for n in names}
    assert sorted(starts.values()) == [1, 1, 1, 2]
    assert starts[second.name] == 2
    assert sum(text.count("Resuming at step") for text in said) == 1
    assert sum(text.count("\nRun ") for text in said) == 3
    assert (place / "compare.html").exists()
    assert any("The page is" in text for text in said)
    whole = tmp_path / "whole"
    process = started(whole, "--sweep=seed=1", "--learning_rate=0.05", "--validation_split=10%")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    for name in ("val_loss", "test_loss", "test_accuracy"):
        assert content(second)[name] == content(whole / "seed=1")[name]  # to the bit


@pytest.mark.slow
def test_a_signal_ends_the_sweep_and_its_status_tells_of_failures(tmp_path):
    place, sweep = tmp_path / "s", "--sweep=learning_rate=1e30,0.1,0.2"
    process = started(place, sweep, "--interrupted_status=9")
    awaited((place / "learning_rate=0.1" / "checkpoints" / "50").exists, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 9, said
    assert "To go on with the sweep: the same command" in said
    assert not (place / "learning_rate=0.2").exists()
    process = started(place, sweep, "--interrupted_status=9")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 1, said
    assert "1 of 3 runs failed and are left alone" in said
    assert said.count("\nRun ") == 2  # not the one that failed
