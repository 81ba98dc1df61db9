"""The speed in the rows of a run, and the word that it is compiling."""

import time
import types

import pytest

from cnn_jax.train import callback, reporting
from cnn_jax.train.compiling import Compiling
from cnn_jax.train.loop import RUN_AHEAD

BATCH = 8


class Time:
    """A clock that only moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(reporting, "time", types.SimpleNamespace(monotonic=lambda: self.now))


class Rows:
    def __init__(self):
        self.rows, self.said = [], []

    def progress(self, total, completed):
        return None

    def row(self, step, split, figures, **wall):
        self.rows.append((step, split, wall.get("images_per_second")))

    def say(self, line):
        self.said.append(line)


def speeds(clock, *, steps, every, device, reading, evaluate_at=(), compiling=50.0):
    """The rates that a run writes, as the loop calls it: at most RUN_AHEAD steps on the device,
    each of which takes `device` seconds, and the batches `reading` seconds."""
    rows = Rows()
    report = reporting.Reporting(rows, every=every)
    report.on_begin(callback.Run(0, steps, {}, None, None, lambda *_: None))
    ends, pending = [], []

    def collect(limit):
        while len(pending) > limit:
            step = pending.pop(0)
            clock.now = max(clock.now, ends[step - 1])
            report.on_step(step, {"loss": 1.0})

    for step in range(1, steps + 1):
        clock.now += reading + (compiling if step == 1 else 0)
        ends.append(max(clock.now, ends[-1] if ends else 0) + device)
        pending.append(step)
        collect(RUN_AHEAD)
        report.on_dispatch(step, BATCH)
        if step in evaluate_at:
            collect(0)
            report.before_evaluation(step)
            clock.now += 1000
            report.after_evaluation(step, True)
    collect(0)
    return [rate for _, _, rate in rows.rows], rows.said


@pytest.mark.parametrize(("device", "reading"), [(2.0, 0.01), (0.01, 2.0)])
def test_the_speed_is_that_of_the_steps_in_every_window(monkeypatch, device, reading):
    """Of the first, the last and the only window too, whether the device is waited for or the data;
    the first step, which compiles, and evaluations do not count."""
    given = {"device": device, "reading": reading}
    for steps, every in ((12, 4), (5, 0), (3, 1), (2, 0)):
        rates, said = speeds(Time(monkeypatch), steps=steps, every=every, **given)
        assert [rate for rate in rates if rate is not None] == pytest.approx(
            [BATCH / 2] * sum(rate is not None for rate in rates), rel=0.02
        )
        assert rates.count(None) == (every == 1)  # a window of the first step alone has no speed
        assert "images/s" in said[-1]
        if every == 1:
            assert said[0] == "step 1/3  loss 1.0000"
    rates, _ = speeds(Time(monkeypatch), steps=9, every=3, evaluate_at=(3, 6), **given)
    assert rates == pytest.approx([BATCH / 2] * 3, rel=0.02)


def test_compiling_is_said_where_there_is_no_bar():
    said = []
    with Compiling(said.append, soon=0.02, often=0.05) as compiling:
        compiling.on_phase(callback.COMPILING, 1)
        while len(said) < 3:
            time.sleep(0.01)
        compiling.on_dispatch(1, BATCH)
        count = len(said)
        time.sleep(0.15)
        assert len(said) - count <= 1  # what was on its way
        compiling.on_phase(callback.COMPILING, 1)
        compiling.on_phase("evaluation", 1)
        time.sleep(0.1)
    assert said[0].startswith("Compiling: ")
    assert said[1:3] == ["Still compiling, after 1 min.", "Still compiling, after 2 min."]
    assert len(said) <= count + 1
