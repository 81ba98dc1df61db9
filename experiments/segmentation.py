"""Trains a network to classify every pixel.

    python -m experiments.segmentation
    python -m experiments.segmentation --flagfile=experiments/recipes/digit_scenes_mlp.flags
    python -m experiments.segmentation --dataset=masks:PATH --model=segnet_basic --ignore=11

Without flags it trains a small U-Net on scenes of handwritten digits.
"""

from cnn_jax import run
from experiments import command

if __name__ == "__main__":
    command.launch(run.SegmentationRecipe)
