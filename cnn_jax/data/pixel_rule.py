"""The pixel rule: what the pixels of an image are, for training, evaluation and prediction alike.

Rule 2, since November 2026. Whatever the file, `decode_image` gives uint8 [H, W, C]:

    8 bits        as Pillow reads them, in RGB or grey (ITU-R 601 luma).
    orientation   upright, as EXIF (or else XMP) says; for sets of TFDS, whose annotations belong
                  to the pixels as they are stored, as stored.
    16 bits       shifted down to 8. How far is a property of the whole set: 16-bit files often
                  hold 10, 12 or 14 bits, which a sample of the training images shows. Larger
                  values are white. In a set where the sample shows no such image, and for an image
                  alone, its own values decide. This holds for grey and for colour.
    32 bits       whole numbers from 0 to 65,535 are those of 16 bits; others are refused.
    floats        refused: nothing says which value is white.
    alpha         dropped, not composited, also in palettes: a transparent pixel has its own colour.
    CMYK, Lab     converted as Pillow does, Adobe's inverted JPEGs too; colour profiles are ignored.
    animation     the first frame, or page.
    damage        what lies behind the pixels is ignored, and JPEGs of unusual sampling or coding
                  are read, as by Pillow; an image of which pixels are missing is refused.

A run keeps the number of its rule, and its bits, in its checkpoints. Runs of before are of rule 1,
which took the high byte of 16 bits (12 bits in 16 became black), `value >> 8` of 32, and knew EXIF
in the first 64 KiB alone: 8-bit images are the same by both. They are predicted and evaluated by
rule 1; to resume one is refused if its images have other pixels by rule 2.
"""

import dataclasses

import numpy as np

PIXEL_RULE = 2  # the number of the rule that this version follows
DEPTHS = (8, 10, 12, 14, 16)  # bits that files of 16 bits a sample hold


@dataclasses.dataclass(frozen=True)
class PixelRule:
    """The rule that a set's images are decoded by.

    Attributes:
        version: number of the rule; 1 for runs made before rules had numbers.
        bits: the bits that 16-bit samples of the set hold, one of DEPTHS; 0 if its images are of 8
            bits, so that the values of a deeper one decide.
    """

    version: int = PIXEL_RULE
    bits: int = 0


CURRENT = PixelRule()  # of an image alone


def bits_of(largest: int) -> int:
    """The smallest of DEPTHS that holds a value in 0..65535."""
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def shifted(samples: np.ndarray, rule: PixelRule, *, alpha: bool = False) -> np.ndarray:
    """Whole numbers of up to 16 bits as uint8, in the same shape.

    Args:
        samples: [H, W] or [H, W, C].
        rule: the rule of the run, or of the set.
        alpha: whether the last channel is alpha, which says nothing about the bits of the others.

    Raises:
        ValueError: a value is negative or needs more than 16 bits.
    """
    if not samples.size:
        return samples.astype(np.uint8)
    if rule.version < 2:
        return np.clip(samples.astype(np.int64) >> 8, 0, 255).astype(np.uint8)
    least, largest = int(samples.min()), int(samples.max())
    if least < 0 or largest > 0xFFFF:
        raise ValueError(
            f"its values reach from {least} to {largest}: wanted 0 to 65535. Save it with 8 or 16 "
            "bits a sample"
        )
    if not rule.bits and alpha:
        largest = int(samples[..., :-1].max())
    bits = rule.bits or bits_of(largest)
    return np.minimum(samples >> (bits - 8), 255).astype(np.uint8)
