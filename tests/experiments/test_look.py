"""`experiments.look`: pages of data of every kind, by numbers, and as a browser shows them."""

import dataclasses
import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis.look import files
from cnn_jax.run.settings import to_flagfile
from experiments import entry, plugin_flag
from experiments import look as command
from experiments import recipe as recipes

CLASSES = ("猫", "a$b$", "[red]", "<b>&amp;", "x\x1b[2J")


def noise(rng, *shape):
    """An image of coarse squares, of which no two are alike."""
    return rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(shape[0], 0).repeat(shape[1], 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Files of several sizes: one is in both splits, one is black, one is broken."""
    root, rng = tmp_path_factory.mktemp("sets") / "photos", np.random.default_rng(0)
    for name in CLASSES:
        for split, count in (("train", 4), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(noise(rng, 4 + 2 * i, 6 + i))
                image.save(root / split / name / f"{i}.png")
    shutil.copy(root / "train" / "猫" / "3.png", root / "test" / "[red]" / "other name.png")
    Image.new("RGB", (30, 20)).save(root / "train" / "a$b$" / "black.png")
    (root / "train" / "猫" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (root / "train" / "猫" / "notes.txt").write_text("none")
    return root


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Masks and boxes of the same squares: one of 3x2 pixels and one of 20x16 are the extremes."""
    root, rng = tmp_path_factory.mktemp("street"), np.random.default_rng(0)
    for split in ("train", "test"):
        images, annotations = [], []
        for folder in (split, f"{split}annot", f"coco/{split}"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(6):
            width, height = {0: (3, 2), 1: (20, 16)}.get(i, (8, 6))
            left, top = int(rng.integers(0, 20)), int(rng.integers(0, 10))
            pixels, mask = noise(rng, 8, 12), np.zeros((32, 48), np.uint8)
            mask[top : top + height, left : left + width] = 1 + i % 2
            mask[-3:] = 255
            Image.fromarray(pixels).save(root / split / f"{i}.png")
            Image.fromarray(pixels).save(root / "coco" / split / f"{i}.png")
            Image.fromarray(mask).save(root / f"{split}annot" / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": 48, "height": 32})
            row = {"image_id": i, "category_id": 1 + i % 2, "iscrowd": 0}
            boxes = [[left, top, width, height]] + ([[5, 5, 0, 4]] if i == 3 else [])
            annotations += [{**row, "id": 10 * i + j, "bbox": b} for j, b in enumerate(boxes)]
        names = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
        found = {"images": images, "annotations": annotations, "categories": names}
        (root / "coco" / "annotations").mkdir(exist_ok=True)
        (root / "coco" / "annotations" / f"instances_{split}.json").write_text(json.dumps(found))
    return root


@pytest.fixture(scope="module")
def looks(photos, street, tmp_path_factory):
    """A look at each kind of data, by its name."""
    shared = {"batch_size": 4, "validation_split": "", "compilation_cache": ""}
    volumes = np.random.default_rng(0).integers(0, 256, (6, 5, 6, 7), np.uint8)
    file = tmp_path_factory.mktemp("volumes") / "set.npz"
    labels = np.arange(6) % 2
    np.savez(file, train_images=volumes, train_labels=labels, test_images=volumes[:2],
             test_labels=labels[:2])  # fmt: skip
    recipe_of = {
        "digits": run.Recipe(dataset="digits", augment="translate:0.2", **shared),
        "photos": run.Recipe(dataset=f"folder:{photos}", augment="flip", **shared),
        "masks": run.SegmentationRecipe(
            dataset=f"masks:{street}", classes="road,car,bus", augment="flip", **shared
        ),
        "boxes": run.DetectionRecipe(
            dataset=f"coco:{street / 'coco'}", image_size="16x24", augment="flip", **shared
        ),
        "curves": run.Recipe(dataset="mnist1d", augment="noise:0.5", **shared),
        "volumes": run.Recipe(dataset=f"npz:{file}", augment="", mixup=0.4, **shared),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return {name: run.look(recipe, examples=4, step=3) for name, recipe in recipe_of.items()}


KINDS = ("digits", "photos", "masks", "boxes", "curves", "volumes")


def test_the_numbers(looks):
    digits, photos, masks, boxes = (looks[kind] for kind in KINDS[:4])
    assert [split.examples for split in digits.splits] == [1438, 359]
    # counted apart: 1,797 digits, of which a fifth of each class is for the test
    assert sum(digits.splits[0].counts) == 1438
    assert len(digits.trained) == 4
    assert digits.trained[0].stored.size == "8x8"
    assert not np.array_equal(digits.trained[0].loaded.pixels, digits.trained[0].shown.pixels)
    np.testing.assert_array_equal(
        digits.evaluated[0].loaded.pixels, digits.evaluated[0].shown.pixels
    )

    assert dict(zip(photos.class_names, photos.splits[0].counts.tolist(), strict=True)) == {
        "猫": 5, "a$b$": 5, "[red]": 4, "<b>&amp;": 4, "x\x1b[2J": 4,
    }  # fmt: skip
    assert photos.input == (224, 224, 3)
    assert "skip_corrupt=true" in photos.refused
    assert any("image_size=224" in note for note in photos.notes)
    assert any("1 .txt" in note for note in photos.notes)
    assert [line.split(":")[0][-10:] for line in photos.splits[0].damaged] == ["broken.png"]
    assert photos.plainest[0].name.endswith("black.png")
    assert photos.plainest[0].numbers["deviation"] == 0
    assert [
        (Path(p.first.name).name, Path(p.second.name).name) for p in photos.pairs if p.same
    ] == [("3.png", "other name.png")]
    assert photos.survey.shared.spare == 1
    assert any("also in train, byte for byte" in note for note in photos.notes)
    assert photos.smallest[0].numbers["image"] == "24x16"

    # 3x2 of 32x48 pixels, among regions of both classes
    assert masks.counted == "pixels"
    assert masks.smallest[0].numbers["share"] == pytest.approx(6 / 1536, rel=1e-2)
    assert masks.largest[0].numbers["width"] == 20
    assert masks.splits[0].counts.sum() == 6 * 29 * 48  # what is ignored does not count

    assert boxes.splits[0].counts.tolist() == [3, 3]
    assert boxes.splits[0].left_out == {"without area": 1}
    assert (boxes.smallest[0].numbers["width"], boxes.smallest[0].numbers["width_seen"]) == (3, 1.5)
    assert boxes.largest[0].numbers["class"] == "bus"
    each = next(each for each in boxes.trained if len(each.shown.boxes))
    moved = each.shown.boxes[0].tolist()
    left, top, right, bottom = each.loaded.boxes[0].tolist()
    assert moved in ([left, top, right, bottom], [24 - right, top, 24 - left, bottom])


def test_mixed_labels_and_other_steps(looks):
    volumes, curves = looks["volumes"], looks["curves"]
    assert volumes.trained[0].stored.size == "5x6x7"
    texts = [each.shown.text for each in volumes.trained]
    assert any(re.fullmatch(r"\d+% \d, \d+% \d", text) for text in texts), texts
    assert [pair.same for pair in volumes.pairs] == [True, True]
    assert curves.trained[0].loaded.size == "40 points"
    deviation = np.std(curves.trained[0].shown.pixels - curves.trained[0].loaded.pixels)
    assert 0.2 < deviation < 1  # the noise has 0.5


class Page(html.parser.HTMLParser):
    """The images, addresses and open tags of a page."""

    def __init__(self):
        super().__init__()
        self.images, self.addresses, self.texts, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        self.addresses += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)
        assert tag != "script"

    def handle_startendtag(self, tag, attrs):
        assert tag in ("rect", "polyline")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_holds_all_it_needs(looks, tmp_path, kind):
    look = looks[kind]
    (path,) = files.write(look, tmp_path / "here" / "page.html")
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in text
    assert all("alt" in image for image in page.images)
    assert len(text) < 2_000_000
    shown = "".join(page.texts)
    assert "\x1b" not in text
    for name in look.class_names:
        assert name.replace("\x1b", "\\x1b") in shown
    if kind == "photos":
        assert "Training would stop" in shown
        assert "same pixels" in shown
    if kind == "boxes":
        assert text.count("<rect") > 10
    if kind == "curves":
        assert text.count("<polyline") > 10


@pytest.mark.parametrize(
    "kind", ["boxes", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)]
)
def test_the_sheet(looks, tmp_path, kind):
    written = files.write(looks[kind], tmp_path / kind)
    assert [file.name for file in written] == ["look.html", "look.png", "look.json"]
    with Image.open(written[1]) as sheet:
        assert sheet.width == 1100
        assert len(sheet.convert("RGB").getcolors(2**20) or [0] * 99) > 50


def test_the_numbers_are_in_the_json(looks, tmp_path):
    (path,) = files.write(looks["boxes"], tmp_path / "boxes.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["splits"][0]["classes"] == [["car", 3], ["bus", 3]]
    assert found["splits"][0]["left_out"] == {"without area": 1}
    assert found["smallest"][0]["width_seen"] == 1.5
    assert found["settings"]["image_size"] == "16x24"
    (path,) = files.write(looks["photos"], tmp_path / "photos.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert "x\\x1b[2J" in [name for name, _ in found["splits"][0]["classes"]]
    with pytest.raises(ValueError, match=r"\.pdf: wanted a directory, or a \.html"):
        files.write(looks["curves"], tmp_path / "look.pdf")


def parsed(*arguments):
    """The flags of the command, and its recipe, as the process would have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin_flag.sys, "argv", ["look", *arguments])
        return command.chosen()


def test_the_task_is_that_of_the_data():
    assert parsed("--dataset=coco:somewhere") == "detection"
    assert parsed("--dataset=masks:somewhere") == "segmentation"
    assert parsed("--dataset=folder:somewhere") == "classification"
    assert parsed("--dataset=cifar10") == "classification"
    assert parsed("--task=segmentation", "--dataset=digit_scenes") == "segmentation"


def test_a_run_is_looked_at_by_its_recipe(street, tmp_path):
    recipe = run.DetectionRecipe(dataset=f"coco:{street / 'coco'}", image_size="16x24")
    (tmp_path / "recipe.flags").write_text(to_flagfile(recipe))
    assert run.recipe_of(tmp_path) == recipe
    assert parsed(f"--run={tmp_path}") == "detection"
    with pytest.raises(ValueError, match=r"no run directory: it has no recipe\.flags"):
        run.recipe_of(tmp_path / "none")


def test_the_command(photos, tmp_path, monkeypatch):
    values = ["look", f"--dataset=folder:{photos}", "--image_size=32", "--batch_size=4",
              "--skip_corrupt", "--compilation_cache="]  # fmt: skip
    monkeypatch.setattr(plugin_flag.sys, "argv", values)
    own = flags.FlagValues()
    command.define(own)
    recipes.define_flags(run.Recipe, own)
    own([*values, f"--output={tmp_path / 'look.json'}", "--examples=2"])
    monkeypatch.setattr(command, "FLAGS", own)
    monkeypatch.setattr(command, "recipe", lambda: recipes.from_flags(run.Recipe, own))
    with entry.CONSOLE.capture() as said:
        assert command.main() == 0  # nothing would stop training
    assert f"written to {tmp_path / 'look.json'}" in said.get()
    assert "\x1b" not in said.get()
    assert (tmp_path / "look.json").exists()


def test_a_test_split_without_labels_leaves_the_training_to_look_at(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    names = (b"train/a/1", b"train/a/2", b"train/b/1", b"train/b/\xe9", b"test/1")
    for name in names:  # one name is not UTF-8
        file = Path(os.fsdecode(os.fsencode(tmp_path / "set") + b"/" + name + b".png"))
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(rng, 2, 2)).save(file)
    recipe = run.Recipe(
        dataset=f"folder:{tmp_path / 'set'}", image_size=8, batch_size=2, augment="flip",
        validation_split="50%", compilation_cache="",
    )  # fmt: skip
    look = run.look(recipe)
    assert not look.refused
    assert any("test has no labels" in line for line in look.decided)
    assert {split.role: split.examples for split in look.splits} == {"train": 2, "validation": 2}
    assert look.evaluated_on == "validation"
    refusing = dataclasses.replace(recipe, validation_split="")
    look = run.look(refusing)
    assert "have no labels" in look.refused
    assert [(split.role, split.examples) for split in look.splits] == [("train", 4)]
    assert look.input == (8, 8, 3)
    assert len(look.trained) == 2
    assert not look.evaluated
    assert not look.pairs
    html_file, _, json_file = files.write(look, tmp_path / "out")
    assert "have no labels" in html_file.read_text(encoding="utf-8")
    assert json.loads(json_file.read_text(encoding="utf-8"))["refused"] == look.refused
    assert any("have no labels" in line for line in files.summary(look))


def test_what_cannot_be_opened_at_all_is_an_error():
    with pytest.raises(ValueError, match="there is no folder"):
        run.look(run.Recipe(dataset="folder:/none/here", compilation_cache=""))
    with pytest.raises(ValueError, match="step=-1"):
        run.look(run.Recipe(), step=-1)


def bccd():
    """The directory of BCCD, prepared for TFDS; it is beside the checkout on some machines."""
    for above in Path(__file__).resolve().parents:
        if (above / "shared" / "data" / "bccd").is_dir():
            return above / "shared" / "data"
    pytest.skip("BCCD is not there: ../shared/data/bccd")


WIDTHS = (390, 1100)  # of a telephone and of a screen

# The page has no script. Copies of it have one, in frames as wide as these (a window cannot be as
# narrow as a telephone), and say what the browser made of the page.
TELLS = """<script>addEventListener('load', () => parent.postMessage({
  width: innerWidth, fits: document.documentElement.scrollWidth <= innerWidth,
  broken: [...document.images].filter(i => !i.naturalWidth).length,
  fetched: performance.getEntriesByType('resource')
    .filter(e => !e.name.startsWith('data:')).length }, '*'))</script>"""
HEARS = """<script>addEventListener('message', e => {
  document.body.append(JSON.stringify(e.data) + '\\n') })</script>"""


def drawn_in_chromium(look, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("there is no Chromium here")
    (path,) = files.write(look, tmp_path / "look.html")
    told = path.read_text(encoding="utf-8") + TELLS
    (tmp_path / "told.html").write_text(told, encoding="utf-8")
    frames = "".join(
        f'<iframe src="told.html" width="{width}" height="900" frameborder="0"></iframe>'
        for width in WIDTHS
    )
    outer = f'<!doctype html><link rel="icon" href="data:,"><body>{HEARS}{frames}</body>'
    (tmp_path / "outer.html").write_text(outer, encoding="utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=10000", "--dump-dom", (tmp_path / "outer.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    said = [json.loads(line) for line in re.findall(r"\{\"width.*?\}", done.stdout)]
    assert sorted(each["width"] for each in said) == sorted(WIDTHS)
    for each in said:
        assert each == {"width": each["width"], "fits": True, "broken": 0, "fetched": 0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_chromium_draws_it_at_the_width_of_a_telephone_and_of_a_screen(looks, tmp_path, kind):
    drawn_in_chromium(looks[kind], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd", "digit_scenes"])
def test_chromium_draws_the_sets_of_the_recipes(tmp_path, name):
    shared = {"batch_size": 8, "compilation_cache": ""}
    if name == "bccd":
        recipe = run.DetectionRecipe(
            dataset=name, data_dir=str(bccd()), image_size="192x256", **shared
        )
    else:
        recipe = run.SegmentationRecipe(dataset=name, data_dir=str(tmp_path), **shared)
    drawn_in_chromium(run.look(recipe, examples=4), tmp_path)
