"""What a quick measurement of every section gave, so that tests read it without measuring.

After a change in what a section measures, measure it again and write its numbers here:

    python -m experiments.concepts.NAME --quick --workdir=DIR
    python -m tests.experiments.concepts.recorded DIR
"""

import json
import sys
from pathlib import Path

from experiments.concepts.frame import measured

FILE = Path(__file__).parent / "recorded.json"


def load():
    """Section -> its facts, with values of three digits."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return value


def main(directories):
    found = load() if FILE.exists() else {}
    facts = ("key", "quick", "seeds", "seconds", "measured_on", "values")
    for directory in directories:
        for name, section in measured.load(Path(directory)).items():
            found[name] = rounded({fact: section[fact] for fact in facts})
    lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
