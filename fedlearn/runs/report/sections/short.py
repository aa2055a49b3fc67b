"""The answers in short: how good, for whom, how private, against whom, at what cost."""

from __future__ import annotations

import math

from fedlearn.runs.attack_report import AttackReport
from fedlearn.runs.report import view
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values
from fedlearn.runs.result import PrivacyEntry

NOISES = {
    "local": "local: each client adds it before anything leaves",
    "distributed": "distributed: each client adds a share, the sum has enough",
    "central": "central: the server adds it",
}
UNITS = {"record": "one record of one client", "client": "one client with all its records"}

_TEMPLATE = """
{%- macro guarantee(entry) -%}
<dl>
<dt>protects</dt><dd>{{ units[entry.unit] }}</dd>
<dt>against</dt><dd>{{ entry.adversary }}</dd>
<dt>noise</dt><dd>{{ noises.get(entry.noise, entry.noise) }}</dd>
<dt>relation</dt><dd>{{ entry.relation }}</dd>
<dt>covers</dt><dd>{{ entry.scope }}</dd>
</dl>
{%- endmacro -%}
{% set headline = material.headline %}
<div class="cards">
<div class="card">
<h3>How good</h3>
{% if headline and headline in result.final %}
<p class="figure">{{ result.final[headline] | number }} <small>{{ headline }}</small></p>
<p>of the final model on the common held-out records.</p>
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
<h3>For whom</h3>
{% if worst %}
<p class="figure">{{ worst.metrics[headline] | number }} <small>{{ headline }} at worst</small></p>
<p>That is <strong>{{ worst.name }}</strong>; the best served, {{ best.name }}, gets
{{ best.metrics[headline] | number }}. Each is measured on its own held-out records.</p>
{% else %}
<p class="figure">not measured</p>
<p>No two clients have held-out records of their own to compare.</p>
{% endif %}
</div>
<div class="card">
<h3>How private</h3>
{% for entry in guarantees %}
<p class="figure">ε = {{ entry.epsilon | epsilon }} <small>at δ = {{ entry.delta | delta }}</small></p>
{% if entry.epsilon | finite %}
<p>Someone who guesses whether a given {{ entry.unit }} was used, and is wrong for at most 1 in 100 that were not,
{% if found(entry) == "100" %}may find all 100 of 100 that were: this ε by itself hides nobody. Read what attacks got.
{%- else %}finds at most {{ found(entry) }} of 100 that were.{% endif %}</p>
{% else %}
<p class="bad">An infinite ε guarantees nothing.</p>
{% endif %}
{{ guarantee(entry) }}
{% else %}
<p class="figure">not private</p>
<p>This run had no differential privacy: there is no bound on what the model tells about a single record.</p>
{% endfor %}
</div>
<div class="card">
<h3>What the server saw</h3>
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
<div class="card">
<h3>Against whom</h3>
{% if tried %}
<p class="figure">{{ succeeded | length }} of {{ tried | length }} <small>attacks succeed</small></p>
{% for report in tried %}
<p>{{ report.attack }}, by {{ report.adversary }} who sees {{ report.sees }}:
<strong class="{{ 'bad' if report.succeeded else 'good' }}">{{ "succeeds" if report.succeeded else "fails" }}</strong></p>
{% endfor %}
{% else %}
<p class="figure">not tried</p>
<p><code>fedlearn attack</code> on this folder shows what an adversary gets, without and with each protection.</p>
{% endif %}
</div>
<div class="card">
<h3>At what cost</h3>
<p class="figure">{{ result.timing.rounds_s | seconds }} <small>for {{ result.rounds | counted("round") }}</small></p>
{% if price is not none %}
<p>Protection moves {{ headline }} by <strong>{{ price | number }}</strong> against the same federation without it.</p>
{% endif %}
<dl>
{% if rounds %}<dt>network</dt><dd>{{ up | bytes }} from clients, {{ down | bytes }} to them</dd>{% endif %}
<dt>memory</dt><dd>{{ result.peak_rss_mb | number }} MB at the peak</dd>
</dl>
</div>
</div>
"""


def _values(material: Material) -> Values:
    rows = view.ranked_rows(material.result, material.rounds)
    return {
        "guarantees": view.overall(material.result),
        "units": UNITS,
        "noises": NOISES,
        "found": _found,
        "tried": (tried := _tried(material)),
        "succeeded": [report for report in tried if report.succeeded],
        "worst": rows[0] if len(rows) > 1 else None,
        "best": rows[-1] if len(rows) > 1 else None,
        "price": _price(material),
        "up": sum(entry.bytes_up for entry in material.rounds),
        "down": sum(entry.bytes_down for entry in material.rounds),
    }


def _tried(material: Material) -> list[AttackReport]:
    """Returns what attacks got under this run's own protection: the last of those that were compared."""
    return list(material.attacks.values())[-1] if material.attacks else []


def _price(material: Material) -> float | None:
    """Returns what protection adds to the headline metric, below 0 where it takes; None if not compared."""
    result, headline = material.result, material.headline or ""
    own = result.final.get(headline)
    bare = (result.baselines.unprotected.metrics or {}).get(headline)
    if not view.is_protected(result) or not view.defined(own) or not view.defined(bare):
        return None
    return own - bare


def _found(entry: PrivacyEntry) -> str:
    found = view.found_of_100(entry, false_alarms=0.01)
    return f"{math.ceil(found * 10) / 10:g}"


SECTION = Section(key="short", title="Results in short", template=_TEMPLATE, values=_values, heading=False)
