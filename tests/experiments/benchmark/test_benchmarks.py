"""The benchmarks time what they say, and their commands write what the README reads."""

import json
import subprocess
import sys

import pytest

from experiments.benchmark import timing


class Clock:
    """Time that passes only in calls and in sleep."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("cost", "uncounted"), [(0.004, 25), (0.5, 1), (5.0, 1)], ids=["short", "long", "very long"]
)
def test_a_turn_is_calls_until_threads_have_settled_and_one_that_counts(
    monkeypatch, cost, uncounted
):
    clock, order = Clock(), []
    monkeypatch.setattr(timing, "time", clock)

    def call(name):
        order.append(name)
        clock.now += cost

    calls = {name: lambda name=name: call(name) for name in "ab"}
    times = timing.alternate(calls, repeats=3)
    assert times == {name: pytest.approx([cost] * 3) for name in "ab"}
    later = 0 if cost > timing.LONG else uncounted  # no call before what takes seconds anyway
    turns = [uncounted + 1, *[later + 1] * 2]
    assert "".join(order) == "".join(name * n for n in turns for name in "ab")


def test_a_contender_that_has_had_its_seconds_sits_out(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    calls = {"slow": lambda: clock.sleep(2.0), "fast": lambda: clock.sleep(0.01)}
    times = timing.alternate(calls, repeats=4, seconds=3.0)
    assert [len(times[name]) for name in calls] == [2, 4]


def run(module, *arguments, workdir):
    command = [sys.executable, "-m", f"experiments.benchmark.{module}", *arguments]
    subprocess.run([*command, f"--workdir={workdir}"], check=True, timeout=600)
    return json.loads((workdir / "result.json").read_text())


@pytest.mark.slow
def test_the_table_of_convolutions(tmp_path):
    result = run("conv", "--quick", "--only=unet", "--repeats=1", workdir=tmp_path)
    passes = [row["pass"] for row in result["rows"]]
    assert passes == ["forward", "input gradient", "kernel gradient"] * (len(passes) // 3)
    assert passes
    ratios = [row["stock_ms"] / row["ours_ms"] for row in result["rows"]]
    assert result["geomean_vs_stock"] == pytest.approx(timing.geometric_mean(ratios))
    assert result["worst_vs_stock"] == pytest.approx(min(ratios))


@pytest.mark.exhaustive
def test_a_row_of_train_steps(tmp_path):
    arguments = ["--only=resnet18_1d", "--contenders=stock", "--repeats=1", "--seconds=0"]
    result = run("train_step", *arguments, workdir=tmp_path)
    (row,) = result["rows"]
    want = row["train_stock_ms"] / row["train_ours_ms"]
    assert result["geomean_vs_stock"] == pytest.approx(want, rel=0.01)
    assert row["ours_compile_seconds"] > 0
    assert row["ours_peak_mib"] > 100


@pytest.mark.exhaustive
def test_seconds_to_the_first_step(tmp_path):
    result = run("compile", "--starts=1", "--depths=", workdir=tmp_path)
    (seconds,) = result["seconds_to_first_step"]
    assert 1 < seconds < 600
    assert result["rows"] == []
