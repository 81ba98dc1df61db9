"""What was measured on a card, in a file: the operations for which a method beat XLA's own."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from cnn_jax import scratch


class Verdicts(NamedTuple):
    """The faster methods that are known.

    Attributes:
        card: name of the device, as JAX has it.
        methods: key of an operation (`operations.Operation.key`) -> method. XLA's own is left
            out.
        measured: every key that was measured.
    """

    card: str
    methods: dict[str, str]
    measured: tuple[str, ...] = ()


def load(file: str | os.PathLike[str] | None = None) -> Verdicts:
    """The verdicts for this card and these versions; empty if there are none.

    Args:
        file: where they are; None for the user's cache.

    Raises:
        ValueError: a named file is missing, is none of ours, or is of another card.
    """
    card = jax.devices()[0].device_kind
    places = [Path(file)] if file is not None else [p / _name(card) for p in scratch.caches()]
    for place in places:
        try:
            kept = json.loads(place.read_text())
            found = Verdicts(
                str(kept["card"]), dict(kept["methods"]), tuple(map(str, kept["measured"]))
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            if file is not None:
                raise ValueError(
                    f"{place}: wanted a file that cnn_jax.gpu.tune has written; "
                    f"{type(error).__name__}: {error}"
                ) from None
            continue
        if found.card == card:
            return found
        if file is not None:
            raise ValueError(
                f"{place} was measured on {found.card}, and this is {card}: run "
                "cnn_jax.gpu.tune here."
            )
    return Verdicts(card, {})


def save(verdicts: Verdicts, file: str | os.PathLike[str] | None = None) -> Path | None:
    """Writes verdicts, whole or not at all; returns the file, None if no place can be written."""
    text = json.dumps({**verdicts._asdict(), "jaxlib": jaxlib.__version__}, indent=1) + "\n"
    if file is not None:
        places = [Path(file)]
    else:
        places = [place / _name(verdicts.card) for place in scratch.caches()]
    for place in places:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=place.name, dir=place.parent)
            with os.fdopen(handle, "w") as out:
                out.write(text)
            os.replace(partial, place)
            return place
    return None


def _name(card: str) -> str:
    key = f"{card} {jax.__version__} {jaxlib.__version__}"
    return f"gpu-operations-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
