"""Running out of memory is one line that says what to lower."""

import jax
import pytest

from cnn_jax.run import classification, out_of_memory
from cnn_jax.train import step
from experiments import entry
from tests.run import as_command

FAST = {"model": "mlp", "steps": 2, "figures": False, "compilation_cache": ""}
REPORTS = {
    "cpu": "RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.",
    "cuda": "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
    "tpu": "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.1G of 15.5G hbm.",
}


def fail_with(error, monkeypatch):
    def make(*args, **kwargs):
        def train_step(state, batch):
            raise error

        return train_step

    monkeypatch.setattr(step, "make_train_step", make)


def message(error, monkeypatch, tmp_path, **changes):
    fail_with(error, monkeypatch)
    chosen = classification.ClassificationRecipe(**{**FAST, "workdir": str(tmp_path), **changes})
    with pytest.raises(entry.EXPECTED) as caught:
        as_command.run(chosen, classification.make_experiment(chosen))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("platform", REPORTS)
def test_on_every_platform(platform, monkeypatch, tmp_path):
    error = jax.errors.JaxRuntimeError(REPORTS[platform])
    text = message(error, monkeypatch, tmp_path, devices=1)
    for part in ("batch_size=128", "accumulate=2", "dtype=bfloat16", "remat"):
        assert part in text
    assert ("16.0 GiB" in text) == (platform != "tpu")


def test_what_is_set_already_is_not_advised(monkeypatch, tmp_path):
    text = message(
        jax.errors.JaxRuntimeError(REPORTS["cuda"]), monkeypatch, tmp_path,
        devices=4, accumulate=4, dtype="bfloat16", remat=True, eval_batch_size=512,
    )  # fmt: skip
    assert "8 at a time on each of 4 device(s) in accumulate=4 parts" in text
    assert "accumulate=8" in text
    assert "eval_batch_size" in text
    assert "bfloat16" not in text
    assert "remat" not in text


def test_on_the_host(monkeypatch, tmp_path):
    assert "batch_size=128" in message(MemoryError("numpy"), monkeypatch, tmp_path, devices=1)


def test_other_errors_of_the_runtime_stay_what_they_are(monkeypatch, tmp_path):
    fail_with(jax.errors.JaxRuntimeError("INTERNAL: a bug"), monkeypatch)
    chosen = classification.ClassificationRecipe(**{**FAST, "workdir": str(tmp_path), "devices": 1})
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        as_command.run(chosen, classification.make_experiment(chosen))


def test_what_xla_really_raises():
    """Sixty-four tebibytes, on this machine."""
    recipe = classification.ClassificationRecipe()
    with pytest.raises(out_of_memory.OutOfMemoryError, match=r"65,536\.0 GiB"), \
         out_of_memory.explained(recipe, 1):  # fmt: skip
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones(2**44))())
