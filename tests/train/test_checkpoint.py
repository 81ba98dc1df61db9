"""Checkpoints come back bit for bit, and a damaged one is never taken for a good one."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.train import checkpoint

# Orbax leaves coroutines behind when it meets damaged data; Python says so when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected():
    """Has them collected here, and not during some other test."""
    yield
    gc.collect()


def tree(value):
    return {
        "step": jnp.asarray(value, jnp.int32),
        "kernel": jnp.linspace(0, value, 4096).reshape(64, 64),
        "half": jnp.full(3, value, jnp.bfloat16),
        "ema": None,
    }


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of steps 1 to 5; the best is the one of step 2."""
    manager = checkpoint.Checkpoints(tmp_path, keep=2)
    for step, accuracy in zip(range(1, 6), [0.1, 0.9, 0.5, 0.6, 0.7], strict=True):
        manager.save(step, tree(step), meta={"step": step}, metrics={"accuracy": accuracy})
    manager.close()
    return tmp_path


def test_newest_and_best_are_kept(saved):
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.steps() == [2, 4, 5]
    assert manager.best_step() == 2
    manager.close()


def test_round_trip_is_exact(saved):
    manager = checkpoint.Checkpoints(saved, keep=2)
    restored, meta = manager.restore(jax.eval_shape(lambda: tree(0)))
    assert meta["step"] == 5
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(tree(5)), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert manager.restore(tree(0), step=2)[1]["step"] == 2
    manager.close()


def payloads(directory, step):
    """The files that hold the arrays, largest first."""
    files = [path for path in (directory / str(step) / "state").rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damage_is_found_and_the_one_before_is_used(saved, damage, caplog):
    data = payloads(saved, 5)[0]
    content = bytearray(data.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content = bytearray()
    data.write_bytes(content)
    manager = checkpoint.Checkpoints(saved, keep=2)
    restored, meta = manager.restore(tree(0))
    assert meta["step"] == 4
    np.testing.assert_array_equal(restored["kernel"], tree(4)["kernel"])
    assert "step 5" in caplog.text
    assert "damaged" in caplog.text
    manager.close()


def test_no_sound_checkpoint(saved):
    for step in (2, 4, 5):
        for path in payloads(saved, step):
            path.write_bytes(b"")
    manager = checkpoint.Checkpoints(saved, keep=2)
    with pytest.raises(checkpoint.CheckpointError, match=r"step 2 .* is damaged"):
        manager.restore(tree(0))
    manager.close()


def test_another_network(saved):
    manager = checkpoint.Checkpoints(saved, keep=2)
    other = {**tree(0), "kernel": jnp.zeros((3, 3))}
    with pytest.raises(checkpoint.CheckpointError, match="another network"):
        manager.restore(other)
    manager.close()


def test_none_at_all(tmp_path):
    manager = checkpoint.Checkpoints(tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        manager.restore(tree(0))
    manager.close()
