"""The page of concepts: whole without a network, in both languages, with failures marked."""

import base64
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from experiments.concepts import __main__ as index
from experiments.concepts import lesson, page
from experiments.concepts.lesson import Concept, Effort, Expectation, Findings, Text


def measured(effort):
    return Findings(
        headings=[Text("network", "网络"), Text("accuracy", "准确率")],
        rows=[["a <b> & c", "94.1 ± 0.3 %"]],
        expectations=[
            Expectation(Text("It is so", "是这样"), "> 1", "2", True),
            Expectation(Text("It is not so", "不是这样"), "> 3", "2", False),
        ],
        draw=lambda figure: figure.subplots().plot([1, 2, 3]),
    )


CONCEPT = Concept(
    "example",
    Text("An example", "一个例子"),
    Text("Why?", "为什么？"),
    Text("So.", "所以。"),
    measured,
)


@pytest.fixture
def run(tmp_path):
    return page.run(CONCEPT, Effort(quick=True), tmp_path)


def test_result_and_figure(run, tmp_path):
    result = json.loads((tmp_path / "example" / "result.json").read_text())
    assert [each["holds"] for each in result["expectations"]] == [True, False]
    assert result["rows"] == [["a <b> & c", "94.1 ± 0.3 %"]]
    assert result["versions"]["jax"]
    assert run.figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("language", lesson.LANGUAGES)
def test_the_page_holds_all_it_needs(run, tmp_path, language):
    path = tmp_path / "lesson.html"
    page.write([run], path, language)
    text = path.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources
    assert all(source.startswith("data:") for source in sources)  # nothing is fetched
    assert "<script" not in text
    picture = next(s for s in sources if s.startswith("data:image/png;base64,"))
    assert base64.b64decode(picture.split(",", 1)[1]) == run.figure.read_bytes()
    assert CONCEPT.title.in_(language) in text
    assert text.count('class="fails"') == 1
    assert "a &lt;b&gt; &amp; c" in text
    html.parser.HTMLParser().feed(text)


def browse(path, profile) -> subprocess.CompletedProcess:
    """Opens a page in headless Chromium, without a network: the DOM, and what the page logs."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("there is no Chromium here")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("language", lesson.LANGUAGES)
def test_chromium_opens_it_without_an_error(run, tmp_path, language):
    path = tmp_path / "lesson.html"
    page.write([run], path, language)
    # The page has no script. The copy has one, which says what the browser made of the page.
    asks = (
        "<script>addEventListener('load', () => {"
        "document.body.dataset.pictures = [...document.images].map(i => i.naturalWidth);"
        "document.body.dataset.fetched = performance.getEntriesByType('resource')"
        ".filter(e => !e.name.startsWith('data:')).length;"
        "document.body.dataset.language = document.documentElement.lang;"
        "document.body.dataset.fits = document.body.scrollWidth <= innerWidth; })</script>"
    )
    copy = tmp_path / "asked.html"
    copy.write_text(path.read_text(encoding="utf-8") + asks, encoding="utf-8")
    done = browse(copy, tmp_path / "profile")
    assert CONCEPT.title.in_(language) in done.stdout
    assert "CONSOLE" not in done.stderr  # what the page itself complains of
    assert f'data-pictures="{int(run.findings.size[0] * 110)}"' in done.stdout  # it is decoded
    assert 'data-fetched="0"' in done.stdout
    assert f'data-language="{language}"' in done.stdout
    assert 'data-fits="true"' in done.stdout


def test_what_a_page_complains_of_would_be_noticed(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<p>bad</p><script>console.error('it went wrong')</script>")
    complaints = browse(path, tmp_path / "profile").stderr
    assert "CONSOLE" in complaints
    assert "it went wrong" in complaints


def test_every_concept_is_told_in_both_languages():
    assert len(index.CONCEPTS) == 8
    for concept in index.CONCEPTS:
        for text in (concept.title, concept.question, concept.answer):
            assert text.en.isascii()
            assert re.search(r"[\u4e00-\u9fff]", text.zh)


def test_interval_is_students():
    """Four values: t = 3.182; deviation 1.2910 of 1, 2, 3, 4, by hand."""
    assert lesson.half_width([1, 2, 3, 4]) == pytest.approx(3.18245 * 1.29099 / 2, rel=1e-4)
    assert lesson.mean_and_interval([0.941, 0.941], scale=100) == "94.1 ± 0.0"


def test_above_needs_more_than_the_noise():
    assert lesson.above(np.array([2.0, 2.1, 2.2]), np.array([1.0, 1.1, 1.2]))
    assert not lesson.above(np.array([1.1, 0.2, 2.0]), np.array([1.0, 1.1, 0.9]))


def test_a_digit_lies_where_its_place_says():
    images = np.ones((5, 8, 8, 1), np.float32)
    data = lesson.on_canvas({"image": images, "label": np.arange(5)}, 16, seed=0)
    assert data["image"].sum((1, 2, 3)).tolist() == [64] * 5
    for picture, (top, left) in zip(data["image"], data["place"], strict=True):
        assert picture[top : top + 8, left : left + 8].sum() == 64
