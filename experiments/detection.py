"""Trains a network to detect objects: a box and a class for each.

    python -m experiments.detection
    python -m experiments.detection --flagfile=experiments/recipes/bccd.flags --data_dir=DIR
    python -m experiments.detection --dataset=coco:PATH --model=retinanet_resnet50_fpn

Without flags it trains a small detector on scenes of handwritten digits.
"""

from cnn_jax import run
from experiments import command

if __name__ == "__main__":
    command.launch(run.DetectionRecipe)
