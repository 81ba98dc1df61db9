"""The cell magic of the notebooks: %%exercise NUMBER checks the code of its cell."""

from typing import Any

from experiments.concepts.exercises import EXERCISES, saying
from experiments.concepts.exercises.checking import Verdict, check
from experiments.concepts.frame.lesson import LANGUAGES


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext experiments.concepts.exercises.notebook` makes %%exercise known to IPython."""

    def exercise(line: str, cell: str) -> None:
        words = line.split()
        numbers = [str(each.number) for each in EXERCISES]
        if not words or words[0] not in numbers or any(w not in LANGUAGES for w in words[1:]):
            print(f"%%exercise {line}: wanted %%exercise NUMBER, of 1 to {len(EXERCISES)}.")
            return
        language = words[1] if words[1:] else "en"
        verdict = check(EXERCISES[int(words[0]) - 1], cell, language=language, file="cell")
        tell(verdict, language, print)
        if verdict.solved:  # so that the next cells can use it
            shell.ex(cell)

    shell.register_magic_function(exercise, "cell")


def tell(verdict: Verdict, language: str, say) -> None:
    """Prints a verdict, line by line."""
    if verdict.printed.strip():
        say(saying.PRINTED.in_(language))
        for line in verdict.printed.rstrip().splitlines():
            say(f"    {line}")
    for line in verdict.lines:
        say(line)
