"""Schedules against closed forms; optimisers against their papers' update, written in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.train import optim, schedules

STEPS, WARMUP, PEAK = 100, 10, 0.4


def values(name, **options):
    schedule = optim.make_schedule(name, PEAK, steps=STEPS, **options)
    return np.array([float(schedule(step)) for step in range(STEPS + 1)])


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "linear"])
def test_warmup_is_linear_and_wastes_no_step(name):
    rates = values(name, warmup_steps=WARMUP, boundaries=[50])
    np.testing.assert_allclose(rates[:WARMUP], PEAK * np.arange(1, WARMUP + 1) / WARMUP, rtol=1e-6)
    assert rates[WARMUP] == pytest.approx(PEAK)


def test_cosine():
    rates = values("cosine", warmup_steps=WARMUP, final=0.04)
    t = np.arange(STEPS - WARMUP + 1) / (STEPS - WARMUP)
    expected = 0.04 + (PEAK - 0.04) * (1 + np.cos(math.pi * t)) / 2
    np.testing.assert_allclose(rates[WARMUP:], expected, rtol=1e-5)


def test_linear():
    rates = values("linear", warmup_steps=WARMUP)
    t = np.arange(STEPS - WARMUP + 1) / (STEPS - WARMUP)
    np.testing.assert_allclose(rates[WARMUP:], PEAK * (1 - t), atol=1e-6)


def test_step_boundaries_count_from_the_beginning():
    rates = values("step", warmup_steps=WARMUP, boundaries=[30, 60], factor=0.1)
    assert rates[29] == pytest.approx(PEAK)
    assert rates[30] == pytest.approx(PEAK / 10)
    assert rates[60] == pytest.approx(PEAK / 100)


def test_one_cycle():
    rates = values("one_cycle")
    assert rates[0] == pytest.approx(PEAK / 25)
    assert rates[30] == pytest.approx(PEAK)  # 30% of the steps
    assert rates.argmax() == 30
    assert rates[STEPS] == pytest.approx(0, abs=1e-7)
    middle = PEAK / 25 + (PEAK - PEAK / 25) * (1 - math.cos(math.pi / 2)) / 2
    assert rates[15] == pytest.approx(middle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cosin"}, "did you mean cosine"),
        ({"name": "cosine", "warmup_steps": 101}, "101 warm-up steps of 100"),
        ({"name": "cosine", "peak": 0.0}, "must be above 0"),
        ({"name": "cosine", "peak": math.nan}, "must be above 0"),
    ],
)
def test_schedule_errors(arguments, message):
    arguments = {"peak": PEAK, "steps": STEPS, **arguments}
    with pytest.raises(ValueError, match=message):
        optim.make_schedule(arguments.pop("name"), arguments.pop("peak"), **arguments)


PARAMS = {
    "conv": {"kernel": jnp.full((3, 3, 2, 4), 0.5), "bias": jnp.full(4, 0.5)},
    "bn": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
}


@pytest.mark.parametrize("name", list(optim.OPTIMIZERS))
def test_weight_decay_spares_biases_and_norms(name):
    """With no gradient, only kernels move, and they shrink."""
    tx = optim.make_optimizer(name, 0.1, momentum=0.9, weight_decay=0.1)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    assert (updates["conv"]["kernel"] < 0).all()
    for part in (updates["conv"]["bias"], updates["bn"]["scale"], updates["bn"]["bias"]):
        np.testing.assert_allclose(part, 0, atol=1e-7)


def test_sgd_is_the_one_of_pytorch():
    """g += wd * w; v = m * v + g; w -= lr * (g + m * v) with Nesterov."""
    tx = optim.make_optimizer("sgd", 0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    w, v = np.full((2, 2), 0.5), np.zeros((2, 2))
    params = {"kernel": jnp.asarray(w)}
    state = tx.init(params)
    for step in range(3):
        g = np.full((2, 2), 1.0 + step)
        updates, state = tx.update({"kernel": jnp.asarray(g)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        g = g + 0.01 * w
        v = 0.9 * v + g
        w = w - 0.1 * (g + 0.9 * v)
    np.testing.assert_allclose(params["kernel"], w, rtol=1e-6)


def test_adamw_decay_is_decoupled():
    """Loshchilov 2019: the decay does not pass through the second moment."""
    tx = optim.make_optimizer("adamw", 0.1, weight_decay=0.1)
    params = {"kernel": jnp.full((2, 2), 2.0)}
    updates, _ = tx.update(
        {"kernel": jnp.full((2, 2), 1e3)}, tx.init(params), params
    )  # the first Adam step has size 1 whatever the gradient
    np.testing.assert_allclose(updates["kernel"], -0.1 * (1 + 0.1 * 2.0), rtol=1e-5)


def test_muon_orthogonalises_a_convolution_as_one_matrix():
    tx = optim.make_optimizer("muon", 1.0, momentum=0.0)
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32)
    params = {"kernel": jnp.zeros((3, 3, 4, 8)), "bias": jnp.zeros(8)}
    gradients = {"kernel": jnp.asarray(gradient), "bias": jnp.ones(8)}
    updates, _ = tx.update(gradients, tx.init(params), params)
    singular = np.linalg.svd(np.reshape(updates["kernel"], (36, 8)), compute_uv=False)
    # Newton-Schulz brings every singular value into 0.7..1.2 (Jordan 2024); the scale is Optax's
    assert singular.max() / singular.min() < 1.2 / 0.7
    one_tap = np.linalg.svd(np.asarray(updates["kernel"])[0, 0], compute_uv=False)
    assert one_tap.max() / one_tap.min() > 1.2 / 0.7  # it is the whole window that is one matrix


def test_clipping_bounds_the_global_norm():
    tx = optim.make_optimizer("sgd", 1.0, momentum=0.0, clip_norm=1.0)
    gradients = jax.tree.map(lambda p: jnp.full_like(p, 10.0), PARAMS)
    updates, _ = tx.update(gradients, tx.init(PARAMS), PARAMS)
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(updates)))
    assert norm == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamv", {}, "did you mean adam or adamw"),
        ("sgd", {"momentum": 1.0}, "must be in"),
        ("sgd", {"weight_decay": -1.0}, "must be 0 or more"),
        ("lion", {"nesterov": True}, "no Nesterov form"),
        ("sgd", {"nesterov": True, "momentum": 0.0}, "needs a momentum"),
    ],
)
def test_optimizer_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        optim.make_optimizer(name, 0.1, **options)


@pytest.fixture
def added():
    """Registers optimisers and schedules that are gone after the test."""
    tables = (optim.OPTIMIZERS, optim.SCHEDULES)
    before = [set(table) for table in tables]
    yield optim.OPTIMIZERS.register, optim.SCHEDULES.register
    for table, names in zip(tables, before, strict=True):
        for name in set(table) - names:
            table.forget(name)


def test_an_optimizer_and_a_schedule_of_ones_own(added):
    optimizer, schedule = added
    optimizer("sign", lambda rate, *, momentum, weight_decay, nesterov: optax.sign_sgd(rate))
    tx = optim.make_optimizer("sign", 0.5)
    updates, _ = tx.update({"w": jnp.asarray([-3.0, 2.0])}, tx.init({"w": jnp.zeros(2)}))
    np.testing.assert_array_equal(updates["w"], [0.5, -0.5])

    def halved(peak, *, steps, warmup_steps, **_):
        half = optax.constant_schedule(peak / 2)
        return schedules.warmed_up(peak, warmup_steps, half)

    schedule("halved", halved)
    rates = values("halved", warmup_steps=WARMUP)
    assert rates[WARMUP - 1] == pytest.approx(PEAK)
    assert rates[WARMUP] == pytest.approx(PEAK / 2)


def test_what_cannot_be_called_as_one_is_refused_by_name(added):
    optimizer, schedule = added
    optimizer("mine", lambda rate: optax.sgd(rate))
    with pytest.raises(ValueError, match=f"optimizer 'mine' \\({__name__}\\) must take the argum"):
        optim.make_optimizer("mine", 0.1)
    optimizer("none", lambda rate, **_: None)
    with pytest.raises(ValueError, match=r"'none' .* returned NoneType; it must return an optax"):
        optim.make_optimizer("none", 0.1)
    schedule("mine", lambda peak: peak)
    with pytest.raises(ValueError, match=r"schedule 'mine' .* must take the arguments 1 by"):
        values("mine")
    schedule("number", lambda peak, **_: peak)
    with pytest.raises(ValueError, match=r"'number' .* returned float; it must return a function"):
        values("number")


def test_numbers_may_be_arguments_of_a_compiled_step():
    """A sweep's runs share one program: it must do what each run's own would."""
    params = {"kernel": jnp.linspace(-1, 1, 24).reshape(2, 3, 4), "bias": jnp.linspace(0, 1, 4)}
    grads = jax.tree.map(lambda leaf: jnp.cos(7 * leaf), params)

    def updates(rate, decay, momentum, clip, final):
        found = {}
        for name in optim.OPTIMIZERS:
            tx = optim.make_optimizer(
                name, rate, momentum=momentum, weight_decay=decay, clip_norm=clip
            )
            found[name], _ = tx.update(grads, tx.init(params), params)
        for name in schedules.SCHEDULES:
            schedule = optim.make_schedule(
                name, rate, steps=20, warmup_steps=4, final=final, boundaries=[9]
            )
            found[name] = jnp.stack([schedule(step) for step in (0, 3, 4, 9, 19)])
        return found

    numbers = (0.3, 0.01, 0.7, 0.5, 0.03)
    own, shared = updates(*numbers), jax.jit(updates)(*map(jnp.float32, numbers))
    for name in own:
        for one, other in zip(
            jax.tree.leaves(own[name]), jax.tree.leaves(shared[name]), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6, err_msg=name)
