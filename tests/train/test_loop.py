"""The training loop by itself: in its simplest form, with its callbacks, and as the only one."""

import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.tasks.classification import classification
from cnn_jax.train import interruption, layout, loop, replicas
from cnn_jax.train.callback import Callback, Started
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.evaluation import Evaluation, evaluate
from cnn_jax.train.goodput import Meter
from cnn_jax.train.log import RunLog
from cnn_jax.train.loop import fit
from cnn_jax.train.nonfinite import NonFiniteError
from cnn_jax.train.reporting import Reporting
from cnn_jax.train.saving import Saving
from cnn_jax.train.state import create_state
from cnn_jax.train.step import make_eval_step, make_train_step

STEPS = 6


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="head")(x.reshape(len(x), -1))


RNG = np.random.default_rng(0)
BATCHES = [
    {
        "image": RNG.normal(size=(8, 4, 1)).astype(np.float32),
        "label": RNG.integers(3, size=8).astype(np.int32),
        "mask": np.ones(8, np.float32),
    }
    for _ in range(STEPS)
]
MODEL, TASK, TX = Small(), classification(3), optax.sgd(0.1, momentum=0.9)
STEP = jax.jit(make_train_step(MODEL, TASK, TX, seed=0), donate_argnums=0)
EVAL = jax.jit(make_eval_step(MODEL, TASK))


def new():
    return create_state(MODEL, TX, jax.ShapeDtypeStruct((1, 4, 1), jnp.float32), seed=0)


def evaluation(every=0):
    return Evaluation(
        lambda state, stop: evaluate(EVAL, state, BATCHES[:2], stop=stop), TASK.report, every
    )


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def trained():
    state = new()
    for batch in BATCHES:
        state, _ = STEP(state, batch)
    return jax.device_get(state)


class FromStep:
    """As the batches of a data set do it."""

    def iterate(self, start=0):
        return iter(BATCHES[start:])


class Losses(Callback):
    """The example of the documentation."""

    def __init__(self):
        self.losses = []

    def on_step(self, step, metrics):
        self.losses.append(metrics["loss"])


@pytest.mark.parametrize(
    "batches", [BATCHES, FromStep(), lambda step: iter(BATCHES[step:]), lambda step: BATCHES[step:]]
)
def test_its_simplest_form_is_the_loop_that_one_would_write(trained, batches):
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    outcome = fit(new(), train_step=STEP, batches=batches, steps=STEPS)
    assert same(outcome.state, trained)
    assert outcome[1:] == (STEPS, None, None, None)
    assert {number: signal.getsignal(number) for number in before} == before


def test_what_was_trained_trains_on(trained):
    half = fit(new(), train_step=STEP, batches=BATCHES, steps=2).state
    assert same(fit(half, train_step=STEP, batches=BATCHES, steps=STEPS).state, trained)


def test_a_layout_spreads_the_same_numbers(trained):
    where = layout.make_layout("jit", jax.devices()[:2])
    step = where.compile_train(make_train_step(MODEL, TASK, TX, seed=0))
    state = where.replicate(new())
    spread = fit(state, train_step=step, batches=BATCHES, steps=STEPS, layout=where).state
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(trained), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_callback_sees_every_step_and_evaluation():
    losses = Losses()
    outcome = fit(
        new(), train_step=STEP, batches=BATCHES, steps=STEPS,
        evaluation=evaluation(), callbacks=[losses],
    )  # fmt: skip
    state = new()
    for batch, loss in zip(BATCHES, losses.losses, strict=True):
        state, metrics = STEP(state, batch)
        assert type(loss) is float
        assert loss == float(metrics["loss"])
    expected = TASK.report(evaluate(EVAL, state, BATCHES[:2]))
    assert outcome.figures == expected
    assert outcome.observed.sums.keys() == evaluate(EVAL, state, BATCHES[:2]).sums.keys()


class Diary(Callback):
    """Notes every call of every hook."""

    def __init__(self):
        self.notes = []

    def __enter__(self):
        self.notes.append("enter")
        return self

    def __exit__(self, kind, error, traceback):
        self.notes.append(f"exit {kind.__name__ if kind else None}")

    def on_begin(self, run):
        self.notes.append(f"begin {run.first}/{run.steps}")

    def on_phase(self, phase, step):
        self.notes.append(f"{phase} {step}")

    def on_batch(self, step, busy):
        self.notes.append(f"batch {step}")

    def on_dispatch(self, step, examples):
        self.notes.append(f"dispatch {step} of {examples}")

    def on_step(self, step, metrics):
        self.notes.append(f"step {step} {sorted(metrics)}")

    def before_evaluation(self, step):
        self.notes.append(f"before {step}")

    def after_evaluation(self, step, counts):
        self.notes.append(f"after {step} {counts}")

    def on_evaluation(self, step, figures, repeated):
        self.notes.append(f"evaluated {step} {sorted(figures)[0]} {repeated}")

    def to_save(self):
        return {"diary": len(self.notes)}

    def on_end(self, step):
        self.notes.append(f"end {step}")


def test_hooks_come_in_the_order_of_the_contract(tmp_path):
    diary, checkpoints = Diary(), Checkpoints(tmp_path)
    fit(
        new(), train_step=STEP, batches=BATCHES, steps=3, evaluation=evaluation(),
        saving=Saving(checkpoints, 2, {"mine": "a"}), callbacks=[diary],
    )  # fmt: skip
    step = "['accuracy', 'grad_norm', 'loss']"
    assert diary.notes == [
        "enter", "reading data 1", "begin 0/3",
        "reading data 1", "batch 0", "compiling 1", "dispatch 1 of 8",
        "reading data 2", "batch 1", "computing 2", "dispatch 2 of 8",
        "computing 1", f"step 1 {step}", "computing 2", f"step 2 {step}", "checkpoint 2",
        "reading data 3", "batch 2", "computing 3", "dispatch 3 of 8",
        "computing 3", f"step 3 {step}",
        "before 3", "compiling 3", "evaluation 3", "after 3 True",
        "figures of the evaluation 3", "evaluated 3 accuracy False", "checkpoint 3",
        "end 3", "checkpoint 3", "exit None",
    ]  # fmt: skip
    meta = checkpoints.meta(3)
    checkpoints.close()
    assert (meta["mine"], meta["evaluated"]) == ("a", True)
    assert meta["diary"] == diary.notes.index("evaluated 3 accuracy False") + 2


def test_callbacks_are_closed_after_an_error_too():
    class Fails(Callback):
        def on_step(self, step, metrics):
            raise KeyError("mine")

    diary = Diary()
    with pytest.raises(KeyError, match="mine"):
        fit(new(), train_step=STEP, batches=BATCHES, steps=4, callbacks=[diary, Fails()])
    assert diary.notes[-1] == "exit KeyError"


def test_started_is_said_once():
    said = []
    fit(
        new(), train_step=STEP, batches=BATCHES, steps=4,
        callbacks=[Started(lambda: said.append(1))],
    )  # fmt: skip
    assert said == [1]


@pytest.mark.parametrize("moment", ["step", "evaluation"])
def test_a_run_that_is_stopped_and_resumed_is_the_run_itself(trained, tmp_path, moment):
    """Rows, evaluations and numbers, with the log, the meter and the checkpoints of a run."""

    def run(where, stopped=lambda: None):
        where.mkdir(exist_ok=True)
        checkpoints = Checkpoints(where / "checkpoints")
        state, resumed = new(), None
        if checkpoints.steps():
            state, resumed = checkpoints.restore(state)
            state = layout.single_device().replicate(state)
        evaluated = bool((resumed or {}).get("evaluated"))
        with RunLog(where, first_step=int(state.step), evaluated=evaluated) as log:
            outcome = fit(
                state, train_step=STEP, batches=BATCHES, steps=STEPS, evaluation=evaluation(3),
                saving=Saving(checkpoints), callbacks=[Meter(), Reporting(log, every=2)],
                resumed=resumed, stopped=stopped,
            )  # fmt: skip
            rows = [
                {name: value for name, value in row.items() if not name.startswith("wall_")}
                for row in log.rows()
            ]
        checkpoints.close()
        return outcome, rows

    whole, expected = run(tmp_path / "whole")
    assert same(whole.state, trained)
    assert [(row["step"], row["split"]) for row in expected] == [
        (2, "train"), (3, "test"), (4, "train"), (6, "train"), (6, "test")
    ]  # fmt: skip
    asked = []

    def stopped():
        asked.append(1)  # twice per step, and once per batch of an evaluation
        late = 2 * 3 + 1 if moment == "evaluation" else 2 * 2
        return signal.SIGTERM if len(asked) > late else None

    parts, _ = run(tmp_path / "parts", stopped)
    assert parts.interrupted == signal.SIGTERM
    assert parts.step == {"step": 2, "evaluation": 3}[moment]
    assert parts.observed is None
    ended, rows = run(tmp_path / "parts")
    assert same(ended.state, trained)
    assert rows == expected
    looked_at, rows = run(tmp_path / "parts")  # the finished run: its evaluation is made again
    assert looked_at.figures == ended.figures
    assert rows == expected


def test_signals_stop_it_if_the_caller_wishes():
    class Strikes(Callback):
        def on_dispatch(self, step, examples):
            if step == 2:
                signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with interruption.stop_signals() as stopped:
        outcome = fit(
            new(), train_step=STEP, batches=BATCHES, steps=STEPS, callbacks=[Strikes()],
            stopped=stopped,
        )  # fmt: skip
    assert (outcome.step, outcome.interrupted) == (2, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_cannot_be_trained_is_said():
    with pytest.raises(ValueError, match=r"batches end after 6 steps, and steps=7\."):
        fit(new(), train_step=STEP, batches=BATCHES, steps=7)
    done = fit(new(), train_step=STEP, batches=BATCHES, steps=3).state
    with pytest.raises(ValueError, match="steps=2, and the state has made 3 updates already"):
        fit(done, train_step=STEP, batches=BATCHES, steps=2)
    bare = [{name: batch[name] for name in ("image", "label")} for batch in BATCHES]
    with pytest.raises(ValueError, match="The batch has image, label, and no mask: float32"):
        fit(new(), train_step=STEP, batches=bare, steps=2)


@pytest.mark.parametrize("steps", [2.5, "3", None, True])
def test_a_number_of_steps_that_is_never_reached(steps):
    with pytest.raises(ValueError, match=rf"^steps={steps!r}: wanted a whole number"):
        fit(new(), train_step=STEP, batches=BATCHES, steps=steps)


@pytest.mark.parametrize("wrong", [Losses, print])
def test_what_is_no_callback(wrong):
    with pytest.raises(ValueError, match=r"^callbacks: .* is no Callback of cnn_jax"):
        fit(new(), train_step=STEP, batches=BATCHES, steps=1, callbacks=[wrong])


def test_a_step_without_names_for_its_metrics():
    def step(state, batch):
        state, metrics = STEP(state, batch)
        return state, metrics["loss"]

    with pytest.raises(ValueError, match=r"beside its state: wanted metrics by name"):
        fit(new(), train_step=step, batches=BATCHES, steps=1)


def test_a_loss_that_is_no_number_ends_it():
    batches = [dict(batch) for batch in BATCHES]
    batches[2]["image"] = np.full((8, 4, 1), np.nan, np.float32)
    with pytest.raises(NonFiniteError) as error:
        fit(new(), train_step=STEP, batches=batches, steps=STEPS)
    assert str(error.value) == (
        "grad_norm is nan and loss is nan at step 3. Lower the learning rate, lengthen its "
        "warm-up, or clip the gradient."
    )
    losses = Losses()
    fit(
        new(), train_step=STEP, batches=batches, steps=STEPS, callbacks=[losses],
        nonfinite_limit=None,
    )  # fmt: skip
    assert np.isfinite(losses.losses).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("side_by_side", [True, False])
def test_replicas_train_by_the_same_loop(monkeypatch, side_by_side):
    advance, steps = loop._Training._advance, []

    def counting(self, ahead):
        steps.append(self._step)
        advance(self, ahead)

    monkeypatch.setattr(loop._Training, "_advance", counting)
    data = {name: BATCHES[0][name] for name in ("image", "label")}
    replicas.train_replicas(
        MODEL, TASK, optax.sgd, data, seeds=(0, 1), learning_rates=(0.1,), steps=3, batch_size=4,
        side_by_side=side_by_side,
    )  # fmt: skip
    assert steps == [0, 1, 2] * (1 if side_by_side else 2)
