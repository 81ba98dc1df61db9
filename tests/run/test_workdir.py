"""Two runs never share a directory."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

import cnn_jax.cpu
from cnn_jax.run import classification, workdir


def open_(recipe, held):
    return workdir.open_workdir(recipe, name="mlp-digits", held=held)


def test_second_run_is_refused_until_the_first_is_done(tmp_path):
    recipe = classification.ClassificationRecipe(workdir=str(tmp_path / "run"))
    with contextlib.ExitStack() as first:
        open_(recipe, first)
        owner = rf"run is in use by process {os.getpid()} on .*choose another `workdir`"
        with contextlib.ExitStack() as second, pytest.raises(workdir.BusyError, match=owner):
            open_(recipe, second)
    with contextlib.ExitStack() as third:
        assert open_(recipe, third) == tmp_path / "run"


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_is_no_directory(tmp_path, below):
    (tmp_path / "file").touch()
    recipe = classification.ClassificationRecipe(workdir=str(tmp_path / "file" / below))
    wanted = rf"^workdir={recipe.workdir} is a file, or is below one; wanted a directory"
    with contextlib.ExitStack() as held, pytest.raises(ValueError, match=wanted):
        open_(recipe, held)


def test_without_workdir_the_next_free_directory_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = classification.ClassificationRecipe()
    with contextlib.ExitStack() as held:
        first, second = open_(recipe, held), open_(recipe, held)
        assert second.name == first.name + "-2"
    with contextlib.ExitStack() as held:  # unfinished, and now nobody's: it is gone on with
        assert open_(recipe, held) == first
    other = dataclasses.replace(recipe, learning_rate=0.3)
    with contextlib.ExitStack() as held:
        assert open_(other, held).name == first.name + "-3"


HOLD = """
import contextlib, sys, time
from cnn_jax.run import classification, workdir
with contextlib.ExitStack() as held:
    recipe = classification.ClassificationRecipe(workdir=sys.argv[1])
    workdir.open_workdir(recipe, name="", held=held)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_kill_lets_go(tmp_path):
    recipe = classification.ClassificationRecipe(workdir=str(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with contextlib.ExitStack() as held, pytest.raises(workdir.BusyError, match=f"{holder.pid}"):
        open_(recipe, held)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with contextlib.ExitStack() as held:
        open_(recipe, held)


def test_the_result_says_what_ran_the_convolutions(tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_JAX_ONEDNN", "0")

    def said():
        hardware = json.loads(workdir.write_result(tmp_path, {}).read_text())["hardware"]
        return hardware["cpu_convolutions"]

    with cnn_jax.cpu.enabled(False):
        assert said().startswith("convolutions by XLA (")
    with cnn_jax.cpu.enabled():
        assert "by methods in JAX operations (CNN_JAX_ONEDNN=0 in the environment)" in said()
