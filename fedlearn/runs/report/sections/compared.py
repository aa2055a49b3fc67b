"""The comparison: alone, together without and with protection, and pooled."""

from __future__ import annotations

from fedlearn.runs.report import view
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
{% import "parts" as parts %}
{% set names = material.names %}
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
{% for metric in names %}<td data-label="{{ metric }}">{{ parts.measured(row.metrics, row.spread, metric, metric in material.on_scale) }}</td>
{% endfor %}
{% endif %}
</tr>
{% endfor %}
</tbody>
</table>
"""


def _values(material: Material) -> Values:
    return {"standings": view.standings(material.result)}


SECTION = Section(
    key="compared",
    title="What federation and protection bring and cost",
    template=_TEMPLATE,
    values=_values,
)
