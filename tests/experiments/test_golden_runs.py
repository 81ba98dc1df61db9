"""Run directories of older versions, and of other stacks, are resumed and looked into.

`golden_runs` was made by commit 305412c with Python 3.11.7, jax 0.10.2, flax 0.12.8 and Orbax
0.12.8 (see make.py there). The shares of `folder` were written anew when `predict` took the crop
of an evaluation. CNN_JAX_RUNS names more such directories, made by other stacks.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from cnn_jax import data, run
from experiments import predict
from tests.experiments.golden_runs import make, make_deep

GOLDEN = Path(__file__).parent / "golden_runs"
ROOTS = [GOLDEN, *(Path(p) for p in os.environ.get("CNN_JAX_RUNS", "").split(os.pathsep) if p)]
# With the convolutions that a user has; compiled as the tests are, for 40 steps are soon done
PLAIN = {"CNN_JAX_ONEDNN": "1"}
EARLY = 25  # the step at which the runs were stopped

CASES = [
    pytest.param(
        root, name, id=f"{root.name}-{name}", marks=[] if name == "digits" else [pytest.mark.slow]
    )
    for root in ROOTS
    for name in json.loads((root / "expected.json").read_text())
]


def said(lines):
    """['cat.png', '  90.00%  cat'] -> [(90.0, 'cat')]; boxes come with their corners."""
    found = (re.fullmatch(r"\s+([\d.]+)%\s+(.*)", line) for line in lines)
    return [(float(m[1]), m[2]) for m in found if m]


def assert_says(lines, expected):
    """The same names with the same shares, to a point; boxes to a pixel, those above 20%."""
    now, before = said(lines), said(expected)
    if any("from" in name for _, name in before):
        now, before = ([pair for pair in pairs if pair[0] > 20] for pairs in (now, before))
        assert [share for share, _ in now] == pytest.approx([share for share, _ in before], abs=2)
        for (_, name), (_, was) in zip(now, before, strict=True):
            assert name.split()[0] == was.split()[0]
            corners = [[int(n) for n in re.findall(r"\d+", text)] for text in (name, was)]
            assert corners[0] == pytest.approx(corners[1], abs=1)
        return
    assert {name: share for share, name in now} == pytest.approx(
        {name: share for share, name in before}, abs=1
    )


def numbers(row):
    return {name: value for name, value in row.items() if name != "split"}


def predicted(name, capsys):
    """What `experiments.predict` prints about the image of `name`, by line: in this process,
    which trained none of the runs."""
    _, _, image, more = make.RUNS[name]
    chosen = dict(flag.removeprefix("--").split("=") for flag in more)
    flags.FLAGS.mark_as_parsed()
    capsys.readouterr()
    with flagsaver.as_parsed(run=f"runs/{name}", **chosen):
        assert predict.main([image]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("root", "name"), CASES)
def test_a_run_of_another_version_goes_on_and_predicts(root, name, tmp_path, monkeypatch, capsys):
    expected = json.loads((root / "expected.json").read_text())[name]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    place = tmp_path / "runs" / name
    monkeypatch.chdir(tmp_path)

    assert_says(predicted(name, capsys), expected["stopped"])

    chosen = () if root == GOLDEN else make.CHOSEN
    more = (f"--workdir=runs/{name}", "--compilation_cache=", *chosen)
    printed = make.call(tmp_path, "-m", *make.settings_of(name), *more, **PLAIN)
    first = int(re.search(r"Resuming at step (\d+) of 40", printed)[1])
    assert first == max(int(path.name) for path in (root / "runs" / name / "checkpoints").iterdir())
    rows = make.rows_of(place)
    assert [(row["step"], row["split"]) for row in rows] == [
        (row["step"], row["split"]) for row in expected["rows"]
    ]
    for row, was in zip(rows, expected["rows"], strict=True):
        if was["step"] <= first:
            assert row == was, "what was written before is kept"
        else:  # other versions round otherwise, and sums of a batch norm differ in the last bits
            same = {name: row[name] for name in numbers(was)}  # a newer one may tell more
            assert same == pytest.approx(numbers(was), rel=0.02, abs=0.02)
    assert_says(predicted(name, capsys), expected["finished"])


def test_a_run_on_12_bits_in_16_keeps_the_rule_that_it_was_trained_by(tmp_path, monkeypatch):
    """The run is of a version that took the high byte (see make_deep.py): 0 to 15."""
    shutil.copytree(GOLDEN / "deep", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    expected = json.loads(Path("expected.json").read_text())
    predictor = run.open("run", checkpoint="last")
    assert predictor.facts.pixels == data.PixelRule(1)
    for name, shares in expected["probabilities"].items():
        assert predictor.predict(name).probabilities == pytest.approx(shares, abs=1e-5)
        pixels = np.asarray(Image.open(name)) >> 8
        seen = (predictor.preprocess(name) * 0.25 + 0.5) * 255  # its mean and deviation
        np.testing.assert_allclose(seen[..., 0], pixels, atol=1e-3)
    figures = run.evaluate("run", checkpoint="last")
    assert figures == pytest.approx(expected["figures"], rel=1e-5)
    with pytest.raises(ValueError, match=r"its images hold 12: it saw them 16 times darker"):
        run.train(make_deep.recipe(), workdir="run", program=run.Program(quiet=True))
