"""Compares our networks with torchvision's or timm's, weight for weight. Needs `cnn-jax[torch]`.

    python -m experiments.verify_weights --source=torchvision
    python -m experiments.verify_weights --source=torchvision --native --models='resnet*'
    python -m experiments.verify_weights --source=torchvision --train
    python -m experiments.verify_weights --source=timm

Each PyTorch network gets random weights and running statistics. They are imported, and the logits
of random images compared in float32, in evaluation mode. Then they are exported and loaded into a
new PyTorch network, whose logits are compared with the first's. With --train, one network of each
family takes a training step on both sides, in float64: loss, gradients and new running statistics
are compared.

Prints a table, writes result.json and exits with 1 if any network fails.
"""

import fnmatch
import gc
import importlib.util
import time
from typing import Any

import jax
import rich.table
from absl import flags

from cnn_jax.models import list_models
from cnn_jax.run import workdir
from cnn_jax.stores import local_path
from experiments import entry
from experiments.verify_weights import comparison, torch_networks

SOURCE = flags.DEFINE_enum(
    "source", "torchvision", ["torchvision", "timm"], "Publisher of the networks and their names."
)
MODELS = flags.DEFINE_string("models", "*", "Shell pattern of the publisher's model names.")
NATIVE = flags.DEFINE_bool("native", False, "Use images of the published size, not of 64 pixels.")
TRAIN = flags.DEFINE_bool("train", False, "Compare a training step, for one network per family.")
SEED = flags.DEFINE_integer("seed", 0, "Seed for weights, statistics and images.")
WORKDIR = flags.DEFINE_string(
    "workdir", "", "Directory for result.json; '' for runs/verify_weights-SOURCE."
)


def networks(source: str, pattern: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(the publisher's name, our name, our fields) of every network that both have."""
    if source == "timm":
        table = {theirs: (ours, dict(fields)) for theirs, (ours, fields) in
                 torch_networks.TIMM.items()}  # fmt: skip
    else:
        table = {n: (n, {}) for n in list_models() if n in torchvision_names()}
    return [(n, *table[n]) for n in sorted(fnmatch.filter(table, pattern))]


def torchvision_names() -> set[str]:
    """The names of torchvision's classification and video models."""
    import torchvision

    return set(torchvision.models.list_models())


def main() -> int:
    source, train = SOURCE.value, TRAIN.value
    for package in ("torch", source):
        if not importlib.util.find_spec(package):
            raise ValueError(f"--source={source} needs {package}: pip install -e '.[torch]'")
    if train and source != "torchvision":
        raise ValueError(f"--train --source={source}: a training step needs --source=torchvision.")
    rows = []
    for theirs, ours, fields in networks(source, MODELS.value):
        if train and theirs not in comparison.TRAINED:
            continue
        start = time.monotonic()
        try:
            if train:
                with jax.enable_x64(True):
                    row = comparison.compare_training(ours, seed=SEED.value)
            else:
                row = comparison.compare(
                    theirs, ours, fields, source=source, native=NATIVE.value, seed=SEED.value
                )
        except Exception as error:  # one failing network must not hide the others
            row = {"passed": False, "reason": f"{type(error).__name__}: {error}"}
        row = {"model": theirs, "ours": ours, **row, "seconds": time.monotonic() - start}
        rows.append(row)
        entry.CONSOLE.print(_line(row), soft_wrap=True)
        jax.clear_caches()
        gc.collect()
    if not rows:
        raise ValueError(
            f"--models={MODELS.value} matches no network of {source} that we have: give another "
            "pattern."
        )
    _print_table(rows)
    failed = [row["model"] for row in rows if not row["passed"]]
    mode = "train" if train else "native" if NATIVE.value else "small"
    directory = local_path(WORKDIR.value or f"runs/verify_weights-{source}-{mode}")
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "experiment": "verify_weights",
        "source": source,
        "mode": mode,
        "tolerance": comparison.TRAIN_TOLERANCE if train else comparison.TOLERANCE,
        "passed": len(rows) - len(failed),
        "failed": len(failed),
        "publisher_versions": torch_networks.versions(),
        "rows": rows,
    }
    path = workdir.write_result(directory, result)
    entry.CONSOLE.print(f"{len(rows) - len(failed)} passed, {len(failed)} failed; {path}")
    return 1 if failed else 0


def _line(row: dict[str, Any]) -> str:
    errors = "  ".join(f"{k} {v:.1e}" for k, v in row.items() if k.startswith("error"))
    said = errors or " ".join(row.get("reason", "").split())[:300]
    verdict = "ok    " if row["passed"] else "FAILED"
    return f"{verdict}  {row['model']:24}  {said}  ({row['seconds']:.0f} s)"


def _print_table(rows: list[dict[str, Any]]) -> None:
    columns = [key for key in max(rows, key=len) if key not in ("reason", "ours")]
    table = rich.table.Table(*columns)
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    entry.CONSOLE.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 1 else f"{value:.1e}"
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    entry.launch(main)
