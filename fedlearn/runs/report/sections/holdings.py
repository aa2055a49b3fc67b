"""Who holds what: sizes and labels of every client, in a simulation."""

from __future__ import annotations

from fedlearn.runs.holdings import Holding
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

SHOWN_CLIENTS = 40
NUMBERED_CLASSES = 12
"""Up to so many classes a cell shows its number; of more it is a shade, and the number is read aloud."""

_TEMPLATE = """
{% if holdings is none %}
<p>Not known here, and so it should be: the records are at the sites, and no statistic of them left for this page.</p>
{% else %}
{% import "parts" as parts %}
<p>This simulation deals the records itself and holds them all, so it can count them, exactly and without noise. At
real sites no such statistic leaves.</p>
{% macro table(rows) %}
<div class="scroll" tabindex="0" role="region" aria-label="Table of who holds what">
<table class="holdings{% if dense %} dense{% endif %}">
<thead><tr><th scope="col">Client</th><th scope="col">training records</th>
{% for label in classes %}<th scope="col" class="heat"><span class="{{ 'unseen' if dense }}">{{ label }}</span></th>{% endfor %}
<th scope="col">held out</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.client }}</th><td>{{ row.train | number }}{{ parts.bar(row.train / largest) }}</td>
{%- for label in classes -%}
{% set count = (row.labels or {}).get(label, 0) %}
<td class="heat{% if not count %} none{% endif %}" style="--share:{{ shade(row, label) | percent }}"><span class="{{ 'unseen' if dense }}">{{ count | number }}</span></td>
{%- endfor %}<td>{{ row.test | number }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{{ table(holdings.clients[:shown]) }}
{% if holdings.clients | length > shown %}
<details><summary>The next {{ holdings.clients | length - shown }} clients</summary>
{{ table(holdings.clients[shown:]) }}
</details>
{% endif %}
<p class="note">{% if classes %}Columns {{ classes[0] }} to {{ classes[-1] }} count training records by class;
the stronger the colour, the larger the class is among the client’s own.{% else %}The targets are no classes, or lie not in memory:
only sizes are counted.{% endif %}
{% if holdings.of > holdings.clients | length %} These are the first {{ holdings.clients | length | number }} of
{{ holdings.of | number }} clients.{% endif %}</p>
{% endif %}
"""


def _values(material: Material) -> Values | None:
    holdings = material.holdings
    if holdings is None:
        return {"holdings": None} if material.result.engine == "sites" else None
    classes = _classes(holdings.clients)
    return {
        "holdings": holdings,
        "classes": classes,
        "dense": len(classes) > NUMBERED_CLASSES,
        "largest": max((row.train for row in holdings.clients), default=0) or 1,
        "shade": _shade,
        "shown": SHOWN_CLIENTS,
    }


def _classes(rows: list[Holding]) -> list[str]:
    return sorted(
        {label for row in rows for label in row.labels or {}}, key=lambda label: (len(label), label)
    )


def _shade(row: Holding, label: str) -> float:
    """Returns the class's share of the client's records, on a scale that the eye reads: its square root."""
    counted = row.labels or {}
    total: int = sum(counted.values())
    return float((counted.get(label, 0) / total) ** 0.5) if total else 0.0


SECTION = Section(key="holdings", title="Who holds what", template=_TEMPLATE, values=_values)
