"""The manifests of experiments/README.md are YAML, and name modules and flags that there are."""

import importlib
import re
from pathlib import Path

import pytest
from absl import flags

from cnn_jax import run
from cnn_jax.train import hosts
from experiments import recipe as recipes

yaml = pytest.importorskip("yaml")  # Flax and Orbax bring it
TEXT = (Path(__file__).parents[2] / "experiments/README.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
(_, [SKY], [JOBSET]) = ([*yaml.safe_load_all(block)] for block in BLOCKS)


def commands():
    """The commands of SkyPilot's file and of the JobSet."""
    container = JOBSET["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return [SKY["run"], *container["containers"][0]["args"]]


@pytest.mark.parametrize("text", commands())
def test_modules_and_flags_exist(text):
    name = re.search(r"python -m (experiments\.\w+)", text)[1]
    importlib.import_module(name)
    values = flags.FLAGS
    if name.rpartition(".")[2] in run.TASKS:
        values = flags.FlagValues()
        recipes.define_flags(run.Recipe, values)
    used = re.findall(r" --(\w+)", text)
    assert used
    assert set(used) <= set(values)


def test_what_they_start_again_is_what_we_end_with():
    assert SKY["resources"]["job_recovery"]["recover_on_exit_codes"] == [hosts.PEER_LOST]
    job = JOBSET["spec"]["replicatedJobs"][0]["template"]["spec"]
    codes = [rule.get("onExitCodes") for rule in job["podFailurePolicy"]["rules"]]
    (codes,) = filter(None, codes)
    assert codes["values"] == [hosts.PEER_LOST]
    (container,) = job["template"]["spec"]["containers"]
    assert codes["containerName"] == container["name"]
    for text in commands()[:2]:
        assert f"--interrupted_status={hosts.PEER_LOST}" in text


def test_the_pods_meet_at_the_first_of_them():
    """JobSet names a pod NAME-JOB-INDEX-INDEX, below a service of its own name."""
    (replicated,) = JOBSET["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    name = JOBSET["metadata"]["name"]
    assert f"--coordinator={name}-{replicated['name']}-0-0.{name}:" in container["args"][0]
    assert job["completions"] == job["parallelism"] == 4
    assert f"--process_count={job['completions']}" in container["args"][0]
    assert job["backoffLimit"] == 0  # or a pod would come back alone, and the others not hear of it
