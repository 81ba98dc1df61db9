"""The page to touch in headless Chromium: as JAX computes, by pointer and keys, both languages."""

import base64
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.concepts.touch import contents, data, from_run, golden, networks, training
from experiments.concepts.touch import page as pages
from tests.experiments.concepts.touch import touch_pages
from tests.experiments.concepts.touch.devtools import Browser

# Latin words that the Chinese page may have: names that Chinese texts keep, and keys.
LATIN = {
    "English", "ReLU", "JAX", "Page", "Up", "Down", "Tab", "Shift", "Delete", "max",
}  # fmt: skip

PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = tmp_path_factory.mktemp("page") / "touch.html"
    assert pages.write(made, touch_pages.tiny()[0]) == []
    return made


@pytest.fixture
def page(browser, path):
    """The page at 1,100 px in English; it asks for nothing and complains of nothing."""
    browser.said.clear()
    browser.requests.clear()
    browser.scheme("light")
    browser.open(path)
    yield browser
    assert not browser.said
    assert not browser.requests
    assert browser.run("performance.getEntriesByType('resource').length") == 0


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def probe(page, name):
    """The answer of a function of probes.js."""
    return page.run(f"(() => {{ {PROBES}; return {name}() }})()")


def text_of(page, selector):
    return page.run(f"document.querySelector({selector!r}).textContent")


def differences(page, last, images):
    """For each layer the largest difference to JAX, as a share of its largest activation."""
    wanted, worst = golden.activations(last, images), np.zeros(len(last))
    for i, image in enumerate(images):
        sent = base64.b64encode(image.astype("<f4").tobytes()).decode()
        row, start = floats(page.run(f"touch.activations('{sent}')")), 0
        for k, want in enumerate(wanted):
            got, start = row[start : start + want[i].size], start + want[i].size
            off = np.abs(got - want[i].ravel()).max() / max(1e-9, np.abs(want).max())
            worst[k] = max(worst[k], off)
        assert start == row.size
    return worst


def test_every_activation_of_20_images_is_that_of_jax(page):
    _, last, images = touch_pages.tiny()
    assert len(images) == 20
    assert differences(page, last, images).max() < 1e-4
    assert "2 images" in text_of(page, "#footer"), "the page compares a few itself"


def test_drawing_moving_and_training(page):
    before = floats(page.run("touch.image()"))
    assert before.max() > 0.9, "it begins with an example"
    page.click("#clear")
    assert "Nothing is drawn" in text_of(page, "#answer")
    page.drag([page.middle("#pad .pad", 0.5, d) for d in (0.2, 0.5, 0.8)])
    drawn = floats(page.run("touch.image()")).reshape(24, 24)
    assert drawn[6:18, 11:13].min() > 0.5
    assert drawn[:, :8].max() == 0
    _, last, _ = touch_pages.tiny()
    named = int(golden.logits(last, drawn[None, ..., None])[0].argmax())
    assert str(named) in text_of(page, "#answer")
    page.click("#mini-tools button:nth-child(2)")  # to the right, beside the maps
    moved = floats(page.run("touch.image()")).reshape(24, 24)
    np.testing.assert_array_equal(moved[:, 1:], drawn[:, :-1])
    page.run(
        "(() => { const r = document.querySelector('#training'); r.value = 0;"
        "r.dispatchEvent(new Event('input')); })()"
    )
    page.frame()
    assert "Before the first update" in text_of(page, "#moment-text")
    assert page.run("document.querySelector('#training-too').value") == "0"


@pytest.mark.slow
def test_switches_and_their_measurement(page):
    names = ["shuffle", "act", "shortcut", "stride"]
    assert (
        page.run("document.querySelectorAll('#switch-list [id^=switch-][type=checkbox]').length")
        == 4
    )
    seen = set()
    for rows, name in enumerate(("", *names), start=1):
        if name:
            page.click(f"#switch-{name}")
        page.click("#measure")
        page.wait(f"document.querySelectorAll('#measured tbody tr').length === {rows}")
        seen.add(text_of(page, "#small-answer") + text_of(page, "#bars"))
    assert len(seen) == 5, "each switch changes what the network answers"
    for name in names[:3]:
        page.click(f"#switch-{name}")
    page.click("#trained-stride")  # a network with other layers takes its place
    page.frame()
    assert page.run("document.querySelectorAll('#maps .layer').length") == 14
    page.click("#measure")
    page.wait("document.querySelectorAll('#measured tbody tr').length === 6")
    assert "trained so" in text_of(page, "#measured tbody tr:last-child")


def test_a_unit_shows_its_window_its_products_and_their_sum(page):
    _, last, images = touch_pages.tiny()
    acts = golden.activations(last, images[:1])
    page.drag([page.middle("#layer-1 .map:nth-child(3)", 0.5, 0.5)])
    unit = text_of(page, "#unit-parts")
    assert "Convolution 1, map 3, row 13, column 13" in unit
    value = float(acts[1][0, 12, 12, 2])
    assert f"{abs(value):.3f}" in unit
    cells = page.run(
        "[...document.querySelectorAll('#unit-parts .windows figure')].map((f) =>"
        "[...f.querySelectorAll('td')].map((c) => c.textContent.replace('−', '-')))"
    )
    window, weights, products = (np.array(each, float) for each in cells)
    np.testing.assert_allclose(window.reshape(5, 5), images[0, 10:15, 10:15, 0], atol=0.006)
    np.testing.assert_allclose(window * weights, products, atol=0.02)
    bias = last[1].arrays["bias"][2]
    assert products.sum() + bias == pytest.approx(value, abs=0.1)
    assert "25 of 576 pixels" in unit
    frame = page.run(
        "(() => { const s = document.querySelector('#pad .field').style;"
        "return [s.top, s.left, s.width].map(parseFloat) })()"
    )
    np.testing.assert_allclose(frame, [100 * 10 / 24, 100 * 10 / 24, 100 * 5 / 24], atol=0.01)
    for index, layer in enumerate(last):  # every kind of layer says something
        page.drag([page.middle(f"#layer-{index} .map", 0.6, 0.6)])
        assert len(text_of(page, "#unit-parts .sum")) > 3, layer.op


def test_a_walk_by_keys(page):
    focused = "document.activeElement.closest('[id]').id"
    visited = []
    for _ in range(400):
        page.key("Tab")
        visited.append(page.run(focused))
        if visited[-1] == "layer-3" and page.run("document.activeElement.role") == "gridcell":
            break
    assert {"lang-zh", "contents", "pad", "clear", "training", "switch-act", "measure"} <= set(
        visited
    )
    assert visited.count("layer-1") == 3, "its heading, one stop for all of its maps, its numbers"
    assert "row 7, column 7" in text_of(page, "#unit-said"), "the middle of 12 x 12"
    page.key("ArrowRight", times=6)
    assert "Max pooling, map 2, row 7, column 1" in text_of(page, "#unit-said")
    page.key("ArrowUp")
    page.key("PageDown")
    assert "map 3, row 6, column 1" in text_of(page, "#unit-said")
    page.key("End")
    assert "map 8, row 6" in text_of(page, "#unit-said")
    assert page.run("document.querySelectorAll('#layer-3 [tabindex=\"0\"]').length") == 1

    page.run("document.querySelector('#pad .pad').focus()")
    page.key("Delete")
    page.key(" ")
    page.key("d")
    page.key("ArrowDown", times=4)
    drawn = floats(page.run("touch.image()")).reshape(24, 24)
    assert drawn[12:17, 12].min() > 0.9
    page.key("ArrowLeft", shift=True)
    np.testing.assert_array_equal(
        floats(page.run("touch.image()")).reshape(24, 24)[:, :-1], drawn[:, 1:]
    )
    page.run("document.querySelector('#plot-time').focus()")
    page.key("ArrowRight", times=2)
    page.key("ArrowUp")
    assert "sample 3:" in page.run("document.activeElement.getAttribute('aria-valuetext')")
    page.run("document.querySelector('#scene-area').focus()")
    page.key("PageDown")
    page.key("ArrowDown")
    assert text_of(page, "#scene-said").startswith("Digit 2, at row")


def test_guess_then_measure(page):
    hidden = "91.0"
    assert hidden not in page.run("document.querySelector('#guess').innerText")
    page.run("for (const e of document.querySelectorAll('details.part')) e.open = true")
    assert [text_of(page, f"details.part:nth-of-type({i}) summary") for i in (1, 2)] == [
        "0. Numbers", "5. Pooling",
    ]  # fmt: skip
    ask = "#guess details.part:nth-of-type(2) fieldset:nth-of-type({})"
    page.click(ask.format(1) + " .commit")
    assert "Choose first" in text_of(page, ask.format(1))
    page.click(ask.format(1) + " label:nth-child(1) input")
    page.click(ask.format(1) + " .commit")
    first = page.run(f"document.querySelector('{ask.format(1)}').innerText")
    assert "The pooling claim 1" in first
    assert "You guessed right" in first
    assert "+3.1 (2.0 ... 4.4) %" in first
    assert page.run(f"document.querySelectorAll('{ask.format(1)} circle').length") == 5
    page.click(ask.format(2) + " label:nth-child(1) input")
    page.click(ask.format(2) + " .commit")
    assert "Too few seeds" in text_of(page, ask.format(2))
    assert "1 of 2 guesses right" in text_of(page, "#score")
    assert "1 of these 2 held" in text_of(page, "#score")
    page.click("#lang-zh")
    assert "猜对了" in text_of(page, ask.format(1)), "guesses outlive a change of language"
    assert page.run("getComputedStyle(document.querySelector('#answers')).display") == "none"
    page.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.run("getComputedStyle(document.querySelector('#answers')).display") == "block"
        shown = page.run("document.querySelector('#guess').innerText")
        assert "+3.1" not in shown, "in print the answers come last"
        assert page.run("document.querySelector('main > :last-child').id") == "answers"
        page.resize(718)  # A4 without its margins
        page.run("dispatchEvent(new Event('beforeprint'))")
        assert probe(page, "cut") == {"wide": [], "fits": True, "scrolling": 0}
    finally:
        page.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_it_can_be_read(page, language):
    """Both languages at the width of a telephone and of a screen, in both schemes."""
    for width in (390, 1100):
        page.resize(width)
        page.click(f"#lang-{language}")
        page.drag([page.middle("#layer-4 .map", 0.5, 0.5)])
        found = probe(page, "cut")
        assert found == {"wide": [], "fits": True, "scrolling": 0}, (width, found)
    for scheme in ("dark", "light"):
        page.scheme(scheme, motion="reduce")
        page.frame()
        assert probe(page, "faint") == []
    texts = probe(page, "texts")
    assert len(texts) > 150
    if language == "zh":
        assert page.run("document.documentElement.lang") == "zh-CN"
        words = {word for text in texts for word in re.findall("[A-Za-z]{2,}", text)}
        assert words <= LATIN
        assert sum(bool(re.search("[\u4e00-\u9fff]", text)) for text in texts) > 100
    else:
        assert {text for text in texts if re.search("[\u4e00-\u9fff]", text)} == {"中文"}


@pytest.mark.slow
def test_a_page_of_a_run(page, tmp_path):
    """An unknown number of classes with names of any kind, in colour, without the lesson."""
    made, last, images = from_run.contents_of(
        str(touch_pages.GOLDEN_RUNS / "folder"), say=lambda text: None
    )
    made = {**made, "findings": None, "classes": ["<b>猫</b>", "a long name " * 4]}
    made["source"]["command"] = "python -m experiments.concepts.touch"
    pages.write(tmp_path / "run.html", made)
    page.open(tmp_path / "run.html", width=390)
    assert differences(page, last, images).max() < 1e-4
    assert page.run("document.querySelector('#curve').hidden")
    assert "python -m experiments.concepts --all --quick" in text_of(page, "#guess")
    assert "<b>猫</b>" in text_of(page, "#bars")
    assert probe(page, "cut") == {"wide": [], "fits": True, "scrolling": 0}


TRAINS = """
import pickle, sys
from experiments.concepts.touch import training

trained = training.train_digits(steps=int(sys.argv[1]))
with open(sys.argv[2], "wb") as file:
    pickle.dump([tuple(each) for each in trained.snapshots], file)
"""


def trained_digits(steps, path):
    """The snapshots of the command's training, in a process that compiles as the command does:
    here XLA's optimisations are off (see conftest), and training takes three times as long."""
    subprocess.run(
        [sys.executable, "-c", TRAINS, str(steps), path], check=True, timeout=600,
        env={**os.environ, "XLA_FLAGS": ""}, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    with path.open("rb") as file:
        return [training.Snapshot(*each) for each in pickle.load(file)]


@pytest.mark.slow
def test_trained_in_a_minute_it_names_97_of_100_and_what_is_drawn(page, tmp_path):
    """With three quarters of the command's 1,200 steps."""
    snapshots = trained_digits(3 * training.DIGIT_STEPS // 4, tmp_path / "snapshots")
    small, labels = data.small_digits("test")
    images = data.canvases(small)
    judge = contents.accuracy(images, labels)
    net, last = contents.network(networks.Digit(), snapshots, (24, 24, 1), judge=judge)
    accuracies = [each["accuracy"] for each in net["snapshots"]]
    assert accuracies[-1] >= 0.97
    assert accuracies[0] < 0.2
    assert accuracies[0] < accuracies[3] < accuracies[-1], "untrained, early, end"
    check = contents.agreement(last, images[:2])
    pages.write(tmp_path / "trained.html", {**touch_pages.tiny()[0], "net": net, "check": check})
    page.open(tmp_path / "trained.html")
    assert differences(page, last, images[:20]).max() < 1e-4
    strokes = {
        "1": [[(0.5, 0.2), (0.5, 0.8)]],
        "7": [[(0.3, 0.22), (0.7, 0.22), (0.45, 0.8)]],
        "4": [[(0.58, 0.2), (0.3, 0.58), (0.75, 0.58)], [(0.6, 0.35), (0.6, 0.85)]],
        "0": [[(0.5 + 0.2 * np.cos(a), 0.5 + 0.3 * np.sin(a)) for a in np.linspace(0, 6.3, 15)]],
    }
    named = []
    for lines in strokes.values():
        page.click("#clear")
        for line in lines:
            page.drag([page.middle("#pad .pad", *point) for point in line])
        named.append(text_of(page, "#answer")[-1])
    assert sum(a == b for a, b in zip(named, strokes, strict=True)) >= 3, named


@pytest.mark.slow
def test_complaints_would_be_noticed(browser, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<html data-ready=yes><script>console.error('it went wrong'); undefined.x</script>"
        "<img src='http://nowhere.invalid/x.png'></html>"
    )
    browser.said.clear()
    browser.open(tmp_path / "bad.html")
    said = "\n".join(browser.said)
    assert "it went wrong" in said
    assert "TypeError" in said
    assert browser.requests == ["http://nowhere.invalid/x.png"]
