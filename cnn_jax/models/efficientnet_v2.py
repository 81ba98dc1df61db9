"""EfficientNetV2 (Tan and Le 2021): fused blocks in the early stages, searched for speed."""

from cnn_jax.models.efficientnet import EfficientNet, Stage, timm_rules, torchvision_rules
from cnn_jax.models.registry import register, row

# Table 4, without its stem and head.
S_STAGES = (
    Stage("fused", 1, 3, 1, 24, 2),
    Stage("fused", 4, 3, 2, 48, 4),
    Stage("fused", 4, 3, 2, 64, 4),
    Stage("mb", 4, 3, 2, 128, 6),
    Stage("mb", 6, 3, 1, 160, 9),
    Stage("mb", 6, 3, 2, 256, 15),
)

# The paper has no table for M and L: these are from its reference code.
M_STAGES = (
    Stage("fused", 1, 3, 1, 24, 3),
    Stage("fused", 4, 3, 2, 48, 5),
    Stage("fused", 4, 3, 2, 80, 5),
    Stage("mb", 4, 3, 2, 160, 7),
    Stage("mb", 6, 3, 1, 176, 14),
    Stage("mb", 6, 3, 2, 304, 18),
    Stage("mb", 6, 3, 1, 512, 5),
)
L_STAGES = (
    Stage("fused", 1, 3, 1, 32, 4),
    Stage("fused", 4, 3, 2, 64, 7),
    Stage("fused", 4, 3, 2, 96, 7),
    Stage("mb", 4, 3, 2, 192, 10),
    Stage("mb", 6, 3, 1, 224, 19),
    Stage("mb", 6, 3, 2, 384, 25),
    Stage("mb", 6, 3, 1, 640, 7),
)


def _of(stages: tuple[Stage, ...], size: int) -> dict:
    publishers = {"torchvision": torchvision_rules(stages), "timm": timm_rules(stages)}
    return {"input_shape": (size, size, 3), "rules": publishers}


V2 = {"last": 1280, "bn_epsilon": 1e-3}

TABLE = {
    "efficientnet_v2_s": row(
        21_458_488, 8.366, stages=S_STAGES, stem=24, drop_rate=0.2, changes=_of(S_STAGES, 384), **V2
    ),
    "efficientnet_v2_m": row(
        54_139_356,
        24.582,
        stages=M_STAGES,
        stem=24,
        drop_rate=0.3,
        changes=_of(M_STAGES, 480),
        **V2,
    ),
    "efficientnet_v2_l": row(
        118_515_272,
        56.08,
        stages=L_STAGES,
        stem=32,
        drop_rate=0.4,
        changes=_of(L_STAGES, 480),
        **V2,
    ),
}

register(
    EfficientNet,
    TABLE,
    paper="Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training, arXiv:2104.00298",
    source="torchvision 0.29",
)
