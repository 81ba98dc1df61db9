"""train_batch.png of a run: its first training batch as the network is shown it."""

import logging
from pathlib import Path

from cnn_jax.run import shown
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.recipe import TrainingRecipe

_log = logging.getLogger(__name__)

FILE = "train_batch.png"
EXAMPLES = 16


def draw(recipe: TrainingRecipe, experiment: Experiment, directory: Path, step: int) -> None:
    """Draws the first examples of a batch, after augmentation and mixing, once for a run.

    Nothing is drawn without `figures`, or where there is one already. A batch that cannot be drawn,
    such as that of a task with images of its own kind, is said and does not stop the run.

    Args:
        recipe, experiment: of the run; of several seeds, of the first.
        directory: its directory.
        step: number of updates made before this batch.
    """
    if not recipe.figures or (directory / FILE).exists():
        return
    from cnn_jax.analysis import batch_figure  # late: Matplotlib

    try:
        sights = shown.first_of_step(recipe, experiment, step, EXAMPLES)
        batch_figure.write(
            sights,
            experiment.facts.class_names,
            directory / FILE,
            name=experiment.name,
            said=f"{len(sights)} of the {recipe.batch_size} examples of step {step + 1}, as the "
            "network is shown them",
        )
    except Exception as error:
        said = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        _log.warning("%s is not drawn: %s", FILE, said)
