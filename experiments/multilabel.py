"""Trains a network to say which of several labels an image has.

python -m experiments.multilabel --dataset=npz:chestmnist.npz --model=resnet20
python -m experiments.multilabel --dataset=csv:labels.csv --model=resnet18 --image_size=224
"""

from cnn_jax import run
from experiments import command

if __name__ == "__main__":
    command.launch(run.MultilabelRecipe)
