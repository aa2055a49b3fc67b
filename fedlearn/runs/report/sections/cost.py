"""What it cost: time, work, network, memory."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
<dl class="facts">
<dt>Time</dt><dd>{{ result.timing.rounds_s | seconds }} for all rounds, after {{ result.timing.setup_s | seconds }} of setup;
the first round took {{ result.timing.first_round_s | seconds }}</dd>
<dt>Work</dt><dd>{{ result.timing.client_updates | number }} client updates, {{ result.timing.client_updates_per_s | number }} per second</dd>
{% if rounds %}<dt>Network</dt><dd>{{ up | bytes }} received from clients, {{ down | bytes }} sent to them</dd>{% endif %}
{% if result.communication %}<dt>Per client and round</dt><dd>{{ result.communication.bytes_up_per_client_round | int | bytes }} up ({{ result.communication.least_up | bytes }} to {{ result.communication.most_up | bytes }}), {{ result.communication.bytes_down_per_client_round | int | bytes }} down</dd>{% endif %}
{% if result.timing.simulated_s is not none %}<dt>Simulated time</dt><dd>{{ result.timing.simulated_s | seconds }} for all rounds, on the machines of <code>fleet</code></dd>{% endif %}
{% if result.secure_aggregation.bytes_up_per_parameter is not none %}
<dt>Per update</dt><dd>{{ result.secure_aggregation.bytes_up_per_parameter | number }} bytes up per model parameter</dd>{% endif %}
{% if result.secure_aggregation.trips_per_round is not none %}
<dt>Trips</dt><dd>{{ result.secure_aggregation.trips_per_round | number }} per round</dd>{% endif %}
<dt>Memory</dt><dd>{{ result.peak_rss_mb | number }} MB at the peak</dd>
</dl>
"""


def _values(material: Material) -> Values:
    return {
        "up": sum(entry.bytes_up for entry in material.rounds),
        "down": sum(entry.bytes_down for entry in material.rounds),
    }


SECTION = Section(key="cost", title="What it cost", template=_TEMPLATE, values=_values)
