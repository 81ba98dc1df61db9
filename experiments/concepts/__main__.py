"""What a convolution is for: eight measured lessons.

python -m experiments.concepts                     # lists them
python -m experiments.concepts.weight_sharing      # one of them
python -m experiments.concepts --all --quick       # all, in a quarter of an hour, on one page
python -m experiments.concepts --all --language=zh
"""

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts import (
    activations,
    batch_norm,
    command,
    features,
    fully_connected,
    gradients,
    page,
    receptive_field,
    subsampling,
    weight_sharing,
)
from experiments.concepts.lesson import LANGUAGES

ALL = flags.DEFINE_bool("all", False, "Run all lessons and write the page.")

# In the order in which a beginner reads them.
CONCEPTS = [
    fully_connected.CONCEPT,
    weight_sharing.CONCEPT,
    subsampling.CONCEPT,
    receptive_field.CONCEPT,
    gradients.CONCEPT,
    batch_norm.CONCEPT,
    activations.CONCEPT,
    features.CONCEPT,
]


def main() -> int:
    language = command.LANGUAGE.value
    if not ALL.value:
        for concept in CONCEPTS:
            name, title = f"experiments.concepts.{concept.name}", concept.title.in_(language)
            entry.CONSOLE.print(f"python -m {name:<40} {title}", soft_wrap=True)
        entry.CONSOLE.print("All of them, on one page: python -m experiments.concepts --all")
        return 0
    runs = command.measure(CONCEPTS)
    directory = local_path(command.WORKDIR.value)
    for each in LANGUAGES:  # one page each, from the same measurements
        page.write(runs, directory / f"lesson_{each}.html", each)
    entry.CONSOLE.print(f"The page is {directory / f'lesson_{language}.html'}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    entry.launch(main)
