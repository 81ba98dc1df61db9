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
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.table
from absl import flags

from cnn_jax.models import create, describe, list_models
from cnn_jax.run import workdir
from cnn_jax.weights.torch import export_torch, import_torch
from experiments import entry
from experiments.verify_weights import torch_networks

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

TOLERANCE = 1e-4  # max |difference| / max |logit|
TRAIN_TOLERANCE = 1e-3
SEEN, EPSILON = 100, 1e-7  # least effect of another image, in errors; least size of an error
AUX_WEIGHT = 0.3  # weight of the auxiliary losses, arXiv:1409.4842 section 5

BATCH = 2
SIZE = 64
# Inception's statistics come from a training pass, where its auxiliary head reads 17 x 17 maps.
SMALLEST = {"inception_v3": (299, 299), "s3d": (13, 209, 209)}
CLIP = (4, 64, 64)  # frames, height, width

# One network of each family, with the size of its training images if the default is too small: the
# last stages need more than one pixel for batch statistics.
TRAINED = {
    "alexnet": (64, 64),
    "convnext_tiny": (64, 64),
    "densenet121": (96, 96),
    "efficientnet_b0": (96, 96),
    "efficientnet_v2_s": (96, 96),
    "googlenet": (96, 96),
    "inception_v3": (299, 299),  # the auxiliary head reads 17 x 17 maps
    "mnasnet0_5": (96, 96),
    "mobilenet_v2": (96, 96),
    "mobilenet_v3_small": (96, 96),
    "regnet_x_400mf": (96, 96),
    "regnet_y_400mf": (96, 96),
    "resnet18": (96, 96),
    "resnext50_32x4d": (96, 96),
    "wide_resnet50_2": (96, 96),
    "shufflenet_v2_x0_5": (96, 96),
    "squeezenet1_1": (64, 64),
    "vgg11_bn": (64, 64),
    "r3d_18": (8, 48, 48),
    "mc3_18": (8, 48, 48),
    "r2plus1d_18": (8, 48, 48),
    "s3d": (16, 209, 209),
}
TRAIN_BATCH = 8
LARGE_TRAIN_BATCH = 2  # inception_v3, s3d


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


def images(size: tuple[int, ...], batch: int, seed: int) -> np.ndarray:
    """Random images [B, *size, 3], normally distributed as normalised pixels are."""
    return np.random.default_rng(seed).normal(size=(batch, *size, 3)).astype(np.float32)


def compare(theirs: str, ours: str, fields: dict[str, Any], *, source: str) -> dict[str, Any]:
    """Compares a network in evaluation mode: a row of the table."""
    described = describe(ours)
    *native, _ = described.input_shape
    small = CLIP if len(native) == 3 else (SIZE, SIZE)
    size = tuple(native) if NATIVE.value else SMALLEST.get(ours, small)
    x = images(size, BATCH, SEED.value)
    rules = described.rules[source]
    # S3D and the video networks of torchvision have 400 classes.
    model = create(ours, num_classes=described.num_classes, **fields)

    network = torch_networks.build(source, theirs)
    torch_networks.randomise(network, SEED.value, x)
    expected = torch_networks.run(network, x)
    template = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = import_torch(torch_networks.to_numpy(network), template, rules)
    apply = jax.jit(lambda variables, x: model.apply(variables, x, train=False))
    actual = np.asarray(apply(variables, x))

    again = torch_networks.build(source, theirs)
    torch_networks.load(again, export_torch(variables, rules))
    returned = torch_networks.run(again, x)

    scale = np.abs(expected).max()
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(template["params"]))
    row = {
        "size": list(size),
        "params": params,
        "published_params": described.params if source == "torchvision" else None,
        "error": float(np.abs(actual - expected).max() / scale),
        "error_exported": float(np.abs(returned - expected).max() / scale),
        # How much the logits depend on the image: comparing constants would prove nothing, and a
        # deep network of random weights forgets most of a noise image of 600 x 600 pixels.
        "input_effect": float(np.abs(expected[0] - expected[1]).max() / scale),
    }
    row["passed"] = (
        row["error"] <= TOLERANCE
        and row["error_exported"] <= 1e-6
        and row["input_effect"] >= SEEN * max(row["error"], EPSILON)
        and row["published_params"] in (None, params)
    )
    return row


def compare_training(name: str) -> dict[str, Any]:
    """Compares a training step without dropout and stochastic depth: a row of the table.

    Both sides use float64: in float32 a few of a million ReLUs open on one side only, and their
    gradients, summed through a hundred layers of DenseNet, reach a percent.
    """
    described = describe(name)
    rules = described.rules["torchvision"]
    size = TRAINED[name]
    batch = LARGE_TRAIN_BATCH if math.prod(size) > 80_000 else TRAIN_BATCH
    x = images(size, batch, SEED.value).astype(np.float64)
    labels = np.random.default_rng(SEED.value + 1).integers(0, described.num_classes, batch)
    off = {"drop_rate": 0.0, "aux_drop_rate": 0.0, "stochastic_depth_rate": 0.0}
    known: dict[str, Any] = {
        field: value for field, value in off.items() if hasattr(described.module, field)
    }
    if hasattr(described.module, "aux_heads"):
        known["aux_heads"] = True
    model = create(name, num_classes=described.num_classes, **known)

    network = torch_networks.build("torchvision", name, aux_heads=True).double()
    torch_networks.randomise(network, SEED.value, x)
    state_dict = {k: v.copy() for k, v in torch_networks.to_numpy(network).items()}
    expected = torch_networks.train_step(network, x, labels, AUX_WEIGHT)

    template = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, x.dtype), template)
    variables = import_torch(state_dict, template, rules)

    @jax.jit
    def step(variables: Any, x: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            outputs, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
            total = 0.0
            for output, logits in outputs.items():
                entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
                total = total + (1.0 if output == "logits" else AUX_WEIGHT) * entropy
            return total, updates.get("batch_stats", {})

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    (loss, batch_stats), gradients = step(variables, jnp.asarray(x))
    gradients = export_torch({"params": gradients}, rules)
    statistics = export_torch({"batch_stats": batch_stats}, rules) if batch_stats else {}
    if set(statistics) != set(expected["statistics"]):
        raise ValueError("The running statistics have other names.")
    row = {
        "size": list(size),
        "error_loss": abs(float(loss) - expected["loss"]) / abs(expected["loss"]),
        "error_gradients": _largest_error(gradients, expected["gradients"]),
        "error_statistics": _largest_error(statistics, expected["statistics"]),
    }
    row["passed"] = all(
        error <= TRAIN_TOLERANCE for key, error in row.items() if key.startswith("error")
    )
    return row


def _largest_error(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest |difference| / |expected| (Euclidean norms) over the tensors.

    The denominator is at least a thousandth of the largest norm: the gradient of a bias before a
    normalisation is zero up to rounding.
    """
    norms = {name: float(np.linalg.norm(array)) for name, array in expected.items()}
    floor = 1e-3 * max(norms.values(), default=1.0)
    errors = [
        float(np.linalg.norm(actual[name] - expected[name])) / max(norms[name], floor)
        for name in expected
    ]
    return max(errors, default=0.0)


def main() -> int:
    source, train = SOURCE.value, TRAIN.value
    if train and source != "torchvision":
        raise ValueError("--train needs --source=torchvision.")
    rows = []
    for theirs, ours, fields in networks(source, MODELS.value):
        if train and theirs not in TRAINED:
            continue
        start = time.monotonic()
        try:
            if train:
                with jax.enable_x64(True):
                    row = compare_training(ours)
            else:
                row = compare(theirs, ours, fields, source=source)
        except Exception as error:  # one failing network must not hide the others
            row = {"passed": False, "reason": f"{type(error).__name__}: {error}"}
        row = {"model": theirs, "ours": ours, **row, "seconds": time.monotonic() - start}
        rows.append(row)
        entry.CONSOLE.print(_line(row), soft_wrap=True)
        jax.clear_caches()
        gc.collect()
    if not rows:
        raise ValueError(f"--models={MODELS.value!r} matches no network of {source}.")
    _print_table(rows)
    failed = [row["model"] for row in rows if not row["passed"]]
    mode = "train" if train else "native" if NATIVE.value else "small"
    directory = Path(WORKDIR.value or f"runs/verify_weights-{source}-{mode}")
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "experiment": "verify_weights",
        "source": source,
        "mode": mode,
        "tolerance": TRAIN_TOLERANCE if train else TOLERANCE,
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
