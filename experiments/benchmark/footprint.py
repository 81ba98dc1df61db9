"""What the memory of a training step on a CPU consists of, ours and PyTorch's, network by network.

    python -m experiments.benchmark.footprint --workdir=DIR
    python -m experiments.benchmark.footprint --networks=resnet18 --nowait

Each line is a process of its own that compiles and makes --steps steps (the networks and batches
are those of `experiments.benchmark.train_step`). All figures are MiB of resident memory:

    compile     peak until the step is compiled
    before      what is left then; --notrim keeps what the compiler has freed
    step        peak of the steps themselves, above `before`: the step's own memory
    peak        peak of the process

and of JAX also XLA's own account: `temporary` buffers, `arguments`, and of these `aliased` with
results; and malloc's: what is in use and what is kept free after the last step. `kept_free` is
address space: what was trimmed is not resident. `step` without `temporary` is what the C library or
oneDNN took besides. --nowait lets calls return before their step ends, as JAX does by default, see
`cnn_jax.cpu.memory`; --noroom leaves the heap as the compiler left it, see `cnn_jax.cpu.room`.
"""

import ctypes
import gc
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

from experiments import entry
from experiments.benchmark import networks, serve, timing

NETWORKS = ["resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "densenet121"]
# the fields of struct mallinfo2 in glibc's malloc.h
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Info(ctypes.Structure):
    """What mallinfo2 returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


def resident() -> dict[str, int]:
    """MiB of this process: `now`, and `peak` since `forget_peak`. Linux only."""
    with open("/proc/self/status") as lines:
        found = dict(line.split(":", 1) for line in lines if ":" in line)
    return {
        "now": int(found["VmRSS"].split()[0]) >> 10,
        "peak": int(found["VmHWM"].split()[0]) >> 10,
    }


def forget_peak() -> None:
    """The peak of `resident` begins anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def heap() -> dict[str, int]:
    """MiB that malloc has given out, and that it keeps free; empty where it does not tell."""
    library = ctypes.CDLL(None)
    if platform.libc_ver()[0] != "glibc" or not hasattr(library, "mallinfo2"):
        return {}
    library.mallinfo2.restype = _Info
    info = library.mallinfo2()
    return {"in_use": (info.uordblks + info.hblkhd) >> 20, "kept_free": info.fordblks >> 20}


def measure(name: str, network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one contender, 'ours' or 'torch', in this process."""
    facts: dict[str, Any] = {}
    if name == "ours":
        from cnn_jax.cpu import memory, room

        serve.WAIT = options["wait"]
        if not options["trim"]:
            memory.LEAST_SECONDS = memory.LEAST_LOWERING = float("inf")
        if not options["room"]:
            room.make = lambda: None  # `settle` does nothing either
    (row,) = (each for each in networks.TABLE if each.name == network)
    steps = serve.build(name, row, "")
    facts["compile"] = resident()["peak"]
    gc.collect()
    facts["before"] = resident()["now"]
    forget_peak()
    for _ in range(options["steps"]):
        steps.train()
    after = resident()
    facts["step"] = after["peak"] - facts["before"]
    facts["peak"] = max(facts["compile"], after["peak"])
    if name == "ours":
        seen = steps.memory_analysis()
        facts["temporary"] = seen.temp_size_in_bytes >> 20
        facts["arguments"] = seen.argument_size_in_bytes >> 20
        facts["aliased"] = seen.alias_size_in_bytes >> 20
    facts.update(heap())
    if name == "ours" and "in_use" in facts:
        facts["in_use"] -= room.held() >> 20  # addresses without pages
    return facts


def apart(name: str, network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`measure` in a process of its own."""
    call = f"footprint.measure({name!r}, {network!r}, {dict(options)!r})"
    program = f"import json; from experiments.benchmark import footprint; print(json.dumps({call}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    if done.returncode:
        raise RuntimeError(f"{network}: {name} ended with status {done.returncode}; see above.")
    return json.loads(done.stdout.splitlines()[-1])


def define(values: flags.FlagValues) -> None:
    """Defines the flags; not at import, for other benchmarks have some of the same names."""
    text, many, switch = flags.DEFINE_string, flags.DEFINE_list, flags.DEFINE_bool
    text("workdir", "", "Directory for result.json; '' for none.", flag_values=values)
    many("networks", NETWORKS, "Names of rows of the table of train_step.", flag_values=values)
    flags.DEFINE_integer("steps", 10, "Number of steps.", lower_bound=1, flag_values=values)
    switch("trim", True, "Give back what the compiler has freed.", flag_values=values)
    switch("room", True, "Make room for what stays after a step.", flag_values=values)
    switch("wait", True, "Let each call return when its step is done.", flag_values=values)
    switch("torch", True, "Measure PyTorch too, if it is installed.", flag_values=values)


def main(values: flags.FlagValues) -> None:
    known = [row.name for row in networks.TABLE]
    if unknown := set(values.networks) - set(known):
        raise ValueError(f"--networks={','.join(sorted(unknown))}: choose from {', '.join(known)}.")
    options = {name: values[name].value for name in ("steps", "trim", "room", "wait")}
    found = all(map(importlib.util.find_spec, ("torch", "torchvision")))
    names = ["ours", "torch"] if values.torch and found else ["ours"]
    rows: list[dict[str, Any]] = []
    for network in values.networks:
        seen = {name: apart(name, network, options) for name in names}
        rows.append({"network": network, **seen})
        for name in names:
            figures = "  ".join(f"{key} {value}" for key, value in seen[name].items())
            print(f"{network:16s}  {name:5s}  {figures}", flush=True)
    result: dict[str, Any] = {"machine": timing.machine(), **options}
    if "torch" in names:
        for key in ("step", "peak"):
            ratios = [row["ours"][key] / row["torch"][key] for row in rows]
            result[f"{key}_vs_torch"] = round(timing.geometric_mean(ratios), 3)
    print(json.dumps(result, indent=2))
    timing.write_result(values.workdir, {**result, "rows": rows})


if __name__ == "__main__":
    entry.launch(lambda: main(flags.FLAGS), define=lambda: define(flags.FLAGS))
