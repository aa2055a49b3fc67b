"""Runs side by side on one page: the curves of a sweep, its table, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlearn.runs.comparison import Group
from fedlearn.runs.report.curves import curves_of
from fedlearn.runs.report.page import Part, page, rendered

_CURVES = """
{% import "parts" as parts %}
{{ parts.charts(charts) }}
"""

_TABLE = """
<p>Median over seeds, and below it the least and the greatest value; every column of a row is measured on the same
held-out records.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of all runs">
<table>
<thead><tr>{% for key in keys %}<th scope="col">{{ key }}</th>{% endfor %}
{%- for metric in metrics %}<th scope="col">{{ metric }}{% if metric | lower_better %} (lower is better){% endif %}</th>{% endfor %}
{%- for name in baselines.values() %}<th scope="col">{{ headline }}, {{ name }}</th>{% endfor %}
<th scope="col">ε</th><th scope="col">runs</th></tr></thead>
<tbody>
{% macro cell(spread) %}
{%- if spread is none %}<span class="undefined">none</span>{% else %}{{ spread[0] | number }}
{%- if spread[1] != spread[2] %}<small>{{ spread[1] | number }} to {{ spread[2] | number }}</small>{% endif %}{% endif %}
{% endmacro %}
{% for group in groups %}
<tr>{% for key in keys %}<th scope="row">{{ group.label.get(key, "") }}</th>{% endfor %}
{%- for metric in metrics %}<td>{{ cell(group.spread(metric)) }}</td>{% endfor %}
{%- for name in baselines %}<td>{{ cell(group.baseline(name, headline)) }}</td>{% endfor %}
<td>{% if group.epsilon is none %}<span class="undefined">none</span>{% else %}{{ group.epsilon | epsilon }}
<small>at δ = {{ delta(group) }}</small>{% endif %}</td>
<td>{{ group.results | length | number }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
<p class="note">ε is the greatest of the runs of a row, each for itself: whoever sees several of them on the same records
faces their sum.</p>
"""

_FAILED = """
<ul>{% for failure in failures %}<li>{{ failure }}</li>{% endfor %}</ul>
<p>The same command runs what is missing, and nothing else.</p>
"""

_FOOTER = "Written by fedlearn; every run has a directory of its own with a report."

_BASELINES = {"local": "local only", "unprotected": "no protection", "pooled": "pooled"}


def comparison_page(
    groups: Sequence[Group], *, title: str, lead: str, command: str, failures: Sequence[str] = ()
) -> str:
    """Returns runs side by side as one self-contained HTML page.

    Args:
      groups: the points, in the order of the table.
      title: what is compared.
      lead: the question.
      command: what writes this page again.
      failures: runs without a result, each as a sentence.
    """
    return page(
        title=title,
        kicker="Federated learning, runs side by side",
        lead=lead,
        parts=_parts(groups, command, failures),
        footer=rendered(_FOOTER, {}),
    )


def _parts(groups: Sequence[Group], command: str, failures: Sequence[str]) -> Iterator[Part]:
    metrics = list(dict.fromkeys(name for group in groups for run in group.results for name in run.final))
    if metrics and (charts := curves_of(groups, metrics[0])):
        yield _part("curves", "What the setting does", _CURVES, {"charts": charts})
    yield _part("table", "All runs", _TABLE, _table(groups, metrics))
    if failures:
        yield _part("failed", "What failed", _FAILED, {"failures": failures})
    again = "<pre><code>{{ command }}</code></pre>"
    yield _part("again", "How to reproduce it", again, {"command": command})


def _table(groups: Sequence[Group], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "groups": groups,
        "keys": list(dict.fromkeys(key for group in groups for key in group.label)),
        "metrics": metrics,
        "headline": metrics[0] if metrics else "",
        "baselines": _measured_baselines(groups, metrics),
        "delta": _delta,
    }


def _measured_baselines(groups: Sequence[Group], metrics: Sequence[str]) -> dict[str, str]:
    """Returns the baselines that any of the runs has figures of."""
    return {
        name: label
        for name, label in _BASELINES.items()
        if any(group.baseline(name, metric) for group in groups for metric in metrics[:1])
    }


def _delta(group: Group) -> str:
    deltas = {entry.delta for run in group.results for entry in run.privacy if entry.client == "overall"}
    return " or ".join(f"{delta:g}" for delta in sorted(deltas))


def _part(key: str, title: str, template: str, values: Mapping[str, Any]) -> Part:
    return Part(key=key, title=title, heading=True, body=rendered(template, values))
