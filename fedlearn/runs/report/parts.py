"""Macros that several sections use; a template imports them as ``{% import "parts" as parts %}``."""

PARTS = """
{%- macro scale(value, spread=none, only=false) -%}
<span class="scale" aria-hidden="true">
{%- if spread %}<i style="left:{{ spread[0] | percent }};width:{{ (spread[1] - spread[0]) | percent }}"></i>{% endif -%}
{%- if value | defined_number %}<b{% if only %} class="only"{% endif %} style="left:{{ value | percent }}"></b>{% endif -%}
</span>
{%- endmacro -%}

{%- macro measured(metrics, spread, metric, on_scale) -%}
{{ metrics.get(metric) | number }}
{%- if on_scale %}{{ scale(metrics.get(metric), spread.get(metric)) }}{% endif -%}
{%- if metric in spread %}<small>clients {{ spread[metric][0] | number }} to {{ spread[metric][1] | number }}</small>{% endif -%}
{%- endmacro -%}

{%- macro charts(charts) -%}
<div class="charts">
{% for chart in charts %}
<figure>
<h3>{{ chart.title }}</h3>
<ul class="legend">
{% for key in chart.legend %}<li><svg viewBox="0 0 38 12" aria-hidden="true"><path d="M1 6H37" fill="none" stroke="{{ key.colour }}" stroke-width="3" stroke-dasharray="{{ key.dashes }}"/></svg>{{ key.label }}</li>
{% endfor %}
</ul>
<div role="img" aria-label="{{ chart.description }}">{{ chart.svg }}</div>
<figcaption>{{ chart.caption }}</figcaption>
</figure>
{% endfor %}
</div>
{%- endmacro -%}

{%- macro bar(share) -%}
<span class="bar" aria-hidden="true"><i style="width:{{ share | percent }}"></i></span>
{%- endmacro -%}
"""
