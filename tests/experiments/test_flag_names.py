"""What the library says of parameters, a command says of flags; what is the user's stays."""

import logging
import subprocess
import sys

import pytest
from absl import flags

from cnn_jax import run
from experiments import entry
from experiments import recipe as recipes
from experiments.flag_names import in_flags


@pytest.fixture(scope="module")
def values():
    made = flags.FlagValues()
    recipes.define_flags(run.Recipe, made)
    made(["program", "--workdir=/tmp/a seed=3/run", "--dataset=folder:/data/steps=5 of model=x"])
    return made


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("image_size=300: too small", "--image_size=300: too small"),
        ("Choose another `workdir`.", "Choose another --workdir."),
        ("give workdir=DIRECTORY", "give --workdir=DIRECTORY"),
        ("remat=True (twice)", "--remat (twice)"),
        ("resume=False forbids it", "--noresume forbids it"),
        ("write `resume=True`, or `remat`", "write --resume, or --remat"),
        ("(accumulate=4, batch_size=8)", "(--accumulate=4, --batch_size=8)"),
        ("optimizer='adamm': wanted", "--optimizer='adamm': wanted"),
        ("`seed` was 0 and is now 1; steps=2", "--seed was 0 and is now 1; --steps=2"),
        ("epochs=1e+07 of 3 steps", "--epochs=1e+07 of 3 steps"),
        # what is not a parameter of the command
        ("depth=3 and `depth` are none", "depth=3 and `depth` are none"),
        ("the number of steps is 3", "the number of steps is 3"),
        ("--seed=1 already", "--seed=1 already"),
        ("momentum==0.9", "--momentum==0.9"),
        # what is the user's
        ("the file 'seed=1 steps=2.png'", "the file 'seed=1 steps=2.png'"),
        ('the file "seed=1.png"', 'the file "seed=1.png"'),
        ("/data/seed=1/steps=2.png is damaged", "/data/seed=1/steps=2.png is damaged"),
        ("C:\\seed=1", "C:\\seed=1"),
        ("workdir=/tmp/a seed=3/run is a file", "--workdir=/tmp/a seed=3/run is a file"),
        ("in folder:/data/steps=5 of model=x", "in folder:/data/steps=5 of model=x"),
        # the run of a sweep
        ("seed=1_steps=2 failed: seed=1", "seed=1_steps=2 failed: --seed=1"),
        ("of (seed=1_augment=, seed=2_augment=)", "of (seed=1_augment=, seed=2_augment=)"),
        # what a library wrote
        ("ShapeDtypeStruct(shape=(1, 2), dtype=float32)",
         "ShapeDtypeStruct(shape=(1, 2), dtype=float32)"),
        # apostrophes quote nothing
        ("Adam's momentum=2, TFDS's seed=1", "Adam's --momentum=2, TFDS's --seed=1"),
    ],
)  # fmt: skip
def test_parameters_become_flags(values, said, shown):
    assert in_flags(said, values) == shown


def test_help_names_flags(values):
    assert values["learning_rate_per"].help.startswith("Batch size of --learning_rate, which")
    assert not [name for name in values if "`" in (values[name].help or "")]


def test_flags_of_absl_are_none_of_ours():
    assert in_flags("v=1 and log_dir=x") == "v=1 and log_dir=x"


def test_log_lines_too(capsys, monkeypatch, values):
    monkeypatch.setattr(entry, "in_flags", lambda text: in_flags(text, values))
    record = logging.LogRecord("cnn_jax", logging.WARNING, "", 1, "max %s steps=%d", ("x", 3), None)
    assert entry.FlagFormatter("%(message)s").format(record) == "max x --steps=3"


def lines_of(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.strip().splitlines()


@pytest.mark.slow
def test_commands_name_flags(tmp_path):
    run_, odd = "experiments.classification", tmp_path / "seed=3 x"
    odd.touch()
    quick = ("--model=mlp", "--steps=2", "--batch_size=8", "--compilation_cache=", "--nofigures")
    for arguments, line in (
        ([run_, f"--workdir={odd}"], f"error: --workdir={odd} is a file, or is below one; wanted a "
         "directory, which is created if it is missing."),
        ([run_, "--steps=-1"], "error: --epochs=60 of 179.75 steps and --steps=-1 make no step at "
         "all. Raise one of them."),
    ):  # fmt: skip
        status, said = lines_of(*arguments, *(flag for flag in quick if "steps" not in flag))
        assert (status, said[-1]) == (1, line)
    where = f"--workdir={tmp_path / 'run'}"
    assert lines_of(run_, *quick, where)[0] == 0
    status, said = lines_of(run_, *quick, where, "--seed=1", "--nesterov=false")
    assert status == 1
    assert (
        "another experiment: --seed was 0 and is now 1; --nesterov was True and is now False. "
        in (said[-1])
    )
    status, said = lines_of(run_, *quick, where, "--noresume")
    assert said[-1].endswith(
        "already holds a run, and --noresume forbids resuming it. Choose another --workdir, or "
        "delete it."
    )
