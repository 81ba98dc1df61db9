"""The names of ImageNet's 1000 classes, in the order of every published classifier's logits."""

import functools
from pathlib import Path


@functools.cache
def class_names() -> tuple[str, ...]:
    """English names of the synsets of ILSVRC 2012, as torchvision 0.29 writes them."""
    text = (Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """WordNet's ids of the same classes, 'n01440764': the folders of ImageNet, in sorted order."""
    text = (Path(__file__).parent / "imagenet_wnids.txt").read_text(encoding="utf-8")
    return tuple(text.split())
