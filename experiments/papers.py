"""The page of papers: which file holds the networks of which paper, as Markdown."""

import collections

from cnn_jax.models.registry import MODELS, TASKS, describe, list_models

_PACKAGE = "cnn_jax.models."
_TITLES = {
    "classification": "Classification",
    "segmentation": "Segmentation",
    "detection": "Detection",
}
_INTRODUCTION = """\
# Networks: paper, file, names

Written by `python -m experiments.models --papers`. A file holds one paper's networks and opens with
the table of their variants. `models.create(name, num_classes=K)` builds one, for images as for
sequences and volumes where the paper's layers allow it. With `num_classes=None` it gives its
stages, as a backbone for others.
"""


def papers_page() -> str:
    """The networks of this package by paper, in the order of their files."""
    text = _INTRODUCTION
    for task in TASKS:
        names: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        for name in list_models(task=task):
            origin = MODELS.origin(name)
            if origin.startswith(_PACKAGE):
                file = f"{origin.removeprefix(_PACKAGE).replace('.', '/')}.py"
                names[file, describe(name).paper].append(f"`{name}`")
        text += f"\n## {_TITLES[task]}\n\n| file | paper | networks |\n|---|---|---|\n"
        for (file, paper), those in sorted(names.items()):
            text += f"| [{file}]({file}) | {paper} | {', '.join(those)} |\n"
    return text
