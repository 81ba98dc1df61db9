"""Train steps and evaluation of whole networks: stock JAX, ours, and PyTorch, taking turns.

    python -m experiments.benchmark.train_step --workdir=DIR
    python -m experiments.benchmark.train_step --only=resnet50,unet --nostock --compile
    python -m experiments.benchmark.train_step --platform=gpu  # experiments.benchmark.accelerator

A step is the forward pass, the backward pass and SGD with momentum, on one batch in memory, in
float32. PyTorch uses channels_last and all cores; --compile adds torch.compile to eager. Each
contender is a separate process, idle during the others' turns, since on a shared heap each would
depend on the others' allocations. Each time is the median of --repeats steps; ratios are between
medians of the same rounds. Compile seconds are JAX's, without a cache; memory is the peak of the
process. A contender sits out further rounds after --seconds, because some of stock JAX's gradients
take minutes.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

import cnn_jax.cpu
from cnn_jax import models
from experiments import entry
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
ONLY = flags.DEFINE_list("only", [], "Names of the rows to measure; empty for all.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Number of timed steps per contender.", lower_bound=1)
STOCK = flags.DEFINE_bool("stock", True, "Time JAX's own convolutions too.")
SECONDS = flags.DEFINE_float("seconds", 30.0, "Seconds after which a contender sits out.")
TORCH = flags.DEFINE_bool("torch", True, "Time PyTorch too, if it is installed.")
COMPILE = flags.DEFINE_bool("compile", False, "Time torch.compile too, besides eager PyTorch.")
SERVE = flags.DEFINE_string("serve", "", "Internal: the contender that this process is.")


SETTLE = 1.0  # seconds of warm-up in each turn, see timing.SETTLE


class Network(NamedTuple):
    """A row: our name and fields of the network, the batch and the input."""

    name: str
    model: str
    batch: int
    input_shape: tuple[int, ...]
    fields: dict
    dense: bool = False  # whether it gives a class for every pixel
    num_classes: int = 10


TABLE = [
    Network("resnet18", "resnet18", 64, (32, 32, 3), {"stem": "small"}),
    Network("resnet50", "resnet50", 16, (96, 96, 3), {}),
    Network("wrn_16_4", "wrn_16_4", 64, (32, 32, 3), {}),
    Network("vgg11_bn", "vgg11_bn", 16, (64, 64, 3), {}),
    Network("resnext50_32x4d", "resnext50_32x4d", 16, (96, 96, 3), {}),
    Network("mobilenet_v2", "mobilenet_v2", 16, (96, 96, 3), {}),
    Network("efficientnet_b0", "efficientnet_b0", 16, (96, 96, 3), {}),
    Network("convnext_tiny", "convnext_tiny", 16, (96, 96, 3), {}),
    Network("densenet121", "densenet121", 16, (64, 64, 3), {}),
    Network("unet", "unet_same", 8, (96, 96, 3), {"width": 32}, dense=True),
    Network(
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_mobilenet_v3_large",
        4,
        (128, 128, 3),
        {"aux_stage": None},
        dense=True,
        num_classes=21,
    ),
    Network("resnet18_1d", "resnet18", 64, (1024, 1), {}),
]


def arrays(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [B, *space, C] and labels [B] or [B, *space]."""
    random = np.random.default_rng(0)
    x = random.standard_normal((network.batch, *network.input_shape), np.float32)
    shape = x.shape[:-1] if network.dense else x.shape[:1]
    return x, random.integers(0, network.num_classes, shape)


class JaxSteps:
    """Training and evaluation steps, compiled under the lowering rules in force."""

    def __init__(self, network: Network, x: np.ndarray, y: np.ndarray):
        model = models.create(network.model, num_classes=network.num_classes, **network.fields)
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        variables = dict(
            model.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype), train=False)
        )
        params = variables.pop("params")
        tx = optax.sgd(0.01, momentum=0.9)

        def train(state, x, y):
            params, rest, opt_state, key = state
            key, dropout = jax.random.split(key)

            def loss(params):
                outputs, new = model.apply(
                    {"params": params, **rest},
                    x,
                    train=True,
                    rngs={"dropout": dropout},
                    mutable=list(rest),
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
                return losses.mean(), new

            (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), rest, opt_state, key), value

        def evaluate(state, x):
            return model.apply({"params": state[0], **state[1]}, x, train=False)

        self.state = (params, variables, tx.init(params), jax.random.key(1))
        start = time.perf_counter()
        lowered = jax.jit(train, donate_argnums=0).lower(self.state, self.x, self.y)
        self._train = lowered.compile()
        self.train_compile_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self._evaluate = jax.jit(evaluate).lower(self.state, self.x).compile()
        self.eval_compile_seconds = time.perf_counter() - start

    def train(self) -> None:
        self.state, value = self._train(self.state, self.x, self.y)
        jax.block_until_ready((self.state, value))

    def evaluate(self) -> None:
        jax.block_until_ready(self._evaluate(self.state, self.x))

    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state[0]))


def contenders() -> list[str]:
    """The names of the contenders."""
    chosen = ["ours"]
    if STOCK.value:
        chosen.append("stock")
    if TORCH.value:
        if importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision"):
            chosen += ["torch", "torch_compile"] if COMPILE.value else ["torch"]
        else:
            print("PyTorch is not installed: pip install -e '.[torch]'", file=sys.stderr)
    return chosen


def build(contender: str, network: Network) -> Any:
    """Builds the steps of a contender in this process."""
    x, y = arrays(network)
    if contender in ("ours", "stock"):
        if contender == "ours":
            cnn_jax.cpu.enable()
        return JaxSteps(network, x, y)
    from experiments.benchmark.pytorch.train_step import Steps

    compiled = contender == "torch_compile"
    return Steps(network.name, x, y, network.num_classes, compile=compiled)


def serve(contender: str) -> int:
    """Runs the steps that stdin asks for, one per line, and answers each with a line of JSON."""
    (network,) = (row for row in TABLE if row.name in ONLY.value)
    steps = build(contender, network)
    compiled = getattr(steps, "train_compile_seconds", None)
    print(json.dumps({"parameters": steps.parameters(), "compile_seconds": compiled}), flush=True)
    for what in sys.stdin:
        getattr(steps, what.strip())()
        print(json.dumps({"peak_mib": timing.peak_memory() // 2**20}), flush=True)
    return 0


class Contender:
    """A contender in a separate process, with its own threads, heap and caches."""

    def __init__(self, name: str, network: Network):
        self.name = name
        program = ["-m", "experiments.benchmark.train_step", f"--only={network.name}"]
        self.process = subprocess.Popen(
            [sys.executable, *program, f"--serve={name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        self.facts = self._answer()

    def step(self, what: str) -> None:
        """Returns when the step is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        self.facts |= self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            raise RuntimeError(f"The contender {self.name} ended with status {status}; see above.")
        return json.loads(answer)


def measure(network: Network, names: list[str]) -> dict[str, Any]:
    """One row of the result."""
    with contextlib.ExitStack() as open_ones:
        made = {}
        for name in names:
            made[name] = Contender(name, network)
            open_ones.callback(made[name].close)
        counts = {name: each.facts["parameters"] for name, each in made.items()}
        if len(set(counts.values())) > 1:
            raise RuntimeError(f"{network.name}: the contenders' parameters differ: {counts}")
        row: dict[str, Any] = {
            "network": network.name,
            "batch": network.batch,
            "input": network.input_shape,
            "parameters": counts["ours"],
        }
        for what in ("train", "evaluate"):
            calls = {name: partial(each.step, what) for name, each in made.items()}
            times = timing.alternate(
                calls, repeats=REPEATS.value, seconds=SECONDS.value, settle=SETTLE
            )
            median = timing.medians(times)
            for name, value in median.items():
                row[f"{what}_{name}_ms"] = round(1e3 * value, 1)
                if name != "ours":
                    row[f"{what}_vs_{name}"] = round(value / median["ours"], 3)
            row[f"{what}_spread_ours"] = round(
                (max(times["ours"]) - min(times["ours"])) / median["ours"], 3
            )
        for name, each in made.items():
            row[f"{name}_peak_mib"] = each.facts["peak_mib"]
            if each.facts["compile_seconds"] is not None:
                row[f"{name}_compile_seconds"] = round(each.facts["compile_seconds"], 1)
    return row


def line(row: dict) -> str:
    """A row for the console."""
    shown = f"{row['network']:16s}"
    for what in ("train", "evaluate"):
        shown += f"  {what}"
        for name in ("stock", "torch", "torch_compile", "ours"):
            if f"{what}_{name}_ms" in row:
                shown += f"  {name} {row[f'{what}_{name}_ms']:8.1f} ms"
        for name in ("stock", "torch", "torch_compile"):
            if f"{what}_vs_{name}" in row:
                shown += f"  {row[f'{what}_vs_{name}']:.2f}x {name}"
    for name in ("ours", "stock", "torch"):
        if f"{name}_peak_mib" in row:
            shown += f"  {name} {row[f'{name}_peak_mib']} MiB"
    for name in ("ours", "stock"):
        if f"{name}_compile_seconds" in row:
            shown += f"  compile {name} {row[f'{name}_compile_seconds']:.0f} s"
    return shown


def main() -> int:
    unknown = set(ONLY.value) - {row.name for row in TABLE}
    if unknown:
        known = ", ".join(row.name for row in TABLE)
        raise ValueError(f"--only={','.join(sorted(unknown))}: choose from {known}.")
    if SERVE.value:
        return serve(SERVE.value)
    names = contenders()
    rows = []
    for network in TABLE:
        if not ONLY.value or network.name in ONLY.value:
            rows.append(measure(network, names))
            print(line(rows[-1]), flush=True)
    result: dict[str, object] = {"machine": timing.machine(), "repeats": REPEATS.value}
    for what in ("train", "evaluate"):
        for other in ("stock", "torch", "torch_compile"):
            ratios = [row[f"{what}_vs_{other}"] for row in rows if f"{what}_vs_{other}" in row]
            if ratios:
                prefix = "" if what == "train" else f"{what}_"
                result[f"{prefix}geomean_vs_{other}"] = round(timing.geometric_mean(ratios), 3)
                result[f"{prefix}worst_vs_{other}"] = min(ratios)
    print(json.dumps(result, indent=2))
    timing.write_result(WORKDIR.value, {**result, "rows": rows})
    return 0


if __name__ == "__main__":
    if any(argument.lstrip("-").startswith("platform=") for argument in sys.argv[1:]):
        # an accelerator has a command of its own, with flags of its own: this becomes it
        program = [sys.executable, "-m", "experiments.benchmark.accelerator", *sys.argv[1:]]
        os.execv(sys.executable, program)
    entry.launch(main)
