"""The style of a page: light, dark, phone and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfc; --card: #f4f4f1; --ink: #1d2023; --soft: #5b6168; --line: #d9dad5;
  --accent: #0b6e69; --accent-soft: #cfe6e3; --bad: #b3261e; --bad-soft: #fbe9e7;
  --series-1: #0b6e69; --series-2: #b4540a; --series-3: #3b5bb5; --series-4: #8a3b87; --series-5: #6b6f12;
  --series-6: #a8324a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1d2226; --ink: #e6e8e8; --soft: #9ea6ad; --line: #353c42;
    --accent: #5fc9bf; --accent-soft: #1f4744; --bad: #ff8a80; --bad-soft: #3a201e;
    --series-1: #5fc9bf; --series-2: #f0a35e; --series-3: #93acf5; --series-4: #d796d4; --series-5: #c4c95a;
    --series-6: #f58ca2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
header { margin-bottom: 1.75rem; }
h1 { font-size: clamp(1.6rem, 1.2rem + 2vw, 2.4rem); line-height: 1.15; margin: .1rem 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .35rem; }
p { margin: .35rem 0 .75rem; max-width: 44rem; }
.kicker, .note, figcaption, caption { color: var(--soft); font-size: .875rem; }
.kicker { letter-spacing: .04em; margin: 0; }
.lead { font-size: 1.08rem; }
caption { text-align: left; padding-bottom: .4rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .875em; }
pre {
  background: var(--card); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; max-width: 100%;
  white-space: pre-wrap; margin: .5rem 0;
}
.undefined { color: var(--soft); font-style: italic; }
.banner {
  background: var(--bad-soft); border-left: .3rem solid var(--bad); border-radius: .3rem;
  padding: .7rem 1rem; margin: .75rem 0;
}
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: .15em; margin-right: .35em; }
.unseen { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: .7rem 0; margin: 0 0 1.5rem; max-width: none; border-block: 1px solid var(--line); font-size: .875rem; }
nav li { margin: 0; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .2em; }
nav a { text-decoration: none; }
nav a:hover, nav a:focus-visible { text-decoration: underline; }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; }
.card { flex: 1 1 min(17rem, 100%); background: var(--card); border-radius: .75rem; padding: 1.1rem 1.2rem; break-inside: avoid; }
.card h3 { margin: 0; font-size: .875rem; font-weight: 600; color: var(--soft); }
.card p { margin: .5rem 0 0; font-size: .94rem; }
.card .figure { font-size: 2.1rem; line-height: 1.15; font-weight: 650; letter-spacing: -.015em; margin: .3rem 0 .2rem; }
.figure small { display: inline-block; line-height: 1.3; font-size: .95rem; font-weight: 500; letter-spacing: 0; color: var(--soft); }
.card dl, .facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem .9rem; margin: .75rem 0 0; }
.card dl { font-size: .9rem; grid-template-columns: minmax(4.5rem, max-content) 1fr; }
dt { color: var(--soft); }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: .875rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
th small, td small { display: block; font-weight: 400; color: var(--soft); font-size: .8125rem; }
thead th { overflow-wrap: normal; }
td { font-variant-numeric: tabular-nums; min-width: 5rem; }
tr.own > * { background: var(--card); }
tr.own > :first-child { box-shadow: -.6rem 0 var(--card), inset .2rem 0 var(--accent); padding-left: .7rem; }
.scroll { position: relative; overflow-x: auto; max-width: 100%; }
.scale {
  position: relative; display: block; height: .5rem; margin: .35rem 0 .3rem; border-radius: .25rem; max-width: 12rem;
  background: var(--line); print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.scale i { position: absolute; display: block; top: 0; bottom: 0; border-radius: .25rem; background: var(--soft); opacity: .45; min-width: 2px; }
.scale b { position: absolute; top: -.15rem; width: .8rem; height: .8rem; margin-left: -.4rem; border-radius: 50%; background: var(--ink); border: 2px solid var(--paper); }
.own .scale b, .scale b.only { background: var(--accent); }
.bar { display: block; height: .3rem; margin-top: .3rem; border-radius: .15rem; background: var(--line); min-width: 4rem; }
.bar i { display: block; height: 100%; border-radius: .15rem; background: var(--accent); min-width: 2px; }
.bar, .bar i, .heat { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.holdings th[scope="row"] { white-space: nowrap; overflow-wrap: normal; }
.holdings .heat { text-align: center; white-space: nowrap; overflow-wrap: normal; padding: .45rem .3rem; min-width: 2.4rem; border: 2px solid var(--paper); border-radius: .3rem; }
.holdings td.heat { background: color-mix(in srgb, var(--accent) calc(var(--share) * .5), var(--card)); }
.holdings td.none { color: var(--soft); }
.holdings td:last-child, .holdings th:last-child { padding-left: .9rem; }
.dense .heat { min-width: .7rem; padding: 0; border-width: 1px; }
.pictures { display: grid; gap: 1.5rem 2rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.maps { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
.maps img { display: block; width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); margin-bottom: .3rem; }
.pairs { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .4rem; }
.pairs div { width: 4rem; }
.pairs img { display: block; width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); margin-bottom: .25rem; }
.pairs small { color: var(--soft); font-size: .8125rem; }
.good { color: var(--accent); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.charts { display: grid; gap: 1.5rem 2rem; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); }
figure { margin: 0; break-inside: avoid; max-width: 40rem; }
figure h3 { margin: .5rem 0 .2rem; }
figure svg { width: 100%; height: auto; display: block; color: var(--soft); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: 0 0 .4rem; padding: 0; font-size: .875rem; }
.legend svg { display: inline-block; width: 1.9rem; height: .6rem; margin-right: .4rem; vertical-align: middle; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 500; }
ul { padding-left: 1.2rem; margin: .5rem 0; max-width: 46rem; }
li { margin: .3rem 0; }
.legend li { margin: 0; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .875rem; }
@media (max-width: 40rem) {
  .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stack, .stack tbody, .stack tr, .stack th, .stack td, .stack caption { display: block; }
  .stack tr { border-bottom: 1px solid var(--line); padding: .7rem 0; display: grid; grid-template-columns: 1fr 1fr; gap: .5rem 1rem; }
  .stack th, .stack td { border: 0; padding: 0; min-width: 0; }
  .stack th, .stack td.wide { grid-column: 1 / -1; }
  .stack td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: .8125rem; }
  .stack tr.own { background: var(--card); box-shadow: inset .25rem 0 var(--accent); padding: .8rem .9rem; border-radius: .4rem; }
  .stack tr.own > :first-child { box-shadow: none; padding: 0; }
  .stack .scale { max-width: none; }
  .holdings .heat { min-width: 1.9rem; font-size: .8125rem; }
  .dense .heat { min-width: .6rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .6rem; }
}
@media print {
  @page { margin: 16mm; }
  nav { display: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .scroll { overflow: visible; }
  main { padding: 0; max-width: none; }
  body { font-size: 10.5pt; }
  h2, h3, summary { break-after: avoid; }
  tr, .card, figure { break-inside: avoid; }
  .card, tr.own > * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
