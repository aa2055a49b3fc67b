"""The sections of the report, in the order of the page.

A new one is a file with a ``SECTION`` and a line here; what it needs from the run directory it finds in the
:class:`~fedlearn.runs.report.material.Material`.
"""

from __future__ import annotations

from fedlearn.runs.report.sections import (
    again,
    asked,
    attacks,
    clients,
    compared,
    cost,
    course,
    holdings,
    lost,
    own_models,
    privacy,
    profile,
    short,
)

SECTIONS = (
    short.SECTION,
    asked.SECTION,
    holdings.SECTION,
    compared.SECTION,
    course.SECTION,
    clients.SECTION,
    own_models.SECTION,
    attacks.SECTION,
    privacy.SECTION,
    cost.SECTION,
    profile.SECTION,
    lost.SECTION,
    again.SECTION,
)
"""What ``report.html`` shows."""

__all__ = ["SECTIONS"]
