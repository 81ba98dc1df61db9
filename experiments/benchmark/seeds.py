"""Eight seeds with one command against eight runs in a row, including compilation.

    python -m experiments.benchmark.seeds --workdir=DIR

Each network is trained for a few hundred steps: by `cnn_jax.run.sweep`, vectorised and taking
turns, and by `cnn_jax.run` once per seed, in one process and without a cache of compiled
programs. A seed gives the same numbers either way; the largest difference is reported.
"""

import json
import pathlib
import tempfile
import time

from absl import flags

from cnn_jax import run
from cnn_jax.run import classification, sweep
from experiments import entry
from experiments import recipe as recipes
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
RUNS = flags.DEFINE_integer("runs", 8, "Number of seeds.", lower_bound=2)
STEPS = flags.DEFINE_integer("steps", 300, "Number of steps of each run.", lower_bound=1)
NETWORKS = flags.DEFINE_list("networks", [], "Names of the networks to run; empty for all.")

# From small to large: data set, network and its options, with learning rates that do not diverge.
SETTINGS = {
    "mnist1d_mlp": ["--dataset=mnist1d", "--model=mnist1d_mlp"],
    "mnist1d_cnn": ["--dataset=mnist1d", "--model=mnist1d_cnn"],
    "tcn_small": ["--dataset=mnist1d", "--model=tcn_small"],
    "resnet8": ["--dataset=digits", "--model=resnet8", "--augment="],
}
SHARED = [
    "--batch_size=100",
    "--optimizer=adam",
    "--learning_rate=1e-3",
    "--weight_decay=0",
    "--evaluate_every_epochs=0",
    "--checkpoint_every_epochs=0",
    "--devices=1",
    "--nofigures",
]


def parsed(*arguments: str) -> classification.ClassificationRecipe:
    values = flags.FlagValues()
    recipes.define_flags(classification.ClassificationRecipe, values)
    values(["benchmark", *SHARED, f"--steps={STEPS.value}", *arguments])
    return recipes.from_flags(classification.ClassificationRecipe, values)


def in_a_row(arguments: list[str], runs: int) -> list[dict]:
    """The results of ordinary runs, one per seed."""
    results = []
    for seed in range(runs):
        with tempfile.TemporaryDirectory() as directory:
            recipe = parsed(*arguments, f"--seed={seed}", f"--workdir={directory}")
            run.train_experiment(
                recipe, classification.make_experiment(recipe), program=run.Program(quiet=True)
            )
            results.append(json.loads((pathlib.Path(directory) / "result.json").read_text()))
    return results


def by_one_command(arguments: list[str], *, side_by_side: bool) -> list[dict]:
    """The results of the same runs with `cnn_jax.run.sweep`."""
    with tempfile.TemporaryDirectory() as directory:
        recipe = parsed(*arguments, f"--seeds={RUNS.value}", f"--workdir={directory}")
        experiment = classification.make_experiment(recipe)
        quiet = run.Program(quiet=True)
        sweep.run_many(recipe, experiment, side_by_side=side_by_side, program=quiet)
        return json.loads((pathlib.Path(directory) / "result.json").read_text())["runs"]


def measure(name: str) -> dict:
    arguments = SETTINGS[name]
    found, seconds = {}, {}
    ways = {
        "in a row": lambda: in_a_row(arguments, RUNS.value),
        "taking turns": lambda: by_one_command(arguments, side_by_side=False),
        "side by side": lambda: by_one_command(arguments, side_by_side=True),
    }
    in_a_row([*arguments, "--steps=1"], 1)  # warms up what happens once per process
    for way, measured in ways.items():
        began = time.perf_counter()
        found[way] = measured()
        seconds[way] = time.perf_counter() - began
    row: dict = {"network": name, "seconds_in_a_row": round(seconds["in a row"], 2)}
    for way in ("taking turns", "side by side"):
        key = way.replace(" ", "_")
        row[f"seconds_{key}"] = round(seconds[way], 2)
        row[f"speedup_{key}"] = round(seconds["in a row"] / seconds[way], 2)
        row[f"difference_{key}"] = max(
            abs(one["test_loss"] - other["test_loss"]) / abs(other["test_loss"])
            for one, other in zip(found[way], found["in a row"], strict=True)
        )
    return row


def main() -> int:
    unknown = set(NETWORKS.value) - set(SETTINGS)
    if unknown:
        raise ValueError(f"--networks={','.join(unknown)}: choose from {', '.join(SETTINGS)}.")
    entry.set_up_jax(cpu_devices=0, cpu_convolutions=True, compilation_cache="")
    rows = []
    for name in NETWORKS.value or SETTINGS:
        rows.append(measure(name))
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "runs": RUNS.value,
        "steps": STEPS.value,
        "machine": timing.machine(),
        "rows": rows,
    }
    timing.write_result(WORKDIR.value, result)
    return 0


if __name__ == "__main__":
    entry.launch(main)
