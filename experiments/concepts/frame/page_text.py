"""What the page says around the sections, and how it looks."""

from cnn_jax.analysis.page_style import BASE
from experiments.concepts.frame import diagram
from experiments.concepts.frame.lesson import Text

TITLE = Text("What a convolution is for", "卷积有什么用")
INTRODUCTION = Text(
    "Why do convolutional networks work? Each section explains one idea, asks you to guess, and "
    "then measures it with several [[seed|seeds]]. What we expected was written down before. Where "
    "it did not come true the section says so, and says why as far as we could measure it: that is "
    "a finding too.",
    "卷积网络为什么有效？每一节先讲一个想法，请你先猜，再用几个[[seed|随机种子]]去测量。"
    "我们的预期都在测量之前写下。没有成真的预期会照实标出，并用另外的测量说明原因：那也是一种发"
    "现。",
)
SETS = Text(
    "Two small sets of examples are used. `digits` has images of handwritten digits with 8x8 "
    "[[pixel|pixels]]. `mnist1d` has digits drawn as curves of 40 numbers and hidden in noise. "
    "Guessing is right one time in ten. Figures such as 94.1 (93.6 … 94.5) % are the mean and, in "
    "brackets, the lowest and the highest of the seeds.",
    "这里用到两个小数据集。`digits` 是 8x8 [[pixel|像素]]的手写数字图像；`mnist1d` 把数字画成由 40 "
    "个数组成的曲线，并藏在噪声里。乱猜的准确率是十分之一。形如 94.1 (93.6 … 94.5) % 的数字，"
    "先是均值，括号里是各个种子中最低和最高的值。",
)
WORDS = {
    "contents": Text("Sections", "目录"),
    "guess": Text("Guess first", "先猜一猜"),
    "bets": Text("Which of these will hold?", "下面哪些会成立？"),
    "measured": Text("Measured", "测量"),
    "claims": Text("What was expected, and what came", "预期与结果"),
    "claim": Text("expectation", "预期"),
    "expected": Text("expected", "条件"),
    "value": Text("measured", "测得"),
    "holds": Text("holds", "成立"),
    "yes": Text("yes", "是"),
    "no": Text("NO", "否"),
    "why": Text("Why not: ", "为什么不成立："),
    "unexplained": Text(
        "Not explained yet: we have no measurement that says why.",
        "尚无解释：我们还没有能说明原因的测量。",
    ),
    "reading": Text("What it says", "怎样理解"),
    "exercises": Text("Exercises", "练习"),
    "exercise": Text("Exercise", "练习"),
    "glossary": Text("Terms", "术语"),
    "missing": Text(
        "Not measured yet in this directory.",
        "这个目录里还没有测量。",
    ),
    "again": Text("Measure it yourself:", "自己测量："),
    "other": Text("中文", "English"),
    "colon": Text(": ", "："),
    "open": Text(" (", "（"),
    "close": Text(")", "）"),
    "whole": Text("The whole lesson", "完整讲义"),
}


def score(held: int, count: int, unmeasured: int) -> Text:
    """How many expectations held."""
    more = Text("", "")
    if unmeasured:
        more = Text(
            f" {unmeasured} sections are not measured yet.", f" 还有 {unmeasured} 节未测量。"
        )
    return Text(
        f"{held} of {count} expectations held.{more.en}",
        f"{count} 个预期中有 {held} 个成立。{more.zh}",
    )


def effort(section: dict) -> Text:
    """How a section was measured."""
    quick, seeds, seconds = section["quick"], section["seeds"], section["seconds"]
    took = (
        Text(f"{seconds:.0f} s", f"{seconds:.0f} 秒")
        if seconds >= 1
        else Text("less than a second", "不到 1 秒")
    )
    return Text(
        f"Measured on {section['measured_on']} in {took.en}"
        + (f" with {seeds} seeds" if seeds else "")
        + (", quickly: fewer steps than the figures to quote." if quick else "."),
        f"{section['measured_on']} 测量，"
        + (f"{seeds} 个种子，" if seeds else "")
        + f"用时 {took.zh}"
        + ("（快速测量：更新次数较少，数值仅供参考）。" if quick else "。"),
    )


STYLE = (
    BASE
    + """
body { max-width: 60rem; font-size: 17px; line-height: 1.6; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
nav ol { columns: 2 18rem; padding-left: 0; list-style: none; }
a.term { color: inherit; text-decoration: underline dotted; text-underline-offset: .2em; }
pre { background: var(--panel); padding: .7em 1em; border-radius: 6px; overflow-x: auto; }
.guess, .reading { background: var(--panel); padding: .5rem 1rem; border-radius: 6px;
  border-left: 4px solid var(--first); margin: 1rem 0; }
.guess h3, .reading h3 { margin-top: .3rem; } .guess { border-color: var(--third); }
.guess ul { padding-left: 1.3rem; }
figure.formula { margin: 1rem 0; overflow-x: auto; } math { font-size: 1.15em; }
figure.formula figcaption { font-size: .88rem; text-align: center; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: 1rem; align-items: start; margin: 1rem 0; }
.charts img { width: 100%; height: auto; background: #fff; border-radius: 6px; display: block; }
.charts .wide { grid-column: 1 / -1; width: 100%; overflow-x: auto; }
table caption { text-align: left; color: var(--soft); font-size: .92rem; padding-bottom: .3rem; }
table.values td { white-space: nowrap; } table.values th { min-width: 4.5rem; }
table.values td:first-child { white-space: normal; min-width: 6.5rem; }
table.claims { width: 100%; } table.claims .mark { white-space: nowrap; font-weight: 700; }
tr.fails td { background: var(--warn); } tr.why td { background: var(--warn); }
tr.fails td:first-child, tr.why td:first-child { padding-left: .5rem; }
tr.why td { padding-bottom: .6rem; }
.holds .mark { color: var(--first); } .fails .mark { color: var(--second); }
dl.glossary { columns: 2 22rem; } dl.glossary div { break-inside: avoid; margin-bottom: .7rem; }
dt { font-weight: 600; } dd { margin: 0; } dl.glossary div:target { background: var(--warn); }
li code, .how code { display: inline-block; }
.how { color: var(--soft); font-size: .88rem; }
@media (max-width: 620px) {
  table.claims, table.claims tbody, table.claims tr, table.claims td { display: block; }
  table.claims tr.head { display: none; } table.claims tr { padding: .4rem 0;
    border-bottom: 1px solid var(--line); }
  table.claims td { border: 0; padding: .05rem .4rem; }
  table.values td { white-space: normal; padding-right: .4rem; }
  table.many, table.many tbody, table.many tr, table.many td, table.many caption { display: block; }
  table.many tr.head, table.many td.none { display: none; }
  table.many tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
  table.many td { border: 0; padding: .05rem .4rem; white-space: normal; }
  table.many td:first-child { font-weight: 600; }
  table.many td + td::before { content: attr(data-name); color: var(--soft); }
  table.claims td[data-name]::before { content: attr(data-name); color: var(--soft); }
}
@media screen and (max-width: 620px) { .charts .wide img { min-width: var(--least); } }
@media print { .guess, .reading, figure, tr { break-inside: avoid; } nav, .switch { display: none; }
  h2, h3, caption, tr.head { break-after: avoid; } tr.fails { break-after: avoid; }
  a.term { text-decoration: none; } .scroll, .charts .wide { overflow: visible; }
  table.values { font-size: .74rem; } table.values td { white-space: normal; }
  table.values th, table.values td { padding-right: .5rem; min-width: 0; } }
"""
    + diagram.STYLE
)
