"""Checkpoints come back bit for bit, and a damaged one is never taken for a good one."""

import gc
import shutil

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
        manager.save(
            step,
            tree(step),
            meta={"step": step, "note": "untouched"},
            metrics={"accuracy": accuracy},
        )
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


def test_an_empty_step_directory_is_passed_over(saved):
    (saved / "9").mkdir()
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.restore(tree(0))[1]["step"] == 5
    manager.save(6, tree(6), meta={"step": 6}, metrics=None)
    manager.close()
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.restore(tree(0))[1]["step"] == 6
    manager.close()


def test_a_damaged_later_step_is_not_in_the_way(saved):
    """The run goes on from step 4, and is interrupted before it comes to step 5 again."""
    for path in payloads(saved, 5):
        path.write_bytes(b"")
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.restore(tree(0))[1]["step"] == 4
    manager.save(5, tree(5), meta={"step": 5}, metrics={"accuracy": 0.7})
    manager.wait()
    for path in payloads(saved, 5):
        path.write_bytes(b"")
    manager.close()
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.restore(tree(0))[1]["step"] == 4
    manager.save(4, tree(4), meta={"step": 4, "again": True}, metrics={"accuracy": 0.6})
    manager.close()
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.steps() == [2, 4]
    assert manager.restore(tree(0))[1]["again"]
    manager.close()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_damage_to_any_file_is_survived(saved, tmp_path, damage):
    """Whichever file it is, what is restored is right, and the next step can be saved."""
    files = sorted(path.relative_to(saved) for path in (saved / "5").rglob("*") if path.is_file())
    assert len(files) >= 8
    for number, name in enumerate(files):
        copy = tmp_path.parent / f"{tmp_path.name}-{number}"
        shutil.copytree(saved, copy)
        content = bytearray((copy / name).read_bytes())
        if damage == "flip" and content:
            place = content.find(b"untouched") if b"untouched" in content else len(content) // 2
            content[place] ^= 4
        (copy / name).write_bytes(content[: len(content) // 2] if damage == "truncate" else content)
        if damage == "empty":
            (copy / name).write_bytes(b"")
        if damage == "delete":
            (copy / name).unlink()
        manager = checkpoint.Checkpoints(copy, keep=2)
        restored, meta = manager.restore(tree(0))
        assert meta["step"] in (4, 5), name
        assert meta["note"] == "untouched", name
        np.testing.assert_array_equal(restored["kernel"], tree(meta["step"])["kernel"])
        manager.save(6, tree(6), meta={"step": 6}, metrics={"accuracy": 0.1})
        manager.close()
        manager = checkpoint.Checkpoints(copy, keep=2)
        assert manager.restore(tree(0))[1]["step"] == 6, name
        manager.close()


def test_a_disk_that_takes_no_more_is_one_line(saved):
    """Every file over 8 kB is cut short by the kernel: as on a full disk, without privileges."""
    resource = pytest.importorskip("resource")
    manager = checkpoint.Checkpoints(saved, keep=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {**tree(6), "kernel": np.random.default_rng(0).random((300, 300))}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
        with pytest.raises(checkpoint.CheckpointError, match=r"cannot be written .*too large"):  # noqa: PT012
            manager.save(6, big, meta={"step": 6}, metrics=None)
            manager.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    manager = checkpoint.Checkpoints(saved, keep=2)
    assert manager.restore(tree(0))[1]["step"] == 5
    manager.close()


def test_a_best_metric_that_is_not_there_is_said(tmp_path):
    manager = checkpoint.Checkpoints(tmp_path, best="mean_iou")
    with pytest.raises(ValueError, match=r"best=mean_iou .* the evaluation gives accuracy, loss"):
        manager.save(1, tree(1), meta={}, metrics={"accuracy": 0.5, "loss": 1.0})
    manager.close()
