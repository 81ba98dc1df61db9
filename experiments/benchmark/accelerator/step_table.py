"""Train steps of whole networks: who takes part, whether they agree, and how fast they are."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from cnn_jax.analysis import utilisation
from experiments.benchmark.accelerator import flax_resnet
from experiments.benchmark.accelerator.parent import Child, ChildError, Report

# Largest difference of the first loss from that of our step in float32, relative, for a batch of
# one: it is a mean over the batch, so that rounding averages out, while the losses of two networks
# that are not the same differ by about 0.15 / sqrt(batch)
TOLERANCE = 0.08


class Contender(NamedTuple):
    """Who makes the step.

    Attributes:
        name: 'ours', 'flax', 'torch' or 'torch_compile'.
        dtype: 'float32' or 'bfloat16'.
        seconds: about as long the whole of its process takes on a GPU.
        tuned: whether it has the methods of `cnn_jax.gpu` where these are faster.
    """

    name: str
    dtype: str
    seconds: float
    tuned: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{', tuned' if self.tuned else ''}"


def contenders(network: str, *, torch: bool, compiled: bool, tuned: bool) -> list[Contender]:
    """Ours in float32 comes first: the others' losses are compared with its own."""
    found = [Contender("ours", "float32", 35), Contender("ours", "bfloat16", 35)]
    if network in flax_resnet.STAGES:
        found.append(Contender("flax", "bfloat16", 35))
    if torch:
        found.append(Contender("torch", "bfloat16", 25))
        if compiled:
            found.append(Contender("torch_compile", "bfloat16", 75))
    if tuned:
        found.append(Contender("ours", "bfloat16", 300, tuned=True))
    return found


def measure(
    report: Report,
    network: str,
    chosen: list[Contender],
    spec: Mapping[str, Any],
    environment: Mapping[str, str],
) -> None:
    """The rows of a network, each printed when it is there."""
    for contender in chosen:
        what = f"{network}, {contender}"
        names = {"section": "step", "network": network, "contender": str(contender)}
        if report.has(**names):
            continue
        if not spec["tiny"] and not report.fits(what, contender.seconds):
            continue
        reference = report.find(section="step", network=network, contender=str(chosen[0]))
        try:
            _one(report, contender, names, reference, spec, environment)
        except ChildError as error:
            report.skip(what, str(error))


def _one(
    report: Report,
    contender: Contender,
    names: Mapping[str, Any],
    reference: Mapping[str, Any] | None,
    spec: Mapping[str, Any],
    environment: Mapping[str, str],
) -> None:
    task = {
        **spec,
        "what": "step",
        "network": names["network"],
        "contender": contender.name,
        "dtype": contender.dtype,
        "tune": contender.tuned,
    }
    with Child(report, task, environment) as child:
        facts = child.answer()
        assert facts is not None
        report.on(facts)
        if reference is not None:
            first = facts.get("compared", facts["losses"][0])
            off = abs(first / reference["losses"][0] - 1)
            bound = TOLERANCE / facts["batch"] ** 0.5
            if not off <= bound:  # nor if it is NaN
                report.skip(
                    f"{names['network']}, {contender}",
                    f"it disagrees: its first loss is {first:.4f}, and that of "
                    f"{reference['contender']} {reference['losses'][0]:.4f} ({off:.1e} apart, "
                    f"wanted {bound:.1e}); it is not timed",
                )
                return
            facts["apart"] = off
        child.send("time")
        speed = child.answer()
        assert speed is not None
    row = {**names, **facts, **speed}
    flops = facts.get("flops") or (reference or {}).get("flops")
    row["flops"] = flops
    row["mfu"] = mfu(row["images_per_second"], flops, facts["card"])
    report.add(line(row), **row)


def mfu(images_per_second: float, flops: float | None, card: str) -> float | None:
    """The share of the card's bfloat16 peak that the model needs; None for a card not in PEAKS."""
    peak = utilisation.peak_flops([SimpleNamespace(device_kind=card)])  # type: ignore[list-item]
    return None if peak is None or flops is None else images_per_second * flops / peak


def line(row: Mapping[str, Any]) -> str:
    """A row for the console."""
    share = "MFU not known: no peak of this card" if row["mfu"] is None else f"MFU {row['mfu']:.3f}"
    memory = [
        f"{row[key]} MiB {what}"
        for key, what in (("peak_mib", "peak"), ("program_mib", "planned"))
        if row.get(key) is not None
    ]
    compiled = row["compile_seconds"]
    tuned = [f"{len(row['tuned'])} operations by other methods"] if "tuned" in row else []
    parts = [
        f"{row['network']:16s} {row['contender']:23s} {row['images_per_second']:9.1f} images/s",
        f"{row['milliseconds']:.1f} ms (spread {row['spread']:.2f})",
        share,
        *memory,
        *tuned,
        "compiles nothing" if compiled is None else f"compiled in {compiled} s",
        f"first step after {row['first_step_seconds']} s",
        f"first losses {', '.join(f'{loss:.4f}' for loss in row['losses'])}",
    ]
    return "  ".join(parts)
