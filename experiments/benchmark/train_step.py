"""Train steps and evaluation of whole networks: ours, JAX's own, and PyTorch, taking turns.

    python -m experiments.benchmark.train_step --workdir=DIR
    python -m experiments.benchmark.train_step --only=unet --contenders=ours,stock --runs=3
    python -m experiments.benchmark.train_step --platform=gpu  # experiments.benchmark.accelerator

A step is the forward pass, the backward pass and SGD with momentum, on one batch in memory, in
float32, on all cores. Contenders are

    ours            JAX with cnn_jax.cpu
    pure_jax        the same without oneDNN, as on ARM and macOS
    stock           JAX's own convolutions
    ours_frozen     evaluation by cnn_jax.cpu.freeze
    torch           PyTorch in channels_last, eager
    torch_compile   PyTorch with torch.compile
    torch_frozen    evaluation by torch.compile with inductor's freezing

All begin with the same weights and see the same batch, without dropout, and their first losses must
agree: a network about which they do not is left out, which a line says. Each contender is a
separate process, idle during the others' turns, since on a shared heap each would depend on the
others' allocations. Each time is the median of --repeats steps; ratios are between medians of the
same run. Each of --runs starts all processes anew. Compile seconds are JAX's, without a cache;
memory is the peak of the process. `python -m experiments.benchmark.table DIR...` makes a table of
the results.
"""

import contextlib
import datetime
import importlib.util
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from absl import flags

from experiments import entry
from experiments.benchmark import comparison, networks, serve, timing
from experiments.benchmark.contender import Contender, EndedError

# Among absl's flags only where this is the program: tests import it beside other commands
OWN = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", "", "Directory for result.json; '' for none.", flag_values=OWN
)
ONLY = flags.DEFINE_list(
    "only", [], "Names of the rows to measure; empty for all.", flag_values=OWN
)
CONTENDERS = flags.DEFINE_list(
    "contenders",
    ["ours", "ours_frozen", "pure_jax", "torch", "torch_compile", "torch_frozen"],
    "Contenders, ours among them; PyTorch's are left out where it is not installed.",
    flag_values=OWN,
)
STOCK = flags.DEFINE_bool(
    "stock", False, "Time stock too: some of its gradients take minutes.", flag_values=OWN
)
TORCH = flags.DEFINE_bool(
    "torch", True, "Time PyTorch's contenders, if it is installed.", flag_values=OWN
)
COMPILE = flags.DEFINE_bool(
    "compile", True, "Time PyTorch's compiled contenders too.", flag_values=OWN
)
RUNS = flags.DEFINE_integer(
    "runs", 1, "Runs, each with processes of its own.", lower_bound=1, flag_values=OWN
)
REPEATS = flags.DEFINE_integer(
    "repeats", 3, "Number of timed steps per contender.", lower_bound=1, flag_values=OWN
)
SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "Seconds after which a contender sits out.", flag_values=OWN
)

SETTLE = {"train": 1.0, "evaluate": 0.5}  # seconds of warm-up in each turn, see timing.SETTLE


class DisagreementError(RuntimeError):
    """The contenders do not compute the same."""


def define_flags() -> None:
    """Makes our flags those of the command line."""
    flags.FLAGS.append_flag_values(OWN)
    for name in OWN:
        flags.FLAGS.register_flag_by_module(sys.argv[0], OWN[name])
    OWN.mark_as_parsed()


def contenders() -> list[str]:
    """The names of the contenders, ours first.

    Raises:
        ValueError: a name is unknown.
    """
    chosen = list(dict.fromkeys(["ours", *CONTENDERS.value, *["stock"] * STOCK.value]))
    unknown = set(chosen) - {*serve.JAX, *serve.TORCH}
    if unknown:
        raise ValueError(
            f"--contenders={','.join(sorted(unknown))}: choose from "
            f"{', '.join((*serve.JAX, *serve.TORCH))}."
        )
    if not TORCH.value:
        chosen = [name for name in chosen if name not in serve.TORCH]
    if not COMPILE.value:
        chosen = [name for name in chosen if name not in serve.TORCH or name == "torch"]
    if any(name in serve.TORCH for name in chosen) and not (
        importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision")
    ):
        print("PyTorch is not installed: pip install -e '.[torch]'", file=sys.stderr)
        chosen = [name for name in chosen if name not in serve.TORCH]
    return chosen


def measure(network: networks.Network, names: list[str]) -> comparison.Row:
    """One row of the result.

    Raises:
        DisagreementError: their parameters or first losses differ.
        EndedError: one of them has failed.
    """
    with contextlib.ExitStack() as open_ones:
        folder = Path(open_ones.enter_context(tempfile.TemporaryDirectory()))
        made: dict[str, Contender] = {}
        for name in names:  # one after the other, so that nothing disturbs what is compiled
            made[name] = Contender(name, network.name, str(folder / "weights.safetensors"))
            open_ones.callback(made[name].close)
            made[name].ready()
            made[name].step("first")
        counts = {name: each.facts["parameters"] for name, each in made.items()}
        if len(set(counts.values())) > 1:
            raise DisagreementError(f"{network.name}: the numbers of parameters differ: {counts}")
        losses = {name: each.facts["first"] for name, each in made.items()}
        if differ := comparison.disagreement(losses):
            raise DisagreementError(
                f"{network.name}: the first losses differ by more than {comparison.CLOSE:g}: "
                f"{differ}"
            )
        row: comparison.Row = {
            "network": network.name,
            "batch": network.batch,
            "input": network.input_shape,
            "parameters": counts["ours"],
            "first_losses": losses,
        }
        for what in ("train", "evaluate"):
            taking = {
                n: each for n, each in made.items() if what != "train" or each.facts["trains"]
            }
            times = timing.alternate(
                {name: partial(each.step, what) for name, each in taking.items()},
                repeats=REPEATS.value,
                seconds=SECONDS.value,
                settle=SETTLE[what],
            )
            for name, value in timing.medians(times).items():
                row[f"{what}_{name}_ms"] = round(1e3 * value, 1)
            row[f"{what}_spread_ours"] = round(comparison.spread(times["ours"]), 3)
        for name, each in made.items():
            row[f"{name}_peak_mib"] = each.facts["peak_mib"]
            if each.facts["compile_seconds"] is not None:
                row[f"{name}_compile_seconds"] = round(each.facts["compile_seconds"], 1)
    return row | comparison.ratios(row)


def main() -> int:
    table = {network.name: network for network in networks.TABLE}
    if unknown := sorted(set(ONLY.value) - set(table)):
        raise ValueError(f"--only={','.join(unknown)}: choose from {', '.join(table)}.")
    names = contenders()
    machine = timing.machine()
    print(f"{machine['processor']}, all of {machine['cores']} cores", flush=True)
    rows, left_out = [], []
    for run in range(RUNS.value):
        for name, network in table.items():
            if ONLY.value and name not in ONLY.value:
                continue
            try:
                rows.append({"run": run} | measure(network, names))
            except (DisagreementError, EndedError) as error:
                left_out.append(str(error))
                print(f"left out: {error}", file=sys.stderr, flush=True)
                continue
            print(comparison.line(rows[-1]), flush=True)
    result: dict[str, object] = {
        "machine": machine,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "repeats": REPEATS.value,
        "runs": RUNS.value,
        **comparison.summary(rows),
    }
    print(json.dumps(result, indent=2))
    timing.write_result(WORKDIR.value, {**result, "left_out": left_out, "rows": rows})
    return 1 if left_out else 0


if __name__ == "__main__":
    if any(argument.lstrip("-").startswith("platform=") for argument in sys.argv[1:]):
        # an accelerator has a command of its own, with flags of its own: this becomes it
        program = [sys.executable, "-m", "experiments.benchmark.accelerator", *sys.argv[1:]]
        os.execv(sys.executable, program)
    entry.launch(main, define=define_flags)
