"""What a name may do to a terminal, a table and a figure: nothing."""

import io
import logging
import os

import numpy as np
import pytest
import rich.table

from cnn_jax.analysis import detection_figures, figures, segmentation_figures
from cnn_jax.printable import PlainConsole, in_figure, printable
from cnn_jax.train import log

AS_THEY_ARE = [
    "cat",
    "US$1_CA$2",
    "$$",
    "[red]x[/red]",
    "fd[/b]",
    ":smile:",
    "猫",
    "🐈‍⬛",
    "é",
    "_x_",
    "a\\b",
]
ESCAPED = {
    "\x1b[2Jgone": "\\x1b[2Jgone",
    "two\nlines": "two\\nlines",
    "bell\a": "bell\\x07",
    "\r100%": "\\r100%",
    "\u202egnp.exe": "\\u202egnp.exe",
    "\u2066x": "\\u2066x",
    "\u2028": "\\u2028",
    "\x9b31m": "\\x9b31m",
    "\x7f": "\\x7f",
    os.fsdecode(b"Mu\xf1oz"): "Mu\\xf1oz",
}  # fmt: skip


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_names_stay_as_they_are(name):
    assert printable(name) == name


@pytest.mark.parametrize(("name", "shown"), ESCAPED.items())
def test_what_acts_is_escaped(name, shown):
    assert printable(name) == shown
    printable(name).encode()


def table_of(name: str, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    console = PlainConsole(file=file, width=60)
    table = rich.table.Table(name, title=name)
    table.add_row(name)
    console.print(name)
    console.print(table)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_tables_show_names_as_they_are(name):
    assert table_of(name).count(name) == 4  # printed, the title, the heading and the cell


@pytest.mark.parametrize("name", [name for name in ESCAPED if name not in ("two\nlines", "\u2028")])
def test_tables_escape_what_acts(name):
    assert ESCAPED[name] in table_of(name)


def test_a_terminal_of_no_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    file = io.StringIO()
    PlainConsole(file=file).print("cat")
    assert file.getvalue().strip() == "cat"


def test_an_ascii_terminal_gets_ascii():
    shown = table_of("猫", "ascii")
    assert "\\u732b" in shown
    assert "+" in shown, "the box is drawn in ASCII too"


def test_log_lines_and_what_a_run_says(tmp_path):
    file = io.StringIO()
    console = PlainConsole(file=file, width=200)
    logger = logging.Logger("x")
    logger.addHandler(log.handler(console))
    logger.warning("skipped: %s", "a\x1b]0;title\a[red]:smile:.png")
    with log.RunLog(tmp_path, console=console) as run:
        run.say("in a\x1b[2J[/b]\n:smile:")
    assert "a\\x1b]0;title\\x07[red]:smile:.png" in file.getvalue()
    assert "in a\\x1b[2J[/b]\\n:smile:" in file.getvalue()
    assert "\x1b" not in file.getvalue()


NAMES = [
    "W" * 3000,
    "US$1_CA$2",
    "$\\frac{",
    "[red]x[/red]",
    "猫",
    "\x1b[2J",
    "$$",
    "_x_",
    "a\nb",
    "\udcf1",
]


def test_figures_take_any_name(tmp_path):
    k = len(NAMES)
    labels = np.arange(k)
    figures.confusion_matrix(np.eye(k, dtype=int), NAMES, tmp_path / "c.png")
    images = np.zeros((k, 4, 4, 1), np.uint8)
    figures.predictions(images, labels, np.roll(np.eye(k), 1, 1), NAMES, tmp_path / "p.png")
    masks = np.arange(k * 16).reshape(k, 4, 4).astype(np.uint8) % k
    segmentation_figures.predictions(images[:2], masks[:2], masks[:2], NAMES, tmp_path / "s.png")
    rows = np.zeros((1, k, 6))
    rows[0, :, 2:4], rows[0, :, 5] = 4, labels
    found = rows.copy()
    found[..., 4] = 0.9
    batch = {"image": np.zeros((1, 4, 4, 3), np.uint8), "mask": np.ones(1, bool),
             "extent": np.full((1, 2), 4.0), "factor": np.ones((1, 2))}  # fmt: skip
    detection_figures.predictions([batch], found, rows, NAMES, tmp_path / "d.png")
    detection_figures.precision_recall(found, rows, NAMES, tmp_path / "r.png")
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_a_figure_keeps_room_for_itself():
    """A name of 3,000 letters left none, and Matplotlib warned of it."""
    assert in_figure("x" * 40) == "x" * 40
    assert in_figure("x" * 3000 + "\nis $y$") == "x" * 39 + "\u2026\nis \\$y\\$"


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_a_figure_shows_the_name_itself(name):
    """Matplotlib's own rule: an escaped dollar begins no formula, and is shown alone."""
    from matplotlib.text import Text

    shown, is_math = Text(0, 0, in_figure(name))._preprocess_math(in_figure(name))
    assert (shown, is_math) == (name, False)
