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
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rich.progress
import rich.table
from absl import flags

from cnn_jax import run
from cnn_jax.run import evaluation_files, machine, measuring, networks_table, reports, result
from cnn_jax.stores import local_path
from experiments import entry, network_flags
from experiments.evaluate_flags import define, settings


def opened(values: flags.FlagValues, named: networks_table.Named) -> run.Predictor:
    """The network of a run, or a published one."""
    checkpoint: Any = values.checkpoint
    if not checkpoint:
        checkpoint = (result.recorded(named.run)[0] if named.run else 0) or "best"
    elif checkpoint.isdecimal():
        checkpoint = int(checkpoint)
    return network_flags.opened(
        place=named.run,
        model=named.model,
        pretrained=named.pretrained,
        classes=values.classes,
        checkpoint=checkpoint,
        weights=values.weights,
    )


def measured(values: flags.FlagValues, named: networks_table.Named) -> measuring.Measured:
    """Evaluates one network as the flags say."""
    predictor = opened(values, named)
    step, figures = result.recorded(named.run) if named.run else (0, {})
    own = step == predictor.step and not _changed(values)
    found = measuring.measure(
        predictor,
        dataset=values.dataset,
        split=values.split,
        views=values.views,
        precision=values.precision,
        labels=values.labels,
        among=values.among,
        freeze_inference=values.freeze_inference,
        recorded=figures if own else None,
        progress=_progress,
        **settings(values),
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


def one(values: flags.FlagValues, named: networks_table.Named) -> int:
    """Evaluates one network, and writes and prints all about it."""
    found = measured(values, named)
    report = reports.report(found, resamples=values.resamples)
    name = Path(named.run).name if named.run else named.model
    where = output(values, name, found)
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
    if named.run and not _changed(values):
        entry.say(_recorded(named.run, found))
    entry.say(f"The page is {where / evaluation_files.PAGE_FILE}")
    return 0


def output(values: flags.FlagValues, name: str, found: measuring.Measured) -> Path:
    """The directory to write to."""
    if values.output:
        return local_path(values.output)
    recipe: Any = found.recipe
    parts = (name, Path(recipe.dataset).name, recipe.test_split)
    safe = (re.sub(r"[^\w.=-]+", "_", part).strip("_.") or "x" for part in parts)
    return Path("evaluations") / "-".join(safe)[:200]


def _changed(values: flags.FlagValues) -> bool:
    """Whether anything but the checkpoint was chosen otherwise than in the run."""
    given = ("dataset", "split", "views", "precision", "labels", "among", "freeze_inference")
    return any(values[name].value for name in given) or bool(settings(values))


def _recorded(place: str, found: measuring.Measured) -> str:
    """What the run's result.json says, beside what was measured."""
    step, figures = result.recorded(place)
    if not figures:
        return f"{place} has no result.json yet."
    if step != found.predictor.step:
        return f"result.json is of step {step}, and these figures are of {found.predictor.step}."
    # JSON has null for what is no number
    own = {n: float(v) if math.isfinite(v) else None for n, v in found.figures.items()}
    same = {name: value for name, value in figures.items() if name in own}
    other = [name for name, value in same.items() if value != own[name]]
    if not same:
        return "result.json has none of these figures."
    if not other:
        return f"Equal to result.json, to the last bit: {', '.join(list(same)[:4])}."
    known = {n: "no number" if same[n] is None else f"{same[n]:.6g}" for n in other[:4]}
    return f"result.json has {', '.join(f'{name} {said}' for name, said in known.items())}."


def several(values: flags.FlagValues, names: list[networks_table.Named]) -> int:
    """Evaluates networks one after the other into a table. Returns 1 if one failed."""
    where = local_path(values.output or "evaluations")
    where.mkdir(parents=True, exist_ok=True)
    table = networks_table.Table(where / "networks.csv")
    failed = 0
    for number, named in enumerate(names, 1):
        key = {
            **named.key,
            "dataset": values.dataset, "split": values.split, "precision": values.precision,
            "views": values.views, "labels": values.labels, "batch_size": values.batch_size,
            **({"freeze_inference": True} if values.freeze_inference else {}),
        }  # fmt: skip
        title = f"{number} of {len(names)}: {named.key['network']}"
        if table.find(key):
            entry.say(f"{title}: has its row already")
            continue
        try:
            row = _row(values, named)
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


def _row(values: flags.FlagValues, named: networks_table.Named) -> dict[str, Any]:
    """Figures, intervals, costs and speed of one network."""
    if not named.run and not named.pretrained:
        batch = values.batch_size or 64
        model, shape, speed = networks_table.speed(
            named.model, batch_size=batch, precision=values.precision
        )
        return {**networks_table.costs(model, shape), "images_per_second": round(speed, 1)}
    found = measured(values, named)
    report = reports.report(found, resamples=values.resamples)
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


def main(values: flags.FlagValues = flags.FLAGS) -> int:
    given = (values.run, values.model)
    if bool(given[0]) == bool(given[1]):
        said = "No network is given" if not given[0] else "Two networks are given"
        raise ValueError(f"{said}: give --run, or --model and --pretrained.")
    names = networks_table.listed(run=given[0], model=given[1], pretrained=values.pretrained)
    entry.prepare_jax(0)
    machine.split_cpu(_cpu_devices(values, names))
    if any(map(networks_table.is_several, given)):
        return several(values, names)
    if not names[0].run and not names[0].pretrained:
        raise ValueError(f"--model={given[1]} needs --pretrained: its weights.")
    return one(values, names[0])


def _cpu_devices(values: flags.FlagValues, names: Iterable[networks_table.Named]) -> int:
    if values.cpu_devices >= 0:
        return values.cpu_devices
    places = [each.run for each in names if each.run and "://" not in each.run]
    return max((result.cpu_devices(place) for place in places), default=0)


if __name__ == "__main__":
    entry.launch(main, define=define)
