"""Builds the reference of the library, a page for each module, with pdoc.

    pip install -e '.[docs]'
    python -m experiments.reference --output=reference
    python -m experiments.reference --output=reference --only='cnn_jax.boxes*'

Open index.html of that directory. The pages need no network.
"""

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.reference import pages

OUTPUT = flags.DEFINE_string(
    "output", "", "Directory for the pages; a new one, or an older reference."
)
ONLY = flags.DEFINE_string("only", "*", "Shell pattern of the modules: 'cnn_jax.boxes*'.")


def main() -> int:
    if not OUTPUT.value:
        raise ValueError("No directory for the pages is given: --output=DIRECTORY.")
    output = local_path(OUTPUT.value)
    if output.is_dir() and any(output.iterdir()) and not (output / "index.html").exists():
        raise ValueError(f"--output={output} holds other files: give a new directory.")
    names = pages.modules(ONLY.value)
    if not names:
        raise ValueError(f"--only={ONLY.value!r} matches no module; try 'cnn_jax.models*'.")
    missing = pages.build(names, output)
    for name, why in missing.items():
        entry.say(f"no page of {name}: {why}")
    entry.say(f"{len(names) - len(missing)} pages in {output}: open {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    entry.launch(main)
