"""The look of report.html. No attribute of an element may carry style (its policy): classes, and SVG's own numbers."""

from typing import Final

STYLE: Final = """
:root { --work: #2f6db3; --wait: #8f5400; --a: #6d7785; --b: #2f6db3; --good: #1b6e3c; --grid: #e3e6ea; }
@media screen and (prefers-color-scheme: dark) {
  :root { --work: #6ea8ef; --wait: #e0a040; --a: #98a3b1; --b: #6ea8ef; --good: #7ccf98; --grid: #2c3238; }
}
body { max-width: 76rem; line-height: 1.45; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
a:focus-visible, summary:focus-visible { outline: .15rem solid var(--link); outline-offset: .1rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .9rem 0 0; }
.verdict { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .8rem; margin: .4rem 0; }
.badge { font-weight: 700; letter-spacing: .02em; padding: .05rem .55rem; border: .12rem solid; border-radius: .25rem;
  min-width: 0; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.odd { color: var(--missing); }
.cause h3 { margin: 0; font-size: 1.1rem; }
dl.facts { grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .5rem 1.25rem; margin: .9rem 0 0; }
dl.facts dd { margin: 0; }
dt { font-size: .9rem; }
.note { border-left: .3rem solid var(--missing); padding: .1rem .8rem; margin: .8rem 0; }
ul.plain { margin: .4rem 0; padding-left: 1.2rem; }
ol.failures { list-style: none; margin: 0; padding: 0; }
ol.failures > li { border-left: .3rem solid var(--bad); padding: .1rem 0 .1rem .9rem; margin: .9rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 400; }
thead th { color: var(--soft); font-size: .9rem; vertical-align: bottom; }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0; }
tr > :last-child { padding-right: 0; }
td.n, th.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
.pm { color: var(--soft); }
.word { display: block; color: var(--soft); font-size: .9rem; }
.word.waits { color: var(--wait); }
.draw { width: 48%; }
svg { display: block; width: 100%; overflow: visible; }
svg.defs { position: absolute; width: 0; height: 0; }
svg.key { display: inline-block; width: 1.4rem; height: .8rem; margin: 0 .3rem 0 0; vertical-align: -.05rem; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; color: var(--soft); font-size: .9rem;
  margin: .2rem 0 .4rem; }
.grid { stroke: var(--grid); }
.tick { fill: var(--soft); font-size: .75rem; }
.work { fill: var(--work); }
.light { fill: var(--work); fill-opacity: .6; }
.waiting { fill: url(#hatch); stroke: var(--wait); stroke-width: 1; }
.maybe { fill: none; stroke: var(--work); stroke-dasharray: 3 2; }
.maybe.w { stroke: var(--wait); }
.err { stroke: var(--ink); stroke-width: 1.5; }
.h0 { fill: var(--paper); } .h1 { fill: var(--wait); } .ha { fill: var(--a); } .hb { fill: var(--b); }
.a { fill: var(--a); } .b { fill: var(--b); }
.aw { fill: url(#hatch-a); stroke: var(--a); } .bw { fill: url(#hatch-b); stroke: var(--b); }
.dot { fill: var(--work); fill-opacity: .75; }
.cross { stroke: var(--bad); stroke-width: 1.6; }
.range { fill: var(--ink); fill-opacity: .13; }
.median { stroke: var(--ink); stroke-width: 2; }
.base { stroke: var(--line); }
.series { margin: .4rem 0 .9rem; }
.series figcaption { font-weight: 600; }
.steps { max-width: 46rem; }
dl.facts .digest { grid-column: 1 / -1; }
details { border-bottom: 1px solid var(--line); }
details > summary { padding: .4rem 0; cursor: pointer; }
details > :not(summary) { margin-bottom: .8rem; }
details > table { margin-left: 1.1rem; width: calc(100% - 1.1rem); }
.outcome { white-space: nowrap; width: 7rem; }
.two { display: grid; gap: 0 2.5rem; }
.two > * { min-width: 0; }
.scroll { overflow-x: auto; margin: .6rem 0; }
.scroll table { min-width: 40rem; }
.scroll th[scope="row"] { min-width: 8rem; }
table.changes { table-layout: fixed; }
@media (min-width: 64rem) { .two { grid-template-columns: 3fr 2fr; } .two .draw { width: 34%; } }
@media (max-width: 40rem) {
  h1 { font-size: 1.3rem; }
  dl.facts { grid-template-columns: 1fr 1fr; }
  details > table { margin-left: 0; width: 100%; }
  table.fall tr { display: grid; grid-template-columns: 1fr repeat(var(--cells), auto); column-gap: .7rem;
    border-bottom: 1px solid var(--line); padding: .25rem 0; }
  table.fall th, table.fall td { border: 0; padding: 0; }
  table.fall .draw { grid-column: 1 / -1; width: auto; padding-top: .2rem; }
  table.c2 { --cells: 1; } table.c4 { --cells: 3; } table.c6 { --cells: 3; }
  table.c6 tr > :nth-child(5), table.c6 tr > :nth-child(6) { grid-row: 2; }
  table.checks tr { display: grid; grid-template-columns: 1fr auto; column-gap: .7rem; padding: .3rem 0;
    border-bottom: 1px solid var(--line); }
  table.checks th, table.checks td { border: 0; padding: 0; }
  table.checks tr > :nth-child(2) { grid-column: 1 / -1; grid-row: 2; }
}
@media print {
  :root { font-size: 9.5pt; }
  body { max-width: none; padding: 0; font-size: 1rem; }
  .scroll table { min-width: 0; }
  .scroll th, .scroll td { white-space: normal; overflow-wrap: normal; }
  a { color: inherit; }
  nav, .unprinted { display: none; }
  h2, h3, caption, summary { break-after: avoid; }
  tr, figure, .cause, ol.failures > li { break-inside: avoid; }
  thead { display: table-header-group; }
  svg, .badge { print-color-adjust: exact; }
  details:not(.long)::details-content { content-visibility: visible; height: auto; }
}
"""
