"""Checks a long run for leaks: resident memory and open file descriptors over many steps.

    python -m experiments.benchmark.soak --steps=20000 --workdir=DIR

Runs `experiments.classification` in a separate process, on the built-in digits, with a checkpoint
every --checkpoint_every steps, and records its resident memory and the number of its descriptors
once a second. The slope of the memory is that of a least-squares line over the steps after
--warm_up.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import flags

from cnn_jax.train import log
from experiments import entry
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
STEPS = flags.DEFINE_integer("steps", 20_000, "Number of steps.", lower_bound=100)
MODEL = flags.DEFINE_string("model", "resnet8", "Name of the network.")
BATCH = flags.DEFINE_integer("batch_size", 32, "Examples per step.", lower_bound=1)
EVERY = flags.DEFINE_integer("checkpoint_every", 200, "Steps between checkpoints.", lower_bound=1)
WARM_UP = flags.DEFINE_integer("warm_up", 1000, "Steps before the slope begins.", lower_bound=0)
SECONDS = flags.DEFINE_float("seconds", 0.0, "Seconds to a SIGTERM; 0: run to the end.")


def resident(process: int) -> int:
    """Resident memory of a process in bytes."""
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(process: int) -> int:
    return len(list(pathlib.Path(f"/proc/{process}/fd").iterdir()))


def newest_step(run: pathlib.Path) -> int:
    """The step of the newest row of the log; 0 before the first."""
    rows = log.read_rows(run / "metrics.jsonl")
    return int(rows[-1]["step"]) if rows else 0


def watch(process: subprocess.Popen, run: pathlib.Path) -> list[tuple[int, int, int]]:
    """(step, bytes, descriptors), once a second until the run ends or --seconds have passed."""
    seen: list[tuple[int, int, int]] = []
    began = time.monotonic()
    while process.poll() is None:
        time.sleep(1)
        try:
            memory, opened = resident(process.pid), descriptors(process.pid)
            if memory:  # 0 if it has just ended
                seen.append((newest_step(run), memory, opened))
        except OSError:
            break
        if SECONDS.value and time.monotonic() - began > SECONDS.value:
            process.terminate()
            break
    return seen


def summary(seen: list[tuple[int, int, int]], warm_up: int) -> dict[str, float]:
    """Slope and extremes after the warm-up.

    Raises:
        RuntimeError: there are fewer than ten observations after it.
    """
    end = max((row[0] for row in seen), default=0)  # the process frees everything there
    steps, memory, opened = np.array(
        [row for row in seen if max(warm_up, 1) <= row[0] < end], np.float64
    ).reshape(-1, 3).T  # fmt: skip
    if len(steps) < 10:
        raise RuntimeError(
            f"Only {len(steps)} observations after {warm_up} steps: run for longer, or lower "
            "--warm_up."
        )
    slope, _ = np.polyfit(steps, memory, 1)
    return {
        "observations": len(steps),
        "first_step": int(steps[0]),
        "last_step": int(steps[-1]),
        "rss_mib_first": round(float(memory[0]) / 2**20, 1),
        "rss_mib_last": round(float(memory[-1]) / 2**20, 1),
        "rss_mib_most": round(float(memory.max()) / 2**20, 1),
        "rss_kib_per_1000_steps": round(1000 * float(slope) / 1024, 1),
        "descriptors_first": int(opened[0]),
        "descriptors_last": int(opened[-1]),
        "descriptors_most": int(opened.max()),
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = [
            *(sys.executable, "-m", "experiments.classification"),
            f"--workdir={run}",
            f"--model={MODEL.value}",
            f"--batch_size={BATCH.value}",
            f"--steps={STEPS.value}",
            f"--checkpoint_every_steps={EVERY.value}",
            f"--evaluate_every_steps={10 * EVERY.value}",
            "--nofigures",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            seen = watch(process, run)
            status = process.wait(timeout=120)
        finally:
            process.kill()
        if status:
            raise RuntimeError(f"The run ended with status {status}.")
        result = {
            "model": MODEL.value,
            "batch_size": BATCH.value,
            "checkpoint_every": EVERY.value,
            **summary(seen, WARM_UP.value),
            "machine": timing.machine(),
        }
    print(json.dumps(result, indent=2))
    rows = [dict(zip(("step", "rss", "descriptors"), row, strict=True)) for row in seen]
    timing.write_result(WORKDIR.value, {**result, "rows": rows})
    return 0


if __name__ == "__main__":
    entry.launch(main)
