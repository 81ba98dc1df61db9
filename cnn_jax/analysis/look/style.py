"""What the page adds to the style of all pages."""

from cnn_jax.analysis.page_style import BASE

STYLE = (
    BASE
    + """
p.what { color: var(--soft); font-size: .92rem; max-width: 46rem; }
ul.notes { padding: .7rem 1rem .7rem 2rem; background: var(--warn); border-radius: 6px;
  border-left: 4px solid var(--second); overflow-wrap: anywhere; }
ul.notes li + li { margin-top: .35rem; }
table.balance { width: 100%; }
table.balance td.bar { width: 55%; min-width: 6rem; vertical-align: middle; padding-right: 0; }
.bar i { display: block; height: .5rem; min-width: 1px; background: var(--first); }
.bar i + i { margin-top: 2px; background: repeating-linear-gradient(135deg, var(--second) 0 4px,
  transparent 4px 6px); outline: 1px solid var(--second); outline-offset: -1px; }
.bar i.none { visibility: hidden; }
dl { margin: .4rem 0; } dt { font-weight: 600; } dd { margin: 0 0 .5rem 1rem;
  overflow-wrap: anywhere; }
@media (max-width: 600px) {
  table.balance, table.balance tbody { display: block; font-size: .84rem; }
  table.balance tr { display: grid; grid-template-columns: 1.6rem minmax(0, 1fr)
    repeat(2, auto 3.2rem); padding: .15rem 0; border-bottom: 1px solid var(--line); }
  table.balance th, table.balance td { border: 0; padding: 0 0 0 .5rem; min-width: 0; }
  table.balance th[colspan] { grid-column: span 2; }
  table.balance.of3 tr { grid-template-columns: 1.6rem minmax(0, 1fr) repeat(3, 5rem); }
  table.balance.of3 th { font-size: .78rem; }
  table.balance.of3 td.p { display: none; } table.balance.of3 th[colspan] { grid-column: span 1; }
  table.balance th:last-child { display: none; }
  table.balance td.bar { grid-column: 1 / -1; width: auto; padding: .1rem 0; }
}
.key { display: inline-block; width: 1.6rem; height: .6rem; margin-right: .3rem;
  background: var(--first); }
.key.k1 { background: repeating-linear-gradient(135deg, var(--second) 0 4px, transparent 4px
  6px); outline: 1px solid var(--second); outline-offset: -1px; }
.bar i:nth-child(3), .key.k2 { background: none; outline: 2px dotted var(--third);
  outline-offset: -2px; }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%,
  20.5rem), 1fr)); }
.grid.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 31rem), 1fr)); }
.grid.narrow { grid-template-columns: repeat(auto-fill, minmax(9.4rem, 1fr)); }
.card { background: var(--panel); border-radius: 6px; padding: .6rem; min-width: 0; }
.card h3 { font-size: .88rem; margin: 0 0 .4rem; font-weight: 600; overflow-wrap: anywhere; }
.steps { display: flex; gap: .5rem; align-items: flex-start; }
figcaption b { color: var(--ink); }
.sight { display: block; position: relative; width: 100%; margin: 0 auto; overflow: hidden;
  background: var(--line); }
.sight img, .sight svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.sight.small img, .sight img.mask { image-rendering: pixelated; }
.sight svg rect { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.sight:hover .mask, .sight:hover svg, .sight:hover .mark { opacity: 0; }
.sight.curve { aspect-ratio: 2 / 1; background: var(--paper); border: 1px solid var(--line); }
.sight.curve svg { opacity: 1 !important; }
.sight.curve polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.mark { position: absolute; color: #fff; font: 700 .62rem/1 system-ui, sans-serif;
  padding: 1px 2px; text-shadow: 0 0 2px #000, 0 0 2px #000; }
.legend { list-style: none; padding: 0; margin: .4rem 0 .8rem; display: flex; flex-wrap: wrap;
  gap: .2rem .9rem; font-size: .85rem; }
.legend li { overflow-wrap: anywhere; } .legend .mark { position: static; padding: 1px 4px; }
.same { color: var(--second); font-weight: 700; }
details { margin: .6rem 0; } summary { cursor: pointer; }
"""
)
