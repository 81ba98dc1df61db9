"""Gives measurements new keys after a change of how keys are made, without measuring again.

    git archive REVISION | tar x -C OLD      # the tree that measured
    python -m tests.experiments.concepts.rekeyed OLD FILE...

FILE is a findings.json, or the recorded.json beside this module. A section gets today's key only
if the old tree's own key is in the file, and if the code that `measure` reaches is the same in both
trees to the letter (what `code_key` compares). Any other is named and left: measure it again.
"""

import json
import subprocess
import sys
from pathlib import Path

from cnn_jax import strict_json
from experiments.concepts.frame import code_key, syllabus

_OLD_KEYS = """
import importlib, inspect, json
try:
    from experiments.concepts.frame import code_key, syllabus
except ImportError:
    from experiments.concepts import code_key, syllabus
print(json.dumps({each.name: (code_key.key(each.measure), inspect.getfile(each.measure))
                  for each in syllabus.concepts()}))
"""


def rekey(old: Path, sections: dict) -> list[str]:
    """Replaces the keys in place. Returns what was done, a line for each section."""
    done = subprocess.run(
        [sys.executable, "-c", _OLD_KEYS], cwd=old, env={"PYTHONPATH": str(old)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    before = json.loads(done.stdout)
    said = []
    for concept in syllabus.concepts():
        section, (key, file) = sections.get(concept.name), before.get(concept.name, ("", ""))
        if section is None:
            continue
        kept, _, versions = section["key"].partition("-")
        now = code_key.key(concept.measure)
        lesson = old / "experiments" / "concepts"
        if kept == now:
            said.append(f"{concept.name}: has today's key")
        elif kept != key:
            said.append(f"{concept.name}: LEFT, {old} did not measure it")
        elif code_key.of(Path(file), "measure", lesson=lesson) != now:
            said.append(f"{concept.name}: LEFT, its code is not the same")
        else:
            section["key"] = f"{now}-{versions}"
            said.append(f"{concept.name}: {kept} is now {now}")
    return said


def main(old: str, files: list[str]) -> None:
    for path in map(Path, files):
        found = json.loads(path.read_text(encoding="utf-8"))
        print(path, *rekey(Path(old).resolve(), found.get("sections", found)), sep="\n  ")
        if "sections" in found:
            text = strict_json.dumps(found, ensure_ascii=False)
        else:
            lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
            text = "{\n" + ",\n".join(lines) + "\n}"
        path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
