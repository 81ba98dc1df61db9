"""What the learner gets: a file to fill in, and the same as a notebook."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from experiments.concepts.exercises import saying
from experiments.concepts.exercises.exercise import Exercise, Function
from experiments.concepts.frame.lesson import Text

COMMAND = "python -m experiments.concepts.exercises"
ROOT = Path(__file__).parents[3]
WIDTH = 88

HEADING = Text("Exercise {number}: {title}", "练习 {number}：{title}")
CHECK_IT = Text("Check it:", "检查：")
A_HINT = Text("A hint:", "提示：")
HINT = Text("Hint {number}", "提示 {number}")
SOLUTION = Text("A solution", "一种解法")
RUN_THE_CELL = Text(
    "Fill in the cell below and run it: the first line checks it.",
    "把下面的单元格补全，然后运行：第一行会检查结果。",
)


def heading(exercise: Exercise, language: str) -> str:
    title = exercise.title.in_(language)
    return HEADING.in_(language).format(number=exercise.number, title=title)


def paragraph(text: str, language: str) -> str:
    """A text in lines that an editor shows whole."""
    if language == "zh":  # a sentence a line: there are no spaces to break at
        return "\n".join(re.findall(r"[^。；]+[。；]?", text))
    return textwrap.fill(text, WIDTH)


def starter(exercise: Exercise, language: str) -> str:
    """The functions to fill in, as code."""
    return "\n\n".join(_begun(function, language) for function in exercise.functions)


def _begun(function: Function, language: str) -> str:
    body = textwrap.dedent(function.begin).strip("\n")
    if function.begin == "...":
        body = f"...  # {saying.BEGIN.in_(language)}"
    else:
        body = f"# {saying.MEND.in_(language)}\n{body}"
    return function.written(body, _docstring(function.doc.in_(language)))


def _docstring(text: str) -> str:
    """The text, with the closing quotes on a line of their own if it has several."""
    return f"{text}\n" if "\n" in text else text


def page(exercise: Exercise, language: str) -> str:
    """The file that the learner edits."""
    number = exercise.number
    text = f'''"""{heading(exercise, language)}

{paragraph(exercise.task.in_(language), language)}

{CHECK_IT.in_(language)} {COMMAND} {number}{_flag(language)}
{A_HINT.in_(language)} {COMMAND} {number}{_flag(language)} --hint
"""

import numpy as np


'''
    return text + starter(exercise, language)


def _flag(language: str) -> str:
    return "" if language == "en" else f" --language={language}"


def notebook(exercise: Exercise, language: str, directory: Path) -> str:
    """The exercise as a notebook (nbformat 4.5), as JSON.

    Args:
        directory: where it will be: a kernel starts there, and must find this package.
    """
    here = (
        "" if directory.resolve() == ROOT else f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n"
    )
    extension = "%load_ext experiments.concepts.exercises.notebook\nimport numpy as np"
    start = here + extension
    magic = f"%%exercise {exercise.number}{'' if language == 'en' else ' ' + language}\n"
    cells: list[tuple[str, str]] = [
        ("markdown", f"# {heading(exercise, language)}\n\n{exercise.task.in_(language)}"),
        ("code", start),
        ("markdown", RUN_THE_CELL.in_(language)),
        ("code", magic + starter(exercise, language).rstrip()),
    ]
    for number, hint in enumerate(exercise.hints, 1):
        label = HINT.in_(language).format(number=number)
        cells.append(("markdown", _folded(label, hint.in_(language))))
    code = f"```python\n{exercise.solution().rstrip()}\n```"
    cells.append(("markdown", _folded(SOLUTION.in_(language), code)))
    made = [_cell(f"cell-{i}", kind, source) for i, (kind, source) in enumerate(cells)]
    whole = {
        "cells": made,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _folded(label: str, text: str) -> str:
    return f"<details><summary>{label}</summary>\n\n{text}\n\n</details>"


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    cell = {"id": name, "cell_type": kind, "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def write(path: Path, text: str) -> bool:
    """Writes a file unless there is one. Returns whether it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:  # never over a learner's work
            file.write(text)
    except FileExistsError:
        return False
    return True
