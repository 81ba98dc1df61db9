"""The preprocessing of published weights, by publisher and model."""

from typing import Any

from cnn_jax.weights.preprocessing import Preprocessing


def published(publisher: str, model: str, file_stem: str = "") -> Preprocessing | None:
    """The preprocessing of a publisher's weights for a model; None if it is not known.

    Args:
        publisher: 'torchvision', or 'efficientnet_lite_pytorch'.
        model: torchvision's name.
        file_stem: name of the published file without its suffix: torchvision has a second set of
            weights (IMAGENET1K_V2), with its own preprocessing, for several networks. The second is
            assumed if the name says nothing.
    """
    if publisher == "efficientnet_lite_pytorch":
        return _EFFICIENTNET_LITE.get(model)
    if not publisher.startswith("torchvision"):
        return None
    if model in _VIDEO:
        return _VIDEO[model]
    if file_stem in _FIRST_FILES:
        return _image(224)
    return _torchvision(model)


def _image(crop: int, resize: int = 256, **others: Any) -> Preprocessing:
    return Preprocessing(resize, (crop, crop), source="torchvision 0.29", **others)


def _torchvision(model: str) -> Preprocessing | None:
    for settings, models in _TORCHVISION:
        if model in models:
            return settings
    return None


def _names(text: str) -> list[str]:
    return text.split()


_HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

# torchvision 0.29, the `transforms` of the DEFAULT weights.
_TORCHVISION = (
    (
        _image(224),
        _names(
            "alexnet densenet121 densenet161 densenet169 densenet201 mnasnet0_5 mnasnet1_0 "
            "mobilenet_v3_small resnet18 resnet34 shufflenet_v2_x0_5 shufflenet_v2_x1_0 "
            "squeezenet1_0 squeezenet1_1 vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 "
            "vgg19_bn"
        ),
    ),
    (
        _image(224, 232),
        _names(
            "convnext_base convnext_large mnasnet0_75 mnasnet1_3 mobilenet_v2 mobilenet_v3_large "
            "regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf "
            "regnet_x_800mf regnet_x_8gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf "
            "regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet50 "
            "resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x1_5 "
            "shufflenet_v2_x2_0 wide_resnet101_2 wide_resnet50_2"
        ),
    ),
    (_image(224, 230), ["convnext_small"]),
    (_image(224, 236), ["convnext_tiny"]),
    (_image(224, interpolation="bicubic"), ["efficientnet_b0"]),
    (_image(240, 255), ["efficientnet_b1"]),
    (_image(288, 288, interpolation="bicubic"), ["efficientnet_b2"]),
    (_image(300, 320, interpolation="bicubic"), ["efficientnet_b3"]),
    (_image(380, 384, interpolation="bicubic"), ["efficientnet_b4"]),
    (_image(456, 456, interpolation="bicubic"), ["efficientnet_b5"]),
    (_image(528, 528, interpolation="bicubic"), ["efficientnet_b6"]),
    (_image(600, 600, interpolation="bicubic"), ["efficientnet_b7"]),
    (_image(384, 384), ["efficientnet_v2_s"]),
    (_image(480, 480), ["efficientnet_v2_m"]),
    (_image(480, 480, interpolation="bicubic", **_HALF), ["efficientnet_v2_l"]),
    (_image(384, 384, interpolation="bicubic"), ["regnet_y_128gf"]),
    # torchvision normalises by ImageNet's mean and undoes it in the network (transform_input):
    # these weights are TensorFlow's, for values from -1 to 1.
    (_image(224, **_HALF), ["googlenet"]),
    (_image(299, 342, **_HALF), ["inception_v3"]),
)

# Kinetics-400; torchvision resizes frames without antialiasing.
_KINETICS: dict[str, Any] = {
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
    "source": "torchvision 0.29",
}
_VIDEO = {
    **{
        name: Preprocessing((128, 171), (112, 112), antialias=False, **_KINETICS)
        for name in ("r3d_18", "mc3_18", "r2plus1d_18")
    },
    "s3d": Preprocessing((256, 256), (224, 224), antialias=False, **_KINETICS),
}

# The files of IMAGENET1K_V1 for which DEFAULT is V2 and needs another size.
_FIRST_FILES = frozenset(
    _names(
        "mobilenet_v2-b0353104 mobilenet_v3_large-8738ca79 regnet_x_16gf-2007eb11 "
        "regnet_x_1_6gf-e3633e7f regnet_x_32gf-9d47f8d0 regnet_x_3_2gf-f342aeae "
        "regnet_x_400mf-adf1edd5 regnet_x_800mf-ad17e45c regnet_x_8gf-03ceed89 "
        "regnet_y_16gf-9e6ed7dd regnet_y_1_6gf-b11a554e regnet_y_32gf-4dee3f7a "
        "regnet_y_3_2gf-b5a9779c regnet_y_400mf-c65dace8 regnet_y_800mf-1b27b58c "
        "regnet_y_8gf-d0d0e4a8 resnet101-63fe2227 resnet152-394f9c45 resnet50-0676ba61 "
        "resnext101_32x8d-8ba56ff5 resnext50_32x4d-7cdf4587 wide_resnet101_2-32ee1156 "
        "wide_resnet50_2-95faca4d"
    )
)

# github.com/tensorflow/tpu, efficientnet/lite: mean 127 and deviation 128 of 0..255; the crop is
# size / (size + 32) of the shorter side.
_EFFICIENTNET_LITE = {
    f"efficientnet_lite{i}": Preprocessing(
        resize=size + 32,
        crop=(size, size),
        interpolation="bicubic",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        source="github.com/tensorflow/tpu, models/official/efficientnet/lite",
    )
    for i, size in enumerate((224, 240, 260, 280, 300))
}
