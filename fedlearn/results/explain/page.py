"""``explanation.html``: the importance of inputs as bars, and of pictures as a map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedlearn.results.explain.explanation import Explanation
from fedlearn.runs.report.page import Part, page, rendered
from fedlearn.runs.report.png import png_base64

_SHOWN = 20

_BARS = """
{% import "parts" as parts %}
<p>{{ said }}</p>
{% macro table(rows) %}
<table class="stack">
<thead><tr><th scope="col">Input</th><th scope="col">share of the decision</th>
{%- if directions %}<th scope="col">towards the predicted class</th>{% endif %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ names[row] }}</th><td data-label="share">{{ shares[row] | number }}{{ parts.bar(shares[row] / largest) }}</td>
{%- if directions %}<td data-label="direction">{{ directions[row] | number }}</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
{% endmacro %}
{{ table(ranked[:shown]) }}
{% if ranked | length > shown %}
<details><summary>The other {{ ranked | length - shown }}</summary>
{{ table(ranked[shown:]) }}
</details>
{% endif %}
"""

_MAPS = """
<p>{{ said }} The lighter a pixel, the larger its share.</p>
<div class="maps">
{% for label, picture in maps %}
<figure><img src="data:image/png;base64,{{ picture }}" alt="Map of the share of each pixel: {{ label }}">
<figcaption>{{ label }}</figcaption></figure>
{% endfor %}
</div>
"""

_COST = """
<dl class="facts">
<dt>Method</dt><dd>{{ explanation.method }}</dd>
<dt>Records</dt><dd>{{ explanation.source }}{% if explanation.records is not none %}: {{ explanation.records | number }}{% endif %}</dd>
{% if explanation.gap is not none %}<dt>Error</dt><dd>attributions add up to within {{ explanation.gap | number }} of the logit</dd>{% endif %}
{% for guarantee in guarantees %}
<dt>{{ guarantee.scope }}</dt><dd>ε = {{ guarantee.epsilon | epsilon }} at δ = {{ guarantee.delta | delta }} per {{ guarantee.unit }}
({{ guarantee.relation }}), against {{ guarantee.adversary }}; {{ guarantee.accountant }}</dd>
{% endfor %}
{% if explanation.stddev is not none %}<dt>Noise</dt><dd>standard deviation {{ explanation.stddev | number }} in each share:
differences of that size mean nothing</dd>
{% else %}<dt>Privacy</dt><dd>none: the shares are exact, and tell something about the records that they were computed on</dd>{% endif %}
</dl>
"""


def explanation_page(explanation: Explanation) -> str:
    """Returns an explanation as one self-contained HTML page."""
    return page(
        title=explanation.run,
        kicker="What a model goes by",
        lead="Which inputs decide, over many records; not why any one record was decided as it was.",
        parts=_parts(explanation),
        footer=rendered("Written by fedlearn; the same numbers are in <code>explanation.json</code>.", {}),
    )


def _parts(explanation: Explanation) -> Iterator[Part]:
    said = (
        "Every input has a share of the decision: its mean attribution, whatever the sign, over that of all."
    )
    if len(explanation.shape) == 3:
        maps = {"said": said, "maps": list(_maps(explanation))}
        yield Part(key="inputs", title="Where it looks", heading=True, body=rendered(_MAPS, maps))
    else:
        bars = {
            "said": said,
            "names": explanation.names,
            "shares": explanation.shares,
            "directions": explanation.directions,
            "largest": max(explanation.shares, default=0.0) or 1.0,
            "ranked": explanation.ranked(),
            "shown": _SHOWN,
        }
        yield Part(key="inputs", title="What decides", heading=True, body=rendered(_BARS, bars))
    guarantees = [part for part in (explanation.guarantee, explanation.together) if part is not None]
    cost = {"explanation": explanation, "guarantees": guarantees}
    yield Part(
        key="cost", title="How it was found, and what it tells", heading=True, body=rendered(_COST, cost)
    )


def _maps(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Yields name and picture of the map over all records, and over those of each predicted class."""
    for label, shares in (("all classes", explanation.shares), *_named(explanation)):
        over_channels = np.array(shares).reshape(explanation.shape).sum(axis=0, keepdims=True)
        yield label, png_base64(over_channels, low=0.0, high=float(over_channels.max()) or 1.0)


def _named(explanation: Explanation) -> Iterator[tuple[str, list[float]]]:
    for label, shares in explanation.by_class.items():
        yield f"class {label}", shares
