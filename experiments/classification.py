"""Trains a network to classify images, sequences or volumes.

    python -m experiments.classification
    python -m experiments.classification --flagfile=experiments/recipes/cifar10_resnet20.flags
    python -m experiments.classification --dataset=folder:PATH --model=resnet18 --image_size=224

Without flags it trains a small residual network on handwritten digits.
"""

from cnn_jax import run
from experiments import command

if __name__ == "__main__":
    command.launch(run.Recipe)
