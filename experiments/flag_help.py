"""--help: the flags of a command in groups, what most people set first.

absl parses the flags; its own --help has them all in one list, in the order of the alphabet, and
--helpfull those of every library besides.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from cnn_jax.printable import printable
from experiments.flag_names import in_flags

# The settings of training, by what they are about. Those that no group has, such as a plug-in's,
# are in OTHERS.
GROUPS: dict[str, str] = {
    "Most used": """
        dataset image_size model pretrained epochs batch_size learning_rate augment seed workdir
        """,
    "Data": """
        data_dir train_split validation_split test_split fold channels crop fit jitter max_boxes
        image_feature mask_feature classes ignore balance mosaic skip_corrupt survey workers
        """,
    "Network": """
        model_options dtype bn_momentum remat pretrained_backbone init_head freeze continue_run
        continue_step fine_tuning
        """,
    "Loss and metrics": """
        loss label_smoothing class_weights metrics threshold mixup cutmix test_time_flip
        """,
    "Optimisation": """
        optimizer schedule steps momentum nesterov weight_decay clip_norm warmup_epochs
        final_learning_rate step_epochs step_factor learning_rate_per backbone_factor layer_decay
        bias_factor accumulate ema_decay patience
        """,
    "Several runs": "seeds learning_rates",
    "When a number is no longer one": "on_nonfinite rollback_every nonfinite_limit",
    "What is written, and when": """
        evaluate_every_epochs evaluate_every_steps eval_batch_size checkpoint_every_epochs
        checkpoint_every_steps keep log_every track figures profile resume accept_changed_data
        interrupted_status
        """,
    "Devices": """
        layout mesh devices cpu_devices cpu_convolutions compilation_cache
        """,
    "Several processes": """
        coordinator coordinator_bind_address process_count process_id heartbeat step_timeout
        connect_timeout
        """,
}
OTHERS = "More settings"
OWN = "This command"
EVERY = "Every command"
# modules whose flags every command has, in the order in which they are shown
EVERYWHERE = ("experiments.plugin_flag", "experiments.entry", "experiments.gpu_options")
WIDEST = 100
COLUMN = 31  # where the explanations begin

ALWAYS = {
    "--flagfile=FILE": "File of flags, one a line, such as a recipe; flags behind it go over its.",
    "--help": "Show this help.",
}

# what absl adds: the choices in front, how to repeat a flag behind
_NOISE = re.compile(r"^<[^>]*\|[^>]*>:\s*|; repeat this option to specify a list of values$")


class Help(flags.BooleanFlag):
    """A flag that prints the help and ends the program, with status 0."""

    def __init__(self, name: str, short_name: str | None = None):
        super().__init__(name, False, "Show this help.", short_name=short_name)
        self.allow_override = True  # absl's own is defined already

    def parse(self, arg: Any) -> None:
        super().parse(arg)
        if self.value:
            print(printable_lines(text()))
            sys.exit(0)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; for `app.run(flags_parser=...)`.

    Returns:
        The program's name and the positional arguments.
    """
    flags.DEFINE_flag(Help("help", "?"))
    flags.DEFINE_flag(Help("helpshort"))
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        line = printable(" ".join(str(error).split())).replace(" ?", "?").rstrip(".")
        print(
            f"error: {line}{'' if line.endswith('?') else '.'} --help lists the flags.",
            file=sys.stderr,
        )
        sys.exit(1)


def printable_lines(lines: str) -> str:
    return "\n".join(printable(line) for line in lines.splitlines())


def text(values: flags.FlagValues = flags.FLAGS, width: int | None = None) -> str:
    """The help of this process's command.

    Args:
        values: flags, of which those of experiments, and --flagfile, are shown.
        width: columns; by default those of the terminal, up to WIDEST.
    """
    columns = width or min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    said = (sys.modules["__main__"].__doc__ or "").strip("\n")
    parts = [said, "Flags are written --name=VALUE, and are shown with their defaults."]
    for title, members in groups(values).items():
        lines = [line for flag in members for line in entry_of(flag, columns)]
        if title == EVERY:
            for head, explained in ALWAYS.items():
                lines += entry(head, explained, columns)
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


def groups(values: flags.FlagValues = flags.FLAGS) -> dict[str, list[flags.Flag]]:
    """The flags in groups, in the order in which they are shown."""
    found: dict[str, list[flags.Flag]] = {OWN: []}
    found |= {title: [] for title in (*GROUPS, OTHERS, EVERY)}
    settings: dict[str, flags.Flag] = {}
    of_every: dict[str, list[flags.Flag]] = {module: [] for module in EVERYWHERE}
    for module, members in _ours(values):
        if module == "experiments.recipe":
            settings |= {flag.name: flag for flag in members}
        elif module in of_every:
            of_every[module] = members
        else:
            found[OWN] += [flag for flag in members if not isinstance(flag, Help)]
    for title, names in GROUPS.items():
        found[title] = [settings.pop(name) for name in names.split() if name in settings]
    found[OTHERS] = list(settings.values())
    found[EVERY] = [flag for members in of_every.values() for flag in members]
    return {title: members for title, members in found.items() if members}


def _ours(values: flags.FlagValues) -> Iterator[tuple[str, list[flags.Flag]]]:
    """The modules of this project, and the command's own, with the flags that each defines."""
    for module, members in values.flags_by_module_dict().items():
        # absl names the main module by the program's file
        if module.startswith("experiments") or module in ("__main__", sys.argv[0]):
            yield module, list(members)


def entry_of(flag: flags.Flag, width: int) -> list[str]:
    """A flag with its default, explained, in lines of at most so many columns."""
    explained = _NOISE.sub("", " ".join(in_flags(flag.help or "").split())).rstrip(". ") + "."
    if choices := getattr(flag.parser, "enum_values", None):
        explained += f" One of {', '.join(choice or repr('') for choice in choices)}."
    if flag.boolean and flag.default is not None:
        explained += f" Default: {'on' if flag.default else 'off'}."
    return entry(written(flag), explained, width)


def entry(head: str, explained: str, width: int) -> list[str]:
    """What one writes, and beside it what that is."""
    lines = textwrap.wrap(explained, max(width - COLUMN, 30), break_on_hyphens=False)
    indent = " " * COLUMN
    if len(head) + 4 > COLUMN:
        return [f"  {head}", *(indent + line for line in lines)]
    first, *rest = lines or [""]
    return [f"  {head:<{COLUMN - 2}}{first}".rstrip(), *(indent + line for line in rest)]


def written(flag: flags.Flag) -> str:
    """The flag as one would type it, with its default: '--epochs=10.0', '--[no]figures'."""
    if flag.boolean:
        return f"--[no]{flag.name}"
    default = flag.default
    if isinstance(default, list | tuple):
        default = ",".join(map(str, default))
    return f"--{flag.name}={'' if default is None else default}"


def run(main: Any) -> None:
    """`app.run` with this help."""
    app.run(main, flags_parser=parse)
