"""The course of the run: metrics and ε over rounds, as curves and in numbers."""

from __future__ import annotations

from fedlearn.runs.report.charts import charts_of
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
{% import "parts" as parts %}
{% if charts %}{{ parts.charts(charts) }}{% endif %}
<details><summary>Every round in numbers</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Table of all rounds">
<table>
<thead><tr><th scope="col">Round</th>{% for metric in metrics %}<th scope="col">{{ metric }}</th>{% endfor %}
{%- if has_epsilon %}<th scope="col">ε so far</th>{% endif %}<th scope="col">in the model</th><th scope="col">lost</th>
<th scope="col">received</th><th scope="col">sent</th><th scope="col">time</th></tr></thead>
<tbody>
{% for entry in rounds %}
<tr><th scope="row">{{ entry.round }}{% if entry.failure is not none %} <span class="bad">failed</span>{% endif %}</th>
{%- for metric in metrics %}<td>{{ entry.metrics.get(metric) | number }}</td>{% endfor %}
{%- if has_epsilon %}<td>{{ entry.epsilon | epsilon }}</td>{% endif %}
<td>{{ entry.survivors | number }}</td><td>{{ entry.dropped | length }}</td>
<td>{{ entry.bytes_up | bytes }}</td><td>{{ entry.bytes_down | bytes }}</td><td>{{ entry.seconds | seconds }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
"""


def _values(material: Material) -> Values | None:
    rounds = material.rounds
    if not rounds:
        return None
    return {
        "charts": charts_of(material.result, rounds),
        "metrics": list(dict.fromkeys(name for entry in rounds for name in entry.metrics)),
        "has_epsilon": any(entry.epsilon is not None for entry in rounds),
    }


SECTION = Section(key="course", title="How it went, round by round", template=_TEMPLATE, values=_values)
