"""Plug-ins by flags: tests/plugins/six_plugins.py, a user's file outside the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import plugins, run
from tests.test_plugins import distribution, place, write  # noqa: F401

ROOT = Path(__file__).parent.parent.parent
SIX = ROOT / "tests" / "plugins" / "six_plugins.py"

CHOSEN = (
    "--plugin=six_plugins", "--model=tiny_mlp", "--dataset=bars:6", "--augment=darken:0.7",
    "--optimizer=sign", "--loss=poly1:2,cross_entropy:0.5", "--metrics=confidence,brier",
)  # fmt: skip
REST = ("--learning_rate=0.01", "--nonesterov", "--batch_size=32", "--steps=30", "--nofigures")


def command(module, *arguments, cwd, path=""):
    """Runs a command as a user does, in a directory of theirs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), path)))}
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_trained_by_flags_and_opened_again(place):  # noqa: F811
    shutil.copy(SIX, place)
    done = command("train", *CHOSEN, *REST, "--workdir=here", cwd=place)
    assert done.returncode == 0, done.stderr
    result = json.loads((place / "here" / "result.json").read_text())
    assert result["test_accuracy"] > 0.9
    assert 0.5 < result["test_confidence"] <= 1
    assert result["test_brier"] < 0.3
    registered = result["plugins"]["six_plugins"]["registered"]
    assert registered["model"] == ["tiny_mlp"]
    assert registered["loss"] == ["poly1"]
    text = (place / "here" / "recipe.flags").read_text()
    assert "--plugin=six_plugins\n" in text
    assert "--loss=poly1:2,cross_entropy:0.5\n" in text

    # this process has not loaded it: nothing that needs it goes on, and each says which it is
    with pytest.raises(
        ValueError, match="'tiny_mlp' is from the plug-in six_plugins: give plugin="
    ):
        run.open("here")
    again = run.Recipe(workdir="here")
    with pytest.raises(plugins.PluginError, match="trained with the plug-in six_plugins, which is"):
        run.train(again, program=run.Program(quiet=True))
    assert "six_plugins" not in sys.modules

    opened = run.open("here", plugin="six_plugins")
    across = np.zeros((6, 6, 1), np.uint8)
    across[2] = 220
    assert opened.predict(across).name == "across"
    figures = run.evaluate("here")
    assert figures["accuracy"] == pytest.approx(result["test_accuracy"])
    assert figures["confidence"] == pytest.approx(result["test_confidence"], rel=1e-5)
    resumed = run.train(opened.recipe, workdir="here", program=run.Program(quiet=True))
    assert resumed.step == 30


def test_a_task_of_ones_own_by_flags(place):  # noqa: F811
    shutil.copy(SIX, place)
    flags = ("--plugin=six_plugins", "--task=ordinal", "--dataset=bars", "--model=tiny_mlp")
    done = command("train", *flags, "--huber=0.5", *REST, "--workdir=here", cwd=place)
    assert done.returncode == 0, done.stderr
    result = json.loads((place / "here" / "result.json").read_text())
    assert -0.5 < result["test_minus_error"] < 0
    assert "--huber=0.5\n" in (place / "here" / "recipe.flags").read_text()
    with pytest.raises(
        ValueError, match="the task of the run is not known here; 'ordinal' is from"
    ):
        run.open("here")


def test_help_shows_the_settings_of_a_task_of_ones_own(place):  # noqa: F811
    shutil.copy(SIX, place)
    done = command("train", "--plugin=six_plugins", "--task=ordinal", "--help", cwd=place)
    for text in (
        "More settings: --huber=1.0 Error, in classes, from which the loss is linear.",
        "Losses of the training",
        "sgd, adam, adamw, lamb, lars, lion, muon",
        "Every command: --plugin= Plug-in to load",
    ):
        assert text in " ".join(done.stdout.split())


def test_everything_is_listed_with_where_it_came_from(place):  # noqa: F811
    shutil.copy(SIX, place)
    site = place / "site"
    write(site, "their_nets", "raise RuntimeError('nobody asked for it')")
    distribution(site, "their_dist", {"their-nets": "their_nets"})
    done = command("plugins", "--plugin=six_plugins", cwd=place, path=str(site))
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    for row in (
        ["loss", "dice", "cnn_jax.losses.named"],
        ["loss", "poly1", "six_plugins"],
        ["model", "tiny_mlp", "six_plugins"],
        ["augmentation of images with a label", "darken", "six_plugins"],
        ["optimizer", "sign", "six_plugins"],
        ["metric", "confidence", "six_plugins"],
        ["task", "ordinal", "six_plugins"],
        ["reader of images with a label", "bars", "six_plugins"],
        ["their-nets", "their_nets", "their_dist 1.5", "not loaded: --plugin=their-nets"],
    ):
        assert row in rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plugin=broken"], "error: The plug-in 'broken' fails"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_line(place, arguments, message):  # noqa: F811
    write(place, "broken", "1 / 0")
    done = command("models", *arguments, cwd=place)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
