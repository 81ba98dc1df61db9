"""Lists the commands, one line each.

python -m experiments
"""

import ast
import sys
from pathlib import Path

HERE = Path(__file__).parent

# In the order in which one meets them.
COMMANDS: dict[str, str] = {
    "Learn": "concepts concepts.exercises inside",
    "Train": "classification segmentation detection multilabel train from_scratch",
    "Look, measure, use": "look evaluate predict export",
    "Find out what there is": "models plugins reference",
    "Several processes": "launch",
    "Check and measure this code": "verify_weights drill",
}


def summary(name: str) -> str:
    """The first sentence of a command's docstring, which is read and not imported."""
    module = HERE.joinpath(*name.split("."))
    path = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.partition("\n\n")[0].split())


def listing() -> str:
    """The commands in groups, and the benchmarks."""
    benchmarks = sorted(
        f"benchmark.{path.stem}"
        for path in HERE.glob("benchmark/*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    )
    lines = []
    for title, names in [*COMMANDS.items(), ("Benchmarks", " ".join(benchmarks))]:
        lines += [f"{title}:", *(f"  {name:<24}{summary(name)}" for name in names.split()), ""]
    return "\n".join([*lines, "python -m experiments.NAME runs one, and --help shows its flags."])


def main(arguments: list[str]) -> int:
    """Prints the list. Returns the exit status: 1 if anything was asked that is no command."""
    unknown = [word for word in arguments if word not in ("--help", "-h", "help")]
    if unknown:
        name = unknown[0]
        print(f"error: write python -m experiments.{name}, if that is a command:", file=sys.stderr)
    print(listing(), file=sys.stderr if unknown else sys.stdout)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
