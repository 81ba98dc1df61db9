"""Networks, one paper per file. Importing this package registers them all.

model = create("resnet50", num_classes=10)
variables = model.init(jax.random.key(0), images, train=False)
logits = model.apply(variables, images, train=False)  # [B, 10]
"""

from cnn_jax.models import (
    airbench,  # noqa: F401
    alexnet,  # noqa: F401
    convnext,  # noqa: F401
    densenet,  # noqa: F401
    detection,  # noqa: F401
    efficientnet,  # noqa: F401
    efficientnet_lite,  # noqa: F401
    efficientnet_v2,  # noqa: F401
    googlenet,  # noqa: F401
    gru,  # noqa: F401
    inception_time,  # noqa: F401
    inception_v3,  # noqa: F401
    lenet5,  # noqa: F401
    mlp,  # noqa: F401
    mnasnet,  # noqa: F401
    mnist1d,  # noqa: F401
    mobilenet_v2,  # noqa: F401
    mobilenet_v3,  # noqa: F401
    preact_resnet,  # noqa: F401
    regnet,  # noqa: F401
    resnet,  # noqa: F401
    resnet9,  # noqa: F401
    resnet_cifar,  # noqa: F401
    s3d,  # noqa: F401
    segmentation,  # noqa: F401
    shufflenet_v2,  # noqa: F401
    squeezenet,  # noqa: F401
    tcn,  # noqa: F401
    vgg,  # noqa: F401
    video_resnet,  # noqa: F401
    wavenet,  # noqa: F401
    wide_resnet,  # noqa: F401
)
from cnn_jax.models.pretrained import (
    Pretrained,
    head_paths,
    input_paths,
    load_pretrained,
    save_pretrained,
)
from cnn_jax.models.registry import (
    MODELS,
    Description,
    create,
    describe,
    list_models,
    register,
    row,
)

__all__ = [
    "MODELS",
    "Description",
    "Pretrained",
    "create",
    "describe",
    "head_paths",
    "input_paths",
    "list_models",
    "load_pretrained",
    "register",
    "row",
    "save_pretrained",
]


def __dir__() -> list[str]:
    return __all__
