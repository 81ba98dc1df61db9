"""Twelve exercises: small functions to write in NumPy, which are checked against JAX.

    python -m experiments.concepts.exercises                # lists them
    python -m experiments.concepts.exercises 3              # writes exercise_03.py; then checks it
    python -m experiments.concepts.exercises 3 --hint
    python -m experiments.concepts.exercises 3 --solution
    python -m experiments.concepts.exercises 3 --notebook   # the same as a notebook
    python -m experiments.concepts.exercises 3 --language=zh

The exit status is 0 once an exercise is solved, and 1 before.
"""

from pathlib import Path

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts.exercises import EXERCISES, files, saying
from experiments.concepts.exercises.exercise import Exercise
from experiments.concepts.frame.lesson import LANGUAGES

FLAGS = flags.FLAGS


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    flags.DEFINE_bool("hint", False, "Print the hints of the exercise.", flag_values=values)
    flags.DEFINE_bool("solution", False, "Print a solution.", flag_values=values)
    flags.DEFINE_bool(
        "notebook",
        False,
        "Write the exercise as a notebook; without a number, all of them.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "language",
        "en",
        list(LANGUAGES),
        "Language of the text: en for English, zh for Chinese.",
        flag_values=values,
    )
    flags.DEFINE_string("directory", ".", "Directory of your files.", flag_values=values)
    flags.DEFINE_float(
        "time_limit",
        10.0,
        "Seconds of the processor for all calls of your code together.",
        lower_bound=0.1,
        flag_values=values,
    )


def named(words: list[str]) -> list[Exercise]:
    """The exercises of the command line.

    Raises:
        ValueError: one of the words is no number of an exercise.
    """
    for word in words:
        if not (word.isdecimal() and 1 <= int(word) <= len(EXERCISES)):
            raise ValueError(f"{word!r} is no exercise: give a number from 1 to {len(EXERCISES)}.")
    return [EXERCISES[int(word) - 1] for word in words]


def show_all(directory: Path, language: str) -> None:
    """Lists the exercises, and which of them the learner has begun."""
    for exercise in EXERCISES:
        path = directory / f"{exercise.name}.py"
        mark = f"  ({path})" if path.exists() else ""
        entry.say(f"{files.COMMAND} {exercise.number:<3} {exercise.title.in_(language)}{mark}")


def write_notebook(exercise: Exercise, directory: Path, language: str) -> None:
    path = directory / f"{exercise.name}.ipynb"
    new = files.write(path, files.notebook(exercise, language, directory))
    entry.say(str(path) if new else saying.IS_THERE.in_(language).format(path=path))


def begin(exercise: Exercise, path: Path, language: str) -> None:
    """Writes the file to fill in, and says so."""
    files.write(path, files.page(exercise, language))
    entry.say(files.heading(exercise, language))
    for line in files.paragraph(exercise.task.in_(language), language).splitlines():
        entry.say(line)
    entry.say(saying.WRITTEN.in_(language).format(path=path))


def check(exercise: Exercise, path: Path, language: str) -> bool:
    """Checks the learner's file and prints the verdict."""
    from experiments.concepts.exercises import checking, notebook  # JAX, which a list does without

    try:
        code = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8 in your editor."
        ) from None
    verdict = checking.check(
        exercise,
        code,
        language=language,
        file=path.name,
        directory=path.parent,
        seconds=FLAGS.time_limit,
    )
    notebook.tell(verdict, language, entry.say)
    if not verdict.solved:
        entry.say(saying.HINT.in_(language))
    elif exercise.number < len(EXERCISES):
        entry.say(saying.NEXT.in_(language).format(number=exercise.number + 1))
    else:
        entry.say(saying.LAST.in_(language))
    return verdict.solved


def main(words: list[str]) -> int:
    language, directory = FLAGS.language, local_path(FLAGS.directory)
    chosen = named(words)
    if FLAGS.notebook:
        for exercise in chosen or EXERCISES:
            write_notebook(exercise, directory, language)
        return 0
    if not chosen:
        if FLAGS.hint or FLAGS.solution:
            raise ValueError("Of which exercise? Give its number, 1 to 12.")
        show_all(directory, language)
        return 0
    solved = True
    for exercise in chosen:
        path = directory / f"{exercise.name}.py"
        if FLAGS.hint:
            for number, hint in enumerate(exercise.hints, 1):
                entry.say(f"{number}. {hint.in_(language)}")
        if FLAGS.solution:
            for line in exercise.solution().rstrip().splitlines():
                entry.say(line)
        if FLAGS.hint or FLAGS.solution:
            continue
        if path.exists():
            entry.prepare_jax(0)
            solved = check(exercise, path, language) and solved
        else:
            begin(exercise, path, language)
    return 0 if solved else 1


if __name__ == "__main__":
    entry.launch(main, positional="NUMBER", define=define)
