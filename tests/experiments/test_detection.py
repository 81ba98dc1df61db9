"""`experiments.detection` from flags to the result and to predictions, on a small set of shapes."""

import json
import shutil

import chex
import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import data, run
from cnn_jax.run import detection, measuring, reports
from cnn_jax.train import step
from experiments import entry, predict
from experiments import recipe as recipes
from tests.run import as_command

COLOURS = {"ball": (230, 40, 40), "cube": (40, 60, 230)}
SIZE = (48, 64)  # height, width


def recipe_of(*arguments):
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    recipes.define_flags(detection.DetectionRecipe, values)
    values(["program", *arguments])
    return recipes.from_flags(detection.DetectionRecipe, values)


def draw_scene(rng):
    """A grey picture with up to three coloured rectangles, and their boxes and classes."""
    picture = rng.integers(90, 130, (*SIZE, 3))
    found, taken = [], np.zeros(SIZE, bool)
    for _ in range(rng.integers(0, 4)):
        height, width = rng.integers(10, 20, 2)
        top, left = rng.integers(SIZE[0] - height), rng.integers(SIZE[1] - width)
        window = (slice(top, top + height), slice(left, left + width))
        if not taken[window].any():
            taken[window] = True
            category = int(rng.integers(1, 3))
            picture[window] = list(COLOURS.values())[category - 1]
            found.append((category, [int(left), int(top), int(width), int(height)]))
    return picture.astype(np.uint8), found


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Balls and cubes; the training set has a broken box, a crowd and an unknown class too."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    (root / "annotations").mkdir()
    for split, count in (("train", 64), ("test", 20)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(count):
            picture, found = draw_scene(rng)
            Image.fromarray(picture).save(root / split / f"{i}.png")
            images.append({"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]})
            annotations += [{"image_id": i, "category_id": c, "bbox": b} for c, b in found]
        if split == "train":
            annotations += [
                {"image_id": 0, "category_id": 1, "bbox": [5, 5, -3, 8]},
                {"image_id": 1, "category_id": 9, "bbox": [5, 5, 8, 8]},
                {"image_id": 2, "category_id": 1, "bbox": [5, 5, 8, 8], "iscrowd": 1},
            ]
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(COLOURS)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return root


SETTINGS = (
    "--image_size=48x64",
    "--model_options=features=16,depth=1",
    "--batch_size=16",
    "--steps=60",
    "--evaluate_every_steps=30",
    "--augment=flip",
    "--ema_decay=0.9",
    "--eval_batch_size=8",
    "--validation_split=",
    "--compilation_cache=",
    "--devices=1",
)


@pytest.fixture(scope="module")
def finished(shapes, tmp_path_factory):
    """A run, whose two steps may be traced once each."""
    workdir = tmp_path_factory.mktemp("run")
    recipe = recipe_of(f"--dataset=coco:{shapes}", f"--workdir={workdir}", *SETTINGS)
    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("make_train_step", "make_eval_step"):
            make = getattr(step, name)
            patch.setattr(
                step,
                name,
                lambda *a, make=make, **k: chex.assert_max_traces(make(*a, **k), n=1),
            )
        assert as_command.run(recipe, detection.make_experiment(recipe)) == 0
    return workdir


@pytest.mark.slow
def test_result(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["test_ap50"] > 0.9
    assert result["test_ap"] > 0.5
    again = run.evaluate(finished, checkpoint="last")
    assert {f"test_{name}": value for name, value in again.items()}.items() <= result.items()
    closer = reports.report(measuring.measure(run.open(finished, checkpoint="last")), resamples=0)
    for mine, row in zip(result["per_class"]["classes"], closer.classes, strict=True):
        assert mine.pop("class") == row["class"]
        assert mine == pytest.approx({name: row[name] for name in mine})
    assert {"test_ap/ball", "test_ap/cube", "test_ap75", "test_recall100"} <= result.keys()
    for figure in ("predictions", "precision_recall", "learning_curves"):
        with Image.open(finished / f"{figure}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 3


def test_what_cannot_be_used_is_said(shapes):
    held = data.survey_boxes(data.open_source(f"coco:{shapes}", "train", holds="boxes"))
    assert held.left_out == {"inverted": 1, "of an unknown class": 1}
    assert held.empty > 0


def test_every_split_is_evaluated_by_one_program(shapes, tmp_path, caplog):
    """Truth of one shape in all splits: another shape would compile the evaluation once more."""
    shutil.copytree(shapes, tmp_path / "set")
    file = tmp_path / "set/annotations/test.json"
    content = json.loads(file.read_text())
    more = [
        {"image_id": 0, "category_id": 1, "bbox": [i, i, 9, -9 if i > 6 else 9]} for i in range(9)
    ]
    file.write_text(json.dumps(content | {"annotations": content["annotations"] + more}))
    made = detection.make_experiment(
        recipe_of(f"--dataset=coco:{tmp_path / 'set'}", *SETTINGS, "--validation_split=20%")
    )
    splits = [list(batches()) for batches in (made.test, made.final)]
    assert len(splits[0]) != len(splits[1])
    (found,) = {
        tuple((name, value.shape) for name, value in sorted(batch.items()))
        for batches in splits
        for batch in batches
    }
    assert dict(found)["boxes"][1] >= 7  # the ground truth keeps every object
    said = [r.getMessage() for r in caplog.records if "split test: " in r.getMessage()]
    assert len(said) == 1, said  # it is counted once, and its faults are told once


@pytest.fixture
def parsed():
    """Flags as after parsing, put back afterwards."""
    flags.FLAGS.mark_as_parsed()
    names = ("run", "output", "model", "pretrained", "threshold")
    before = {name: flags.FLAGS[name].value for name in names}
    yield flags.FLAGS
    for name, value in before.items():
        flags.FLAGS[name].value = value


@pytest.mark.slow
def test_predict_finds_them_in_pictures_of_other_sizes(finished, parsed, tmp_path, capsys):
    rng = np.random.default_rng(7)
    picture = rng.integers(90, 130, (*SIZE, 3)).astype(np.uint8)
    picture[8:24, 30:46] = COLOURS["cube"]
    large = Image.fromarray(picture).resize((256, 240), Image.Resampling.NEAREST)  # 4x5 as large
    paths = [str(tmp_path / f"{name}.png") for name in ("same", "large")]
    Image.fromarray(picture).save(paths[0])
    large.crop((0, 0, 256, 192)).save(paths[1])
    parsed.run, parsed.output, parsed.threshold = str(finished), str(tmp_path / "out"), 0.3
    assert predict.main(paths) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [
        [float(part) for part in line.replace("(", " ").replace(")", " ").replace(",", " ").split()
         if part.replace("-", "").isdigit()]
        for line in lines
        if "  cube  from" in line
    ]  # fmt: skip
    assert not any("ball" in line for line in lines)
    np.testing.assert_allclose(numbers[0], [30, 8, 46, 24], atol=2)
    np.testing.assert_allclose(numbers[1], [120, 40, 184, 120], atol=10)
    for name, size in (("same", (500, 375)), ("large", (500, 375))):
        with Image.open(tmp_path / "out" / f"{name}_boxes.png") as drawn:
            assert drawn.size == size
    parsed.threshold = 1.0
    predict.main(paths[:1])
    assert "nothing with a score of 1" in capsys.readouterr().out


def test_predict_wants_a_run_of_a_detector(parsed, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    parsed.run, parsed.model, parsed.pretrained = "", "fcos_resnet50_fpn", "w.pth"
    with pytest.raises(ValueError, match=r"fcos_resnet50_fpn is for detection: give a run"):
        predict.main([str(tmp_path / "black.png")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--image_size=48x64x3"], "HEIGHTxWIDTH"),
        (["--image_size="], "such as .*image_size=224"),
        (["--jitter=2,0.5"], "wanted the smallest and the largest"),
        (["--augment=rotate:10"], "'rotate' is for images with a label or a mask"),
        (["--mosaic=0.5", "--batch_size=6"], "multiple of four"),
        (["--model=ssd300_vgg16", "--model_options="], "takes 300x300"),
        (["--fit=crop"], "fit"),
        (["--pretrained_backbone=none.pth"], "not built on a classification network"),
        (["--pretrained=a.pth", "--pretrained_backbone=b.pth"], "leave `pretrained_backbone` out"),
    ],
)
def test_mistakes_are_answered_before_anything_is_written(shapes, tmp_path, settings, message):
    workdir = tmp_path / "run"

    def run():
        recipe = recipe_of(f"--dataset=coco:{shapes}", f"--workdir={workdir}", *SETTINGS, *settings)
        as_command.run(recipe, detection.make_experiment(recipe))

    with pytest.raises((*entry.EXPECTED, flags.Error), match=message):
        run()
    assert not workdir.exists()


def test_splits_must_have_the_same_classes(shapes, tmp_path):
    for file in ("train", "test"):
        content = json.loads((shapes / "annotations" / f"{file}.json").read_text())
        if file == "test":
            content["categories"][0]["name"] = "sphere"
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{file}.json").write_text(json.dumps(content))
        (tmp_path / file).symlink_to(shapes / file)
    recipe = recipe_of(f"--dataset=coco:{tmp_path}", *SETTINGS)
    with pytest.raises(ValueError, match="the classes of test are sphere, cube"):
        detection.make_experiment(recipe)


def test_more_boxes_than_max_boxes_warns(shapes, caplog):
    recipe = recipe_of(f"--dataset=coco:{shapes}", "--max_boxes=1", *SETTINGS)
    with caplog.at_level("WARNING", logger="absl"):
        experiment = detection.make_experiment(recipe)
    assert "keep the largest" in caplog.text
    assert experiment.train[0]["labels"].shape == (16, 1)
