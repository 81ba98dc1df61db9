"""The exercises: each can be solved, and each typical mistake is told by what went wrong."""

import ast
import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.concepts.exercises import EXERCISES, checking, files
from experiments.concepts.exercises.checking import check
from experiments.concepts.exercises.comparing import answer_of, attempt, equal
from experiments.concepts.exercises.exercise import functions_of, with_mistakes
from experiments.concepts.exercises.recognising import recognise
from experiments.concepts.exercises.running import Answer, Failure, Ran
from tests.experiments.concepts.exercises.wrong_answers import BY_THE_NUMBERS, WRONG

ROOT = Path(__file__).parents[4]
CONV2D = EXERCISES[2]
MOST_LINES = 15
PATIENT = 60.0  # seconds


def code_of(wrong) -> str:
    """The solution, with the learner's function in the place of its own."""
    exercise = EXERCISES[wrong.number - 1]
    return f"import numpy as np\n{exercise.solution()}\n{wrong.code}\n"


def judged(wrong, language="en"):
    return check(EXERCISES[wrong.number - 1], code_of(wrong), language=language, seconds=PATIENT)


def answered_here(exercise, code, cases, **_):
    """What `running.run` gives, without a process for each code."""
    made = functions_of(code)

    def answer(function, case):
        given = copy.deepcopy(case)
        try:
            returned = made[function.name](*given)
        except Exception as error:
            return Answer(None, Failure("raised", repr(error)))
        several = returned if len(function.returns) > 1 else (returned,)
        arrays = tuple(np.asarray(each) for each in several)
        changed = any(not np.array_equal(a, b) for a, b in zip(given, case, strict=True))
        whole = tuple(array.dtype.kind in "biu" for array in arrays)
        return Answer(tuple(array.astype(float) for array in arrays), None, changed, whole)

    answers = {f.name: [answer(f, case) for case in cases[f.name]] for f in exercise.functions}
    return Ran(answers, None, "")


def test_twelve_of_at_most_fifteen_lines_in_both_languages():
    assert [exercise.number for exercise in EXERCISES] == list(range(1, 13))
    assert len({exercise.section for exercise in EXERCISES}) == 12
    for exercise in EXERCISES:
        bodies = [function.body.strip().splitlines() for function in exercise.functions]
        assert sum(map(len, bodies)) <= MOST_LINES, exercise.name
        told = [m.told for function in exercise.functions for m in function.mistakes]
        docs = [function.doc for function in exercise.functions]
        assert all(len(function.mistakes) >= 4 for function in exercise.functions)
        for text in [exercise.title, exercise.task, *exercise.hints, *docs, *told]:
            assert re.search(r"[\u4e00-\u9fff]", text.zh)
            assert not re.search(r"[\u4e00-\u9fff]", text.en)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_file_and_notebook_hold_the_same_texts(language, tmp_path):
    for exercise in EXERCISES:
        page = files.page(exercise, language)
        defined = {n.name for n in ast.walk(ast.parse(page)) if isinstance(n, ast.FunctionDef)}
        assert defined == {function.name for function in exercise.functions}
        cells = json.loads(files.notebook(exercise, language, tmp_path))["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
        begun = files.starter(exercise, language).rstrip()
        assert begun in page
        assert code[1].endswith(begun)
        assert all(part.in_(language) in text for part in [exercise.task, *exercise.hints])
        assert exercise.solution().rstrip() in text


def test_what_goes_wrong_is_told():
    """One exercise by the whole way: a process for each code, JAX's answer, one clear line."""
    assert check(CONV2D, CONV2D.solution(), seconds=PATIENT).lines == ["exercise_03.py: solved."]
    flipped = next(wrong for wrong in WRONG if wrong.told == "flipped")
    first, told, *_ = judged(flipped).lines
    assert re.fullmatch(r"conv2d \(case 1 of 4\): y\[0, 0\] is -?\d+, wanted is -?\d+\.", first)
    assert "flipped" in told
    first, told, *_ = judged(flipped, "zh").lines
    assert first.startswith("conv2d（第 1/4 组）：y[0, 0] 是 ")
    assert "翻转" in told
    for code, said in [
        (
            "def conv2d(x, w):\n    return x[9, 9]",
            "exercise_03.py, line 2, in conv2d (case 1 of 4): "
            "IndexError: index 9 is out of bounds for axis 0 with size 4",
        ),
        ("def conv2d(x, w)\n    return x", "exercise_03.py, line 1: SyntaxError: expected ':'"),
        (
            "def conv(x, w):\n    return x",
            "There is no function conv2d in exercise_03.py: its first line is def conv2d(x, w):",
        ),
        (
            "def conv2d(x, w):\n    return 'no'",
            "conv2d (case 1 of 4) returns a str: wanted is an array of shape (3, 3).",
        ),
        (
            "def conv2d(x, w):\n    pass",
            "conv2d returns nothing yet: fill it in, and end it with return.",
        ),
        ("raise SystemExit(3)", "exercise_03.py, line 1: SystemExit: 3"),
        (
            "import os\ndef conv2d(x, w):\n    os._exit(3)",
            "conv2d (case 1 of 4) ended the whole process (status 3).",
        ),
    ]:
        assert check(CONV2D, code, seconds=PATIENT).lines == [said]


def test_what_never_ends_is_ended():
    code = "def conv2d(x, w):\n    while True:\n        print('on and on')"
    verdict = check(CONV2D, code, seconds=3.0)
    assert verdict.lines == [
        "conv2d (case 1 of 4) was not done after 3 seconds: is there a loop that never ends?"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_each_can_be_solved_and_each_mistake_is_recognised(exercise, tmp_path):
    solved = check(exercise, exercise.solution(), seconds=PATIENT)
    assert solved.solved, solved.lines
    for function in exercise.functions:
        cases = list(function.cases())
        want = [answer_of(function, case) for case in cases]
        for mistake in function.mistakes:
            made = functions_of(with_mistakes(exercise, function, [mistake]))[function.name]
            got = [attempt(made, case, function) for case in cases]
            fractions = (False,) * len(function.returns)
            answers = [
                Answer(values, None if values else Failure("raised"), False, fractions)
                for values in got
            ]
            assert not all(
                values and equal(values, right) for values, right in zip(got, want, strict=True)
            ), mistake.told.en
            assert recognise(exercise, function, cases, answers, want) == (mistake,)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 13))
def test_learners_mistakes_are_told(number, monkeypatch):
    monkeypatch.setattr(checking, "run", answered_here)
    for wrong in WRONG + BY_THE_NUMBERS:
        if wrong.number == number:
            verdict = judged(wrong)
            assert not verdict.solved
            assert wrong.told in "\n".join(verdict.lines[1:]), (wrong.code, verdict.lines)


def command(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.concepts.exercises", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_never_overwrites(tmp_path):
    status, said, _ = command("3", "--language=zh", cwd=tmp_path)
    path = tmp_path / "exercise_03.py"
    assert status == 0
    assert "exercise_03.py" in said
    assert path.read_text(encoding="utf-8") == files.page(CONV2D, "zh")
    path.write_text("import numpy as np\n" + CONV2D.solution(), encoding="utf-8")
    before = path.read_bytes()
    status, said, _ = command("3", cwd=tmp_path)
    assert status == 0
    assert said.splitlines()[0] == "exercise_03.py: solved."
    assert path.read_bytes() == before
    status, said, complaint = command("13", cwd=tmp_path)
    assert status == 1
    assert complaint.strip() == "error: '13' is no exercise: give a number from 1 to 12."


@pytest.mark.slow
def test_the_notebooks_run(tmp_path):
    """All of them in one kernel, solved, and one that is not."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    whole, expected = None, []
    for exercise in EXERCISES:
        book = nbformat.reads(files.notebook(exercise, "zh", tmp_path), as_version=4)
        nbformat.validate(book)
        setting_up, checked = [cell for cell in book.cells if cell.cell_type == "code"]
        if whole is None:
            whole = book
            whole.cells = [setting_up, nbformat.v4.new_code_cell(checked.source)]
            expected.append("grey 还没有返回任何东西")
        magic = checked.source.splitlines()[0]
        whole.cells.append(nbformat.v4.new_code_cell(f"{magic}\n{exercise.solution()}"))
        expected.append("cell：正确。")
    client.NotebookClient(whole, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    said = ["".join(o.text for o in cell.outputs) for cell in whole.cells[1:]]
    assert all(want in got for want, got in zip(expected, said, strict=True)), said
