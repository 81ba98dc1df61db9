"""The pages: what they link to is there, and every command names a module and flags of ours."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from cnn_jax import run
from experiments.papers import papers_page

pytestmark = pytest.mark.once  # these read our own text

ROOT = Path(__file__).parent.parent
FIRST, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [FIRST, CHINESE, *sorted(ROOT.glob("[ce]*/**/README.md")), ROOT / "BUILD_NOTES.md"]
LONGEST = 180  # lines of the first page

names = [str(page.relative_to(ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=names)


def test_the_first_page_is_short_and_complete():
    lines = FIRST.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST
    figures = lines[lines.index("## Measured") : lines.index("## The map")]
    results = [line for line in figures if line.startswith("- ")]
    assert len(results) == 6
    assert max(map(len, results)) <= 100 + len("- ")


def test_the_images_are_small_and_there():
    """One of what success looks like, of what a network is, and of each task."""
    linked = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", FIRST.read_text(encoding="utf-8"))
    names = {Path(target).stem for _, target in linked}
    assert {"success", "network_en", "classify", "segment", "detect"} <= names
    assert all(len(described) > 10 for described, _ in linked)  # for those who do not see them
    images = [path for path in (ROOT / "experiments/pictures").iterdir() if path.suffix != ".py"]
    assert sum(path.stat().st_size for path in images if path.is_file()) <= 600_000
    for path in images:
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"https?://(?!www\.w3\.org/)", text)  # nothing is fetched


def outline(page):
    """What does not depend on the language: levels of headings, commands, code, shape of tables."""
    lines = [
        line.split("#")[0].strip() if not line.startswith("#") else re.match("#+", line)[0]
        for line in page.read_text(encoding="utf-8").splitlines()
    ]
    blocks = re.findall(r"```(?:sh|python)\n.*?```", "\n".join(lines), re.S)
    headings = [line for line in lines if line.startswith("#")]
    tables = [line.count("|") for line in lines if line.startswith("|")]
    items = [line[:2] for line in lines if re.match(r"- |\d\. ", line)]
    return blocks, headings, tables, items


def test_the_chinese_page_keeps_step():
    for english, chinese in zip(outline(FIRST), outline(CHINESE), strict=True):
        assert english == chinese
    text = CHINESE.read_text(encoding="utf-8")
    first = FIRST.read_text(encoding="utf-8").replace("_en.png", "_zh.png")
    linked = re.findall(r"\]\(([^)#]+)", first)
    assert {*re.findall(r"\]\(([^)#]+)", text)} == {*linked} - {CHINESE.name} | {FIRST.name}


@every_page
def test_what_a_page_links_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), f"{target} in {page}"
        if anchor:
            titles = re.findall(r"(?m)^#+ (.*)$", place.read_text(encoding="utf-8"))
            made = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in made, f"{target} in {page}"


def commands():
    """(module, names of flags) of every `python -m experiments...` in a block or a table."""
    found: dict[str, set[str]] = {}
    for page in PAGES[:-1]:
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
        lines = [line for block in blocks for line in block.splitlines()]
        for line in [*lines, *re.findall(r"`(python -m [^`]+)`", text.replace("\n", " "))]:
            for module, rest in re.findall(r"python -m (experiments[.\w]*)([^|&;#]*)", line):
                if module.rpartition(".")[2].islower():  # not benchmark.NAME
                    found.setdefault(module, set()).update(re.findall(r"(?:^|\s)--(\w+)", rest))
    return found


COMMANDS = commands()


def flags_of(module):
    """Flags that the module and those of its package define, and the settings of the recipes.

    Read from the source: a process a command would take a minute.
    """
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no {module}"
    place = Path(spec.origin)
    own = place.parent.rglob("*.py") if place.name == "__init__.py" else place.parent.glob("*.py")
    files = [place, *own, *(ROOT / "experiments").glob("*.py")]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    settings = [run.Recipe, run.SegmentationRecipe, run.DetectionRecipe]
    fields = {field.name for recipe in settings for field in dataclasses.fields(recipe)}
    return fields | set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", source)) | {"flagfile", "help"}


@pytest.mark.parametrize("module", sorted(COMMANDS))
def test_commands_name_what_there_is(module):
    known = flags_of(module)
    assert all(name in known or name.removeprefix("no") in known for name in COMMANDS[module]), (
        COMMANDS[module] - known
    )


def test_the_page_of_papers_is_the_registrys():
    page = ROOT / "cnn_jax/models/README.md"
    assert page.read_text(encoding="utf-8") == papers_page()
