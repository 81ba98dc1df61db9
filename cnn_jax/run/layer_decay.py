"""Layer-wise decay of the learning rate: lower for the stages nearer to the input.

Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning). One factor from
layer to layer is that of Clark et al. 2020, arXiv:2003.10555; here it goes from stage to stage.
"""

from cnn_jax import jax_internals
from cnn_jax.models.stage_of import stage_of_parameters
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.recipe import TrainingRecipe


def stage_factors(recipe: TrainingRecipe, experiment: Experiment) -> dict[str, float]:
    """The factor on the learning rate of each parameter that has one besides 1, by its path.

    With `layer_decay` d and S stages, stage i from the input, counted from 0, has d^(S - i); what
    comes after the last stage, the head, has 1.

    Raises:
        ValueError: the network has no stages, or its parameters cannot be told apart.
    """
    if recipe.layer_decay == 1:
        return {}
    try:
        stages, names = stage_of_parameters(experiment.model, experiment.image)  # type: ignore[arg-type]
    except (ValueError, TypeError, jax_internals.MovedError) as error:
        raise ValueError(
            f"layer_decay={recipe.layer_decay:g} goes by the stages of the network, and "
            f"{recipe.model} gives none ({' '.join(str(error).split())[:120]}). Leave it out, or "
            "take `backbone_factor`."
        ) from error
    return {path: recipe.layer_decay ** (len(names) - number) for path, number in stages.items()}
