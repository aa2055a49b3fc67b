"""What clients gain by models of their own: global, personal, local only, and the one that each keeps."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
{% if reason %}<p>{{ reason }}</p>{% else %}
<p>Each client keeps the model of the least loss on validation records of its own, which none of the three was
trained on, and is measured on other records of its own. No model leaves its client, so no ε is spent.</p>
{% for table in tables %}
<table class="stack">
<caption>{{ table.title }}: mean over {{ table.models | length }} clients, by held-out records</caption>
<thead><tr><th scope="col">Model</th>{% for metric in table.metrics %}<th scope="col">{{ metric }}</th>{% endfor %}
<th scope="col">kept by</th></tr></thead>
<tbody>
{% for row in table.rows %}
<tr{% if row.own %} class="own"{% endif %}><th scope="row">{{ row.label }}</th>
{% for metric, value in row.metrics.items() %}<td data-label="{{ metric }}">{{ value | number }}</td>{% endfor %}
<td data-label="kept by">{{ row.kept }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endfor %}
<details><summary>Client by client: {{ first }}</summary>
<table class="stack">
<thead><tr><th scope="col">Client</th><th scope="col">global</th><th scope="col">personal</th>
<th scope="col">local only</th><th scope="col">keeps</th></tr></thead>
<tbody>
{% for name, model in clients %}
<tr><th scope="row">{{ name }}</th>
<td data-label="global">{{ model.global_[first] | number }}</td>
<td data-label="personal">{{ model.personal[first] | number }}</td>
<td data-label="local only">{{ model.local[first] | number }}</td>
<td data-label="keeps">{{ model.kept }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
"""

_ROWS = (("global", "federated"), ("personal", "personal"), ("local", "local only"), ("own", "kept"))


def _values(material: Material) -> Values | None:
    found = material.result.personalisation
    if found is None:
        return None
    tables = [
        {
            "title": title,
            "models": models,
            "metrics": list(means["own"]),
            "rows": [
                {
                    "label": label,
                    "metrics": means[key],
                    "own": key == "own",
                    "kept": "" if key == "own" else sum(model.kept == key for model in models.values()),
                }
                for key, label in _ROWS
            ],
        }
        for title, models, means in (
            ("Clients of the federation", found.clients, found.means),
            ("Clients that took no part", found.unseen, found.unseen_means),
        )
        if models
    ]
    return {
        "reason": found.reason,
        "tables": tables,
        "first": next(iter(material.result.final), ""),
        "clients": sorted({**found.clients, **found.unseen}.items()),
    }


SECTION = Section(
    key="own-models",
    title="What a model of its own gives each client",
    template=_TEMPLATE,
    values=_values,
)
