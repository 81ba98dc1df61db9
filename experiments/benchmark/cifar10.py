"""Times whole runs on CIFAR-10 to a test accuracy: our experiment against PyTorch.

    python -m experiments.benchmark.cifar10 --data_dir=DIR --workdir=DIR --runs=3

Both train the network of a recipe with that recipe: the same layers, initialisation, optimiser,
learning rates, augmentation, order of batches and evaluations, but other random numbers. Ours is
`python -m experiments.classification` as a user starts it, without a cache of compiled programs,
checkpoints or figures; PyTorch's is `experiments.benchmark.pytorch.cifar10`, eager. Each run is a
process, timed from start to end, including imports, decoding and compilation. The time to
--threshold ends when the first evaluation that reaches it is logged. The two take turns, and run i
of both has the seed --seed + i.
"""

import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from absl import flags

from cnn_jax import data
from cnn_jax.run import classification
from cnn_jax.run.network import create_model
from cnn_jax.run.optimisation import plan_of, warmup_steps_of
from cnn_jax.train import log
from experiments import entry
from experiments import recipe as recipes
from experiments.benchmark import timing

# Switched off on our side, since PyTorch's side does not do it either.
OURS = ("--nofigures", "--checkpoint_every_epochs=0", "--compilation_cache=")
POLL_SECONDS = 0.1


def define_flags() -> None:
    """Defines the flags, separately because tests import this module without its flags."""
    flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
    flags.DEFINE_string("data_dir", "", "Directory of the prepared data sets; '' for TFDS's own.")
    flags.DEFINE_string(
        "recipe", "experiments/recipes/cifar10_airbench.flags", "Flagfile of both contenders."
    )
    flags.DEFINE_multi_string("set", [], "Setting that overrides the recipe's: --set=--epochs=2.")
    flags.DEFINE_integer("runs", 3, "Number of runs of each contender.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the first run.")
    flags.DEFINE_float("threshold", 0.9, "Test accuracy to time.")
    flags.DEFINE_bool("torch", True, "Run PyTorch too, if it is installed.")


def parsed(arguments: Iterable[str]) -> classification.ClassificationRecipe:
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    recipes.define_flags(classification.ClassificationRecipe, values)
    values(["benchmark", *arguments])
    return recipes.from_flags(classification.ClassificationRecipe, values)


def torch_settings(recipe: classification.ClassificationRecipe) -> dict[str, Any]:
    """The recipe as fields of `pytorch.cifar10.Settings`.

    Raises:
        ValueError: the recipe has a setting that PyTorch's side lacks.
    """
    words = recipe.augment.split(",")
    wanted = {
        "dataset": "cifar10",
        "model": "airbench",
        "optimizer": "sgd",
        "nesterov": True,
        "schedule": "linear",
        "final_learning_rate": 0.0,
        "learning_rate_per": 0,
        "clip_norm": 0.0,
        "ema_decay": 0.0,
        "accumulate": 1,
        "mixup": 0.0,
        "cutmix": 0.0,
        "image_size": 0,
        "channels": 0,
        "dtype": "float32",
    }
    for name, value in wanted.items():
        if getattr(recipe, name) != value:
            raise ValueError(
                f"--{name}={getattr(recipe, name)}: PyTorch's side of this benchmark has {value!r} "
                "only. Give that, or --notorch to leave PyTorch out."
            )
    if len(words) != 2 or words[0] != "flip" or not words[1].startswith("crop:"):
        raise ValueError(
            f"--augment={recipe.augment}: PyTorch's side of this benchmark has 'flip,crop:PIXELS' "
            "only. Give that, or --notorch to leave PyTorch out."
        )
    model = create_model(recipe.model, recipe, num_classes=10)
    source = data.load_source("cifar10", recipe.train_split, data_dir=recipe.data_dir or None)
    per_epoch = len(source) / recipe.batch_size
    plan = plan_of(recipe, per_epoch)
    mean, std = data.statistics("cifar10", 3)
    return {
        "widths": model.widths,
        "norm_momentum": model.norm_momentum,
        "data_dir": recipe.data_dir,
        "train_split": recipe.train_split,
        "test_split": recipe.test_split,
        "mean": mean,
        "std": std,
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        "eval_batch_size": recipe.eval_batch_size or recipe.batch_size,
        "steps": plan.steps,
        "warmup_steps": warmup_steps_of(recipe, plan.steps, per_epoch),
        "evaluate_every": plan.evaluate_every or plan.steps,
        "learning_rate": recipe.learning_rate,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "bias_factor": recipe.bias_factor,
        "label_smoothing": recipe.label_smoothing,
        "shift": int(words[1].removeprefix("crop:")),
        "whitening_images": classification.FIRST_IMAGES,
        "test_time_flip": recipe.test_time_flip,
    }


def timed(command: list[str], folder: pathlib.Path, threshold: float) -> dict[str, Any]:
    """Runs a command that writes metrics.jsonl in `folder`; returns its times and accuracies.

    Raises:
        RuntimeError: the command failed.
    """
    start = time.monotonic()
    reached = None
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                if reached is None and any(a >= threshold for a in accuracies(folder)):
                    reached = time.monotonic() - start
        finally:
            process.kill()  # no effect if it has ended; Ctrl-C leaves none behind
    seconds = time.monotonic() - start
    if process.returncode:
        end = (folder / "output.txt").read_text()[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{end}")
    found = accuracies(folder)
    if reached is None and found[-1] >= threshold:
        reached = seconds
    return {
        "accuracy": found[-1],
        "seconds": round(seconds, 1),
        "seconds_to_threshold": None if reached is None else round(reached, 1),
        "accuracies": found,
    }


def accuracies(folder: pathlib.Path) -> list[float]:
    """The accuracies of the evaluations so far; a half-written line does not count."""
    rows = log.read_rows(folder / "metrics.jsonl")
    return [row["accuracy"] for row in rows if row["split"] == "test"]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one contender, with their mean, standard deviation and extremes."""
    figures: dict[str, Any] = {"n": len(runs)}
    for name in ("accuracy", "seconds", "seconds_to_threshold"):
        values = [run[name] for run in runs if run[name] is not None]
        figures[name] = {"each": [run[name] for run in runs]}
        if values:
            figures[name] |= {
                "reached": len(values),
                "mean": round(statistics.mean(values), 4),
                "std": round(statistics.stdev(values), 4) if len(values) > 1 else None,
                "least": min(values),
                "most": max(values),
            }
    return {**figures, "accuracies": [run["accuracies"] for run in runs]}


def run_once(contender: str, seed: int, arguments: list[str], threshold: float) -> dict[str, Any]:
    """Makes one run in a separate process."""
    arguments = [*arguments, f"--seed={seed}"]
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        if contender == "ours":
            program = ["experiments.classification", *arguments, *OURS, f"--workdir={directory}"]
        else:
            file = folder / "settings.json"
            file.write_text(json.dumps(torch_settings(parsed(arguments))))
            program = ["experiments.benchmark.pytorch.cifar10", str(file), directory]
        return timed([sys.executable, "-m", *program], folder, threshold)


def main() -> int:
    chosen = flags.FLAGS
    arguments = [f"--flagfile={chosen.recipe}", f"--data_dir={chosen.data_dir}", *chosen.set]
    contenders = ["ours"]
    if chosen.torch:
        if importlib.util.find_spec("torch"):
            torch_settings(parsed(arguments))  # raises an error before anything slow
            contenders.append("torch")
        else:
            print("PyTorch is not installed: pip install -e '.[torch]'", file=sys.stderr)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for index in range(chosen.runs):
        seed = chosen.seed + index
        for name in contenders if index % 2 == 0 else reversed(contenders):
            runs[name].append(run_once(name, seed, arguments, chosen.threshold))
            print(f"{name:6s} seed {seed}: {json.dumps(runs[name][-1])}", flush=True)
    result: dict[str, Any] = {
        "machine": timing.machine(),
        "recipe": chosen.recipe,
        "set": list(chosen.set),
        "threshold": chosen.threshold,
        **{name: summary(each) for name, each in runs.items()},
    }
    print(json.dumps(result, indent=2))
    timing.write_result(chosen.workdir, result)
    return 0


if __name__ == "__main__":
    define_flags()
    entry.launch(main)
