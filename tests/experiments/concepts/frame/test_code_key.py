"""The key of a measurement changes with its code, and with nothing else."""

import importlib

import pytest

from experiments.concepts.frame import code_key

MODULE = '''
"""A section."""
from experiments.concepts.frame.lesson import Text
from experiments.concepts.measuring.data import subset

STEPS = 3
TITLE = "a title"

def inner(x):
    """Says something."""
    return x + STEPS  # a comment

def measure(effort):
    Text("one", "一")
    return {"a": inner(1), "b": subset}

def read(values):
    return TITLE
'''


DATA = "def subset():\n    return 1\n"


@pytest.fixture
def key(tmp_path):
    def of(source=MODULE, **others):
        """The key of `measure` in a lesson of these modules."""
        code_key._module.cache_clear()
        (tmp_path / "measuring").mkdir(exist_ok=True)
        for name, text in {"section": source, "measuring/data": DATA, **others}.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return code_key.of(tmp_path / "section.py", "measure", lesson=tmp_path)

    yield of
    code_key._module.cache_clear()


def test_a_changed_sentence_measures_nothing_again(key):
    before = key(MODULE)
    for old, new in (
        ("Says something", "Says something else"),
        ("# a comment", "# another"),
        ('"one", "一"', '"two", "二"'),
        ("a title", "another title"),
        ("return TITLE", "return TITLE + TITLE"),
    ):
        assert key(MODULE.replace(old, new)) == before


def test_changed_code_does(key):
    before = key()
    assert key(MODULE.replace("STEPS = 3", "STEPS = 4")) != before
    assert key(MODULE.replace("x + STEPS", "x - STEPS")) != before
    assert key(MODULE.replace("inner(1)", "inner(2)")) != before
    other = {"measuring/data": DATA.replace("1", "2")}  # what it calls in another module
    assert key(**other) != before


def test_code_that_moves_to_another_module_is_the_same_code(key):
    moved = MODULE.replace("measuring.data", "measuring.sets")
    assert key(moved, **{"measuring/sets": DATA, "measuring/data": ""}) == key()


def test_a_module_that_is_used_whole_is_refused(key):
    """What is used of it would not be seen, and a changed measurement would be taken for old."""
    whole = MODULE.replace("measuring.data import subset", "measuring import data")
    assert key(whole.replace("subset", "1")) != key()  # imported and not used: no harm
    with pytest.raises(ValueError, match=r"uses the module data of .*measuring. Import what it"):
        key(whole.replace("subset", "data.subset"))


def test_the_key_of_a_function_is_that_of_its_file():
    name = "experiments.concepts.pixels.measure"
    measure = importlib.import_module(name).measure
    file = code_key.LESSON / "pixels" / "measure.py"
    assert code_key.key(measure) == code_key.of(file, "measure")
