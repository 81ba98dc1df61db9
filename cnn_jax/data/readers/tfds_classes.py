"""Classification sets of TFDS: images, or sequences of numbers, and a label."""

from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import tfds_sequences
from cnn_jax.data.readers.tfds import open_builder, open_records
from cnn_jax.data.types import Source


def open_tfds_classes(dataset: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens a split of a TFDS classification set, preparing it first if that is possible.

    Its examples are images, or sequences of numbers of one length, see `tfds_sequences`.

    Raises:
        DataError: no such dataset, version or split; it is not prepared and cannot be; it is
            prepared in a format that needs TensorFlow; it has no image and class label.
    """
    import tensorflow_datasets as tfds

    builder = open_builder(dataset, data_dir=data_dir)
    features = builder.info.features
    sequences = tfds_sequences.sequence_features(features)
    if sequences and not any(isinstance(f, tfds.features.Image) for f in features.values()):
        label = _feature(features, tfds.features.ClassLabel, "label", dataset)
        return tfds_sequences.sequence_source(builder, split, sequences, label)
    image = _feature(features, tfds.features.Image, "image", dataset)
    label = _feature(features, tfds.features.ClassLabel, "label", dataset)
    height, width, channels = features[image].shape
    return Source(
        name=builder.info.name,
        split=split,
        records=open_records(builder, split, {"image": image, "label": label}),
        class_names=tuple(features[label].names),
        image_shape=(height, width, channels or 3),
    )


def _feature(features, kind: type, favourite: str, dataset: str) -> str:
    """The name of the feature of this type: the favourite one, or the only one."""
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if favourite in found:
        return favourite
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{dataset} is not an image classification set: wanted a feature {favourite!r} of type "
        f"{kind.__name__}; it has {', '.join(features)}"
    )
