"""The end of a sweep: the page that compares its runs, and what became of them."""

import dataclasses
import signal
from collections.abc import Sequence
from pathlib import Path

from cnn_jax.run import workdir as workdirs
from cnn_jax.run.comparing import Comparison, compare
from cnn_jax.run.comparing.comparison_page import best
from cnn_jax.run.program import Program
from cnn_jax.run.trials.running import Tally


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep has left.

    Attributes:
        directory: its directory, with a run directory for each name.
        names: of all runs.
        finished: names of those with a result.
        failed: why the others failed, by name.
        elsewhere: names of those that other processes have.
        interrupted: the signal that stopped this process, or None; the same call goes on.
        comparison: the runs beside each other; None while some are not finished.
    """

    directory: Path
    names: tuple[str, ...]
    finished: tuple[str, ...]
    failed: dict[str, str]
    elsewhere: tuple[str, ...]
    interrupted: signal.Signals | None
    comparison: Comparison | None


def ended(directory: Path, names: Sequence[str], tally: Tally, program: Program) -> Swept:
    """Compares the runs if none is left, and says what became of them."""
    made = None
    if tally.elsewhere and tally.interrupted is None:
        count = len(tally.elsewhere)
        program.say(
            f"{count} run(s) are still running in other processes; the last one writes the page."
        )
    elif tally.finished and tally.interrupted is None:
        program.interrupts(f"while comparing: all runs are in {directory}")
        begun = [directory / n for n in names if (directory / n / workdirs.RECIPE_FILE).exists()]
        made = compare(begun, output=directory)
        for note in made.notes[:10]:
            program.say(note)
        program.say(best(made) or "There is nothing to choose between.")
        program.say(f"The page is {made.page}")
    if tally.failed:
        program.say(f"{len(tally.failed)} of {len(names)} runs failed and are left alone:")
        for name, why in tally.failed.items():
            program.say(f"  {directory / name}: {why}")
        program.say("To try one again, delete its failure.json.")
    return Swept(
        directory=directory,
        names=tuple(names),
        finished=tuple(tally.finished),
        failed=dict(tally.failed),
        elsewhere=tuple(tally.elsewhere),
        interrupted=tally.interrupted,
        comparison=made,
    )
