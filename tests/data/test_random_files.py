"""Random files of every kind: read rightly, or one clear line that names the file.

A share of them by default. All of them, more than 2,000, and how many were read:

    pytest -n0 -s -m exhaustive tests/data/test_random_files.py
"""

import os
import warnings
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from tests.data.random_files import boxes, images, others

# name -> what draws a case, what checks it in a folder, how many cases by default and in all
KINDS = {
    "images": (images.CASES, images.check, 20, 1000),
    "coco": (boxes.CASES, boxes.check_of(boxes.coco), 8, 400),
    "voc": (boxes.CASES, boxes.check_of(boxes.voc), 8, 300),
    "yolo": (boxes.CASES, boxes.check_of(boxes.yolo), 8, 300),
    "masks": (others.MASKS, others.check_masks, 8, 300),
    "csv": (others.CSVS, others.check_csv, 8, 300),
    "ts": (others.SERIES, others.check_ts, 10, 300),
}


@pytest.mark.filterwarnings("default")  # Pillow's, on damaged tags
@pytest.mark.parametrize("share", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("kind", KINDS)
def test_random_files(kind, share, tmp_path):
    cases, check, few, all_of_them = KINDS[kind]
    outcomes: Counter[str] = Counter()
    number = iter(range(10**6))

    @settings(
        max_examples=few if share else all_of_them,
        deadline=None,
        derandomize=os.environ.get("CNN_JAX_FUZZ") != "random",  # what CI runs is repeatable
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case):
        folder = tmp_path / str(next(number))
        folder.mkdir()
        outcomes[check(case, folder)] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    print(f"{kind}: {outcomes.total()} cases, {dict(outcomes)}")
    assert outcomes.total() >= few
    assert share or len(outcomes) > 1, outcomes  # some are read and some refused
