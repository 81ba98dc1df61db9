"""The command for accelerators, tried on a CPU: whole in a bare process, and in its parts."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.analysis import utilisation
from experiments.benchmark.accelerator import (
    cifar_file,
    flax_resnet,
    layers,
    networks,
    pack,
    parent,
    step_table,
)
from tests.experiments.benchmark.accelerator import bare

ROOT = Path(__file__).parents[4]


def arrays(train=80, test=32):
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8),
        "y_train": random.integers(0, 10, train).astype(np.uint8),
        "x_test": random.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8),
        "y_test": random.integers(0, 10, test).astype(np.uint8),
    }


def run_bare(folder, module, *arguments):
    """Runs a module in a process where only JAX, Flax, Optax, Abseil and NumPy are installed."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(bare.SITECUSTOMIZE)
    environment = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,  # from the source tree, not installed
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.slow
def test_steps_run_on_a_bare_machine_and_what_was_measured_is_kept(tmp_path):
    command = ("experiments.benchmark.train_step", "--platform=cpu", "--tiny", "--only=resnet18")
    done = run_bare(tmp_path, *command, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["contender"]: row for row in result["rows"]}
    assert list(rows) == ["ours float32", "ours bfloat16", "flax bfloat16"], done.stdout
    first = rows["ours float32"]["losses"][0]
    for name, row in rows.items():
        assert row["losses"][0] == pytest.approx(first, rel=step_table.TOLERANCE / 2), name
        assert row["images_per_second"] > 0
        assert row["compile_seconds"] > 0
        assert row["first_step_seconds"] > row["compile_seconds"]
        assert row["mfu"] is None
        assert f"{name:23s}" in done.stdout
    assert "card: cpu" in done.stdout
    assert "torch and torchvision are not both installed" in done.stdout
    again = run_bare(tmp_path, *command, f"--workdir={tmp_path}")  # nothing is left to do
    assert "3 rows of an earlier run" in again.stdout
    assert json.loads((tmp_path / "result.json").read_text())["rows"] == result["rows"]


@pytest.mark.exhaustive
def test_everything_else_runs_on_a_bare_machine(tmp_path):
    """Layers, bits, and CIFAR-10 by its whole recipe, all of it tiny."""
    file = str(tmp_path / "cifar10.npz")
    cifar_file.write(file, arrays())
    done = run_bare(
        tmp_path,
        "experiments.benchmark.accelerator",
        "--platform=cpu",
        "--tiny",
        "--deterministic",
        "--runs=2",
        f"--cifar10={file}",
        f"--workdir={tmp_path}",
        f"--verdicts={tmp_path}/verdicts.json",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["skipped"] == []
    sections = [row["section"] for row in result["rows"]]
    assert sections.count("layer") == 9
    assert sections.count("airbench94") == 2
    bits = next(row for row in result["rows"] if row["section"] == "deterministic")
    assert bits["equal"] == {"default": True, "deterministic": True}  # a CPU repeats anyway
    assert len({d for each in bits["digests"].values() for d in each}) == 1
    mean = next(row for row in result["rows"] if row["section"] == "airbench94, mean")
    assert 0 <= mean["accuracy"] <= 1
    assert mean["steps"] == math.ceil(80 // 16 * 1.5)


def test_ours_and_plain_flax_are_one_network():
    """Of a whole ResNet-18 every weight has its place; a short ResNet-50 gives the same logits."""

    def shapes(model):
        image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        init = lambda k, x: model.init(k, x, train=False)  # noqa: E731
        return jax.eval_shape(init, jax.random.key(0), image)

    theirs = flax_resnet.create("resnet18", 1000, jnp.float32)
    ours = networks.create(networks.row("resnet18"), jnp.float32)
    renamed, wanted = flax_resnet.renamed(shapes(ours), theirs), shapes(theirs)
    assert jax.tree.map(jnp.shape, renamed) == jax.tree.map(jnp.shape, wanted)

    of = networks.row("resnet50", tiny=True)
    variables, (x, _) = networks.variables(of), networks.arrays(of)
    theirs = flax_resnet.create("resnet50", of.classes, jnp.float32, short=True)
    ours = networks.create(of, jnp.float32)
    want, _ = jax.jit(lambda v, x: ours.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, x
    )
    have, _ = jax.jit(lambda v, x: theirs.apply(v, x, train=True, mutable=["batch_stats"]))(
        flax_resnet.renamed(variables, theirs), x
    )
    np.testing.assert_allclose(have, want, atol=1e-4 * np.abs(want).max())


class Answers:
    """A child that is not started: it gives what a test wants."""

    said: list = []  # noqa: RUF012
    answers: list = []  # noqa: RUF012

    def __init__(self, report, spec, environment):
        self.spec = spec

    def answer(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, word):
        self.said.append((self.spec["contender"], word))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_a_contender_that_disagrees_is_named_and_not_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(step_table, "Child", Answers)
    report = parent.Report(str(tmp_path), 9.0, {})
    facts = {"card": "NVIDIA H100 80GB HBM3", "backend": "gpu", "runtime": "cuda", "devices": 1}
    facts |= {"batch": 256, "compile_seconds": 9.5, "first_step_seconds": 20.1}
    speed = {"images_per_second": 2000.0, "milliseconds": 128.0, "spread": 0.01}
    speed |= {"peak_mib": 20000, "program_mib": 19000}
    Answers.said = []
    Answers.answers = [
        {**facts, "losses": [7.0, 6.9], "flops": 24.5e9},
        speed,
        parent.ChildError("out of memory: give --batch_scale=0.5 (8 GiB)"),
        {**facts, "losses": [7.02, 6.8], "flops": 24.5e9},
        speed,
        {**facts, "losses": [7.2, 6.8]},
        {**facts, "losses": [float("nan"), 6.8]},
    ]
    contenders = step_table.contenders("resnet50", torch=True, compiled=True, tuned=False)
    spec = {"tiny": False}
    step_table.measure(report, "resnet50", contenders, spec, {})
    assert Answers.said == [("ours", "time"), ("flax", "time")]
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["contender"] for row in result["rows"]] == ["ours float32", "flax bfloat16"]
    peak = utilisation.PEAKS["H100"]
    assert result["rows"][0]["mfu"] == pytest.approx(2000 * 24.5e9 / peak)
    said = {row["what"]: row["why"] for row in result["skipped"]}
    assert "out of memory: give --batch_scale" in said["resnet50, ours bfloat16"]
    assert "disagrees: its first loss is 7.2000" in said["resnet50, torch bfloat16"]
    assert "disagrees: its first loss is nan" in said["resnet50, torch_compile bfloat16"]
    lines = capsys.readouterr().out
    assert "card: NVIDIA H100 80GB HBM3" in lines
    assert "MFU 0.050" in lines

    late = parent.Report("", 0.1, {})  # six seconds, of which five are for the last words
    step_table.measure(late, "resnet50", contenders, spec, {})
    assert late.result["rows"] == []
    assert len(late.result["skipped"]) == len(contenders)
    assert "s are left" in late.result["skipped"][0]["why"]
    assert step_table.mfu(1.0, 1e9, "A card of tomorrow") is None


def test_cifar10_in_one_file(tmp_path):
    file = str(tmp_path / "cifar10.npz")
    given = arrays(50, 10)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        which = "test" if name == "test_batch" else "train"
        part = (
            slice(None) if which == "test" else slice(10 * (int(name[-1]) - 1), 10 * int(name[-1]))
        )
        x = given[f"x_{which}"][part].transpose(0, 3, 1, 2).reshape(-1, 3072)
        batch = {b"data": x, b"labels": given[f"y_{which}"][part].tolist()}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    cifar_file.write(file, pack.from_pickles(tmp_path))
    read = cifar_file.read(file)
    for name in cifar_file.NAMES:
        np.testing.assert_array_equal(read[name], given[name])
    assert cifar_file.description(read) == cifar_file.description(given)
    other = {**given, "y_test": given["y_test"][::-1]}
    assert cifar_file.description(other) != cifar_file.description(given)

    (tmp_path / "test_batch").write_bytes(pickle.dumps(os.getcwd))  # what runs is not run
    with pytest.raises(ValueError, match=r"test_batch: .*which is no array"):
        pack.from_pickles(tmp_path)
    with pytest.raises(ValueError, match="wanted CIFAR-10 packed by python -m"):
        cifar_file.read(str(tmp_path / "none.npz"))
    with pytest.raises(ValueError, match=r"x_test is uint8 \[10, 32, 32\]"):
        cifar_file.write(file, {**given, "x_test": given["x_test"][..., 0]})
    with pytest.raises(ValueError, match=r"labels, and all of them in 0\.\.9"):
        cifar_file.write(file, {**given, "y_train": given["y_train"] + 9})


def test_every_layer_can_be_lowered_with_a_method_for_a_gpu():
    """Nothing is run: shapes, and that one of our methods is there for each that is not plain."""
    from cnn_jax.gpu import registry
    from experiments.benchmark.accelerator import jax_layers

    for layer in (layers.TABLE[0], layers.TABLE[3], layers.TABLE[9]):
        x, w, y = jax_layers.shapes(layer, jnp.bfloat16)
        grown = layer.size * layer.stride if layer.transposed else -(-layer.size // layer.stride)
        assert y.shape == (layer.batch, *(grown,) * layer.rank, layer.features)
        for function in jax_layers.passes(layer).values():
            (one,) = registry.operations_of(function, x, w, y, platform="cuda")
            assert one.candidates()
