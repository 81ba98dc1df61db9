"""Data sets by name, and batches of them as functions of (seed, step). Does not import jax.

source = open_source("cifar10", "train[:90%]", data_dir="data")
batches = train_batches(source, batch_size=128, seed=0)
for batch in batches.iterate(start=0): ...  # {'image', 'label', 'mask'}

A reader opens a `Source` of records (`open_source`; `register_reader` adds one), and a loader makes
an example of a record: `image_loader`, `mask_loader`, `box_loader`, or the source's own.
"""

from cnn_jax.data import fingerprint
from cnn_jax.data.crop import parse_size
from cnn_jax.data.decode import decode_image, decode_mask
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_header import open_image
from cnn_jax.data.labels import class_counts, labels_of
from cnn_jax.data.loaders.boxes import FITS, LoadBoxes, box_loader
from cnn_jax.data.loaders.image import CROPS, LoadImage, image_loader
from cnn_jax.data.loaders.mask import LoadMask, MaskSource, mask_loader
from cnn_jax.data.loaders.sequence import LoadSequence
from cnn_jax.data.opening import READERS, load_source, open_source, register_reader
from cnn_jax.data.pipeline import EvalBatches, TrainBatches, eval_batches, train_batches
from cnn_jax.data.pixel_rule import PIXEL_RULE, PixelRule
from cnn_jax.data.pixel_statistics import (
    Statistics,
    median_frequency_weights,
    pixel_counts,
    statistics,
)
from cnn_jax.data.survey.boxes import BoxSurvey, survey_boxes
from cnn_jax.data.survey.findings import Finding, findings, summary
from cnn_jax.data.survey.surveying import survey_splits
from cnn_jax.data.survey.values import SplitSurvey, Survey
from cnn_jax.data.types import Example, Loader, Record, Records, Source

__all__ = [
    "CROPS",
    "FITS",
    "PIXEL_RULE",
    "READERS",
    "BoxSurvey",
    "DataError",
    "EvalBatches",
    "Example",
    "Finding",
    "LoadBoxes",
    "LoadImage",
    "LoadMask",
    "LoadSequence",
    "Loader",
    "MaskSource",
    "PixelRule",
    "Record",
    "Records",
    "Source",
    "SplitSurvey",
    "Statistics",
    "Survey",
    "TrainBatches",
    "box_loader",
    "class_counts",
    "decode_image",
    "decode_mask",
    "eval_batches",
    "findings",
    "fingerprint",
    "image_loader",
    "labels_of",
    "load_source",
    "mask_loader",
    "median_frequency_weights",
    "open_image",
    "open_source",
    "parse_size",
    "pixel_counts",
    "register_reader",
    "statistics",
    "summary",
    "survey_boxes",
    "survey_splits",
    "train_batches",
]


def __dir__() -> list[str]:
    return __all__
