"""The list of networks: what it shows, which of them, and how little it needs for it."""

import re
import subprocess
import sys

import pytest

from cnn_jax import models
from cnn_jax.models.counted import COUNTED
from cnn_jax.models.registry import TASKS
from experiments.models import counted

CHEAP = ("lenet5", "gru", "resnet8", "unet_small", "detector_small")  # counted in a second


def listed(*arguments, options=()):
    command = [sys.executable, *options, "-m", "experiments.models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_task_is_listed_without_counting_and_without_orbax():
    done = listed(
        "--task=all", "--pattern=detector_*,*mobilenet*,unet_small", "--most_gmacs=0.5",
        "--most_parameters=4e6", options=("-X", "importtime"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {line.split("│")[1].strip(): line.split("│") for line in done.stdout.splitlines()
            if "│" in line}  # fmt: skip
    assert {"detector_small", "unet_small", "mobilenet_v2"} <= set(rows)
    assert rows["detector_small"][3].strip() == "974,822"
    assert rows["detector_small"][4].strip() == "0.0772"
    assert "mobilenet_v3_large" not in rows  # 5.5 million parameters
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.M))
    assert "flax.linen" in imported
    assert not imported & {
        "orbax.checkpoint", "matplotlib", "tensorboardX", "grain", "cnn_jax.analysis.flops",
    }  # fmt: skip


def test_no_network_of_a_kind_is_an_error_that_says_what_there_is():
    done = listed("--task=detection", "--most_parameters=1000")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "None of these 11 networks for detection is so small" in done.stderr
    assert "974,822" in done.stderr


def test_every_network_has_figures_without_counting():
    known = [models.describe(n) for task in TASKS for n in models.list_models(task=task)]
    own = [each for each in known if models.MODELS.origin(each.name).startswith("cnn_jax.")]
    without = {each.name for each in own if each.params is None or each.gmacs is None}
    assert set(COUNTED) == without
    for each in own:
        if each.name in COUNTED and each.params is not None:
            assert COUNTED[each.name][0] == each.params


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in CHEAP else [pytest.mark.slow]) for name in COUNTED],
)
def test_what_was_counted_is_what_the_network_has(name):
    assert counted(models.describe(name)) == COUNTED[name]
