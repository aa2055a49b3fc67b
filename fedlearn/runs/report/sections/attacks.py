"""What an adversary gets, under each protection, with the pictures that it recovered."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

SCORES = {"psnr_db": "dB", "auc": "AUC"}

_TEMPLATE = """
<p>Each attack saw what its adversary would see, in the protocol as it runs. The blind guess is the score of someone
who saw nothing: where a score is no better, there was nothing to see.</p>
<table class="stack">
<thead><tr><th scope="col">Protection</th>
{% for attack in attacks %}<th scope="col">{{ attack }}<small>{{ seen[attack] }}</small></th>{% endfor %}</tr></thead>
<tbody>
{% for protection, reports in rows.items() %}
<tr><th scope="row">{{ protection }}</th>
{% for attack in attacks %}
{% set report = reports.get(attack) %}
<td data-label="{{ attack }}: {{ seen[attack] }}">
{%- if report is none %}<span class="undefined">not tried</span>{% else %}
<strong class="{{ 'bad' if report.succeeded else 'good' }}">{{ "succeeds" if report.succeeded else "fails" }}</strong>
<small>{{ report.value | number }} {{ scores[report.score] }}, blind guess {{ report.null | number }}</small>
{%- endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
{% if pictured %}
<h3>Pictures that were recovered</h3>
<p>Above each pair the record that a client holds, below it the nearest of what the attack made of what it saw.</p>
<div class="pictures">
{% for protection, report in pictured %}
<figure>
<figcaption><strong>{{ protection }}</strong>: {{ report.attack }}, from {{ report.sees }}</figcaption>
<div class="pairs">
{% for picture in report.pictures %}
<div><img src="data:image/png;base64,{{ picture.truth }}" alt="Record {{ loop.index }} as its client holds it">
<img src="data:image/png;base64,{{ picture.found }}" alt="What {{ report.attack }} recovers of record {{ loop.index }} with {{ protection }}: {{ '%.1f' | format(picture.psnr_db) }} dB">
<small>{{ picture.psnr_db | number }} dB</small></div>
{% endfor %}
</div>
</figure>
{% endfor %}
</div>
{% endif %}
<p class="note">Inversion: peak signal-to-noise ratio of the recovered records, median; from 25 dB on an image is
recognised. Membership: area under the ROC curve; 0.5 is a coin. Attacks bound what can be learnt from below; ε bounds it
from above.</p>
"""


def _values(material: Material) -> Values | None:
    table = {
        protection: {report.attack: report for report in reports}
        for protection, reports in material.attacks.items()
    }
    reports = [report for row in table.values() for report in row.values()]
    if not reports:
        return None
    return {
        "rows": table,
        "attacks": list(dict.fromkeys(report.attack for report in reports)),
        "seen": {report.attack: f"{report.adversary} sees {report.sees}" for report in reports},
        "pictured": [
            (protection, report)
            for protection, row in table.items()
            for report in row.values()
            if report.pictures
        ],
        "scores": SCORES,
    }


SECTION = Section(key="attacks", title="What an adversary gets", template=_TEMPLATE, values=_values)
