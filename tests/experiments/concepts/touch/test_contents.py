"""The page to touch, without a browser: networks as layers, weights as text, runs, one file."""

import base64
import functools
import hashlib
import html.parser
import json
import re
import shutil
import subprocess

import jax
import numpy as np
import pytest

from cnn_jax import models
from experiments.concepts.touch import (
    contents,
    data,
    from_run,
    golden,
    layers,
    networks,
    packing,
    reading,
)
from experiments.concepts.touch import page as pages
from tests.experiments.concepts.touch import touch_pages

NETWORKS = {
    "digit": (networks.Digit(widths=(3, 4)), (24, 24, 1)),
    "curve": (networks.Curve(widths=(3, 4), subsampling="mean"), (40, 1)),
    "scene": (networks.Scene(widths=(3, 4)), (16, 16, 1)),
    "resnet8": (models.create("resnet8", num_classes=3, widths=(4, 4, 8)), (16, 16, 3)),
}


@pytest.fixture(scope="module")
def read():
    """name -> (layers, images [2, H, W, C], what the network itself gives)."""
    found = {}
    for name, (model, shape) in NETWORKS.items():
        variables = touch_pages.variables_of(model, shape)
        images = np.random.default_rng(1).random((2, *shape)).astype(np.float32)
        apply = jax.jit(functools.partial(model.apply, train=False))
        want = np.asarray(apply(variables, (images - 0.2) / 0.5))
        cubes = images if len(shape) == 3 else images[:, None]
        found[name] = reading.read(model, variables, shape, mean=0.2, std=0.5), cubes, want
    return found


def test_the_layers_give_what_the_network_gives(read):
    for name, (found, images, want) in read.items():
        got = golden.activations(found, images)[-1].reshape(want.shape)
        assert np.abs(got - want).max() < 2e-6 * np.abs(want).max(), name
    kinds = [layer.op for layer in read["digit"][0]]
    assert kinds == ["input", "scale", "conv", "clip", "maxpool", "conv", "scale", "clip", "conv",
                     "scale", "clip", "conv", "add", "clip", "mean", "dense"]  # fmt: skip
    assert read["digit"][0][12].inputs == (7, 11), "the shortcut is read from the program"
    assert {layer.name for layer in read["digit"][0]} >= {"conv1", "norm", "head"}


def test_node_computes_what_jax_computes(read, tmp_path):
    """Every activation, from weights in half precision as the page has them."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here; Chromium's test computes the same")
    given, wanted = [], []
    for found, images, _ in read.values():
        kept = packing.rounded(found)
        given.append({
            "net": {"layers": packing.described(kept)}, "snapshot": packing.weights(kept),
            "images": [image.ravel().tolist() for image in images],
        })  # fmt: skip
        wanted.append(golden.activations(kept, images))
    (tmp_path / "given.json").write_text(json.dumps(given))
    program = (
        pages.source("engine.js")
        + """
        const given = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));
        console.log(JSON.stringify(given.map(({ net, snapshot, images }) => {
          const weights = weightsOf(net, snapshot);
          return images.map((image) => forward(net, weights, image).map((a) => Array.from(a)));
        })));"""
    )
    (tmp_path / "run.js").write_text(program)
    done = subprocess.run(
        [node, tmp_path / "run.js", tmp_path / "given.json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for name, outs, acts in zip(read, json.loads(done.stdout), wanted, strict=True):
        for i, image in enumerate(outs):
            assert len(image) == len(acts)
            for got, want in zip(image, acts, strict=True):
                off = np.abs(np.array(got) - want[i].ravel()).max()
                assert off <= 1e-5 * max(1e-6, np.abs(want).max()), name


def test_what_the_page_does_not_know_is_named():
    gru = models.create("gru", num_classes=10)
    with pytest.raises(layers.UnknownLayer, match=r"does not know the operation .*It knows conv"):
        reading.read(gru, touch_pages.variables_of(gru, (40, 1)), (40, 1))
    with pytest.raises(layers.UnknownLayer, match=r"inputs of shape \[4, 4, 4, 1\]"):
        reading.read(networks.Digit(), {}, (4, 4, 4, 1))


def test_a_layer_that_is_read_before_and_after_its_bias_is_refused():
    """Joined with its bias, a layer has one value; a reader of the other would get a wrong one."""

    class Twice(networks.nn.Module):
        @networks.nn.compact
        def __call__(self, x, *, train):
            y = networks.conv(x, 2, 3, name="conv")
            return (y + 1.0) * y

    model = Twice()
    variables = touch_pages.variables_of(model, (8, 8, 1))
    with pytest.raises(layers.UnknownLayer, match="before and after its bias"):
        reading.read(model, variables, (8, 8, 1))


def test_weights_that_do_not_fit_half_precision_are_kept_whole():
    model, shape = NETWORKS["curve"]
    found = reading.read(model, touch_pages.variables_of(model, shape), shape)
    assert packing.weights(found)["kind"] == "f2"
    found[1].arrays["bias"][0] = 1e6
    assert packing.weights(found)["kind"] == "f4"
    assert packing.rounded(found)[1].arrays["bias"][0] == 1e6


class Page(html.parser.HTMLParser):
    """The addresses, ids and scripts of a page."""

    def __init__(self):
        super().__init__()
        self.addresses, self.ids, self.inside, self.texts = [], [], "", {}

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        self.inside = attrs.get("id", tag) if tag in ("script", "style") else ""
        if tag == "meta" and attrs.get("http-equiv"):
            self.policy = attrs["content"]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        if self.inside:
            self.texts[self.inside] = text


def test_the_page_is_one_file_that_asks_for_nothing():
    text = pages.text(touch_pages.tiny()[0])
    page = Page()
    page.feed(text)
    assert len(text.encode()) < pages.LARGEST
    assert page.addresses == ["data:,"]
    assert "default-src 'none'" in page.policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in page.policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert len(page.ids) == len(set(page.ids))
    sly = {**touch_pages.tiny()[0], "classes": ["</script><script>alert(1)</script>", "<!--"]}
    page = Page()
    page.feed(pages.text(sly))
    assert json.loads(page.texts["data"])["classes"] == sly["classes"]


def test_a_page_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="may have 900,000: give a run of a smaller network"):
        pages.text({"net": "0" * 900_000})


def test_300_000_parameters_have_room_beside_the_program(tmp_path):
    """Of them alone there is always a page; what else there is, as far as there is room."""
    network = "0" * (from_run.LARGEST * 2 * 5 // 4 + 20_000)  # half precision, and its layers
    data = {"net": network, "check": "1" * 50_000, "tests": "2" * 60_000, "findings": {"a": "b"}}
    left_out = pages.write(tmp_path / "page.html", data)
    assert left_out == ["check", "findings", "tests"]
    assert (tmp_path / "page.html").stat().st_size < pages.LARGEST
    assert pages.write(tmp_path / "page.html", {**data, "net": ""}) == []
    assert pages.write(tmp_path / "page.html", {**data, "tests": ""}) == ["check"]


def test_every_word_is_there_in_both_languages_with_the_same_numbers():
    words = json.loads(pages.source("words.json"))
    used = "".join(pages.source(f"{name}.js") for name in pages.SCRIPTS) + pages.source("page.html")
    for name, (english, chinese) in words.items():
        assert (english.replace("×", "x")).isascii(), name
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), name
        indirect = re.match(r"[a-z]_|moment|lead|draw_text|switch_text", name)  # made of parts
        assert f'"{name}"' in used or indirect, f"{name} is not used"
    for key in re.findall(r'\bt\("(\w+)"', used):
        assert key in words, key


@pytest.fixture
def lesson(tmp_path):
    (tmp_path / "findings.json").write_text(json.dumps(touch_pages.FINDINGS))
    return tmp_path


def test_the_findings_of_the_lesson(lesson, tmp_path):
    kept = contents.findings(lesson)
    assert set(kept["sections"]["pooling"]) == {
        "number", "name", "title", "guess", "expectations",
    }  # fmt: skip
    assert contents.findings(tmp_path / "elsewhere") is None
    (lesson / "findings.json").write_text('{"sections": {"pooling": {}}}')
    with pytest.raises(ValueError, match=r"findings\.json cannot be read .*measure the lesson"):
        contents.findings(lesson)


RUNS = touch_pages.GOLDEN_RUNS


def test_the_page_of_a_run():
    said = []
    made, last, images = from_run.contents_of(str(RUNS / "digits"), say=said.append)
    assert [each["step"] for each in made["net"]["snapshots"]] == [0, 20, 25]
    assert made["tests"]["n"] == 100
    assert not said
    assert images.shape == (20, 8, 8, 1)
    assert last[1].op == "scale", "pixels are normalised as in the run"
    assert len(pages.text({**made, "findings": None})) < 300_000
    with pytest.raises(ValueError, match=r"is a run of detection.*a run of classification"):
        from_run.contents_of(str(RUNS / "coco"), say=said.append)


@pytest.mark.slow
def test_limits_of_a_run(monkeypatch):
    place = str(RUNS / "digits")
    monkeypatch.setattr(from_run, "_examples", lambda predictor, say: None)
    monkeypatch.setattr(from_run, "WITH_SNAPSHOTS", 100)
    made, _, images = from_run.contents_of(place, say=print)
    assert [each["step"] for each in made["net"]["snapshots"]] == [25]
    assert "tests" not in made
    assert images.std() > 0.1, "golden inputs without the data"
    monkeypatch.setattr(from_run, "LARGEST", 200)
    with pytest.raises(ValueError, match=r"parameters, and a page holds 200 at most"):
        from_run.contents_of(place, say=print)


@pytest.mark.slow
def test_every_network_that_should_be_known():
    """Networks of the registry: strides, padding of a shortcut, dilation in time, and more."""
    known = {"lenet5": 14, "resnet8": 31, "mlp": 7, "mnist1d_cnn": 9}
    for name, count in known.items():
        shape = models.describe(name).input_shape
        model = models.create(name, num_classes=10)
        variables = touch_pages.variables_of(model, shape)
        found = reading.read(model, variables, shape)
        assert len(found) == count, name
        images = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
        want = np.asarray(jax.jit(functools.partial(model.apply, train=False))(variables, images))
        got = golden.logits(found, images if len(shape) == 3 else images[:, None])
        assert np.abs(got - want).max() < 1e-5 * np.abs(want).max(), name


@pytest.mark.slow
def test_a_scene_and_its_classes():
    small, labels = data.small_digits("test")
    digits = data.inked(data.enlarged(small.astype(np.float32) / 16))
    assert digits.min() == 0
    assert digits.max() == 1
    image, classes = data.scene(np.random.default_rng(3), digits, labels)
    assert image.shape == (48, 48, 1)
    assert np.all(image[classes > 0] >= 0.5)
    assert np.all(image[classes == 0] < 0.5)
    assert 1 <= len(np.unique(classes)) - 1 <= 4
