"""Where the time went, process by process."""

from __future__ import annotations

from fedlearn.runs.report.material import Material
from fedlearn.runs.report.section import Section, Values

_TEMPLATE = """
<div class="scroll" tabindex="0" role="region" aria-label="Table of where the time went">
<table>
<thead><tr><th scope="col">Process</th>{% for phase in profile.phases %}<th scope="col"><span class="swatch" style="background:{{ colour(phase) }}"></span>{{ phase }}</th>{% endfor %}
<th scope="col">in all</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.process }}</th>
{%- for phase in profile.phases %}<td>{{ row.seconds[phase] | seconds }}</td>{% endfor %}<td>{{ row.total | seconds }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
<figure>
<svg viewBox="0 0 100 {{ 6 * profile.processes | length }}" role="img" aria-label="Share of each phase in the time of each process" preserveAspectRatio="none" style="width:100%;height:{{ 2.2 * profile.processes | length }}rem">
{% for bar in bars %}<rect x="{{ bar.start }}" y="{{ bar.top }}" width="{{ bar.width }}" height="5" fill="{{ bar.colour }}"><title>{{ bar.title }}</title></rect>
{% endfor %}</svg>
<figcaption>One bar per process, {{ profile.processes[0].process }} on top, over {{ profile.wall | seconds }} of the run. A worker that
waits has nothing to do; the main process waits for its workers.</figcaption>
</figure>
"""

_SERIES = 6


def _values(material: Material) -> Values | None:
    profile = material.profile
    if profile is None:
        return None
    phases = profile.phases
    longest = max((process.total for process in profile.processes), default=0.0) or 1.0

    def colour(phase: str) -> str:
        place = phases.index(phase)  # type: ignore[arg-type]  # one of them
        # What is nobody's work is grey; the rest takes the colours of the charts in turn.
        return "var(--line)" if phase in ("waiting", "other") else f"var(--series-{place % _SERIES + 1})"

    bars = []
    for line, process in enumerate(profile.processes):
        start = 0.0
        for phase in phases:
            width = 100 * process.seconds.get(phase, 0.0) / longest
            title = f"{process.process}: {phase} {process.seconds.get(phase, 0.0):.3g} s"
            bars.append(
                {
                    "start": f"{start:.3f}",
                    "width": f"{width:.3f}",
                    "top": 6 * line,
                    "colour": colour(phase),
                    "title": title,
                }
            )
            start += width
    rows = [*profile.processes, *([profile.total] if len(profile.processes) > 1 else [])]
    return {"profile": profile, "rows": rows, "bars": bars, "colour": colour}


SECTION = Section(key="profile", title="Where the time went", template=_TEMPLATE, values=_values)
