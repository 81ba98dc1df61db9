"""Seconds to the first step (initialisation, tracing, compilation) for ResNets of several depths.

    python -m experiments.benchmark.compile --workdir=DIR
    python -m experiments.benchmark.compile --depths=50 --variants=ours,stock

Each row is a separate process without a cache of compiled programs; `cached_compile_seconds` is
from a second process, with the cache of the first one. The variants are the same network with
`cnn_jax.cpu`, with JAX's own convolutions, and with `cnn_jax.cpu` and the equal blocks of each
stage scanned over (`nn.scan`). `step_ms` is the median of a few compiled steps.

Before that, `--starts` consecutive runs of the default experiment are timed from the start of
Python to the first row of metrics.jsonl; the first run finds no cache of compiled programs.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
from absl import flags

from cnn_jax import models
from cnn_jax.train import layout
from experiments import entry
from experiments.benchmark import program, scanned, timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
DEPTHS = flags.DEFINE_list("depths", ["18", "50", "101", "152"], "Depths of the ResNets.")
VARIANTS = flags.DEFINE_list("variants", ["ours", "stock", "scan"], "Variants to compile.")
BATCH = flags.DEFINE_integer("batch_size", 8, "Examples per step.", lower_bound=1)
SIZE = flags.DEFINE_integer("image_size", 64, "Height and width of the images.", lower_bound=32)
CACHED = flags.DEFINE_bool("cached", True, "Compile a second time, from the cache.")
STARTS = flags.DEFINE_integer("starts", 4, "Starts of the default experiment.", lower_bound=0)
PROBE = flags.DEFINE_string("probe", "", "Internal: measure here, and write to this file.")
CACHE = flags.DEFINE_string("compilation_cache", "", "Internal: cache directory of the probe.")

STEPS = 3


def probe(depth: str, variant: str) -> int:
    """Builds, compiles and runs one network in this process."""
    entry.set_up_jax(
        cpu_devices=0, cpu_convolutions=variant != "stock", compilation_cache=CACHE.value
    )
    name = f"resnet{depth}"
    model = models.create(name, num_classes=program.CLASSES)
    if variant == "scan":
        model = scanned.ScannedResNet(program.CLASSES, model.stage_sizes, model.block)
    made = program.classifier(model, (SIZE.value, SIZE.value, 3), BATCH.value)
    placed = layout.jit_layout(jax.devices()[:1])
    marks = [time.perf_counter()]
    now = jax.block_until_ready(made.create())
    marks.append(time.perf_counter())
    now, batch = placed.replicate(now), placed.shard(made.batch)
    start = time.perf_counter()
    lowered = placed.compile_train(made.step).lower(now, batch)
    marks.append(time.perf_counter())
    compiled = lowered.compile()
    marks.append(time.perf_counter())
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        now, _ = jax.block_until_ready(compiled(now, batch))
        seconds.append(time.perf_counter() - began)
    seen = {
        "init_seconds": round(marks[1] - marks[0], 2),
        "trace_seconds": round(marks[2] - start, 2),
        "compile_seconds": round(marks[3] - marks[2], 2),
        "step_ms": round(1e3 * statistics.median(seconds[1:]), 1),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(now.params)),
    }
    pathlib.Path(PROBE.value).write_text(json.dumps(seen))
    return 0


def measure(depth: str, variant: str, folder: str) -> dict[str, Any]:
    """A row: the figures of a first process, and the compile time of a second one."""
    target = pathlib.Path(folder) / "probe.json"
    cache = pathlib.Path(folder) / f"{depth}-{variant}"
    command = [
        *(sys.executable, "-m", "experiments.benchmark.compile"),
        f"--probe={target}",
        f"--compilation_cache={cache}",
        f"--depths={depth}",
        f"--variants={variant}",
        f"--batch_size={BATCH.value}",
        f"--image_size={SIZE.value}",
    ]
    runs = []
    for _ in range(2 if CACHED.value else 1):
        subprocess.run(command, check=True)
        runs.append(json.loads(target.read_text()))
    row = {"depth": int(depth), "variant": variant, **runs[0]}
    for name in ("init", "compile"):
        if CACHED.value:
            row[f"cached_{name}_seconds"] = runs[1][f"{name}_seconds"]
    return row


def seconds_to_first_step(folder: pathlib.Path) -> float:
    """Seconds to the first step of `python -m experiments.classification`, as a user waits for it.

    Raises:
        RuntimeError: it ended without a step.
    """
    workdir = pathlib.Path(tempfile.mkdtemp(dir=folder))
    began = time.perf_counter()
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "experiments.classification", "--steps=1", "--log_every=1"),
            *(f"--workdir={workdir}", f"--compilation_cache={folder / 'cache'}"),
        ],
        stdout=subprocess.DEVNULL,
    )
    rows = workdir / "metrics.jsonl"
    while not (rows.exists() and rows.stat().st_size) and run.poll() is None:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    if run.wait() or not rows.exists():
        raise RuntimeError(
            f"The default experiment ended with status {run.returncode} before its first step."
        )
    return round(seconds, 2)


def main() -> int:
    if PROBE.value:
        return probe(DEPTHS.value[0], VARIANTS.value[0])
    unknown = set(VARIANTS.value) - {"ours", "stock", "scan"}
    if unknown:
        raise ValueError(f"--variants={','.join(sorted(unknown))}: choose from ours, stock, scan.")
    table = []
    with tempfile.TemporaryDirectory() as folder:
        starts = [seconds_to_first_step(pathlib.Path(folder)) for _ in range(STARTS.value)]
        if starts:
            print("default experiment, seconds to its first step:", *starts, flush=True)
        for depth in DEPTHS.value:
            for variant in VARIANTS.value:
                table.append(measure(depth, variant, folder))
                print("  ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
    result = {
        "batch_size": BATCH.value,
        "image_size": SIZE.value,
        "seconds_to_first_step": starts,
        "rows": table,
        "machine": timing.machine(),
    }
    timing.write_result(WORKDIR.value, result)
    return 0


if __name__ == "__main__":
    entry.launch(main)
