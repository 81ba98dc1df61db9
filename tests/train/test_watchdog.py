"""The watchdog by a clock of the test's own, and the run that it ends."""

import json
import re
import subprocess
import sys
import time

import pytest

from cnn_jax.run import classification
from cnn_jax.train import hosts, watchdog
from cnn_jax.train.callback import CHECKPOINT, COMPILING, EVALUATION, LOG, READING, REPORT, STEP
from cnn_jax.train.watchdog import LEAST, LONG, Watchdog
from tests.run import as_command


def passes(dog, seconds, by=1.0):
    """The message after so many seconds without a sign of life, and when it came; '' for none."""
    for second in range(int(seconds / by)):
        if message := dog.look(by):
            return message, (second + 1) * by
    return "", seconds


def test_a_step_that_takes_too_long_is_named():
    dog = Watchdog(20)
    dog.on_phase(STEP, 13)
    message, after = passes(dog, 60)
    assert message == "no step within 20 s: the run was computing step 13 for 21 s"
    assert after == 21


def test_by_itself_it_waits_for_ten_of_the_slowest_and_at_least_300_seconds():
    dog = Watchdog()
    assert dog.limit(STEP) == LEAST == 300
    for step in range(5):
        dog.on_phase(STEP, step)
        assert passes(dog, 50) == ("", 50)
    dog.on_phase(READING, 5)
    dog.look(1)
    assert dog.limit(STEP) == dog.limit(READING) == dog.limit(EVALUATION) == 500
    message, after = passes(dog, 1000)
    assert "no step within 500 s: the run was reading data for step 5" in message
    assert after == 500


def test_the_first_step_may_compile():
    """And what it took says nothing of later ones."""
    dog = Watchdog()
    dog.on_phase(COMPILING, 1)
    assert passes(dog, 2000, by=10) == ("", 2000)
    dog.on_phase(STEP, 2)
    dog.look(1)
    assert dog.limit(STEP) == LEAST
    assert Watchdog(20).limit(COMPILING) == 300
    assert Watchdog(60).limit(COMPILING) == 600


@pytest.mark.parametrize("phase", [CHECKPOINT, REPORT, LOG])
def test_what_happens_seldom_has_its_own_time(phase):
    dog = Watchdog(20)
    assert dog.limit(phase) == LONG
    dog.on_phase(STEP, 1)
    dog.look(15)
    dog.on_phase(phase, 1)
    assert passes(dog, 600) == ("", 600)
    dog.on_phase(STEP, 2)
    dog.look(1)
    assert dog.limit(STEP) == 20


def test_each_batch_of_an_evaluation_is_a_sign_of_life():
    dog = Watchdog(20)
    for _ in range(10):
        dog.on_phase(EVALUATION, 40)
        assert passes(dog, 15) == ("", 15)
    message, _ = passes(dog, 60)
    assert "the run was at evaluation after step 40" in message


def test_a_negative_time_is_refused():
    with pytest.raises(ValueError, match="step_timeout=-1"):
        Watchdog(-1)


class Room:
    """What processes have told each other."""

    def __init__(self):
        self.words = {}

    def member(self, index):
        class Member:
            def tell(_, text):
                self.words[index] = text

            def told(_):
                return dict(self.words)

        return Member()


def group(count, timeout):
    room = Room()
    dogs = [Watchdog(timeout, index=i, count=count, others=room.member(i)) for i in range(count)]
    return dogs, room


def together(dogs, seconds):
    """{process: (its message, when)} of those that gave up."""
    said = {}
    for second in range(seconds):
        for index, dog in enumerate(dogs):
            if index not in said and (message := dog.look(1.0)):
                said[index] = message, second + 1
    return said


def test_all_say_where_each_process_was():
    dogs, _ = group(3, 20)
    dogs[0].on_phase(STEP, 13)
    dogs[1].on_phase(READING, 13)
    dogs[2].on_phase(STEP, 13)
    said = together(dogs, 60)
    assert sorted(said) == [0, 1, 2]
    for message, when in said.values():
        assert 20 < when < 30
        assert re.search(r"processes 0, 2 computing step 13 for \d\d s", message)
        assert re.search(r"process 1 reading data for step 13 for \d\d s", message)


def test_one_that_waits_for_a_peer_that_compiles_waits_with_it():
    dogs, _ = group(2, 20)
    dogs[0].on_phase(STEP, 1)
    dogs[1].on_phase(COMPILING, 1)
    assert together(dogs, 250) == {}
    dogs[1].on_phase(STEP, 1)
    assert together(dogs, 18) == {}
    assert sorted(together(dogs, 30)) == [0, 1]


def test_a_peer_whose_word_does_not_change_is_not_waited_for():
    """Its thread does not run: it is stopped, or a library holds the interpreter."""
    dogs, _ = group(2, 20)
    for dog in dogs:
        dog.on_phase(STEP, 7)
    together(dogs, 10)
    dogs[0].on_phase(STEP, 8)
    said = together(dogs[:1], 80)
    assert said[0][1] < 50
    assert "process 1 computing step 7" in said[0][0]


def test_a_peer_that_never_spoke_is_on_its_way_and_named_in_the_end():
    """It may initialise its network, or compile, where this process found both in a cache."""
    dogs, room = group(2, 20)
    dogs[0].on_phase(STEP, 7)
    assert together(dogs[:1], 290) == {}
    said = together(dogs[:1], 80)
    assert "process 1 not heard of" in said[0][0]
    assert json.loads(room.words[0])[1:3] == [STEP, 7]


def test_many_processes_make_one_line():
    places = {i: watchdog.Place(STEP, 7, 20.0, 20.0) for i in range(100)}
    text = watchdog.described(places, 100)
    assert text == "processes 0, 1, 2, 3, 4, 5, 6, 7 and 92 more computing step 7 for 20 s"


def test_a_process_that_was_stopped_as_a_whole_goes_on():
    """Ctrl-Z and a laptop's lid: what the thread did not see does not count."""
    said = []
    dog = Watchdog(3, end=said.append, tick=0.01)
    dog.on_phase(STEP, 1)
    clock = iter([0.0, 0.01, 5000.0, 5000.01, 5000.02])
    original, watchdog.time.monotonic = watchdog.time.monotonic, lambda: next(clock)
    try:
        with pytest.raises(StopIteration):
            dog._run()
    finally:
        watchdog.time.monotonic = original
    assert said == []
    assert dog.place().seconds < 0.1


def test_a_sign_of_life_costs_next_to_nothing():
    dog = Watchdog()
    began = time.perf_counter()
    for step in range(100_000):
        dog.on_phase(STEP, step)
    assert (time.perf_counter() - began) / 100_000 < 2e-5  # seconds; about 1e-7 on an idle core


def test_a_run_says_what_it_is_at(tmp_path, monkeypatch):
    """Each kind of work is a phase of its own, and what compiles is known as such."""
    marks = []
    monkeypatch.setattr(Watchdog, "on_phase", lambda self, phase, step: marks.append((phase, step)))
    chosen = classification.ClassificationRecipe(
        model="mlp", batch_size=32, eval_batch_size=128, steps=4, log_every=2, figures=False,
        devices=1, workdir=str(tmp_path), compilation_cache="", evaluate_every_steps=2,
        checkpoint_every_steps=1,
    )  # fmt: skip
    assert as_command.run(chosen, classification.make_experiment(chosen)) == 0
    assert marks[:3] == [(READING, 1), (READING, 1), (COMPILING, 1)]
    assert [mark for mark in marks if mark[0] == COMPILING] == [(COMPILING, 1), (COMPILING, 2)]
    # 359 test examples are three batches: the first one compiles
    assert [mark for mark in marks if mark[0] == EVALUATION] == [(EVALUATION, 2)] * 2 + [
        (EVALUATION, 4)
    ] * 4
    assert {(STEP, step) for step in (2, 3, 4)} <= {*marks}
    assert {(READING, step) for step in (2, 3, 4)} <= {*marks}
    assert {(CHECKPOINT, step) for step in (1, 2, 3, 4)} <= {*marks}
    assert {(phase, step) for phase in (REPORT, LOG) for step in (2, 4)} <= {*marks}
    assert marks[-1] == (CHECKPOINT, 4)


HANGS = """
import sys, time
from absl import flags
from cnn_jax.data import pipeline
from cnn_jax import run
from experiments import command

make = pipeline.TrainBatches._make

def making(self, at):
    if at == 6:
        time.sleep(1000)
    return make(self, at)

pipeline.TrainBatches._make = making
command.launch(run.Recipe)
"""


def test_a_run_whose_data_hang_ends_with_a_line(tmp_path):
    flags = [
        "--model=mlp", "--batch_size=32", "--steps=50", "--nofigures", "--compilation_cache=",
        "--checkpoint_every_steps=2", "--log_every=1", "--step_timeout=6",
        f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, *flags], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == hosts.PEER_LOST == 75, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert re.match(
        r"error: no step within 6 s: the run was reading data for step \d+ for \d s\. The stacks "
        r"of its threads are in .*stuck-0\.txt\. The same command resumes from the last",
        line,
    )
    assert "making" in (tmp_path / "run" / "stuck-0.txt").read_text()
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) >= ["2"]
