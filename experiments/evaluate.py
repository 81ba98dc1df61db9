"""Evaluates a trained network on a data set: figures, classes, calibration, the hardest examples.

    python -m experiments.evaluate --run=runs/2026-11-24-resnet8-digits
    python -m experiments.evaluate --run=RUN --dataset=folder:PATH --split=val --views=flip
    python -m experiments.evaluate --model=resnet50 --pretrained=hf:timm/resnet50.a1_in1k \\
        --dataset=folder:imagenet --split=val --labels=real.json
    python -m experiments.evaluate --model='resnet*' --pretrained='weights/{model}.safetensors' \\
        --dataset=folder:imagenet --split=val

One network leaves a directory: index.html, figures.json, classes.csv, confusion.csv, examples.csv
and the figures as PNG. Several (--model='resnet*' or @FILE, --run='runs/*') leave networks.csv, a
row for each, which the same command goes on with.
"""

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rich.progress
import rich.table
from absl import flags

from cnn_jax import run
from cnn_jax.metrics import bootstrap
from cnn_jax.run import evaluation_files, machine, measuring, networks_table, reports, result
from cnn_jax.run import views as view_names
from experiments import entry, network_flags
from experiments.network_flags import CLASSES, MODEL, PRETRAINED, RUN

DATASET = flags.DEFINE_string("dataset", "", "Data set; '' for the run's own.")
SPLIT = flags.DEFINE_string("split", "", "Split; '' for the run's own, or test.")
DATA_DIR = flags.DEFINE_string("data_dir", "", "Directory of TFDS's data; '' for the run's own.")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Checkpoint of a run: last, of which result.json is; best; or a step."
)
WEIGHTS = flags.DEFINE_enum(
    "weights", "", ["", "averaged", "raw"],
    "Parameters of a run: their moving average or as they are; '' for the average, if kept.",
)  # fmt: skip
BATCH = flags.DEFINE_integer("batch_size", 0, "Examples in a batch; 0 for the run's own, or 64.")
DEVICES = flags.DEFINE_integer("devices", -1, "Number of devices; 0: all; -1: as in the run.")
CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", -1, "Devices to split the CPU into; 0: JAX's default; -1: as in the run."
)
PRECISION = flags.DEFINE_enum(
    "precision", "", ["", "float32", "bfloat16"], "Precision of the arithmetic; '' for its own."
)
VIEWS = flags.DEFINE_string(
    "views", "", "Views to average the logits over, out of " + ", ".join(view_names.VIEWS) + "."
)
LABELS = flags.DEFINE_string(
    "labels", "", "File with the classes of the images or of the data set, as ImageNet-ReaL, -V2, "
    "-A and -R have: JSON, CSV or text.",
)  # fmt: skip
AMONG = flags.DEFINE_enum(
    "among", "", ["", "all", "data"],
    "Classes to choose predictions among: all, or those of the data; '' for those that --labels "
    "chooses, or all.",
)  # fmt: skip
SKIP = flags.DEFINE_bool(
    "skip_corrupt", None, "Leave out what cannot be read; default: as in the run."
)
WORKERS = flags.DEFINE_integer("workers", -1, "Processes that decode; -1: as in the run.")
RESAMPLES = flags.DEFINE_integer(
    "resamples", bootstrap.RESAMPLES, "Resamples for the intervals; 0 for none.", lower_bound=0
)
OUTPUT = flags.DEFINE_string(
    "output", "", "Directory for the files; '' for evaluations/<network>-<dataset>-<split>."
)


def settings() -> dict[str, Any]:
    """The settings of the evaluation that were given."""
    chosen: dict[str, Any] = {
        "data_dir": DATA_DIR.value or None,
        "eval_batch_size": BATCH.value or None,
        "devices": DEVICES.value if DEVICES.value >= 0 else None,
        "skip_corrupt": SKIP.value,
        "workers": WORKERS.value if WORKERS.value >= 0 else None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def opened(named: networks_table.Named) -> run.Predictor:
    """The network of a run, or a published one."""
    checkpoint: Any = CHECKPOINT.value
    if checkpoint.isdecimal():
        checkpoint = int(checkpoint)
    return network_flags.opened(
        place=named.run,
        model=named.model,
        pretrained=named.pretrained,
        classes=CLASSES.value,
        checkpoint=checkpoint,
        weights=WEIGHTS.value,
    )


def measured(named: networks_table.Named) -> measuring.Measured:
    """Evaluates one network as the flags say."""
    predictor = opened(named)
    found = measuring.measure(
        predictor,
        dataset=DATASET.value,
        split=SPLIT.value,
        views=VIEWS.value,
        precision=PRECISION.value,
        labels=LABELS.value,
        among=AMONG.value,
        progress=_progress,
        **settings(),
    )
    for note in found.notes:
        entry.say(note)
    return found


def _progress(batches: Any) -> Iterator[Any]:
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        console=entry.CONSOLE, transient=True, disable=not entry.CONSOLE.is_terminal,
    ) as bar:  # fmt: skip
        yield from bar.track(batches, total=len(batches), description="batches")


def one(named: networks_table.Named) -> int:
    """Evaluates one network, and writes and prints all about it."""
    found = measured(named)
    report = reports.report(found, resamples=RESAMPLES.value)
    name = Path(named.run).name if named.run else named.model
    where = output(name, found)
    content = evaluation_files.write(found, report, where)
    data = content["data"]
    shown = rich.table.Table(title=f"{found.predictor.facts.model} on {data['dataset']}, "
                             f"{data['split']}: {data['examples']:,} examples")  # fmt: skip
    for heading in ("figure", "value", "95% interval"):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure, value in report.figures.items():
        ends = report.intervals.get(figure)
        shown.add_row(figure, f"{value:.4f}", f"{ends.low:.4f} to {ends.high:.4f}" if ends else "")
    shown.add_row("images_per_second", f"{found.images_per_second:,.0f}", "")
    entry.CONSOLE.print(shown)
    if named.run and not _changed():
        entry.say(_recorded(named.run, found))
    entry.say(f"The page is {where / evaluation_files.PAGE_FILE}")
    return 0


def output(name: str, found: measuring.Measured) -> Path:
    """The directory to write to."""
    if OUTPUT.value:
        return Path(OUTPUT.value).expanduser()
    recipe: Any = found.recipe
    parts = (name, Path(recipe.dataset).name, recipe.test_split)
    safe = (re.sub(r"[^\w.=-]+", "_", part).strip("_.") or "x" for part in parts)
    return Path("evaluations") / "-".join(safe)[:200]


def _changed() -> bool:
    """Whether anything but the checkpoint was chosen otherwise than in the run."""
    given = (DATASET, SPLIT, VIEWS, PRECISION, LABELS, AMONG)
    return any(flag.value for flag in given) or bool(settings())


def _recorded(place: str, found: measuring.Measured) -> str:
    """What the run's result.json says, beside what was measured."""
    step, figures = result.recorded(place)
    if not figures:
        return f"{place} has no result.json yet."
    if step != found.predictor.step:
        return f"result.json is of step {step}, and these figures are of {found.predictor.step}."
    same = {name: value for name, value in figures.items() if name in found.figures}
    other = [name for name, value in same.items() if value != found.figures[name]]
    if not other:
        return f"Equal to result.json, to the last bit: {', '.join(list(same)[:4])}."
    return "result.json has " + ", ".join(f"{name} {same[name]:.6g}" for name in other[:4]) + "."


def several(names: list[networks_table.Named]) -> int:
    """Evaluates networks one after the other into a table. Returns 1 if one failed."""
    where = Path(OUTPUT.value or "evaluations").expanduser()
    where.mkdir(parents=True, exist_ok=True)
    table = networks_table.Table(where / "networks.csv")
    failed = 0
    for number, named in enumerate(names, 1):
        key = {
            **named.key,
            "dataset": DATASET.value, "split": SPLIT.value, "precision": PRECISION.value,
            "views": VIEWS.value, "labels": LABELS.value, "batch_size": BATCH.value,
        }  # fmt: skip
        title = f"{number} of {len(names)}: {named.key['network']}"
        if table.find(key):
            entry.say(f"{title}: has its row already")
            continue
        try:
            row = _row(named)
        except entry.EXPECTED as error:
            failed += 1
            logging.warning("%s: left out: %s", title, " ".join(str(error).split()))
            continue
        table.add({**key, **row})
        said = ", ".join(f"{n} {v:.4g}" for n, v in row.items() if isinstance(v, float))
        entry.say(f"{title}: {said}")
    _print(table)
    entry.say(f"The table is {table.path}")
    return int(failed > 0)


def _row(named: networks_table.Named) -> dict[str, Any]:
    """Figures, intervals, costs and speed of one network."""
    if not named.run and not named.pretrained:
        batch = BATCH.value or 64
        model, shape, speed = networks_table.speed(
            named.model, batch_size=batch, precision=PRECISION.value
        )
        return {**networks_table.costs(model, shape), "images_per_second": round(speed, 1)}
    found = measured(named)
    report = reports.report(found, resamples=RESAMPLES.value)
    figures: dict[str, Any] = {"examples": len(found.counted)}
    for name, value in report.figures.items():
        if "/" not in name:
            figures[name] = value
        if name in report.intervals and name in ("accuracy", "mean_iou", "ap"):
            figures[f"{name}_low"], figures[f"{name}_high"] = report.intervals[name]
    predictor = found.predictor
    costs = networks_table.costs(predictor.model, predictor.facts.image_shape)
    return {**figures, **costs, "images_per_second": round(found.images_per_second, 1)}


def _print(table: networks_table.Table) -> None:
    columns = ("network", "accuracy", "top5", "mean_iou", "ap", "parameters", "multiply_adds",
               "images_per_second")  # fmt: skip
    held = [name for name in columns if any(row.get(name) not in (None, "") for row in table.rows)]
    shown = rich.table.Table()
    for name in held:
        shown.add_column(name.replace("_", " "), justify="left" if name == "network" else "right")
    for row in table.rows:
        shown.add_row(*[_cell(row.get(name, "")) for name in held])
    entry.CONSOLE.print(shown)


def _cell(value: Any) -> str:
    with contextlib.suppress(ValueError, TypeError):
        number = float(value)
        return f"{number:.4f}" if abs(number) <= 1 else f"{number:,.0f}"
    return str(value)


def main() -> int:
    given = (RUN.value, MODEL.value)
    if bool(given[0]) == bool(given[1]):
        said = "No network is given" if not given[0] else "Two networks are given"
        raise ValueError(f"{said}: give --run, or --model and --pretrained.")
    names = networks_table.listed(run=given[0], model=given[1], pretrained=PRETRAINED.value)
    entry.prepare_jax(0)
    machine.split_cpu(_cpu_devices(names))
    if any(map(networks_table.is_several, given)):
        return several(names)
    if not names[0].run and not names[0].pretrained:
        raise ValueError(f"--model={given[1]} needs --pretrained: its weights.")
    return one(names[0])


def _cpu_devices(names: Iterable[networks_table.Named]) -> int:
    if CPU_DEVICES.value >= 0:
        return CPU_DEVICES.value
    places = [each.run for each in names if each.run and "://" not in each.run]
    return max((result.cpu_devices(place) for place in places), default=0)


if __name__ == "__main__":
    entry.launch(main)
