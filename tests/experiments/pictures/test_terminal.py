"""What a command prints, as an image: whole lines, the last state of a bar, and nothing fetched."""

import re
import xml.etree.ElementTree

from experiments.pictures import terminal

PRINTED = (
    "digits: 10 classes <of> & images\n"
    "\x1b[?25ltrain \x1b[32m 1/20\x1b[0m compiling\r\x1b[2Ktrain \x1b[32m 2/20\x1b[0m loss 2.3\n"
    "\x1b[2Kstep 5/20  test: accuracy 0.1\n"
    "\r\x1b[2Kstep 10/20  test: accuracy 0.3\n"
    "step 20/20  test: accuracy 0.9\n"
    "\x1b[1A\x1b[2Ktrain \x1b[32m20/20\x1b[0m loss 0.1\n\x1b[?25h"
    "│ \x1b[1mtest_accuracy\x1b[0m │ 0.9 │\n"
)


def test_what_is_left_on_a_terminal():
    assert terminal.settled(PRINTED).split("\n") == [
        "digits: 10 classes <of> & images",
        "step 10/20  test: accuracy 0.3",
        "step 20/20  test: accuracy 0.9",
        "train \x1b[32m20/20\x1b[0m loss 0.1",
        "│ \x1b[1mtest_accuracy\x1b[0m │ 0.9 │",
    ]


def test_the_image_is_whole_and_fetches_nothing():
    made = terminal.svg("python -m experiments.classification", PRINTED)
    text = "".join(xml.etree.ElementTree.fromstring(made).itertext()).replace("\xa0", " ")
    assert "$ python -m experiments.classification" in text
    assert "<of> & images" in text
    assert "test_accuracy" in text
    assert not re.search(r"url\((?!#)|href|@import|https?://(?!www\.w3\.org/2000/svg)", made)
