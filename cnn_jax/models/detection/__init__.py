"""Networks that put a box around every object: [B, H, W, C] -> named raw scores and boxes.

model = create("detector_small", num_classes=10)
variables = model.init(jax.random.key(0), images, train=False)
outputs = model.apply(variables, images, train=False)
found = model.detect(outputs, images.shape[1:3])  # Detections: boxes [B, M, 4], scores, labels
"""

from cnn_jax.models.detection import (
    faster_rcnn,  # noqa: F401
    fcos,  # noqa: F401
    retinanet,  # noqa: F401
    single_level,  # noqa: F401
    ssd,  # noqa: F401
    ssdlite,  # noqa: F401
)
from cnn_jax.models.detection.feature_pyramid import FeaturePyramid

__all__ = ["FeaturePyramid"]
