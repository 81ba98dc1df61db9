"""What all pages look like: light and dark, from a telephone's width on.

The colours of data are Okabe and Ito's, which colour-blind people tell apart.
"""

BASE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #ffffff;
  --panel: #f4f6f8; --line: #d0d7de; --first: #0072b2; --second: #d55e00; --third: #009e73;
  --warn: #fff1e6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adb8; --paper: #14171b;
  --panel: #1f242a; --line: #39414b; --first: #56b4e9; --second: #e69f00; --third: #2fc79c;
  --warn: #3a2712; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: var(--ink);
  background: var(--paper); max-width: 1100px; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; overflow-wrap: anywhere; }
a { color: var(--first); }
figcaption, small, .note { color: var(--soft); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; margin: .6rem 0; }
th, td { padding: .22rem .9rem .22rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 5.5rem; max-width: 18rem; }
figure { margin: 0; flex: 1 1 0; min-width: 0; }
figcaption { font-size: .78rem; line-height: 1.35; margin-top: .25rem; overflow-wrap: anywhere; }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
"""
