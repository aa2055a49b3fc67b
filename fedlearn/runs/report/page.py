"""The page around the sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.report import view
from fedlearn.runs.report.figures import FILTERS
from fedlearn.runs.report.material import Material
from fedlearn.runs.report.parts import PARTS
from fedlearn.runs.report.section import Section
from fedlearn.runs.report.sections import SECTIONS
from fedlearn.runs.report.style import STYLE

_SHELL = """
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }} – {{ kicker | lower }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<p class="kicker">{{ kicker }}</p>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{{ banners }}
</header>
{% if parts | length > 3 %}
<nav aria-label="Sections"><ul>{% for part in parts if part.heading %}<li><a href="#{{ part.key }}">{{ part.title }}</a></li>
{% endfor %}</ul></nav>
{% endif %}
{% for part in parts %}
<section aria-labelledby="{{ part.key }}">
<h2 id="{{ part.key }}"{% if not part.heading %} class="unseen"{% endif %}>{{ part.title }}</h2>
{{ part.body }}
</section>
{% endfor %}
<footer>{{ footer }} This page loads nothing and runs no script.</footer>
</main>
</body>
</html>
"""

_BANNERS = """
{% if result.manifest.reproducible_noise and result.privacy %}
<p class="banner" role="note"><strong>The noise of this run was reproducible.</strong> Whoever knows the seed can
subtract it: this run is for study, and its model protects nothing.</p>
{% endif %}
{% if result.secure_aggregation.mode == "ideal" %}
<p class="banner" role="note"><strong>Nothing was masked in this run.</strong> It computed the sum of a secure
aggregation without its keys, to save time; the server of this simulation could see every update.</p>
{% endif %}
"""

_FOOTER = """
Written by fedlearn; the same numbers, for programs, are in <code>result.json</code> (schema
{{ result.schema_version }}) and <code>rounds.jsonl</code>.
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section with its values in it."""

    key: str
    title: str
    heading: bool
    body: Markup


def report_page(material: Material, *, sections: Sequence[Section] = SECTIONS) -> str:
    """Returns the report of a run as one self-contained HTML page.

    The page loads nothing and runs no script, follows light and dark, and is made for phones, screens and
    paper. Whatever comes from data or configuration is escaped. Every number of the result is there, exact,
    in the ``value`` of a ``<data>`` element, around its rounded form.

    Args:
      material: the run.
      sections: in their order; one that has nothing to say is left out.
    """
    common = {"result": material.result, "rounds": material.rounds, "material": material}
    return page(
        title=material.result.name,
        kicker="Federated learning report",
        lead=_question(material),
        banners=rendered(_BANNERS, common),
        parts=_parts(sections, material, common),
        footer=rendered(_FOOTER, common),
    )


def page(
    *,
    title: str,
    kicker: str,
    lead: str,
    parts: Iterable[Part],
    footer: Markup,
    banners: Markup | None = None,
) -> str:
    """Returns a whole page around parts that are rendered already."""
    values = {
        "title": title,
        "kicker": kicker,
        "lead": lead,
        "banners": banners or "",
        "parts": list(parts),
        "footer": footer,
        "style": Markup(STYLE),  # noqa: S704 # a constant of this package
    }
    return str(rendered(_SHELL, values)).strip() + "\n"


def rendered(template: str, values: Mapping[str, Any]) -> Markup:
    """Returns a template with its values, which are escaped."""
    return Markup(_compiled(template).render(**values))  # noqa: S704 # autoescaped


def _parts(sections: Sequence[Section], material: Material, common: Mapping[str, Any]) -> Iterable[Part]:
    for section in sections:
        values = section.values(material)
        if values is not None:
            body = rendered(section.template, {**common, **values})
            yield Part(key=section.key, title=section.title, heading=section.heading, body=body)


def _question(material: Material) -> str:
    result, clients = material.result, material.clients
    whose = "several clients" if clients is None else "one client" if clients == 1 else f"{clients} clients"
    wishes = ["no record leaves its client"]
    if result.secure_aggregation.mode != "off":
        wishes.append("the server sees only sums")
    if result.privacy:
        first = view.overall(result)[0]
        epsilon = format_epsilon(first.epsilon)
        wishes.append(
            f"what is seen tells of any single {first.unit} no more than ε\u00a0=\u00a0{epsilon} allows"
        )
    listed = wishes[0] if len(wishes) == 1 else f"{', '.join(wishes[:-1])} and {wishes[-1]}"
    return f"How good a model can {whose} train together, if {listed}?"


@cache
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader({"parts": PARTS}),
    )
    environment.filters.update(FILTERS)
    return environment
