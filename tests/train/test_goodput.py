"""Goodput: what counts as productive, and that a crash takes back what it undoes."""

import json

import numpy as np
import pytest

from cnn_jax.train import goodput
from cnn_jax.train.callback import CHECKPOINT, READING, STEP


class Time:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds

    def passes(self, seconds):
        self.seconds += seconds


def test_only_what_is_productive_counts():
    time = Time()
    meter = goodput.Meter(now=time)
    time.passes(50)  # imports, restoring
    meter.begin(7.0)

    def step(state, batch):
        time.passes(3)
        return state

    step = meter.compiled(step)
    batch = {"image": np.zeros((4, 8))}
    step(0, batch)  # compiles
    assert meter.seconds == 7
    step(0, batch)
    assert meter.seconds == 10
    step(0, {"image": np.zeros((2, 8))})  # a last, smaller batch compiles again
    assert meter.seconds == 10
    with meter.lost():  # saving
        time.passes(5)
        with meter.lost():
            time.passes(1)
        assert meter.seconds == 10
    time.passes(2)
    meter.on_phase(READING, 3)
    time.passes(4)
    meter.on_batch(2, busy=False)  # the device has nothing to do
    assert meter.seconds == 12
    meter.on_phase(STEP, 3)
    meter.before_evaluation(3)
    time.passes(9)
    meter.after_evaluation(3, counts=False)  # it was broken off
    meter.on_phase(CHECKPOINT, 3)
    time.passes(20)
    assert meter.to_save() == {"wall_productive": 12}
    meter.on_end(3)
    time.passes(100)
    assert meter.seconds == 12


def test_a_device_that_computes_makes_waiting_worth_it():
    time = Time()
    meter = goodput.Meter(now=time)
    meter.begin()
    meter.on_phase(READING, 1)
    time.passes(4)
    meter.on_batch(0, busy=True)
    assert meter.seconds == 4


def test_attempts_are_counted_and_an_end_is_an_end(tmp_path):
    time, path = Time(), tmp_path / goodput.ATTEMPTS_FILE
    first = goodput.begin_attempt(path, now=time)
    assert first == goodput.Attempts(100.0, 1)
    time.passes(40)  # killed, and nobody there for a while
    second = goodput.begin_attempt(path, now=time)
    assert second == goodput.Attempts(100.0, 2)
    time.passes(60)
    ended = goodput.end_run(path, second, now=time)
    figures = {
        "goodput": 0.25,
        "wall_seconds_total": 100.0,
        "wall_seconds_productive": 25.0,
        "restarts": 1,
    }
    assert goodput.figures(ended, 25.0) == figures
    time.passes(1e6)  # the finished run is looked at again
    more = goodput.begin_attempt(path, checkpoint={"began": 100.0, "starts": 2}, now=time)
    again = goodput.end_run(path, more, now=time)
    assert goodput.figures(again, 25.0) == figures


def test_a_run_that_begins_where_another_ended_has_a_time_of_its_own(tmp_path):
    """Its checkpoints and its result were deleted, to make it once more."""
    time, path = Time(), tmp_path / goodput.ATTEMPTS_FILE
    goodput.end_run(path, goodput.begin_attempt(path, now=time), now=time)
    time.passes(1e6)
    assert goodput.begin_attempt(path, now=time) == goodput.Attempts(1_000_100.0, 1)


@pytest.mark.parametrize(
    "content",
    [
        *(None, "", "[1]", '{"began": "x"}', '{"began": NaN, "starts": 1}', "[" * 100_000),
        '{"began": 1.0, "starts": 1e999}',
    ],
)
def test_what_is_lost_is_taken_from_the_checkpoint(content, tmp_path):
    path = tmp_path / goodput.ATTEMPTS_FILE
    if content is not None:
        path.write_text(content)
    known = goodput.begin_attempt(path, checkpoint={"began": 60.0, "starts": 3, "ended": None})
    assert known == goodput.Attempts(60.0, 4)
    assert json.loads(path.read_text())["starts"] == 4


def test_a_clock_set_back_gives_no_share_above_one(tmp_path):
    ended = goodput.Attempts(100.0, 1, ended=40.0)
    assert goodput.figures(ended, 20.0)["goodput"] == 1.0
