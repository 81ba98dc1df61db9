"""What a command prints, as an image (SVG)."""

import io
import re

import rich.console
import rich.text

COLUMNS = 84

# Rich's own, without the fonts that it fetches from the network.
FORMAT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font: {char_height}px DejaVu Sans Mono, Menlo, Consolas, monospace;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def settled(printed: str, evaluations: int = 2) -> str:
    """What is left on a terminal in the end: of a progress bar its last state, of many lines of
    evaluations the last few.

    Args:
        printed: what a command printed, with the escape sequences of a terminal.
        evaluations: number of lines 'step ...' that stay.
    """
    plain = re.sub(r"\x1b\[(?:\?25[lh]|2K|1A)", "", printed)  # cursor, and lines that are cleared
    lines = [line.rstrip().rpartition("\r")[2] for line in plain.split("\n")]
    steps = [i for i, line in enumerate(lines) if line.startswith("step ")]
    dropped = set(steps[:-evaluations])
    bars = [i for i, line in enumerate(lines) if line.startswith("train ") and "/" in line]
    dropped |= set(bars[:-1])
    return "\n".join(line for i, line in enumerate(lines) if i not in dropped).rstrip()


def svg(command: str, printed: str) -> str:
    """The image of a terminal.

    Args:
        command: what was typed.
        printed: what came, with the escape sequences of a terminal, if any.
    """
    console = rich.console.Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(rich.text.Text(f"$ {command}", style="bold"))
    console.print(rich.text.Text.from_ansi(settled(printed)))
    made = console.export_svg(title="", code_format=FORMAT, unique_id="terminal")
    return re.sub(r"[ \t]+\n", "\n", made)
