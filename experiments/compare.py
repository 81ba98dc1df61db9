"""Compares runs: settings that differ, curves, figures with intervals over seeds, speeds, mistakes.

    python -m experiments.compare runs/2026-11-2*
    python -m experiments.compare sweep --output=sweep --reference=learning_rate=0.1
    python -m experiments.compare runs/a runs/b --disagreements

Runs are directories, s3:// URLs, patterns, or a directory with runs in it; they may still be going
on. Runs that differ only in their seed are one group. It writes compare.html, compare.json and
compare.csv. What is not of the same examples is not compared, and said.
"""

import logging

import rich.table
from absl import flags

from cnn_jax.run.comparing import Comparison, compare
from cnn_jax.run.comparing.comparison_page import best, title_of
from experiments import entry


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "output", "comparison", "Directory for the three files.", flag_values=values
    )
    flags.DEFINE_string(
        "reference",
        "",
        "Group, or one of its runs, that the others are compared with; '' for the first.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "disagreements",
        False,
        "Evaluate a run of each group, and show the examples on which they disagree; without it "
        "that is done if `experiments.evaluate` has left what it takes.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "evaluations",
        "evaluations",
        "Directory with what `experiments.evaluate` has left.",
        flag_values=values,
    )


def show(made: Comparison) -> None:
    """Prints the groups with the figure that they are chosen by, and what to mind."""
    figure = made.chosen_by
    name = figure.partition("_")[2]
    names = list(dict.fromkeys([figure, f"test_{name}"] if figure else []))
    shown = rich.table.Table()
    for heading in ("group", "runs", *(title_of(each) for each in names)):
        shown.add_column(heading, justify="left" if heading == "group" else "right")
    for group in made.groups:
        cells = []
        for each in names:
            mean = group.figure(each)
            cells.append(mean.text() if mean.values else "")
        ended, count = len(group.finished), len(group.runs)
        shown.add_row(group.name, str(count) if ended == count else f"{ended} of {count}", *cells)
    entry.CONSOLE.print(shown)
    for note in made.notes:
        logging.warning("%s", note)
    if said := best(made):
        entry.say(said)
    entry.say(f"The page is {made.page}")


def main(places: list[str], values: flags.FlagValues = flags.FLAGS) -> int:
    if not places:
        raise ValueError("No run is given: give run directories, or a directory with runs in it.")
    if values.disagreements:
        entry.prepare_jax(0)
    made = compare(
        places,
        output=values.output,
        reference=values.reference,
        disagree=values.disagreements,
        evaluations=values.evaluations,
        say=entry.say,
    )
    show(made)
    return 0


if __name__ == "__main__":
    entry.launch(main, positional="RUN", define=define)
