"""What a convolution is for: a lesson that measures what it says.

python -m experiments.concepts                     # lists its sections
python -m experiments.concepts.weight_sharing      # one of them
python -m experiments.concepts --all --quick       # all on one page, within ten minutes
python -m experiments.concepts --all --language=zh
python -m experiments.concepts --from=runs/concepts   # writes the pages again, measures nothing
"""

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts.frame import command, measured, syllabus

ALL = flags.DEFINE_bool("all", False, "Measure all sections and write the page.")
FROM = flags.DEFINE_string(
    "from",
    None,
    "Write the pages again from the findings.json of this directory, with today's texts and "
    "without measuring: into it, or into --workdir where that is given.",
)


def main() -> int:
    language = command.LANGUAGE.value
    if FROM.value is not None:
        _redraw(FROM.value)
    elif ALL.value:
        command.show(command.measure(syllabus.concepts()))
    else:
        for number, concept in enumerate(syllabus.concepts(), syllabus.FIRST):
            name, title = f"experiments.concepts.{concept.name}", concept.title.in_(language)
            entry.say(f"{number:>2}  python -m {name:<40} {title}")
        entry.say("All of them, on one page: python -m experiments.concepts --all")
    return 0


def _redraw(source: str) -> None:
    directory = local_path(source)
    kept = measured.load(directory)
    if not kept:
        raise ValueError(
            f"--from={source}: there is no {measured.FILE} in it. Measure first: "
            f"python -m experiments.concepts --all --quick --workdir={source}"
        )
    sections = measured.redrawn(kept)
    if flags.FLAGS["workdir"].present:
        directory = local_path(command.WORKDIR.value)
    measured.save(directory, sections)
    command.show(command.write(sections, directory))


if __name__ == "__main__":
    entry.launch(main)
