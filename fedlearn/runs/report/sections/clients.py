"""Who is served well, and who badly."""

from __future__ import annotations

from fedlearn.runs.report import view
from fedlearn.runs.report.charts import ranking_of
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

SHOWN_CLIENTS = 25
DRAWN_FROM = 6
"""Fewer clients are seen at a glance in the table."""

_TEMPLATE = """
{% import "parts" as parts %}
{% set headline = material.headline %}
{% if worst %}
<p>The model serves <strong>{{ worst.name }}</strong> worst: {{ headline }}
{{ worst.metrics[headline] | number }}, against {{ best.metrics[headline] | number }} for {{ best.name }}.
{% if common is not none %}On the common held-out records it is {{ common | number }}.{% endif %}</p>
{% endif %}
{% if charts %}{{ parts.charts(charts) }}{% endif %}
{% macro table(rows) %}
<table class="stack">
<thead><tr><th scope="col">Client</th>{% for metric in metrics %}<th scope="col">{{ metric }}</th>{% endfor %}
{%- if result.privacy %}<th scope="col">its ε</th>{% endif %}{% if any_dropped %}<th scope="col">rounds lost</th>{% endif %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.name }}</th>
{%- for metric in metrics %}<td data-label="{{ metric }}">{{ row.metrics.get(metric) | number }}
{%- if metric in material.on_scale %}{{ parts.scale(row.metrics.get(metric), only=true) }}{% endif %}</td>{% endfor %}
{%- if result.privacy %}<td data-label="its ε">{% if row.guarantee %}{{ row.guarantee.epsilon | epsilon }}
<small>at δ = {{ row.guarantee.delta | delta }}{% if row.guarantee.noise_multiplier is not none %}, σ {{ row.guarantee.noise_multiplier | number }}{% endif %}</small>
{%- else %}<span class="undefined">none</span>{% endif %}</td>{% endif %}
{%- if any_dropped %}<td data-label="rounds lost">{{ row.dropped | number }}</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
{% endmacro %}
{{ table(rows[:shown]) }}
{% if rows | length > shown %}
<details><summary>The other {{ rows | length - shown }} clients</summary>
{{ table(rows[shown:]) }}
</details>
{% endif %}
<p class="note">{% if metrics %}Measured on each client’s own held-out records, which may be few; the worst served come first.{% endif %}
{% if result.privacy %} σ is the noise in units of the clipping norm.{% endif %}</p>
"""


def _values(material: Material) -> Values | None:
    result = material.result
    rows = view.client_rows(result, material.rounds)
    if not rows:
        return None
    ranked = view.ranked_rows(result, material.rounds)
    headline = material.headline or ""
    common = result.final.get(headline)
    return {
        "rows": rows,
        "metrics": list(dict.fromkeys(name for row in rows for name in row.metrics)),
        "worst": ranked[0] if len(ranked) > 1 else None,
        "best": ranked[-1] if len(ranked) > 1 else None,
        "common": common if view.defined(common) else None,
        "charts": [ranking_of(result, headline, ranked)] if len(ranked) >= DRAWN_FROM else [],
        "any_dropped": any(row.dropped for row in rows),
        "shown": SHOWN_CLIENTS,
    }


SECTION = Section(
    key="clients", title="Who is served well, and who badly", template=_TEMPLATE, values=_values
)
