"""Runs, prints and saves concepts, and puts them on one self-contained page."""

import base64
import html
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import rich.table
import rich.text
from matplotlib.figure import Figure

from cnn_jax.run import workdir
from experiments import entry
from experiments.concepts.lesson import Concept, Effort, Findings, Text

HEADINGS = {
    "claim": Text("Expectation", "预期"),
    "expected": Text("expected", "预期值"),
    "measured": Text("measured", "测量值"),
    "holds": Text("holds", "成立"),
    "yes": Text("yes", "是"),
    "no": Text("NO", "否"),
}
TITLE = Text("What a convolution is for", "卷积有什么用")
INTRODUCTION = Text(
    "Why do convolutional networks work? Each part below asks one question, states what one would "
    "expect, and measures it with several seeds (mean ± 95 % interval). An expectation that did "
    "not hold is marked, not hidden: it is a finding too. Two small data sets are used: digits, "
    "images of handwritten digits with 8x8 pixels, and mnist1d, digits drawn as curves of 40 "
    "numbers and hidden in noise. Guessing is right one time in ten.",
    "卷积网络为什么有效？下面每一部分提出一个问题，先说明预期，再用多个随机种子测量"
    "（均值 ± 95% 置信区间）。不成立的预期会被标出而不是隐藏：那也是一种发现。"
    "用到两个小数据集：digits 是 8x8 像素的手写数字图片；mnist1d 把数字画成 40 个数的曲线，"
    "并藏在噪声里。随机猜测的准确率是十分之一。",
)
STYLE = """
body { font: 17px/1.55 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em;
       color: #1b1f24; background: #fff; }
h2 { margin-top: 2.4em; border-top: 1px solid #ccd; padding-top: 1em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 15px; }
th, td { padding: .3em .8em; border-bottom: 1px solid #dde; text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; } .fails { background: #fde3e3; font-weight: 600; }
.answer { background: #f2f6fb; padding: .6em 1em; border-left: 4px solid #4477aa; }
footer { color: #667; font-size: 14px; margin-top: 3em; }
"""


class Run(NamedTuple):
    concept: Concept
    findings: Findings
    seconds: float
    figure: Path


def run(concept: Concept, effort: Effort, directory: Path) -> Run:
    """Measures, draws `<name>.png` and writes `<name>/result.json` into `directory`."""
    began = time.monotonic()
    findings = concept.measure(effort)
    seconds = time.monotonic() - began
    own = directory / concept.name
    own.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=findings.size, layout="constrained")
    findings.draw(figure)
    picture = own / f"{concept.name}.png"
    figure.savefig(picture, dpi=110)
    result: dict[str, Any] = {
        "concept": concept.name,
        "quick": effort.quick,
        "seeds": len(effort.seeds),
        "seconds": round(seconds, 1),
        "headings": [text.en for text in findings.headings],
        "rows": [list(row) for row in findings.rows],
        "expectations": [
            {
                "claim": each.claim.en,
                "expected": each.expected,
                "measured": each.measured,
                "holds": bool(each.holds),
            }
            for each in findings.expectations
        ],
    }
    workdir.write_result(own, result)
    return Run(concept, findings, seconds, picture)


def show(done: Run, language: str) -> None:
    """Prints the tables of a concept."""
    concept, findings = done.concept, done.findings
    title = rich.text.Text(concept.title.in_(language), style="bold")
    entry.CONSOLE.print("\n", title, f" ({done.seconds:.0f} s)", sep="")
    table = rich.table.Table(*[heading.in_(language) for heading in findings.headings])
    for row in findings.rows:
        table.add_row(*row)
    entry.CONSOLE.print(table)
    table = rich.table.Table(
        *[HEADINGS[name].in_(language) for name in ("claim", "expected", "measured", "holds")]
    )
    for each in findings.expectations:
        holds = HEADINGS["yes" if each.holds else "no"].in_(language)
        table.add_row(each.claim.in_(language), each.expected, each.measured, holds)
    entry.CONSOLE.print(table)


def write(runs: list[Run], path: Path, language: str) -> None:
    """Writes the lesson as HTML with embedded images, without scripts or external addresses."""
    facts = json.dumps(workdir.environment(), ensure_ascii=False)
    body = "\n".join(_section(number, done, language) for number, done in enumerate(runs, 1))
    failed = sum(not each.holds for done in runs for each in done.findings.expectations)
    count = sum(len(done.findings.expectations) for done in runs)
    score = Text(
        f"{count - failed} of {count} expectations held.",
        f"{count} 个预期中有 {count - failed} 个成立。",
    )
    title = TITLE.in_(language)
    path.write_text(
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<link rel="icon" href="data:,">'  # so that browsers ask for no favicon
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>{INTRODUCTION.in_(language)}</p>\n<p><b>{score.in_(language)}</b></p>\n{body}\n"
        f"<footer>{html.escape(facts)}</footer></body></html>\n",
        encoding="utf-8",
    )


def _section(number: int, done: Run, language: str) -> str:
    concept, findings = done.concept, done.findings
    picture = base64.b64encode(done.figure.read_bytes()).decode()
    title = html.escape(concept.title.in_(language))
    rows = [[html.escape(cell) for cell in row] for row in findings.rows]
    headings = [html.escape(heading.in_(language)) for heading in findings.headings]
    checks = []
    for each in findings.expectations:
        word = HEADINGS["yes" if each.holds else "no"].in_(language)
        cells = [each.claim.in_(language), each.expected, each.measured]
        mark = "" if each.holds else ' class="fails"'
        inner = "".join(f"<td>{html.escape(cell)}</td>" for cell in [*cells, word])
        checks.append(f"<tr{mark}>{inner}</tr>")
    names = [HEADINGS[name].in_(language) for name in ("claim", "expected", "measured", "holds")]
    return (
        f'<h2 id="{concept.name}">{number}. {title}</h2>\n'
        f"<p>{html.escape(concept.question.in_(language))}</p>\n"
        f"{_table(headings, [_row(row) for row in rows])}\n"
        f'<img alt="{title}" src="data:image/png;base64,{picture}">\n'
        f"{_table(names, checks)}\n"
        f'<p class="answer">{html.escape(concept.answer.in_(language))}</p>\n'
        f"<p><code>python -m experiments.concepts.{concept.name}</code> ({done.seconds:.0f} s)</p>"
    )


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _table(headings: list[str], rows: list[str]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
