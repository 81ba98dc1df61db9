"""Every recipe: each line a comment or a setting of its experiment, and no setting twice."""

import re
from pathlib import Path

import pytest
from absl import flags

from cnn_jax import run
from experiments import recipe as recipes

FILES = sorted(Path("experiments/recipes").glob("*.flags"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_line_is_a_setting(file):
    text = file.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"--\w+(=\S*)?", line), line
    names = [re.match(r"--(?:no(?=nesterov))?(\w+)", line)[1] for line in lines]
    assert len(names) == len(set(names)), names

    experiment = re.search(rf"python -m experiments\.(\w+) --flagfile={file}", text)[1]
    kind = run.TASKS[experiment].recipe
    values = flags.FlagValues()
    recipes.define_flags(kind, values)
    values(["recipe", f"--flagfile={file}"])
    recipes.from_flags(kind, values)  # raises for a value that is none of the choices
