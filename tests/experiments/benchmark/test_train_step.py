"""Train steps beside PyTorch's: equal beginnings, ratios, and the table of the results."""

import json
import math
from types import SimpleNamespace
from typing import ClassVar

import pytest

from experiments.benchmark import comparison, networks, table, timing, train_step
from experiments.benchmark import contender as contender_of


class Fake:
    """A contender whose losses are given: (train or None, evaluate)."""

    given: ClassVar[dict] = {}

    def __init__(self, name, network, weights):
        train, evaluate = self.given.get(name, (2.3, 2.4))
        self.facts: dict = {"parameters": 10, "trains": train is not None, "compile_seconds": None}
        self.losses = {"evaluate": evaluate} | ({} if train is None else {"train": train})

    def ready(self):
        pass

    def step(self, what):
        assert what != "train" or self.facts["trains"]
        self.facts["peak_mib"] = 100
        if what == "first":
            self.facts["first"] = self.losses

    def close(self):
        pass


def at_once(calls, **_):
    """`timing.alternate` in a world in which each contender takes longer than the one before."""
    for call in calls.values():
        call()
    return {name: [0.1 * i] for i, name in enumerate(calls, start=1)}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command with contenders that only say what they compute."""

    def run(given, **values):
        monkeypatch.setattr(Fake, "given", given)
        monkeypatch.setattr(train_step, "Contender", Fake)
        monkeypatch.setattr(timing, "alternate", at_once)
        monkeypatch.setattr(
            train_step, "contenders", lambda: ["ours", "pure_jax", "torch", "torch_compile", *given]
        )
        values = {"ONLY": ["resnet18"], "WORKDIR": str(tmp_path), **values}
        for name in ("WORKDIR", "ONLY", "CONTENDERS", "RUNS", "REPEATS", "SECONDS"):
            value = values.get(name, getattr(train_step, name).default)
            monkeypatch.setattr(train_step, name, SimpleNamespace(value=value))
        status = train_step.main()
        return status, capsys.readouterr(), json.loads((tmp_path / "result.json").read_text())

    return run


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"torch": (2.3001, 2.4)}, ""),
        ({"torch": (2.31, 2.4)}, "train 2.31 of torch, 2.3 of ours"),
        ({"torch_compile": (2.3, 2.5)}, "evaluate 2.5 of torch_compile, 2.4 of ours"),
        ({"torch_compile": (math.nan, 2.4)}, "train nan of torch_compile"),
        ({"ours": (math.nan, 2.4)}, "train 2.3 of pure_jax, nan of ours"),
        ({"torch_frozen": (None, 2.4)}, ""),
        ({"torch_frozen": (None, 2.6)}, "evaluate 2.6 of torch_frozen"),
    ],
)
def test_a_network_about_which_contenders_disagree_is_left_out(run, losses, said):
    status, out, result = run(losses)
    assert status == bool(said)
    assert len(result["rows"]) == (not said)
    assert len(result["left_out"]) == bool(said)
    assert said in out.err
    assert out.err.count("\n") == bool(said)  # one line
    assert f"all of {result['machine']['cores']} cores" in out.out


def test_ratios_are_to_the_better_of_the_modes_and_means_are_by_run(run):
    _, out, result = run({}, RUNS=3, ONLY=["resnet18", "unet"])
    assert [(row["run"], row["network"]) for row in result["rows"]] == [
        (i, name) for i in range(3) for name in ("resnet18", "unet")
    ]
    row = result["rows"][0]  # 100, 200, 300, 400 ms
    assert row["train_vs_better"] == 3.0
    assert row["train_vs_torch_compile"] == 4.0
    assert row["train_pure_jax_vs_better"] == 1.5
    assert row["memory_vs_torch"] == 1.0
    assert result["geomean_vs_better"] == result["worst_vs_better"] == 3.0
    assert result["geomean_evaluate_vs_torch_compile"] == 4.0
    assert result["spread_vs_better"] == 0.0
    assert "steps 3.00, evaluation 3.00" in out.out


def test_frozen_contenders_are_compared_with_the_best_of_pytorch():
    times = {"ours": 20.0, "ours_frozen": 10.0, "torch": 18.0, "torch_compile": 15.0}
    row = {f"evaluate_{name}_ms": ms for name, ms in times.items()} | {"network": "a", "run": 0}
    found = comparison.ratios({**row, "evaluate_torch_frozen_ms": 12.0})
    assert found["evaluate_vs_better"] == 0.75
    assert found["frozen_vs_better"] == 1.2
    assert not any(key.startswith(("train", "memory")) for key in found)
    assert comparison.ratios(row)["frozen_vs_better"] == 1.5


def machine(processor="A 9000 avx2"):
    return {"processor": processor, "cores": 16, "python": "3.12.1", "jax": "0.11"}


def result(ratios, **more):
    rows = [
        {"network": name, "run": 0, "batch": 64, "input": [32, 32, 3], "train_ours_ms": 100.4,
         "train_torch_ms": 100 * ratio, "train_vs_better": ratio}
        for name, ratio in ratios.items()
    ]  # fmt: skip
    return {"machine": machine(), "date": "2026-11-30", "rows": rows, **more}


def test_a_table_has_a_row_a_network_by_processor_with_n_and_spread(tmp_path, capsys):
    found = {
        "a": result({"resnet18": 1.0, "unet": 4.0}),
        "b": result({"resnet18": 2.0, "unet": 2.0}, date="2026-12-01"),
        "c": result({"resnet18": 1.0}, machine=machine("B 1 avx512f")),
    }
    for name, each in found.items():
        timing.write_result(str(tmp_path / name), each)
    assert table.main([str(tmp_path / name) for name in found]) == 0
    first, second = capsys.readouterr().out.split("\n\nB 1 avx512f")
    assert first.splitlines() == [
        "A 9000 avx2, 16 cores; python 3.12.1, jax 0.11; 2026-11-30 to 2026-12-01",
        "",
        "| network | batch, input | n | step, ms: ours / eager | better / ours |",
        "| --- | --- | --- | --- | --- |",
        "| resnet18 | 64, 32x32x3 | 2 | 100 / 150 | 1.50 ± 67% |",
        "| unet | 64, 32x32x3 | 2 | 100 / 300 | 3.00 ± 67% |",
        "| geometric mean |  | 2 |  | 2.00 ± 0% |",
    ]
    assert second.splitlines()[-1] == "| geometric mean |  | 1 |  | 1.00 |"


def test_a_command_for_each_network_makes_one_run(tmp_path, capsys):
    """Their ratios are of different networks, and no spread between runs."""
    for name, each in {"a": {"resnet18": 1.0}, "b": {"unet": 4.0}, "c": {"unet": 4.0}}.items():
        timing.write_result(str(tmp_path / name), result(each))
    assert table.main([str(tmp_path / name) for name in "abc"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| geometric mean |  | 1 |  | 2.00 |"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist: give the --workdir of train_step"),
        ("{", "is not a result of experiments.benchmark.train_step"),
        ('{"machine": {"processor": "A"}, "rows": [{"pass": "forward"}]}', "is not a result"),
        ("[]", "is not a result"),
    ],
)
def test_what_is_no_result_is_said(tmp_path, content, said):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        table.main([str(tmp_path)])
    assert "\n" not in str(error.value)


def test_a_result_counts_once(tmp_path):
    with pytest.raises(ValueError, match="given twice"):
        table.main([str(tmp_path), f"{tmp_path}/"])
    with pytest.raises(ValueError, match="no DIR"):
        table.main([])


def test_a_contender_that_ends_is_said(monkeypatch):
    monkeypatch.setattr(contender_of, "PROGRAM", "import sys; sys.exit(3)")
    each = contender_of.Contender("torch", "unet", "")
    with pytest.raises(contender_of.EndedError, match="unet: torch ended with status 3"):
        each.ready()
    with pytest.raises(contender_of.EndedError):
        each.step("first")
    each.close()


@pytest.mark.parametrize("name", [network.name for network in networks.TABLE])
@pytest.mark.exhaustive
def test_both_sides_are_the_same_network(name, tmp_path):
    """Evaluation and one training step, from the same weights, in eager PyTorch."""
    pytest.importorskip("torch", reason="compares with PyTorch")
    pytest.importorskip("torchvision", reason="compares with PyTorch")
    losses = {}
    for contender in ("pure_jax", "torch"):
        each = contender_of.Contender(contender, name, str(tmp_path / "weights.safetensors"))
        try:
            each.ready()
            each.step("first")
        finally:
            each.close()
        losses[contender] = each.facts["first"]
    assert comparison.disagreement(losses) == ""
