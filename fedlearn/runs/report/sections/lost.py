"""What went wrong on the way: failed rounds and lost clients."""

from __future__ import annotations

from fedlearn.runs.report import view
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

SHOWN_CLIENTS = 25
SHOWN_FAILURES = 50

_TEMPLATE = """
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
"""


def _values(material: Material) -> Values:
    return {
        "failed": view.failed_rounds(material.rounds),
        "dropouts": view.dropouts(material.rounds),
        "shown_failures": SHOWN_FAILURES,
        "shown_clients": SHOWN_CLIENTS,
    }


SECTION = Section(key="lost", title="What went wrong on the way", template=_TEMPLATE, values=_values)
