"""Predictions for a run's own test files give the figures of its result, for every task.

The figures are computed anew, with scikit-learn, NumPy and pycocotools, of what a predictor says of
the files; and the pixels that a network is shown are compared.
"""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, run
from cnn_jax.run import classification
from tests.experiments.golden_runs.make import BACKBONE, scene

COMMON = {
    "batch_size": 8, "warmup_epochs": 0.0, "figures": False, "compilation_cache": "", "devices": 1,
    "evaluate_every_epochs": 0.0, "checkpoint_every_epochs": 0.0, "cpu_convolutions": False,
    "augment": "",
}  # fmt: skip


def trained(recipe, workdir):
    """The figures of the run's result, and its predictor."""
    result = run.train(recipe, workdir=workdir, program=run.Program(quiet=True))
    return result.metrics, run.open(workdir, checkpoint="last")


def twelve_bits(pixels: np.ndarray) -> Image.Image:
    """Grey pixels 0 to 255 as values of 12 bits, in 16."""
    return Image.fromarray((np.asarray(pixels, np.float64) * 16).astype(np.uint16))


def photographs(root):
    """Photographs of several sizes, forms, depths and orientations, in two classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        for kind in range(2):
            folder = root / split / "ab"[kind]
            folder.mkdir(parents=True)
            for i in range(count):
                width, height = (int(n) for n in rng.integers(200, 900, 2))
                level = 110 + 25 * kind + rng.normal(0, 25)
                pixels = np.clip(rng.normal(level, 40, (height // 9, width // 9)), 0, 255)
                image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height))
                exif = Image.Exif()
                exif[0x0112] = 1 + (3 * i + kind) % 8
                if i % 3 == 2:
                    twelve_bits(np.asarray(image)).save(folder / f"{i}.png", exif=exif)
                elif i % 3:
                    image.convert("RGB").save(folder / f"{i}.png", exif=exif)
                else:
                    image.convert("RGB").save(folder / f"{i}.jpg", exif=exif)


def test_classes_of_large_photographs(tmp_path):
    photographs(tmp_path / "data")
    recipe = run.Recipe(
        dataset=f"folder:{tmp_path / 'data'}", model="mlp", model_options="hidden=(8,)",
        image_size=24, steps=12, optimizer="adamw", learning_rate=0.003, **COMMON,
    )  # fmt: skip
    figures, predictor = trained(recipe, tmp_path / "run")
    assert predictor.facts.pixels == data.PixelRule(data.PIXEL_RULE, bits=12)
    source = classification.open_split(recipe, "test")
    paths = [source[index]["image"] for index in range(len(source))]
    held = classification.held_out(recipe, predictor.facts, predictor.model, source)
    batches = [held.prepare(dict(batch)) for batch in held.batches()]
    evaluated = np.concatenate([np.asarray(batch["image"]) for batch in batches])[: len(paths)]
    for path, shown in zip(paths, evaluated, strict=True):
        as_image = [Image.open(path)] if path.suffix == ".png" else []
        for given in (path, path.read_bytes(), *as_image):
            # pixels that differ would differ by 0.004 at least
            np.testing.assert_allclose(predictor.preprocess(given), shown, atol=1e-6)
    right = [predictor.predict(path).name == path.parent.name for path in paths]
    assert np.mean(right) == pytest.approx(figures["accuracy"])
    assert 0 < np.mean(right) < 1, "else it says little"


def test_facts_without_a_rule_are_of_before_in_both(tmp_path):
    photographs(tmp_path)
    recipe = run.Recipe(dataset=f"folder:{tmp_path}", image_size=24, batch_size=8)
    facts = run.Facts(
        task="classification", num_classes=2, class_names=("a", "b"), image_shape=(24, 24, 3),
        mean=(0.4,) * 3, std=(0.2,) * 3,
    )  # fmt: skip
    predictor = run.ClassPredictor(model=None, variables={}, facts=facts, recipe=recipe)
    source = classification.open_split(recipe, "test")
    held = classification.held_out(recipe, facts, None, source)
    evaluated = np.asarray(held.prepare(dict(next(iter(held.batches()))))["image"])
    deep = next(i for i in range(8) if source[i]["image"].name == "2.png")
    shown = predictor.preprocess(source[deep]["image"])
    np.testing.assert_allclose(shown, evaluated[deep], atol=1e-6)
    assert (shown * 0.2 + 0.4).max() * 255 < 16, "the high byte of 12 bits"


@pytest.mark.slow
@pytest.mark.parametrize("image_size", ["", "24"])
def test_pixels_of_images_of_12_bits(tmp_path, image_size):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(6):
            image, (x, y, width, height) = scene(rng, i % 2)
            mask = np.zeros((32, 32), np.uint8)
            mask[y : y + height, x : x + width] = 1 + i % 2
            for folder, made in ((split, twelve_bits(image[..., 0])), (f"{split}annot", mask)):
                (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
                made = made if isinstance(made, Image.Image) else Image.fromarray(made)
                made.save(tmp_path / "data" / folder / f"{i}.png")
    recipe = run.SegmentationRecipe(
        dataset=f"masks:{tmp_path / 'data'}", classes="ground,square,stripe", steps=20,
        model="unet_small", model_options="width=4,depth=1", image_size=image_size, **COMMON,
    )  # fmt: skip
    figures, predictor = trained(recipe, tmp_path / "run")
    counts = np.zeros((3, 3))
    for path in sorted((tmp_path / "data" / "test").glob("*.png")):
        mask = np.asarray(Image.open(path.parent.parent / "testannot" / path.name))
        pixels = np.asarray(Image.open(path)) >> 4
        given = path
        if image_size:  # an evaluation compares at that size, a prediction has the image's own
            given = np.asarray(Image.fromarray(pixels.astype(np.uint8)).resize((24, 24), 2))
            at = ((np.arange(24) + 0.5) * 32 / 24).astype(int)
            mask = mask[at[:, None], at]
            assert predictor.predict(path).label.shape == (32, 32)
        else:
            shown = predictor.normalised(path) * predictor.facts.std + predictor.facts.mean
            np.testing.assert_allclose(shown[..., 0] * 255, pixels, atol=1e-3)
        np.add.at(counts, (mask, predictor.predict(given).label), 1)
    truth, found = counts.sum(1), counts.sum(0)
    iou = np.diag(counts) / (truth + found - np.diag(counts))
    assert iou.mean() == pytest.approx(figures["mean_iou"], abs=1e-6)


@pytest.mark.slow
def test_boxes_of_images_of_several_sizes(tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    (tmp_path / "annotations").mkdir()
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        images, annotations = [], []
        for i in range(8):
            image, box = scene(rng, i % 2)
            width, height, name = (32, 32, f"{i}.png") if i % 2 else (96, 80, f"{i}.jpg")
            exif = Image.Exif()
            exif[0x0112] = 6 if i % 4 == 0 else 1
            large = Image.fromarray(image).resize((width, height))
            if i % 4 == 0:  # stored on its side, annotated as it is seen
                large = large.transpose(Image.Transpose.ROTATE_90)
            large.save(tmp_path / split / name, exif=exif)
            factor = np.tile([width / 32, height / 32], 2)
            box = [float(side) for side in np.array(box) * factor]
            images.append({"id": i, "file_name": name, "width": width, "height": height})
            annotations.append(
                {"id": i + 1, "image_id": i, "category_id": i % 2, "bbox": box, "iscrowd": 0}
            )
            annotations[-1]["area"] = box[2] * box[3]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 0, "name": "square"}, {"id": 1, "name": "stripe"}],
        }
        (tmp_path / "annotations" / f"{split}.json").write_text(json.dumps(content))
    recipe = run.DetectionRecipe(
        dataset=f"coco:{tmp_path}", image_size="32", steps=60, model="detector_small",
        model_options=BACKBONE, **COMMON,
    )  # fmt: skip
    figures, predictor = trained(recipe, tmp_path / "run")
    rows = []
    for image in images:
        found = predictor.predict(tmp_path / "test" / image["file_name"], threshold=0.0)
        for (left, top, right, bottom), score, label in zip(*found, strict=True):
            rows.append([image["id"], left, top, right - left, bottom - top, score, label])
    truth = COCO(str(tmp_path / "annotations" / "test.json"))
    evaluation = COCOeval(truth, truth.loadRes(np.array(rows)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(figures["ap"], abs=1e-4)
    assert evaluation.stats[1] == pytest.approx(figures["ap50"], abs=1e-4)
    assert figures["ap50"] > 0.05, "else it says little"


@pytest.mark.slow
def test_series_and_volumes(tmp_path):
    """Arrays of the shapes of the training, and their classes."""
    rng = np.random.default_rng(0)
    volumes = {}
    for split in ("train", "test"):
        labels = np.arange(10) % 2
        level = (110 + 30 * labels)[:, None, None, None, None]
        volumes[f"{split}_images"] = np.clip(
            rng.normal(level, 60, (10, 4, 6, 6, 1)), 0, 255
        ).astype(np.uint8)
        volumes[f"{split}_labels"] = labels
    np.savez(tmp_path / "volumes.npz", **volumes)
    for dataset, channels in (("mnist1d", 1), (f"npz:{tmp_path / 'volumes.npz'}", 1)):
        recipe = run.Recipe(
            dataset=dataset, model="mlp", model_options="hidden=(8,)", steps=10,
            test_split="test" if dataset != "mnist1d" else "test[:100]", **COMMON,
        )  # fmt: skip
        figures, predictor = trained(recipe, tmp_path / f"run-{dataset[:3]}")
        source = classification.open_split(recipe, recipe.test_split)
        assert source.image_shape[-1] == channels
        right = []
        for index in range(len(source)):
            example = source.load(source[index], None)
            name = predictor.predict(np.asarray(example["image"])).name
            right.append(name == source.class_names[int(example["label"])])
        assert np.mean(right) == pytest.approx(figures["accuracy"])
