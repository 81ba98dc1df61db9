"""--help shows our flags in groups, and `python -m experiments` what commands there are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from cnn_jax import run
from experiments import __main__ as index
from experiments import flag_help, recipe

ROOT = Path(__file__).parent.parent.parent
CPU_SECONDS = 3.0


@pytest.mark.parametrize("task", run.TASKS)
def test_every_setting_is_shown_once_in_a_group(task):
    values = flags.FlagValues()
    recipe.define_flags(run.TASKS[task].recipe, values)
    found = flag_help.groups(values)
    assert next(iter(found)) == "Most used"
    # in a command --plugin is there already, and what else is here is a plug-in's
    left = [flag.name for flag in found[flag_help.OTHERS]]
    assert left == ["plugin"], "a new setting: give it a place in flag_help.GROUPS"
    shown = [flag.name for members in found.values() for flag in members]
    assert sorted(shown) == sorted(values)
    text = flag_help.text(values, width=100)
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    assert "--batch_size=" in words
    assert "--layout=jit Layout: how the step is spread over devices. One of " in words
    assert re.search(r"--\[no\]remat [^-]* Default: off\.", words)
    assert text.index("--dataset") < text.index("--model=") < text.index("--coordinator")


def test_the_list_names_every_command():
    listed = index.commands()
    grouped = [name for names in index.GROUPS.values() for name in names.split()]
    assert len(grouped) == len(set(grouped))
    table = re.findall(
        r"(?m)^\| ((?:`[^`]+`,? ?)+)\|", (ROOT / "experiments/README.md").read_text()
    )
    for name in [name for cell in table for name in re.findall(r"`([a-z_.]+)", cell)]:
        if (ROOT / "experiments" / f"{name}.py").exists():
            assert name in listed
    lines = {
        line.split()[0]: line for line in index.listing().splitlines() if line.startswith("  ")
    }
    assert sorted(lines) == listed
    assert {"concepts", "concepts.exercises", "benchmark.conv", "launch"} <= set(listed)
    assert not {"concepts.pooling", "drill.run", "entry", "__main__"} & set(listed)
    for name, line in lines.items():
        assert len(index.summary(name)) > 20
        assert line.endswith("."), line


@pytest.mark.slow
def test_the_list_and_the_help_are_quick():
    resource = pytest.importorskip("resource")
    for module, status, said in [
        ("experiments", 0, "Train:"),
        ("experiments.classification", 0, "Most used:"),
    ]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        arguments = ["--help"] if module != "experiments" else []
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert done.returncode == status, done.stderr
        assert said in done.stdout
        # twice the promise: cores that are shared count more seconds for the same work
        assert spent < 2 * CPU_SECONDS


@pytest.mark.slow
def test_a_flag_that_is_not_there_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.classification", "--datset=x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: Unknown command line flag 'datset'. Did you mean: dataset? --help lists the flags."
    )


def test_a_list_that_nobody_reads_to_its_end():
    """`python -m experiments | head -1` ends without a word."""
    shell = f"'{sys.executable}' -m experiments | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
