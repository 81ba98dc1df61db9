"""Steps that are not finite: skipped or rolled back by the step itself, on every layout alike."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import classification
from cnn_jax.train import layout, nonfinite, optim, state, step

SIZE, CLASSES = 16, 3


class Net(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(4, (3,), use_bias=False, name="conv1")(x)
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name="bn1")(x)
        return nn.Dense(CLASSES, name="fc")(nn.relu(x).mean(1))


def batch_of(index, spoil=()):
    rng = np.random.default_rng(index)
    image = rng.normal(size=(SIZE, 8, 2)).astype(np.float32)
    mask = np.ones(SIZE, np.float32)
    if index in spoil:
        image[3, 2, 1] = np.nan
    if -index in spoil:  # padding does not count for the loss, but it does for batch norm
        image[3, 2, 1], mask[3] = np.inf, 0
    return {
        "image": image,
        "label": rng.integers(0, CLASSES, SIZE).astype(np.int32),
        "mask": mask,
    }


def machine(policy, where=None, every=4, schedule=None):
    """The initial state and the compiled step, with everything that has a state switched on."""
    where = where or layout.jit_layout(jax.devices()[:1])
    tx = optim.make_optimizer("adam", schedule or (lambda count: 0.05 / (1 + count)))
    image = jax.ShapeDtypeStruct((SIZE, 8, 2), np.float32)
    variables = state.init_variables(Net(), image, seed=0)
    now = state.state_from(variables, tx, ema=True, on_nonfinite=policy)
    body = step.make_train_step(
        Net(),
        classification.classification(CLASSES),
        tx,
        seed=0,
        axis_name=where.axis_name,
        ema_decay=0.9,
        on_nonfinite=nonfinite.make_rule(policy, every=every),
    )
    return where, where.replicate(now), where.compile_train(body)


def train(policy, steps, spoil=(), where=None, **options):
    """The states after each step, on the host, and the metrics."""
    where, now, train_step = machine(policy, where, **options)
    states, history = [jax.device_get(where.fetch(now))], []
    for index in range(steps):
        now, metrics = train_step(now, where.shard(batch_of(index, spoil)))
        states.append(jax.device_get(where.fetch(now)))
        history.append(jax.device_get(metrics))
    return states, history


def floats(now):
    return [leaf for leaf in jax.tree.leaves(now.content()) if leaf.dtype == np.float32]


def counters(now):
    return [leaf for leaf in jax.tree.leaves(now.content()) if leaf.dtype == np.int32]


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def close(ours, theirs):
    """Equal but for the last bits: of two programs, that fuse the same operations in other ways."""
    for a, b in zip(
        jax.tree.leaves(ours.content()), jax.tree.leaves(theirs.content()), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_without_trouble_nothing_differs():
    """The guard looks on: the numbers of a step without it, but for how the compiler rounds."""
    plain, _ = train("stop", 5)
    for policy in ("skip", "rollback"):
        guarded, history = train(policy, 5)
        close(guarded[-1], plain[-1])
        assert not any(metrics["spoiled"] for metrics in history)
        assert guarded[-1].guard.count == 0


def test_a_skipped_step_leaves_all_but_the_counters():
    states, history = train("skip", 6, spoil=(2, -4))
    for at in (2, 4):
        same(floats(states[at + 1]), floats(states[at]))
        assert states[at + 1].step == at + 1
        assert all(c == at + 1 for c in counters(states[at + 1])), "the schedule goes by the step"
        assert history[at]["spoiled"]
    assert np.isnan(history[2]["loss"])
    assert [int(metrics["nonfinite"]) for metrics in history] == [0, 0, 1, 1, 2, 2]
    assert not any(np.array_equal(a, b) for a, b in zip(floats(states[3]), floats(states[4]),
                                                        strict=True))  # fmt: skip


def test_after_a_skip_it_goes_on_like_a_step_that_never_met_it():
    """Against a plain step that is given the kept numbers and the advanced counters."""
    states, _ = train("skip", 4, spoil=(2,))
    where, _, plain = machine("stop")
    begun = states[3].replace(guard=None)
    after, _ = plain(where.replicate(begun), where.shard(batch_of(3)))
    close(after, states[4])


def test_only_the_statistics_are_spoiled():
    """An infinite pixel of an example that is padding: the loss is finite, batch norm is not."""
    states, history = train("skip", 2, spoil=(-1,))
    assert history[1]["spoiled"]
    assert all(np.isfinite(leaf).all() for leaf in floats(states[-1]))
    unguarded, _ = train("stop", 2, spoil=(-1,))
    assert not all(np.isfinite(leaf).all() for leaf in floats(unguarded[-1]))


def test_rolling_back_returns_to_what_was_kept():
    states, _ = train("rollback", 9, spoil=(2, 6, 8), every=4)
    same(floats(states[3]), floats(states[0]))  # nothing was kept since the beginning
    same(floats(states[7]), floats(states[4]))
    same(floats(states[9]), floats(states[8]))
    assert states[9].guard.count == 3
    assert all(c == 9 for c in counters(states[9]))


def test_a_spoiled_step_is_never_kept():
    states, _ = train("rollback", 6, spoil=(3, 5), every=4)
    same(floats(states[4]), floats(states[0]))
    same(floats(states[6]), floats(states[0]))


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("make", [layout.jit_layout, layout.pmap_layout])
def test_every_layout_decides_alike(policy, make):
    one, _ = train(policy, 7, spoil=(2, -5), every=4)
    eight, history = train(policy, 7, spoil=(2, -5), every=4, where=make(jax.devices()))
    assert [bool(metrics["spoiled"]) for metrics in history] == [i in (2, 5) for i in range(7)]
    for a, b in zip(jax.tree.leaves(eight[-1]), jax.tree.leaves(one[-1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_finite_counts_every_float_and_no_integer():
    assert nonfinite.all_finite({"a": jnp.ones(3), "b": jnp.arange(3)})
    assert not nonfinite.all_finite({"a": jnp.ones(3), "b": jnp.array([1, jnp.inf])})
    assert not nonfinite.all_finite({"a": jnp.array(jnp.nan, jnp.bfloat16), "b": jnp.arange(3)})


def test_unknown_policies_and_distances():
    with pytest.raises(ValueError, match="skipp"):
        nonfinite.make_rule("skipp")
    with pytest.raises(ValueError, match="at least 1"):
        nonfinite.make_rule("rollback", every=0)
