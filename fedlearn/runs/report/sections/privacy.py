"""The privacy statement in plain words: what is promised, and what is not."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.promises import gaps, promises
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
<h3>What is promised</h3>
<ul>{% for promise in promises %}<li>{{ promise }}</li>{% endfor %}</ul>
<h3>What is not covered</h3>
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
<p class="note">The signed statement is <code>privacy_statement.json</code>; <code>fedlearn verify</code> on this folder
checks its signatures and computes every ε anew.</p>
"""


def _values(material: Material) -> Values:
    result = material.result
    return {
        "promises": promises(result),
        "gaps": gaps(result, counted=material.holdings is not None),
    }


SECTION = Section(key="privacy", title="Privacy in plain words", template=_TEMPLATE, values=_values)
