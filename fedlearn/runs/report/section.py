"""One section of a page: its template and what fills it, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedlearn.runs.report.material import Material

Values = Mapping[str, Any]


def nothing(material: Material) -> Values:
    """Returns no values: for a section whose template needs only the material."""
    del material
    return {}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report under a heading of its own.

    Attributes:
      key: id of the heading, in the form of a word; one of its kind on a page.
      title: the heading, said as what the reader learns here.
      template: jinja2, autoescaped; sees ``result``, ``rounds``, ``material`` and the values.
        ``{% import "parts" as parts %}`` gives what sections share.
      values: the material → what the template needs beyond it; None leaves the section out.
      heading: show the title; else only a screen reader says it.
    """

    key: str
    title: str
    template: str
    values: Callable[[Material], Values | None] = nothing
    heading: bool = True
