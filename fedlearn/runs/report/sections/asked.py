"""What was asked: data, model, training and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

ENGINES = {
    "inprocess": "simulated, all clients in one process",
    "flower": "simulated with Flower",
    "sites": "at the sites that hold the records",
}

_TEMPLATE = """
<dl class="facts">
<dt>Data</dt><dd>{{ result.manifest.data }}</dd>
{% if material.clients %}<dt>Clients</dt><dd>{{ material.clients | number }}</dd>{% endif %}
{% for name, setting in settings %}<dt>{{ name }}</dt><dd>{{ setting }}</dd>
{% endfor %}
<dt>Rounds</dt><dd>{{ result.rounds | number }} completed
{%- if asked_rounds and asked_rounds != result.rounds %} of {{ asked_rounds | number }}{% endif %}</dd>
<dt>Where</dt><dd>{{ engines[result.engine] }}</dd>
{% if material.names %}<dt>Measured</dt><dd>{{ material.names | join(", ") }}</dd>{% endif %}
<dt>Seed</dt><dd>{{ result.manifest.seed | number }}, of partition, initial model, cohorts and batch order
{%- if result.manifest.reproducible_noise %}, and of the noise{% elif result.privacy %}; never of the noise{% endif %}</dd>
</dl>
{% if result.findings %}
<h3>Noticed in the data</h3>
<ul>{% for finding in result.findings %}<li>{{ finding }}</li>{% endfor %}</ul>
{% endif %}
{% if material.experiment is not none %}
<details><summary>The experiment in full</summary><pre><code>{{ material.experiment }}</code></pre></details>
{% endif %}
"""


def _values(material: Material) -> Values:
    return {
        "asked_rounds": material.rounds[-1].rounds if material.rounds else None,
        "engines": ENGINES,
        "settings": list(_settings(material.settings)),
    }


def _settings(experiment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the choices that shape a run most, each with its name."""
    partition = _table(_table(experiment, "data"), "partition")
    if "kind" in partition:
        yield "Dealt", " ".join([str(partition["kind"]), _arguments(partition)]).strip()
    for name in ("Model", "Algorithm", "Aggregation"):
        part = _table(experiment, name.lower())
        if "name" in part:
            yield name, " ".join([str(part["name"]), _arguments(part)]).strip()
    training = _table(experiment, "training")
    if training:
        named = ("optimizer", "learning_rate", "batch_size", "sample_rate", "epochs", "local_steps")
        yield "Training", ", ".join(f"{key} {training[key]}" for key in named if key in training)


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = tables.get(name)
    return part if isinstance(part, Mapping) else {}


def _arguments(part: Mapping[str, Any]) -> str:
    named = [f"{key} {value}" for key, value in _table(part, "arguments").items()]
    return f"({', '.join(named)})" if named else ""


SECTION = Section(key="asked", title="What was asked", template=_TEMPLATE, values=_values)
