"""A page to touch: a network that you trained, running in the browser.

    python -m experiments.concepts.touch                   # trains small networks: minutes
    python -m experiments.concepts.touch --run=runs/mine   # of a run of yours

Draw a digit and see the maps of every layer move with it; point at a unit and see its window, its
weights and their sum; go from the untrained network to the trained one; switch parts off and
measure what that costs; guess the findings of the lesson before they are shown. The page is one
file in English and Chinese, and needs no network.
"""

from pathlib import Path

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts.touch import contents, from_run, page

RUN = flags.DEFINE_string("run", "", "Run directory whose network the page shows; '' to train.")
OUTPUT = flags.DEFINE_string("output", "runs/touch", "Directory for the page and its numbers.")
LESSON = flags.DEFINE_string(
    "lesson", "runs/concepts", "Directory of the lesson's findings.json, for the guesses."
)
VARIANTS = flags.DEFINE_bool(
    "variants", True, "Also train the networks that the switches are compared with."
)
CPU_CONVOLUTIONS = flags.DEFINE_bool("cpu_convolutions", True, "Use the faster CPU convolutions.")


def main() -> int:
    entry.set_up_jax(
        cpu_convolutions=CPU_CONVOLUTIONS.value, compilation_cache="~/.cache/cnn_jax/compiled"
    )
    findings = contents.findings(local_path(LESSON.value))
    if RUN.value:
        made, last, images = from_run.contents_of(RUN.value, say=entry.say)
        command = f"python -m experiments.concepts.touch --run={RUN.value}"
    else:
        made, last, images = contents.own(variants=VARIANTS.value, say=entry.say)
        command = "python -m experiments.concepts.touch"
    made["findings"] = findings
    made["source"]["command"] = command
    directory: Path = local_path(OUTPUT.value)
    path = directory / "touch.html"
    if spared := page.write(path, made):
        entry.say(f"There was no room in the page for: {', '.join(spared)}.")
    contents.write_golden(directory / "golden.npz", last, images)
    if findings is None:
        entry.say(
            f"{LESSON.value} has no findings.json, so the guesses are left out: measure the lesson "
            "with python -m experiments.concepts --all --quick, and make the page again."
        )
    entry.say(f"The page is {path} ({path.stat().st_size / 1000:.0f} kB): open it in a browser.")
    return 0


if __name__ == "__main__":
    entry.launch(main)
