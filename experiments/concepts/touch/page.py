"""One HTML file with everything in it: the networks, the words and the program of the page."""

import base64
import hashlib
import html
import json
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from cnn_jax import strict_json

LARGEST = 900_000  # bytes of a page
SPARE = ("check", "findings", "tests")  # parts of the data, the first to be left out first
SCRIPTS = (
    "engine", "base", "plot", "pad", "answer", "maps", "unit", "curve", "scene", "guess", "main",
)  # fmt: skip

_PAGE = string.Template("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style></head>
<body>
$body
<script type="application/json" id="data">$data</script>
<script type="application/json" id="words">$words</script>
<script>$script</script>
</body></html>
""")


def source(name: str) -> str:
    """A file of the folder `page`."""
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")


def script() -> str:
    """The program of the page: all scripts in one function, so that it leaves no names behind.

    Comments of a line of their own, and indents, make room for the network.
    """
    lines = [line.strip() for name in SCRIPTS for line in source(f"{name}.js").splitlines()]
    parts = "\n".join(line for line in lines if line and not line.startswith("//"))
    return f'"use strict";(() => {{\n{parts}}})();'


def text(data: Mapping[str, Any]) -> str:
    """The page.

    Args:
        data: what the scripts read, as JSON: networks, examples, findings.

    Raises:
        ValueError: the page would be larger than `LARGEST`.
    """
    style = "\n".join(line.strip() for line in source("style.css").splitlines())
    program = script()
    words = json.loads(source("words.json"))
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(program)}'; "
        f"style-src 'sha256-{_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    made = _PAGE.substitute(
        policy=policy,
        title=html.escape(words["title"][0]),
        style=style,
        body=source("page.html"),
        data=_inside(data),
        words=_inside(words),
        script=program,
    )
    size = len(made.encode())
    if size > LARGEST:
        raise ValueError(
            f"The page would have {size:,} bytes, and it may have {LARGEST:,}: give a run of a "
            "smaller network."
        )
    return made


def write(path: Path, data: Mapping[str, Any]) -> list[str]:
    """Writes the page; what it can do without is left out where there is no room for it.

    Returns:
        What was left out: some of `SPARE`.

    Raises:
        ValueError: there is no room for the network itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for count in range(len(SPARE) + 1):
        try:
            made = text({name: data[name] for name in data if name not in SPARE[:count]})
            break
        except ValueError:
            if count == len(SPARE):
                raise
    path.write_text(made, encoding="utf-8")
    return [name for name in SPARE[:count] if data.get(name)]


def _inside(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    dumped = strict_json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
