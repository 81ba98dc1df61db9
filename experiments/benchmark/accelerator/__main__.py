"""Steps, layers, bits and CIFAR-10 on an accelerator: one command of under ten minutes.

    python -m experiments.benchmark.accelerator --platform=gpu --workdir=DIR --cifar10=cifar10.npz
    python -m experiments.benchmark.accelerator --platform=gpu --workdir=DIR --deterministic
    python -m experiments.benchmark.accelerator --platform=cpu --tiny

Train steps of whole networks by our code, by plain Flax (ResNets) and by PyTorch; layers whose
gradients XLA is reported to be slow at; and airbench94. Each line is printed as it is measured.
What no longer fits into --minutes is left out, and the command says what; the same command with the
same --workdir then measures the rest. Contenders start from the same weights and take the same
batch: one whose first loss differs from ours in float32 is named and not timed (PyTorch's is
compared without autocast). Every contender is compiled with XLA's own defaults.

MFU is the share of the card's peak in bfloat16 (`cnn_jax.analysis.utilisation.PEAKS`), also for
float32, which is TF32 on NVIDIA's cards. Peak memory is that of the process, by the device's own
account; 'planned' is what XLA plans for one step.
"""

import importlib.util
import sys

from absl import flags

from experiments import entry
from experiments.benchmark.accelerator import (
    airbench_table,
    deterministic,
    layer_table,
    networks,
    parent,
    step_table,
)

SECTIONS = ("steps", "airbench94", "layers")
SMALL = "resnet18"  # the network of --tiny and --deterministic


def define_flags() -> None:
    """Defines the flags, separately because tests import this module without its flags."""
    names = ", ".join((*SECTIONS, *(row.name for row in networks.TABLE)))
    flags.DEFINE_enum("platform", "gpu", ["gpu", "tpu", "cpu"], "Platform to measure on.")
    flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
    flags.DEFINE_float("minutes", 9.0, "Minutes after which nothing more is begun or waited for.")
    flags.DEFINE_list("only", [], f"Parts to measure, of {names}; empty for all.")
    flags.DEFINE_bool("torch", True, "Measure PyTorch too, if torch and torchvision are installed.")
    flags.DEFINE_bool("compile", True, "Measure torch.compile too, besides eager PyTorch.")
    flags.DEFINE_bool("tiny", False, "A few small steps of everything, to try the command.")
    flags.DEFINE_float("batch_scale", 1.0, "Factor on the batches, for cards of less than 24 GB.")
    flags.DEFINE_float("seconds", 4.0, "Seconds of timed steps of a contender.")
    flags.DEFINE_bool("tune", False, "Measure our step with cnn_jax.gpu's methods where faster.")
    flags.DEFINE_string("verdicts", "", "File for cnn_jax.gpu's verdicts; '' for the user's cache.")
    flags.DEFINE_string("cifar10", "", "CIFAR-10 packed by experiments.benchmark.accelerator.pack.")
    flags.DEFINE_integer("runs", 5, "Runs of airbench94, with seeds 0, 1, ...", lower_bound=1)
    flags.DEFINE_string("airbench_torch", "", "The listing's own airbench94.py, to be run too.")
    if "deterministic" not in flags.FLAGS:
        flags.DEFINE_bool("deterministic", False, "Measure what bit-identical reruns cost.")


def main() -> int:
    chosen = flags.FLAGS
    known = (*SECTIONS, *(row.name for row in networks.TABLE))
    if unknown := sorted(set(chosen.only) - set(known)):
        raise ValueError(f"--only={','.join(unknown)}: choose from {', '.join(known)}.")
    if chosen.minutes <= 0 or chosen.batch_scale <= 0 or chosen.seconds <= 0:
        raise ValueError("--minutes, --batch_scale and --seconds: wanted numbers above 0.")
    torch = chosen.torch and chosen.platform != "tpu"
    if torch and not (_installed("torch") and _installed("torchvision")):
        print("PyTorch's rows are left out: torch and torchvision are not both installed.")
        torch = False
    settings = {
        name: getattr(chosen, name) for name in ("platform", "tiny", "batch_scale", "seconds")
    }
    report = parent.Report(chosen.workdir, chosen.minutes, settings)
    spec = {
        "platform": chosen.platform,
        "tiny": chosen.tiny,
        "scale": chosen.batch_scale,
        "seconds": 0.05 if chosen.tiny else chosen.seconds,
        "dtype": "bfloat16",
        "verdicts": chosen.verdicts,
    }
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if chosen.platform == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    rows = [row.name for row in networks.TABLE]
    wanted = [name for name in rows if name in chosen.only]
    if not chosen.only or "steps" in chosen.only:
        wanted = rows if not chosen.tiny else [SMALL]
    report.tell(_machine(report))

    def steps(names: list[str]) -> None:
        for name in names:
            contenders = step_table.contenders(
                name,
                torch=torch,
                compiled=chosen.compile and chosen.platform == "gpu",
                tuned=chosen.tune,
            )
            step_table.measure(report, name, contenders, spec, environment)

    steps(wanted[:1])  # the most telling first
    if not chosen.only or "airbench94" in chosen.only:
        airbench_table.measure(report, spec, environment, file=chosen.cifar10, runs=chosen.runs)
        airbench_table.measure_torch(report, chosen.airbench_torch)
    if chosen.deterministic:
        deterministic.measure(report, SMALL, spec, environment)
    if not chosen.only or "layers" in chosen.only:
        layer_table.measure(report, spec, environment, torch=torch)
    steps(wanted[1:])
    report.write()
    count, skipped = len(report.result["rows"]), len(report.result["skipped"])
    where = f", in {chosen.workdir}/result.json" if chosen.workdir else ""
    report.tell(f"{count} rows, {skipped} skipped, {report.seconds():.0f} s{where}")
    return 0 if count else 1


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # what a machine forbids
        return False


def _machine(report: parent.Report) -> str:
    return ", ".join(f"{name} {value}" for name, value in report.result["machine"].items())


if __name__ == "__main__":
    entry.launch(main, define=define_flags)
    sys.exit(0)
