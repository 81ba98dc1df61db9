"""The command line of the concepts: of one, of the list, and of all on one page."""

import sys

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts import page
from experiments.concepts.lesson import LANGUAGES, Concept, Effort

QUICK = flags.DEFINE_bool("quick", False, "Use fewer steps and seeds: minutes instead of hours.")
LANGUAGE = flags.DEFINE_enum(
    "language", "en", list(LANGUAGES), "Language of the text: en for English, zh for Chinese."
)
WORKDIR = flags.DEFINE_string("workdir", "runs/concepts", "Directory for figures, tables and page.")


def measure(concepts: list[Concept]) -> list[page.Run]:
    """Runs the concepts one after the other and prints the tables of each."""
    entry.set_up_jax(
        cpu_devices=0, cpu_convolutions=True, compilation_cache="~/.cache/cnn_jax/compiled"
    )
    directory = local_path(WORKDIR.value)
    runs = []
    for concept in concepts:
        runs.append(page.run(concept, Effort(QUICK.value), directory))
        page.show(runs[-1], LANGUAGE.value)
        sys.stdout.flush()
    return runs


def launch(concept: Concept) -> None:
    """Runs a concept's module as a command."""

    def main() -> None:
        measure([concept])

    entry.launch(main)
