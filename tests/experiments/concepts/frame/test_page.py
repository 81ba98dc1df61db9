"""The page of the lesson: whole without a network, in both languages, with failures explained."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from experiments.concepts.frame import lesson, measured, page
from experiments.concepts.frame.lesson import Effort
from tests.experiments.concepts.frame.fake import CONCEPT


@pytest.fixture(scope="module")
def section():
    made = measured.measure(CONCEPT, 5, Effort(quick=True))
    return {**made, "exercises": [{"number": 3, "title": {"en": "To do", "zh": "题目"}}]}


@pytest.fixture(scope="module")
def pages(section, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lesson")
    untold = {**measured.told(CONCEPT, 6), "name": "later"}
    return dict(zip(lesson.LANGUAGES, page.write([section, untold], directory), strict=True))


class Check(html.parser.HTMLParser):
    """That elements are closed in the order in which they were opened."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Is closed at once."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()


@pytest.mark.parametrize("language", lesson.LANGUAGES)
def test_the_page_holds_all_it_needs(pages, language):
    text = pages[language].read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    beside = [s for s in sources if not s.startswith(("data:", "#"))]
    assert beside == [f"lesson_{'zh' if language == 'en' else 'en'}.html"]  # nothing is fetched
    assert "<script" not in text
    assert all(f'id="{s[1:]}"' in text for s in sources if s.startswith("#"))
    assert text.count("data:image/png") == 3
    assert CONCEPT.title.in_(language) in text
    assert "a &lt;b&gt; &amp; c" in text
    assert "[[" not in text
    assert text.count("<math") == 2
    assert text.count("<svg") == 2  # of the measured section, and of that which is not measured
    assert text.count("exercises 3</code>") == 1
    Check().feed(text)


def test_a_failure_is_marked_and_explained_and_nothing_else_is(pages, section):
    text = pages["en"].read_text(encoding="utf-8")
    assert text.count('class="fails"') == text.count('class="why"') == 1
    assert "Because of 7 things." in text
    assert "1 of 2 expectations held. 1 sections are not measured yet." in text
    held = measured.read(
        CONCEPT._replace(
            read=lambda values: CONCEPT.read(values)._replace(
                outcomes={
                    name: each._replace(holds=True)
                    for name, each in CONCEPT.read(values).outcomes.items()
                }
            )
        ),
        5,
        section,
    )
    assert "Because of 7 things." not in json.dumps(held)


def test_a_claim_needs_an_outcome(section):
    fewer = CONCEPT._replace(claims=CONCEPT.claims[:1])
    with pytest.raises(ValueError, match=r"example: the outcomes are of so, not_so; wanted one of"):
        measured.read(fewer, 5, section)


def browse(path, profile, width=None) -> subprocess.CompletedProcess:
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


# The page has no script. It is shown in frames as wide as a phone and as a desk's window, and one
# asks what the browser made of it: whether something is wider than the page and does not scroll.
FRAMES = """<!doctype html><body><script>
const seen = [];
for (const width of [390, 1100]) {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px";
  frame.srcdoc = SOURCE;
  frame.onload = () => {
    const page = frame.contentDocument;
    const cut = [...page.querySelectorAll("body *")].filter(e =>
      e.getBoundingClientRect().right > width + 1
      && !e.closest(".scroll, .formula, pre, svg")).map(e => e.tagName);
    const look = frame.contentWindow.getComputedStyle.bind(frame.contentWindow);
    const hidden = [...page.querySelectorAll(".scroll, pre, .formula")].filter(e =>
      e.scrollWidth > e.clientWidth && look(e).overflowX != "auto").map(e => e.className);
    const cells = [...page.querySelectorAll(".values td")].every(e =>
      e.getBoundingClientRect().width > 0);
    seen.push(JSON.stringify({width, cut, hidden, cells,
      fits: page.documentElement.scrollWidth <= width,
      images: [...page.images].every(i => i.naturalWidth > 500),
      lang: page.documentElement.lang,
      fetched: frame.contentWindow.performance.getEntriesByType("resource")
        .filter(e => !e.name.startsWith("data:")).length}));
    if (seen.length == 2) document.body.dataset.seen = "[" + seen + "]";
  };
  document.body.append(frame);
}
</script>"""


@pytest.mark.parametrize("language", lesson.LANGUAGES)
def test_nothing_is_cut_off_in_chromium(pages, tmp_path, language):
    source = json.dumps(pages[language].read_text(encoding="utf-8")).replace("<", "\\u003c")
    copy = tmp_path / "framed.html"
    copy.write_text(FRAMES.replace("SOURCE", source), encoding="utf-8")
    done = browse(copy, tmp_path / "profile")
    assert "CONSOLE" not in done.stderr  # what the page itself complains of
    (found,) = re.findall(r'data-seen="([^"]*)"', done.stdout)
    seen = {each["width"]: each for each in json.loads(html.unescape(found))}
    for each in seen.values():
        assert each["cut"] == []
        assert each["fits"]
        assert each["images"]
        assert each["fetched"] == 0
        assert each["lang"].startswith(language)
        assert each["hidden"] == []
        assert each["cells"]  # of the wide table too


def test_what_a_page_complains_of_would_be_noticed(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<p>bad</p><script>console.error('it went wrong')</script>")
    complaints = browse(path, tmp_path / "profile").stderr
    assert "CONSOLE" in complaints
    assert "it went wrong" in complaints
