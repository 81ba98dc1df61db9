"""Lists the commands, one line each.

python -m experiments
"""

import ast
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent

# In the order in which one meets them; what is not here comes last.
GROUPS: dict[str, str] = {
    "Learn": "concepts concepts.touch concepts.exercises inside",
    "Train": "classification segmentation detection multilabel train from_scratch",
    "Look, measure, use": "look evaluate compare predict export",
    "Find out what there is": "models plugins reference",
    "Several processes": "launch",
    "Check this code": "verify_weights drill pictures",
}


def commands() -> list[str]:
    """The modules of this package, and packages in it, that are programs; the benchmarks too.

    A program inside another's package (a section of the lesson) is listed by that one, unless it
    has a place in GROUPS.
    """
    alone = [path for path in HERE.glob("*.py") if path.name != "__main__.py"]
    found = [
        ".".join(path.relative_to(HERE).with_suffix("").parts)
        for path in [*alone, *HERE.glob("benchmark/*.py")]
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]
    packages = [path.parent.relative_to(HERE) for path in HERE.glob("*/**/__main__.py")]
    grouped = " ".join(GROUPS.values()).split()
    found += [
        name
        for path in packages
        if (name := ".".join(path.parts)) in grouped or path.parent not in packages
    ]
    return sorted(found)


def summary(name: str) -> str:
    """The first sentence of a command's docstring, which is read and not imported."""
    module = HERE.joinpath(*name.split("."))
    path = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.partition("\n\n")[0].split())


def listing() -> str:
    """The commands in groups, one line each."""
    left = commands()
    groups = {title: [n for n in names.split() if n in left] for title, names in GROUPS.items()}
    grouped = {name for names in groups.values() for name in names}
    left = [name for name in left if name not in grouped]
    groups["Others"] = [name for name in left if not name.startswith("benchmark.")]
    groups["Benchmarks"] = [name for name in left if name.startswith("benchmark.")]
    lines = []
    for title, names in groups.items():
        if names:
            lines += [f"{title}:", *(f"  {name:<24}{summary(name)}" for name in names), ""]
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
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
