"""Networks that classify every pixel: [B, *space, C] -> logits [B, *space, K].

model = create("unet_small", num_classes=11)
variables = model.init(jax.random.key(0), images, train=False)
logits = model.apply(variables, images, train=False)  # [B, H, W, 11]

A model with an auxiliary head returns {'logits', 'aux'} in training.
"""

from cnn_jax.models.segmentation import (
    deeplabv3,  # noqa: F401
    deeplabv3plus,  # noqa: F401
    fcn,  # noqa: F401
    fully_connected,  # noqa: F401
    lraspp,  # noqa: F401
    segnet,  # noqa: F401
    unet,  # noqa: F401
)
