"""What the later sections say of numbers: true of those that hold, and explained if they do not."""

import re

import numpy as np
import pytest

from experiments.concepts.batch_norm.measure import BATCHES, NORMS
from experiments.concepts.frame import syllabus
from experiments.concepts.frame.lesson import in_language
from experiments.concepts.gradients import measure as gradients
from experiments.concepts.residual import measure as residual
from tests.experiments.concepts.test_recorded import unequal

pytestmark = pytest.mark.once  # these read our own text


def near(value, shape=(3,)):
    """Values of seeds about one."""
    wave = 0.001 * np.arange(np.prod(shape)).reshape(shape)
    return (value + wave).tolist()


def of_features(good):
    trained, random = (0.7, 0.4) if good else (0.4, 0.6)
    pixels = np.zeros((8, 16, 16)).tolist()
    maps = np.zeros((8, 8, 8)).tolist()
    return {
        **{n: near(trained) for n in ("looked", "chosen", "smooth", "drops", "right")},
        **{n: near(random) for n in ("begun", "chosen_random", "rough", "random", "active")},
        "alike": near(0.2 if good else 0.9), "moved": near(0.5), "right_beside": near(0.9),
        "filters_shown": np.ones((8, 5, 5)).tolist(), "maps_shown": pixels,
        "patches_shown": np.ones((8, 5, 5)).tolist(), "images_shown": pixels, "cam_shown": maps,
        "chosen_shown": maps, "chosen_random_shown": maps, "beside_shown": pixels,
    }  # fmt: skip


def of_gradients(good):
    first = {"sigmoid": -15, "tanh": -2, "small": -4, "he": 0, "large": 4}
    factors = {"sigmoid": 0.2, "tanh": 0.9, "small": 0.71, "he": 1.0, "large": 1.41}
    if not good:
        first = {"sigmoid": 0, "tanh": -9, "small": 0, "he": 5, "large": 0}
        factors = dict.fromkeys(factors, 0.5)
    layers = np.linspace(1, 2, gradients.FACTORS)
    return {
        "first": {n: (10.0 ** np.array(near(v))).tolist() for n, v in first.items()},
        "factor": {n: near(v) for n, v in factors.items()},
        "signal": {n: [layers.tolist()] * 3 for n in first},
        "gradient": {n: [layers.tolist()] * 3 for n in first},
        "loss": {"sigmoid": near(2.3 if good else 1), "he": near(1.5 if good else 2.2)},
        "wide": {n: near(v) for n, v in factors.items()}, "shallow": near(0.7),
    }  # fmt: skip


def of_residual(good):
    deep, shallow = str(residual.DEEP), str(residual.SHALLOW)
    a, b = (2.0, 1.0) if good else (1.0, 2.0)
    blocks = (3, residual.DEEP)
    layers = np.linspace(1, 2, 2 * residual.DEEP)
    return {
        "first": {n: (10.0 ** np.array(near(0 if good else 5))).tolist() for n in residual.DEPTHS},
        "gradient": {n: [layers.tolist()] * 3 for n in residual.DEPTHS},
        "alike": {"plain": {shallow: near(0.3), deep: near(0.1 if good else 0.9)},
                  "residual": {deep: near(0.6)}},
        "loss": {"plain": {shallow: near(b), deep: near(a)}, "residual": {deep: near(b)}},
        "right": {"plain": {shallow: near(0.6), deep: near(0.4)}, "residual": {deep: near(0.7)}},
        "lost": {"plain": near(0.3, blocks), "residual": near(0.1 if good else 0.29, blocks)},
    }  # fmt: skip


def of_activations(good):
    right = {"identity": 0.3, "sigmoid": 0.4, "tanh": 0.7, "relu": 0.8, "leaky_relu": 0.8,
             "gelu": 0.81}  # fmt: skip
    if not good:
        right |= {"identity": 0.5, "sigmoid": 0.9, "gelu": 0.95}
    dead, bends = (0.6, 400) if good else (0.0, 5)
    return {
        "right": {n: [near(v), near(v / 2)] for n, v in right.items()},
        "dead": {n: [near(0.01), near(dead * (n == "relu"))] for n in right}
        | {"leaky_relu": [[0, 0, 0], [0, 0, 0] if good else near(0.1)]},
        "off": {n: [near(0.5), near(0.8)] for n in right},
        "losses": {n: near(1.0, (3, 20)) for n in right},
        "bends": {n: near(bends) for n in ("identity", "relu", "gelu")},
        "line": {n: np.zeros(2001).tolist() for n in ("identity", "relu", "gelu")},
        "matrix": [1e-7 if good else 0.1] * 3, "largest": near(20),
    }  # fmt: skip


def of_batch_norm(good):
    best = {"none": [2.2, 1.5, 2.3, 10], "batch": [1.8, 0.8, 0.6, 2.4]}
    if not good:
        best = {"none": best["batch"], "batch": best["none"]}
    sizes = [str(size) for size in BATCHES]
    gaps = dict(zip(sizes, (0.2, 0.1, 0.05, 0) if good else (0, 0, 0, 0.2), strict=True))
    losses = {n: [near(v) for v in best.get(n, best["none"])] for n in NORMS}
    return {
        "losses": losses, "gradients": losses, "gaps": {n: near(v) for n, v in gaps.items()},
        "noise": {n: near(0.2) for n in sizes}, "change": near(0 if good else 1),
        "slope": near(0.1 if good else 1), "plain": near(50), "means": 0.3,
        "synced": 1e-6 if good else 0.1, "local": 0.9 if good else 0.0,
    }  # fmt: skip


def of_dense_tasks(good):
    low, high = (0.6, 0.8) if good else (0.4, 0.3)
    shown = np.zeros((4, 32, 32)).tolist()
    figures = {f"{net}_{kind}": near(value) for net, value in (("coarse", low), ("fine", high))
               for kind in ("ink", "iou", "known", "border", "blank")}  # fmt: skip
    return {
        **figures, "coarse_ink": near(high), "cells_each": 3.1,
        "slid": near(0.55 if good else 0.45),
        "apart": [1e-7 if good else 1.0] * 3, "largest": 9.0,
        "right": near(0.9), "centre": near(0.7), "found": near(0.9 if good else 0.2),
        "any": near(0.95), "before": near(4 if good else 1), "after": near(1.0 if good else 2),
        "wrong": near(0.1), "boxes_shown": [[[1, 2, 9, 9, 0.9, 3]]] * 4,
        **{f"{n}_shown": shown for n in ("scenes", "truth", "slid", "coarse", "fine")},
        **{f"{n}_size": 1000 for n in ("slid", "coarse", "fine")},
    }  # fmt: skip


CASES = {
    "activations": of_activations, "gradients": of_gradients, "batch_norm": of_batch_norm,
    "residual": of_residual, "dense_tasks": of_dense_tasks, "features": of_features,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_claim_that_fails_is_explained(name):
    section, values = syllabus.concept(name), CASES[name]
    claims = {claim.name for claim in section.claims}
    told = {}
    for good in (True, False):
        found = section.read(values(good))
        assert found.outcomes.keys() == claims
        held = {name: outcome.holds for name, outcome in found.outcomes.items()}
        if name == "residual" and not good:  # deeper is worse and shortcuts are better, or neither
            held.pop("better")
        assert set(held.values()) == {good}, held
        for outcome in found.outcomes.values():
            if not good and not outcome.holds:
                assert re.search(r"\d", outcome.why_not.en)  # a measurement of its own
                for a, sign, b in unequal(in_language(outcome.measured, "en")):
                    assert {"<": a <= b, ">": a >= b, "=": a == b}[sign], outcome.measured
                assert re.search(r"\d", outcome.why_not.zh)
                assert re.search(r"[\u4e00-\u9fff]", outcome.why_not.zh)
        told[good] = [text.en for text in found.reading]
        assert all(re.search(r"[\u4e00-\u9fff]", text.zh) for text in found.reading)
    assert told[True] != told[False]


def test_what_was_not_learnt_is_not_said_to_be():
    found = syllabus.concept("features").read(of_features(False))
    text = " ".join(each.en for each in found.reading)
    assert "does not show that anything was learnt" in text
    assert "the difference shows" not in text
