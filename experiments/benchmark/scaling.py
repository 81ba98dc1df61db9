"""The cost of spreading a step over 1, 2, 4, 8 virtual CPU devices, and over 1, 2, 4 processes.

    python -m experiments.benchmark.scaling --workdir=DIR
    python -m experiments.benchmark.scaling --layouts=pmap --devices=1,2 --process_counts=

The global batch is always the same, and so is the work; the machine does not grow with the number
of devices. The ideal is therefore the time of one device, which already has all cores, and
`efficiency` is that time divided by the measured one. For several processes the reference is one
process with as many devices. Memory is the peak resident memory of all processes together. Each row
is measured in separate processes, `--rounds` times in turn, and is the median of the medians.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import jax
from absl import flags

from cnn_jax import models
from cnn_jax.train import joining, layout
from experiments import entry, launch
from experiments.benchmark import program, timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
MODEL = flags.DEFINE_string("model", "resnet8", "Name of the network, for images of 32x32.")
BATCH = flags.DEFINE_integer("batch_size", 256, "Global batch size: examples per step.")
STEPS = flags.DEFINE_integer("steps", 10, "Number of timed steps.", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 2, "Number of measurements per row.", lower_bound=1)
DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "Numbers of virtual devices.")
PROCESS_COUNTS = flags.DEFINE_list("process_counts", ["2", "4"], "Numbers of one-device processes.")
LAYOUTS = flags.DEFINE_list("layouts", list(layout.LAYOUTS), "Layouts to measure.")
PROBE = flags.DEFINE_string("probe", "", "Internal: measure here, and write to this file.")
CACHE = flags.DEFINE_string(
    "compilation_cache", "", "Directory for compiled programs; '' for a temporary one."
)
LAYOUT = flags.DEFINE_string("layout", "jit", "Internal: layout of the probe.")
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", 1, "Internal: devices of the probe.")
COORDINATOR = flags.DEFINE_string("coordinator", "", "Internal: coordinator of the probe.")
PROCESS_COUNT = flags.DEFINE_integer("process_count", 1, "Internal: processes of the probe.")
PROCESS_ID = flags.DEFINE_integer("process_id", 0, "Internal: index of the probe's process.")


class Row(NamedTuple):
    """How a step is spread."""

    layout: str
    processes: int
    devices: int  # of all processes together


def probe() -> int:
    """Times the step in this process, which may be one of several, and writes the result."""
    entry.set_up_jax(
        cpu_devices=CPU_DEVICES.value,
        cpu_convolutions=True,
        compilation_cache=CACHE.value,
    )
    joining.connect(COORDINATOR.value, PROCESS_COUNT.value, PROCESS_ID.value)
    placed = layout.make_layout(LAYOUT.value)
    model = models.create(MODEL.value, num_classes=program.CLASSES)
    made = program.classifier(model, (32, 32, 3), BATCH.value, axis_name=placed.axis_name)
    train_step = placed.compile_train(made.step)
    own = BATCH.value // jax.process_count()
    rows = slice(jax.process_index() * own, (jax.process_index() + 1) * own)
    batch = placed.shard({name: leaf[rows] for name, leaf in made.batch.items()})
    now = placed.replicate(made.create())
    seconds = []
    for _ in range(STEPS.value + 2):  # the first compiles, the second warms up
        start = time.perf_counter()
        now, metrics = train_step(now, batch)
        jax.block_until_ready((now, metrics))
        seconds.append(time.perf_counter() - start)
    seen = {
        "seconds": statistics.median(seconds[2:]),
        "peak": timing.peak_memory(),
        "loss": float(metrics["loss"]),
    }
    path = pathlib.Path(f"{PROBE.value}.{jax.process_index()}")
    path.write_text(json.dumps(seen))
    return 0


def measure(row: Row, folder: str) -> dict[str, Any]:
    """Measures the seconds per step and the peak memory of all processes together."""
    target = pathlib.Path(folder) / "probe"
    command = [
        "experiments.benchmark.scaling",
        f"--probe={target}",
        f"--compilation_cache={CACHE.value or target.parent / 'cache'}",  # compiled once
        f"--model={MODEL.value}",
        f"--batch_size={BATCH.value}",
        f"--steps={STEPS.value}",
        f"--layout={row.layout}",
        f"--cpu_devices={row.devices // row.processes}",
    ]
    if row.processes == 1:
        status = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    else:
        status = launch.run_once(command, row.processes, grace=10)
    if status:
        raise RuntimeError(f"{row} ended with status {status}.")
    seen = [json.loads(path.read_text()) for path in sorted(target.parent.glob("probe.*"))]
    for path in target.parent.glob("probe.*"):
        path.unlink()
    return {
        "seconds": max(each["seconds"] for each in seen),
        "peak": sum(each["peak"] for each in seen),
        "loss": seen[0]["loss"],
    }


def main() -> int:
    if PROBE.value:
        return probe()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    rows = [Row(name, 1, int(count)) for name in LAYOUTS.value for count in DEVICES.value]
    counts = [int(count) for count in PROCESS_COUNTS.value if count]
    rows += [Row(name, count, count) for name in LAYOUTS.value for count in counts]
    for row in rows:
        if BATCH.value % row.devices:
            raise ValueError(
                f"--batch_size={BATCH.value} cannot be divided among {row.devices} devices: give a "
                "multiple."
            )
    seen: dict[Row, list[dict[str, Any]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS.value):
            for row in rows:
                seen[row].append(measure(row, folder))
                print(f"{row}: {1e3 * seen[row][-1]['seconds']:.1f} ms", flush=True)
    table = [summary(row, seen) for row in rows]
    for line in table:
        print(
            f"{line['layout']:5s} {line['processes']} process(es) {line['devices']} device(s)  "
            f"{line['step_ms']:7.1f} ms  {line['images_per_second']:7.1f} images/s  "
            f"efficiency {line['efficiency']:.2f}  {line['peak_mib']:,} MiB"
        )
    result = {
        "model": MODEL.value,
        "batch_size": BATCH.value,
        "steps": STEPS.value,
        "rounds": ROUNDS.value,
        "rows": table,
        "machine": timing.machine(),
    }
    timing.write_result(WORKDIR.value, result)
    return 0


def summary(row: Row, seen: dict[Row, list[dict[str, Any]]]) -> dict[str, Any]:
    """A line of the table; efficiency is against one device, or one process with as many."""
    seconds = statistics.median(each["seconds"] for each in seen[row])
    reference = Row(row.layout, 1, 1 if row.processes == 1 else row.devices)
    ideal = [each["seconds"] for each in seen.get(reference, [])]
    return {
        **row._asdict(),
        "step_ms": round(1e3 * seconds, 1),
        "images_per_second": round(BATCH.value / seconds, 1),
        "efficiency": round(statistics.median(ideal) / seconds, 3) if ideal else float("nan"),
        "peak_mib": statistics.median(each["peak"] for each in seen[row]) // 2**20,
        "loss": seen[row][0]["loss"],
    }


if __name__ == "__main__":
    entry.launch(main)
