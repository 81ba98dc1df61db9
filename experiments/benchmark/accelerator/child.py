"""A process of one measurement, so that memory and failures are its own: JSON lines out and in.

python -m experiments.benchmark.accelerator.child '{"what": "step", ...}'
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

WARM_UP = 3  # steps after the first two
BLOCKS = 5


def say(**facts: Any) -> None:
    """Tells the parent."""
    print(json.dumps(facts), flush=True)


def step(spec: dict[str, Any]) -> None:
    """A train step: facts and first losses; and, if the parent says 'time', its speed."""
    from experiments.benchmark.accelerator import networks

    of = networks.row(spec["network"], tiny=spec["tiny"], scale=spec["scale"])
    contender, dtype = spec["contender"], spec["dtype"]
    if contender.startswith("torch"):
        from experiments.benchmark.accelerator import torch_steps

        device = "cuda" if spec["platform"] == "gpu" else "cpu"
        facts = torch_steps.card(device)
        steps: Any = torch_steps.Steps(
            of, dtype, device=device, compiled=contender == "torch_compile"
        )
    else:
        from experiments.benchmark.accelerator import jax_steps

        facts = _wanted(jax_steps.card(), spec["platform"])
        facts["flops"] = jax_steps.flops(of)
        steps = jax_steps.Steps(contender, of, dtype, tune=spec.get("tune", False))
    begun = time.perf_counter()
    if contender.startswith("torch"):
        facts["compared"] = steps.loss_in_float32()
    checked = time.perf_counter() - begun  # seconds that a step does not need
    losses = [steps.run(1)]
    facts["first_step_seconds"] = round(time.time() - spec["started"] - checked, 1)
    losses.append(steps.run(1))
    if spec.get("digest"):
        steps.run(spec["digest"] - 2)
        facts["digest"] = steps.digest()
    compiled = steps.compile_seconds
    if (tuned := getattr(steps, "tuned", None)) is not None:
        facts["tuned"] = tuned
    say(
        **facts,
        batch=of.batch,
        losses=losses,
        compile_seconds=None if compiled is None else round(compiled, 1),
    )
    if sys.stdin.readline().strip() != "time":
        return
    steps.run(WARM_UP)
    seconds, spread = speed(steps.run, spec["seconds"])
    say(
        images_per_second=of.batch / seconds,
        milliseconds=1e3 * seconds,
        spread=spread,
        peak_mib=_mib(steps.peak_bytes()),
        program_mib=_mib(steps.program_bytes),
    )


def speed(run: Callable[[int], Any], seconds: float) -> tuple[float, float]:
    """Seconds of a step, the median of BLOCKS blocks; and their spread, relative to it.

    Args:
        run: makes a number of steps and waits for them.
        seconds: about as long all blocks take together.
    """
    begun = time.perf_counter()
    run(1)
    one = time.perf_counter() - begun
    count = max(1, int(seconds / BLOCKS / max(one, 1e-6)))
    times = []
    for _ in range(BLOCKS):
        begun = time.perf_counter()
        run(count)
        times.append((time.perf_counter() - begun) / count)
    middle = statistics.median(times)
    return middle, (max(times) - min(times)) / middle


def layers(spec: dict[str, Any]) -> None:
    """The table of layers: a line for each pass, as it is measured."""
    for row in _layer_rows(spec):
        say(**row)


def _layer_rows(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if spec["contender"] == "torch":
        from experiments.benchmark.accelerator import torch_layers

        yield from torch_layers.rows(spec["dtype"], spec["platform"], tiny=spec["tiny"])
        return
    from experiments.benchmark.accelerator import jax_layers, jax_steps

    yield _wanted(jax_steps.card(), spec["platform"])
    yield from jax_layers.rows(
        spec["dtype"],
        spec["platform"],
        spec["verdicts"],
        tiny=spec["tiny"],
        without=[(layer, name) for layer, name in spec["without"]],
    )


def airbench(spec: dict[str, Any]) -> None:
    """CIFAR-10 to 94%: a line for compilation, and one for each run."""
    from experiments.benchmark.accelerator import airbench94, jax_steps

    say(**_wanted(jax_steps.card(), spec["platform"]))
    for row in airbench94.runs(
        spec["cifar10"], runs=spec["runs"], dtype=spec["dtype"], tiny=spec["tiny"]
    ):
        say(**row)


def _wanted(card: dict[str, Any], platform: str) -> dict[str, Any]:
    """The card, if it is of the platform that was asked for."""
    if card["backend"] != platform:
        raise ValueError(
            f"--platform={platform}: JAX finds none here, its default device is {card['card']} "
            f"({card['backend']}). Install jax[cuda13] or jax[tpu], or give --platform=cpu."
        )
    return card


def _mib(size: int | None) -> int | None:
    return None if size is None else size // 2**20


def main() -> None:
    spec = json.loads(sys.argv[1])
    try:
        {"step": step, "layers": layers, "airbench": airbench}[spec["what"]](spec)
    except Exception as error:  # the parent has one line for it, and goes on
        text = " ".join(str(error).split())
        say(error=f"{type(error).__name__}: {text}"[:400], fatal=isinstance(error, ValueError))
        if not isinstance(error, ValueError):
            raise


if __name__ == "__main__":
    main()
