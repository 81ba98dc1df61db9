"""Safetensors: the parameters and statistics alone, by a publisher's names or our own."""

from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax import models, weights
from cnn_jax.run.predictor import Predictor
from cnn_jax.weights import Preprocessing, WeightsError
from cnn_jax.weights.own import OWN, export_own

PREFERRED = "torchvision"


def publisher_of(name: str, wanted: str = "") -> str:
    """Whose names the tensors get: the wanted publisher's, else torchvision's, the first's, ours.

    Raises:
        ValueError: the wanted one has no names for the network.
    """
    rules = models.describe(name).rules if name in models.MODELS else {}
    if wanted and wanted != OWN and wanted not in rules:
        raise ValueError(
            f"names={wanted!r}: {name} has names of {', '.join([*rules, OWN])}. Choose one."
        )
    return wanted or (PREFERRED if PREFERRED in rules else next(iter(rules), OWN))


def write(predictor: Predictor, path: Path, *, names: str = "") -> str:
    """Writes the variables of a network.

    Args:
        predictor: the network.
        path: the file.
        names: publisher whose names the tensors get, or 'cnn_jax' for ours; '' for torchvision's,
            if it has any.

    Returns:
        Whose names they are.

    Raises:
        ValueError: that publisher has no names for the network, or not for all its variables.
    """
    name = predictor.facts.model
    publisher = publisher_of(name, names)
    if publisher != OWN:
        try:
            models.save_pretrained(
                path,
                name,
                predictor.variables,
                publisher=publisher,
                preprocessing=_preprocessing(predictor),
            )
            return publisher
        except WeightsError:
            if names:
                raise
    header = {"format": "flax", "model": name, "publisher": OWN}
    if (preprocessing := _preprocessing(predictor)) is not None:
        header["preprocessing"] = preprocessing.to_json()
    weights.write(path, export_own(predictor.variables), header)
    return OWN


def same(predictor: Predictor, path: Path, publisher: str) -> bool:
    """Whether the file gives the network's variables back, to the bit."""
    file = weights.read(path)
    ours = export_own(predictor.variables)
    theirs: dict[str, Any] = file.tensors
    if publisher != OWN:
        rules = models.describe(predictor.facts.model).rules[publisher]
        theirs = export_own(weights.import_torch(file.tensors, predictor.variables, rules))
    return set(ours) == set(theirs) and all(
        np.array_equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype
        for name in ours
    )


def _preprocessing(predictor: Predictor) -> Preprocessing | None:
    """What `models.load_pretrained` reads back, for images in colour."""
    facts = predictor.facts
    if len(facts.image_shape) != 3 or len(facts.mean) != 3:
        return None
    published = getattr(predictor, "preparation", None)
    if published is not None and hasattr(published, "args"):
        return published.args[0]
    height, width = facts.image_shape[:2]
    resize = round(min(height, width) / 0.875)
    return Preprocessing(
        resize=resize if height == width else (round(height / 0.875), round(width / 0.875)),
        crop=(height, width),
        mean=facts.mean,
        std=facts.std,
        source=predictor.place,
    )
