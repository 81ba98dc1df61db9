"""Large arrays in parts: the same numbers, less memory on each device, nothing through the host."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from cnn_jax.tasks import classification
from cnn_jax.train import layout, nonfinite, optim, sharding, state, step

CLASSES = 10


class WideNet(nn.Module):
    """A kernel of 16 x 16 x 9, which is cut here, and smaller arrays, which are not."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        for i in range(2):
            x = nn.Conv(16, (3, 3), use_bias=False, name=f"conv{i}")(x)
            x = nn.BatchNorm(use_running_average=not train, name=f"bn{i}")(x)
            x = nn.relu(x)
        return nn.Dense(CLASSES, name="fc")(x.mean((1, 2)))


def batches(count, dtype):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {
            "image": rng.normal(size=(16, 4, 4, 3)).astype(dtype),
            "label": rng.integers(0, CLASSES, 16).astype(np.int32),
            "mask": np.ones(16, np.float32),
        }


def machine(placed, dtype, optimizer="adamw"):
    tx = optim.make_optimizer(optimizer, 1e-2, weight_decay=1e-2, clip_norm=1.0)
    image = jax.ShapeDtypeStruct((16, 4, 4, 3), dtype)
    variables = state.init_variables(WideNet(), image, seed=0)
    variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
    now = state.state_from(variables, tx, ema=True, on_nonfinite="skip")
    body = step.make_train_step(
        WideNet(), classification.classification(CLASSES), tx, seed=0,
        ema_decay=0.9, on_nonfinite=nonfinite.make_rule("skip"), whole=placed.whole,
    )  # fmt: skip
    return now, placed.compile_train(body)


def mesh(data, model):
    sizes = {"data": data, "model": model}
    return sharding.mesh_layout(jax.devices()[: data * model], sizes, least=1000)


@pytest.mark.parametrize(
    ("data", "model", "optimizer"),
    [
        (4, 2, "adamw"),
        pytest.param(1, 8, "sgd", marks=pytest.mark.slow),
        pytest.param(2, 4, "muon", marks=pytest.mark.slow),
    ],
)
def test_the_same_numbers(data, model, optimizer):
    with jax.enable_x64(True):
        ends = []
        for placed in (layout.jit_layout(jax.devices()[:1]), mesh(data, model)):
            now, train_step = machine(placed, jnp.float64, optimizer)
            now = placed.replicate(now)
            for batch in batches(4, np.float64):
                now, metrics = train_step(now, placed.shard(batch))
            ends.append(jax.device_get((placed.fetch(now), metrics)))
        for ours, theirs in zip(*map(jax.tree.leaves, ends), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@functools.cache
def in_float32(name):
    """A layout over eight devices, the first state on the host, and its compiled step."""
    placed = layout.jit_layout(jax.devices()) if name == "jit" else mesh(4, 2)
    return placed, *machine(placed, jnp.float32)


def test_each_device_holds_its_part():
    """What the rule says, before and after a step; and the memory that XLA says it needs."""
    held, arguments = {}, {}
    for name, parts in (("jit", 1), ("mesh", 2)):
        placed, now, train_step = in_float32(name)
        now = placed.replicate(now)
        batch = placed.shard(next(batches(1, np.float32)))
        analysis = train_step.lower(now, batch).compile().memory_analysis()
        arguments[name] = analysis.argument_size_in_bytes
        for _ in range(2):
            held[name] = sum(
                leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(now)
            )
            kernel = now.params["conv1"]["kernel"]
            assert kernel.addressable_shards[0].data.shape == (3, 3, 16, 16 // parts)
            momentum = now.opt_state[1][0].mu["conv1"]["kernel"]
            assert momentum.addressable_shards[0].data.shape == (3, 3, 16, 16 // parts)
            now, _ = train_step(now, batch)
    # the large kernel itself, its two moments and its average are cut in two
    large = 4 * 9 * 16 * 16 * 4
    assert held["jit"] - held["mesh"] == large // 2
    assert arguments["jit"] - arguments["mesh"] == pytest.approx(large // 2, rel=0.01)


@pytest.mark.parametrize("name", ["jit", "mesh"])
def test_buffers_are_given_away(name):
    placed, now, train_step = in_float32(name)
    before = placed.replicate(now)
    train_step(before, placed.shard(next(batches(1, np.float32))))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.content()))


@pytest.mark.parametrize("name", ["jit", "mesh"])
def test_no_transfer_in_the_hot_loop(name):
    """Batches are sent, and metrics fetched, by name; nothing else crosses to or from the host."""
    placed, now, train_step = in_float32(name)
    now = placed.replicate(now)
    made = [placed.shard(batch) for batch in batches(4, np.float32)]
    now, _ = train_step(now, made[0])  # constants of the program are sent once, when it is compiled
    with jax.transfer_guard("disallow"):
        for batch in made[1:]:
            now, metrics = train_step(now, batch)
        assert np.isfinite(jax.device_get(metrics)["loss"])  # explicit, which is allowed
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            train_step(now, next(batches(1, np.float32)))  # what the guard is for


@pytest.mark.parametrize(
    ("shape", "parts", "spec"),
    [
        ((3, 3, 128, 128), 2, PartitionSpec(None, None, None, "model")),
        ((3, 3, 256, 128), 2, PartitionSpec(None, None, "model")),
        ((3, 3, 128, 127), 2, PartitionSpec(None, None, "model")),
        ((2048, 1000), 8, PartitionSpec("model")),
        ((127, 131), 2, PartitionSpec()),
        ((64, 64), 2, PartitionSpec()),
        ((3, 3, 128, 128), 1, PartitionSpec()),
        ((), 2, PartitionSpec()),
    ],
)
def test_the_rule(shape, parts, spec):
    assert sharding.spec_of(shape, parts) == spec


@pytest.mark.parametrize(
    "text", ["4,2", "data:4,modle:2", "data:0", "data:-1", "data:4,data:2", "model:", ""]
)
def test_a_mesh_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="such as data:4,model:2"):
        sharding.parse_mesh(text, 8)


def test_a_mesh_of_other_devices():
    assert sharding.parse_mesh("model:2,data:4", 8) == {"data": 4, "model": 2}
    with pytest.raises(ValueError, match="6 places for 8 devices"):
        sharding.parse_mesh("data:3,model:2", 8)
