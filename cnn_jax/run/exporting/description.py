"""The description beside an exported file: what it takes and gives, and how images become that."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import jax

from cnn_jax.run.exporting.function import Function, Normalisation
from cnn_jax.run.pixel_predictor import PixelPredictor
from cnn_jax.run.predictor import BoxPredictor, ClassPredictor, Predictor


def describe(
    predictor: Predictor, function: Function, *, normalisation: Normalisation, batch: int
) -> dict[str, Any]:
    """What a program that runs the exported file has to know, as JSON.

    Args:
        predictor: the network.
        function: what was exported of it.
        normalisation: whether it is in the file.
        batch: the number of images that it takes at once; 0 for any.
    """
    facts = predictor.facts
    rank = len(function.shape)
    size = batch or 2
    shapes = jax.eval_shape(function.call, function.spec(size))
    outputs = [
        {
            "name": output.name,
            "dtype": str(shape.dtype),
            "shape": [batch or "batch", *shape.shape[1:]],
            "meaning": output.meaning,
        }
        for output, shape in zip(function.outputs, shapes, strict=True)
    ]
    colours = {1: "grey", 3: "RGB"}.get(function.shape[-1], "")
    return {
        "task": facts.task,
        "model": facts.model,
        "input": {
            "name": "image" if rank > 2 else "sequence",
            "dtype": str(function.dtype),
            "shape": [batch or "batch", *function.shape],
            "layout": {2: "NTC", 3: "NHWC", 4: "NTHWC"}.get(rank, "N...C"),
            "colours": colours if rank > 2 else "",
            "range": [0, 255] if function.dtype == "uint8" else None,
        },
        "normalisation": {
            "inside": normalisation == "inside",
            "formula": "(pixel / 255 - mean) / std" if rank > 2 else "(value - mean) / std",
            "mean": list(facts.mean),
            "std": list(facts.std),
        },
        "resize": fitting(predictor),
        "outputs": outputs,
        "class_names": list(facts.class_names),
        "source": {
            "run": predictor.place,
            "step": predictor.step,
            "averaged": predictor.averaged,
            "dataset": facts.dataset,
        },
        "made_by": {
            name: importlib.metadata.version(name) for name in ("jax", "flax")
        },
    }  # fmt: skip


def fitting(predictor: Predictor) -> dict[str, Any]:
    """How an upright image of any size becomes the input, which a program has to do itself."""
    facts = predictor.facts
    if len(facts.image_shape) != 3:
        return {"how": "none: the input has the shape of the training"}
    height, width = facts.image_shape[:2]
    made: dict[str, Any] = {"height": height, "width": width}
    if isinstance(predictor, BoxPredictor):
        how = {
            "letterbox": "resize in proportion to fit, keep it at the top left, and pad",
            "stretch": "resize to (height, width), whatever the proportions",
        }.get(facts.fit, facts.fit or "images of (height, width)")
        return {"how": how, "fit": facts.fit, "fill": [round(255 * m) for m in facts.mean], **made}
    if isinstance(predictor, PixelPredictor):
        return {"how": "resize to (height, width), or cut into tiles of that size", **made}
    published = getattr(predictor, "preparation", None)
    if published is not None and hasattr(published, "args"):
        how = published.args[0]
        made |= {
            "how": "resize the shorter side (or both sides), then crop the centre",
            "resize": how.resize,
            "crop": list(how.crop),
            "interpolation": how.interpolation,
            "antialias": how.antialias,
        }
        return made
    assert isinstance(predictor, ClassPredictor)
    if predictor._crop() is None:
        return {"how": "resize the whole image to (height, width)", **made}
    return {
        "how": "crop the centre, of 0.875 of the largest rectangle of these proportions, and "
        "resize it to (height, width), antialiased",
        "fraction": 0.875,
        **made,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes the description, whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(path)
