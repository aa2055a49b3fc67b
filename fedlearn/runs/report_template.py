"""The report's page: its style, and its template for jinja2 with autoescaping.

Both are Python strings, because the package must work where only its ``.py`` files are.
"""

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
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.card { background: var(--card); border-radius: .75rem; padding: 1.1rem 1.2rem; break-inside: avoid; }
.card h2 { margin: 0; font-size: .875rem; font-weight: 600; color: var(--soft); }
.card p { margin: .5rem 0 0; font-size: .94rem; }
.card .figure { font-size: 2.1rem; line-height: 1.15; font-weight: 650; letter-spacing: -.015em; margin: .3rem 0 .2rem; }
.figure small { font-size: .95rem; font-weight: 500; letter-spacing: 0; color: var(--soft); }
.card dl, .facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem .9rem; margin: .75rem 0 0; }
.card dl { font-size: .9rem; grid-template-columns: minmax(4.5rem, max-content) 1fr; }
dt { color: var(--soft); }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: .875rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody th small, td small { display: block; font-weight: 400; color: var(--soft); font-size: .8125rem; }
td { font-variant-numeric: tabular-nums; min-width: 5rem; }
tr.own > * { background: var(--card); }
tr.own > :first-child { box-shadow: -.6rem 0 var(--card), inset .2rem 0 var(--accent); padding-left: .7rem; }
.scroll { overflow-x: auto; max-width: 100%; }
.scale {
  position: relative; display: block; height: .5rem; margin: .35rem 0 .3rem; border-radius: .25rem; max-width: 12rem;
  background: var(--line); print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.scale i { position: absolute; display: block; top: 0; bottom: 0; border-radius: .25rem; background: var(--soft); opacity: .45; min-width: 2px; }
.scale b { position: absolute; top: -.15rem; width: .8rem; height: .8rem; margin-left: -.4rem; border-radius: 50%; background: var(--ink); border: 2px solid var(--paper); }
.own .scale b, .scale b.only { background: var(--accent); }
.bad { color: var(--bad); font-weight: 600; }
.charts { display: grid; gap: 1.5rem 2rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
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
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .6rem; }
}
@media print {
  @page { margin: 16mm; }
  main { padding: 0; max-width: none; }
  body { font-size: 10.5pt; }
  h2, h3, summary { break-after: avoid; }
  tr, .card, figure { break-inside: avoid; }
  .card, tr.own > * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

TEMPLATE = """
{%- macro scale(value, spread=none, only=false) -%}
<span class="scale" aria-hidden="true">
{%- if spread %}<i style="left:{{ spread[0] | percent }};width:{{ (spread[1] - spread[0]) | percent }}"></i>{% endif -%}
{%- if value | defined_number %}<b{% if only %} class="only"{% endif %} style="left:{{ value | percent }}"></b>{% endif -%}
</span>
{%- endmacro -%}

{%- macro measured(metrics, spread, metric, on_scale) -%}
{{ metrics.get(metric) | number }}
{%- if on_scale %}{{ scale(metrics.get(metric), spread.get(metric)) }}{% endif -%}
{%- if metric in spread %}<small>clients {{ spread[metric][0] | number }} to {{ spread[metric][1] | number }}</small>{% endif -%}
{%- endmacro -%}

{%- macro guarantee(entry) -%}
<dl>
<dt>protects</dt><dd>{{ unit_words[entry.unit] }}</dd>
<dt>against</dt><dd>{{ entry.adversary }}</dd>
<dt>noise</dt><dd>{{ noise_words.get(entry.noise, entry.noise) }}</dd>
<dt>relation</dt><dd>{{ entry.relation }}</dd>
<dt>covers</dt><dd>{{ entry.scope }}</dd>
</dl>
{%- endmacro -%}

<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ result.name }} – federated learning report</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Federated learning report</p>
<h1>{{ result.name }}</h1>
<p class="lead">{{ question }}</p>
{% if result.manifest.reproducible_noise and result.privacy %}
<p class="banner" role="note"><strong>The noise of this run was reproducible.</strong> Whoever knows the seed can
subtract it: this run is for study, and its model protects nothing.</p>
{% endif %}
{% if result.secure_aggregation.mode == "ideal" %}
<p class="banner" role="note"><strong>Nothing was masked in this run.</strong> It computed the sum of a secure
aggregation without its keys, to save time; the server of this simulation could see every update.</p>
{% endif %}
</header>

<section class="cards" aria-label="Results in short">
<div class="card">
<h2>How good</h2>
{% if headline and headline in result.final %}
<p class="figure">{{ result.final[headline] | number }} <small>{{ headline }}</small></p>
<p>of the final model on the common held-out records
{%- if headline in result.spread %}; on their own held-out records, clients get between
{{ result.spread[headline][0] | number }} and {{ result.spread[headline][1] | number }}{% endif %}.</p>
<dl>
{% for metric, value in result.final.items() if metric != headline %}
<dt>{{ metric }}</dt><dd>{{ value | number }}</dd>
{% endfor %}
</dl>
{% else %}
<p class="figure">not measured</p>
<p>The final model was not evaluated{% if result.engine == "sites" %}: on sites, metrics would spend privacy{% endif %}.</p>
{% endif %}
</div>
<div class="card">
<h2>How private</h2>
{% for entry in guarantees %}
{% if entry.epsilon | finite %}
<p class="figure">ε = {{ entry.epsilon | epsilon }} <small>at δ = {{ entry.delta | delta }}</small></p>
<p>Someone who guesses whether a given {{ entry.unit }} was used, and is wrong for at most 1 in 100 that were not,
finds at most {{ entry | found }} of 100 that were.</p>
{% else %}
<p class="figure">ε = {{ entry.epsilon | epsilon }} <small>at δ = {{ entry.delta | delta }}</small></p>
<p class="bad">An infinite ε guarantees nothing.</p>
{% endif %}
{{ guarantee(entry) }}
{% else %}
<p class="figure">not private</p>
<p>This run had no differential privacy: there is no bound on what the model tells about a single record.</p>
{% endfor %}
</div>
<div class="card">
<h2>What the server saw</h2>
{% set secure = result.secure_aggregation %}
{% if secure.mode == "masked" %}
<p class="figure">one sum <small>per round</small></p>
<p>Each client masked its update; only the sum over clients came out, and who is in it.</p>
<dl>
{% if secure.protocol %}<dt>protocol</dt><dd>{{ secure.protocol }}</dd>{% endif %}
{% if secure.clients is not none %}<dt>clients</dt><dd>{{ secure.clients | number }} on the roster</dd>{% endif %}
{% if secure.colluders is not none %}<dt>holds up</dt><dd>if the server and at most {{ secure.colluders | number }}
{{ "client" if secure.colluders == 1 else "clients" }} work together</dd>{% endif %}
{% if secure.min_survivors is not none %}<dt>needs</dt><dd>at least {{ secure.min_survivors | number }} clients to the end of a round</dd>{% endif %}
</dl>
{% elif secure.mode == "ideal" %}
<p class="figure">every update <small>(simulated sum)</small></p>
<p>In the protocol that this run stands for, the server would see one sum per round.</p>
<dl>
{% if secure.clients is not none %}<dt>clients</dt><dd>{{ secure.clients | number }} on the roster</dd>{% endif %}
{% if secure.colluders is not none %}<dt>colluders</dt><dd>at most {{ secure.colluders | number }} assumed</dd>{% endif %}
{% if secure.min_survivors is not none %}<dt>needs</dt><dd>at least {{ secure.min_survivors | number }} clients to the end of a round</dd>{% endif %}
</dl>
{% else %}
<p class="figure">every update</p>
<p>Secure aggregation was off: the server saw the update of each client
{%- if result.privacy and guarantees[0].noise == "local" %}, with the noise that the client had added{% endif %}.</p>
{% endif %}
</div>
</section>

<section aria-labelledby="asked">
<h2 id="asked">What was asked</h2>
<dl class="facts">
<dt>Data</dt><dd>{{ result.manifest.data }}</dd>
{% if clients %}<dt>Clients</dt><dd>{{ clients | number }}</dd>{% endif %}
<dt>Rounds</dt><dd>{{ result.rounds | number }} completed
{%- if asked_rounds and asked_rounds != result.rounds %} of {{ asked_rounds | number }}{% endif %}</dd>
<dt>Where</dt><dd>{{ engine_words[result.engine] }}</dd>
{% if names %}<dt>Measured</dt><dd>{{ names | join(", ") }}</dd>{% endif %}
<dt>Seed</dt><dd>{{ result.manifest.seed | number }}, of partition, initial model, cohorts and batch order
{%- if result.manifest.reproducible_noise %}, and of the noise{% elif result.privacy %}; never of the noise{% endif %}</dd>
</dl>
{% if result.findings %}
<h3>Noticed in the data</h3>
<ul>{% for finding in result.findings %}<li>{{ finding }}</li>{% endfor %}</ul>
{% endif %}
{% if experiment is not none %}
<details><summary>The experiment in full</summary><pre><code>{{ experiment }}</code></pre></details>
{% endif %}
</section>

<section aria-labelledby="compared">
<h2 id="compared">What federation and protection bring and cost</h2>
<p>Every row is measured on the same held-out records. The band is the spread over clients, each on its own
held-out records; it need not surround the dot.</p>
<table class="stack">
<thead><tr><th scope="col">Training</th>{% for metric in names %}<th scope="col">{{ metric }}
{%- if metric | lower_better %} (lower is better){% endif %}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in standings %}
<tr{% if row.own %} class="own"{% endif %}><th scope="row">{{ row.label }}<small>{{ row.note }}</small></th>
{% if row.metrics is none %}
<td class="wide" colspan="{{ [names | length, 1] | max }}"><span class="undefined">no figures: {{ row.reason }}</span></td>
{% else %}
{% for metric in names %}<td data-label="{{ metric }}">{{ measured(row.metrics, row.spread, metric, metric in on_scale) }}</td>
{% endfor %}
{% endif %}
</tr>
{% endfor %}
</tbody>
</table>
</section>

{% if charts %}
<section aria-labelledby="course">
<h2 id="course">How it went, round by round</h2>
<div class="charts">
{% for chart in charts %}
<figure>
<h3 id="chart-{{ loop.index }}">{{ chart.title }}</h3>
<ul class="legend">
{% for key in chart.legend %}<li><svg viewBox="0 0 38 12" aria-hidden="true"><path d="M1 6H37" fill="none" stroke="{{ key.colour }}" stroke-width="3" stroke-dasharray="{{ key.dashes }}"/></svg>{{ key.label }}</li>
{% endfor %}
</ul>
<div role="img" aria-label="{{ chart.description }}">{{ chart.svg }}</div>
<figcaption>{{ chart.caption }}</figcaption>
</figure>
{% endfor %}
</div>
</section>
{% endif %}

{% if rounds %}
<section aria-label="Every round">
<details><summary>Every round in numbers</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Table of all rounds">
<table>
<thead><tr><th scope="col">Round</th>{% for metric in round_metrics %}<th scope="col">{{ metric }}</th>{% endfor %}
{%- if has_epsilon %}<th scope="col">ε so far</th>{% endif %}<th scope="col">in the model</th><th scope="col">lost</th>
<th scope="col">received</th><th scope="col">sent</th><th scope="col">time</th></tr></thead>
<tbody>
{% for entry in rounds %}
<tr><th scope="row">{{ entry.round }}{% if entry.failure is not none %} <span class="bad">failed</span>{% endif %}</th>
{%- for metric in round_metrics %}<td>{{ entry.metrics.get(metric) | number }}</td>{% endfor %}
{%- if has_epsilon %}<td>{{ entry.epsilon | epsilon }}</td>{% endif %}
<td>{{ entry.survivors | number }}</td><td>{{ entry.dropped | length }}</td>
<td>{{ entry.bytes_up | bytes }}</td><td>{{ entry.bytes_down | bytes }}</td><td>{{ entry.seconds | seconds }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
</section>
{% endif %}

{% if client_rows %}
<section aria-labelledby="clients">
<h2 id="clients">Who is served well, and who badly</h2>
{% if worst %}
<p>The model serves <strong>{{ worst.name }}</strong> worst: {{ headline }}
{{ worst.metrics[headline] | number }}, against {{ best.metrics[headline] | number }} for {{ best.name }}.
{% if common is not none %}On the common held-out records it is {{ common | number }}.{% endif %}</p>
{% endif %}
{% macro client_table(rows) %}
<table class="stack">
<thead><tr><th scope="col">Client</th>{% for metric in client_metrics %}<th scope="col">{{ metric }}</th>{% endfor %}
{%- if result.privacy %}<th scope="col">its ε</th>{% endif %}{% if any_dropped %}<th scope="col">rounds lost</th>{% endif %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.name }}</th>
{%- for metric in client_metrics %}<td data-label="{{ metric }}">{{ row.metrics.get(metric) | number }}
{%- if metric in on_scale %}{{ scale(row.metrics.get(metric), only=true) }}{% endif %}</td>{% endfor %}
{%- if result.privacy %}<td data-label="its ε">{% if row.guarantee %}{{ row.guarantee.epsilon | epsilon }}
<small>at δ = {{ row.guarantee.delta | delta }}{% if row.guarantee.noise_multiplier is not none %}, σ {{ row.guarantee.noise_multiplier | number }}{% endif %}</small>
{%- else %}<span class="undefined">none</span>{% endif %}</td>{% endif %}
{%- if any_dropped %}<td data-label="rounds lost">{{ row.dropped | number }}</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
{% endmacro %}
{{ client_table(client_rows[:shown_clients]) }}
{% if client_rows | length > shown_clients %}
<details><summary>The other {{ client_rows | length - shown_clients }} clients</summary>
{{ client_table(client_rows[shown_clients:]) }}
</details>
{% endif %}
<p class="note">{% if client_metrics %}Measured on each client’s own held-out records, which may be few; the worst served come first.{% endif %}
{% if result.privacy %} σ is the noise in units of the clipping norm.{% endif %}</p>
</section>
{% endif %}

{% if attacks %}
<section aria-labelledby="attacks">
<h2 id="attacks">What an adversary gets</h2>
<p>Each attack saw what its adversary would see, in the protocol as it runs. The blind guess is the score of someone
who saw nothing: where a score is no better, there was nothing to see.</p>
<table class="stack">
<thead><tr><th scope="col">Protection</th><th scope="col">attack</th><th scope="col">adversary and what it sees</th>
<th scope="col">score</th><th scope="col">blind guess</th><th scope="col">outcome</th></tr></thead>
<tbody>
{% for protection, reports in attacks.items() %}
{% for attack in reports %}
<tr><th scope="row">{{ protection }}</th><td data-label="attack">{{ attack.attack }}</td>
<td data-label="sees">{{ attack.adversary }}: {{ attack.sees }}</td>
<td data-label="score">{{ attack.value | number }} {{ attack_units[attack.score] }}</td>
<td data-label="blind guess">{{ attack.null | number }}</td>
<td data-label="outcome"{% if attack.succeeded %} class="bad"{% endif %}>{{ "succeeds" if attack.succeeded else "fails" }}</td></tr>
{% endfor %}
{% endfor %}
</tbody>
</table>
<p class="note">Inversion: peak signal-to-noise ratio of the recovered records, median; from 25 dB on an image is
recognised. Membership: area under the ROC curve; 0.5 is a coin. Attacks bound what can be learnt from below; ε bounds it
from above.</p>
</section>
{% endif %}

<section aria-labelledby="cost">
<h2 id="cost">What it cost</h2>
<dl class="facts">
<dt>Time</dt><dd>{{ result.timing.rounds_s | seconds }} for all rounds, after {{ result.timing.setup_s | seconds }} of setup;
the first round took {{ result.timing.first_round_s | seconds }}</dd>
<dt>Work</dt><dd>{{ result.timing.client_updates | number }} client updates, {{ result.timing.client_updates_per_s | number }} per second</dd>
{% if rounds %}<dt>Network</dt><dd>{{ total_up | bytes }} received from clients, {{ total_down | bytes }} sent to them</dd>{% endif %}
{% if result.secure_aggregation.bytes_up_per_parameter is not none %}
<dt>Per update</dt><dd>{{ result.secure_aggregation.bytes_up_per_parameter | number }} bytes up per model parameter</dd>{% endif %}
{% if result.secure_aggregation.trips_per_round is not none %}
<dt>Trips</dt><dd>{{ result.secure_aggregation.trips_per_round | number }} per round</dd>{% endif %}
<dt>Memory</dt><dd>{{ result.peak_rss_mb | number }} MB at the peak</dd>
</dl>
</section>

<section aria-labelledby="lost">
<h2 id="lost">What went wrong on the way</h2>
<p>Over the run: {{ result.secure_aggregation.failed_rounds | counted("failed round") }} and
{{ result.secure_aggregation.dropouts | counted("dropout") }}.
{%- if result.secure_aggregation.failed_rounds %} A failed round leaves the model as it was
{%- if result.privacy %}; its privacy cost is counted all the same{% endif %}.{% endif %}</p>
{% if failed %}
<h3>Failed rounds</h3>
<ul>{% for round, reason in failed[:shown_failures] %}<li>Round {{ round }}: {{ reason }}</li>{% endfor %}
{%- if failed | length > shown_failures %}<li>and {{ failed | length - shown_failures }} more, in <code>rounds.jsonl</code></li>{% endif %}</ul>
{% endif %}
{% if dropouts %}
<h3>Clients that were lost</h3>
<table class="stack">
<thead><tr><th scope="col">Client</th><th scope="col">times</th><th scope="col">why, and in which rounds</th></tr></thead>
<tbody>
{% for row in dropouts[:shown_clients] %}
<tr><th scope="row">{{ row.client }}</th><td data-label="times">{{ row.count | number }}</td><td class="wide">
{%- for reason, at in row.rounds_by_reason.items() %}{{ reason }}: {{ at | runs }}{% if not loop.last %}; {% endif %}{% endfor %}</td></tr>
{% endfor %}
</tbody>
</table>
{% if dropouts | length > shown_clients %}<p class="note">And {{ dropouts | length - shown_clients }} clients more, in <code>rounds.jsonl</code>.</p>{% endif %}
{% endif %}
</section>

<section aria-labelledby="gaps">
<h2 id="gaps">What is not covered</h2>
<ul>{% for gap in gaps %}<li>{{ gap }}</li>{% endfor %}</ul>
{% if result.privacy %}
<details><summary>Every guarantee in full</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Table of all guarantees">
<table>
<thead><tr><th scope="col">Whose</th><th scope="col">ε</th><th scope="col">δ</th><th scope="col">unit</th><th scope="col">relation</th>
<th scope="col">noise</th><th scope="col">σ</th><th scope="col">against</th><th scope="col">accountant</th><th scope="col">covers</th></tr></thead>
<tbody>
{% for entry in result.privacy %}
<tr><th scope="row">{{ entry.client }}</th><td>{{ entry.epsilon | epsilon }}</td><td>{{ entry.delta | delta }}</td><td>{{ entry.unit }}</td>
<td>{{ entry.relation }}</td><td>{{ entry.noise }}</td><td>{% if entry.noise_multiplier is not none %}{{ entry.noise_multiplier | number }}{% endif %}</td>
<td>{{ entry.adversary }}</td><td>{{ entry.accountant }}</td><td>{{ entry.scope }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
{% endif %}
</section>

<section aria-labelledby="again">
<h2 id="again">How to reproduce it</h2>
{% if result.engine == "sites" %}
<p>The records stay at the sites, so this run cannot be repeated from its folder alone. Its <code>experiment.toml</code>
has every setting; a simulation of the same settings on other records is:</p>
<pre><code>fedlearn simulate experiment.toml</code></pre>
{% else %}
<p>In the folder of this report, <code>experiment.toml</code> has every setting:</p>
<pre><code>fedlearn simulate experiment.toml --engine {{ result.engine }} --out again</code></pre>
{% endif %}
<p>{{ repeatability }}</p>
<dl class="facts">
<dt>Python</dt><dd>{{ result.manifest.python }} on {{ result.manifest.platform }}</dd>
{% for package, version in result.manifest.versions.items() %}<dt>{{ package }}</dt><dd>{{ version }}</dd>
{% endfor %}
<dt>Source</dt><dd>{% if result.manifest.git_revision %}git revision {{ result.manifest.git_revision }}{% else %}not under git{% endif %}</dd>
</dl>
</section>

<footer>Written by fedlearn; the same numbers, for programs, are in <code>result.json</code> (schema {{ result.schema_version }})
and <code>rounds.jsonl</code>. This page loads nothing and runs no script.</footer>
</main>
</body>
</html>
"""
