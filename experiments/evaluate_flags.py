"""The flags of `experiments.evaluate`."""

from typing import Any

from absl import flags

from cnn_jax.metrics import bootstrap
from cnn_jax.run import views as view_names
from experiments import network_flags


def define(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    if values is not flags.FLAGS:  # which has them
        network_flags.define(values)
    flags.DEFINE_string("dataset", "", "Data set; '' for the run's own.", flag_values=values)
    flags.DEFINE_string("split", "", "Split; '' for the run's own, or test.", flag_values=values)
    flags.DEFINE_string(
        "data_dir", "", "Directory of TFDS's data; '' for the run's own.", flag_values=values
    )
    flags.DEFINE_string(
        "checkpoint",
        "",
        "Checkpoint of a run: best, last or a step; '' for the one that result.json is of, or the "
        "best.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "weights",
        "",
        ["", "averaged", "raw"],
        "Parameters of a run: their average, or as they are; '' for the average, if kept.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "batch_size", 0, "Examples in a batch; 0 for the run's own, or 64.", flag_values=values
    )
    flags.DEFINE_integer(
        "devices", -1, "Number of devices; 0: all; -1: as in the run.", flag_values=values
    )
    flags.DEFINE_integer(
        "cpu_devices",
        -1,
        "Devices to split the CPU into; 0: JAX's default; -1: as in the run.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "precision",
        "",
        ["", "float32", "bfloat16"],
        "Precision of the arithmetic; '' for its own.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "views",
        "",
        "Views to average the logits over, out of " + ", ".join(view_names.VIEWS) + ".",
        flag_values=values,
    )
    flags.DEFINE_string(
        "labels",
        "",
        "File with the classes of the images or of the data set, as ImageNet-ReaL, "
        "-V2, -A and -R have: JSON, CSV or text.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "among",
        "",
        ["", "all", "data"],
        "Classes to choose predictions among: all, or those of the data; '' for those that "
        "--labels chooses, or all.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "freeze_inference",
        False,
        "Freeze the network on a CPU: faster, and the last digits of the figures differ.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_corrupt",
        None,
        "Leave out what cannot be read; default: as in the run.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "workers", -1, "Processes that decode; -1: as in the run.", flag_values=values
    )
    flags.DEFINE_integer(
        "resamples",
        bootstrap.RESAMPLES,
        "Resamples for the intervals; 0 for none.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "output",
        "",
        "Directory for the files; '' for evaluations/<network>-<dataset>-<split>.",
        flag_values=values,
    )


def settings(values: flags.FlagValues) -> dict[str, Any]:
    """The settings of the evaluation that were given."""
    chosen: dict[str, Any] = {
        "data_dir": values.data_dir or None,
        "eval_batch_size": values.batch_size or None,
        "devices": values.devices if values.devices >= 0 else None,
        "skip_corrupt": values.skip_corrupt,
        "workers": values.workers if values.workers >= 0 else None,
    }
    return {name: value for name, value in chosen.items() if value is not None}
