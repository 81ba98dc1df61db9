"""The layers whose gradients XLA is reported to be slow at on a GPU; and plain ones beside them.

github.com/jax-ml/jax, issues 13800, 23783, 26266 and 31662.
"""

from experiments.benchmark.layer import Layer

PASSES = ("forward", "input gradient", "kernel gradient")

TABLE = (
    Layer("transposed 2x2/2 (U-Net)", 16, 64, 256, 128, 2, 2, transposed=True),
    Layer("transposed 4x4/2 (GAN)", 64, 16, 256, 128, 4, 2, transposed=True),
    Layer("depthwise 3x3 (MobileNetV2)", 256, 28, 192, 192, 3, 1, 192),
    Layer("depthwise 3x3/2 (MobileNetV2)", 256, 56, 144, 144, 3, 2, 144),
    Layer("depthwise 7x7 (ConvNeXt)", 128, 28, 192, 192, 7, 1, 192),
    Layer("grouped 3x3 g32 (ResNeXt)", 256, 28, 256, 256, 3, 1, 32),
    Layer("grouped 3x3/2 g32 (ResNeXt)", 256, 56, 256, 256, 3, 2, 32),
    Layer("3-D 3x3x3 (video)", 8, 28, 64, 64, 3, rank=3),
    Layer("3-D 3x3x3/2 (video)", 8, 28, 64, 128, 3, 2, rank=3),
    Layer("3-D transposed 2x2x2/2", 4, 16, 128, 64, 2, 2, rank=3, transposed=True),
    Layer("dilated 3x3 d2 (DeepLab)", 32, 33, 256, 256, 3, 1, 1, 2),
    Layer("plain 3x3", 256, 28, 128, 128, 3),
    Layer("plain 3x3/2", 256, 56, 128, 128, 3, 2),
)


def table(*, tiny: bool) -> tuple[Layer, ...]:
    """TABLE; or, to try the command on a CPU, three of them with few pixels and channels."""
    if not tiny:
        return TABLE
    return tuple(
        layer._replace(
            batch=2,
            size=6,
            channels=8,
            features=8,
            groups=1 if layer.groups == 1 else 8 if layer.groups == layer.channels else 2,
        )
        for layer in (TABLE[0], TABLE[3], TABLE[5])
    )
