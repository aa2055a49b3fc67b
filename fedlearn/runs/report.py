"""``report.html``: what a run gave, for people: one page that loads nothing and runs no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs import report_view as view
from fedlearn.runs.attack_report import Table
from fedlearn.runs.report_charts import charts_of
from fedlearn.runs.report_template import STYLE, TEMPLATE
from fedlearn.runs.result import PrivacyEntry, Result

SHOWN_CLIENTS = 25
SHOWN_FAILURES = 50
ENGINES = {
    "inprocess": "simulated, all clients in one process",
    "flower": "simulated with Flower",
    "sites": "at the sites that hold the records",
}
UNITS = {"record": "one record of one client", "client": "one client with all its records"}
NOISES = {
    "local": "local: each client adds it before anything leaves",
    "distributed": "distributed: each client adds a share, the sum has enough",
    "central": "central: the server adds it",
}

ATTACK_UNITS = {"psnr_db": "dB", "auc": "AUC"}


def report_page(
    result: Result,
    rounds: Sequence[Mapping[str, Any]],
    *,
    experiment: str | None = None,
    attacks: Table | None = None,
) -> str:
    """Returns the report of a run as one self-contained HTML page.

    The page loads nothing and runs no script, follows light and dark, and is made for phones, screens and
    paper. Whatever comes from data or configuration is escaped. Every number of the result is there, exact,
    in the ``value`` of a ``<data>`` element, around its rounded form.

    Args:
      result: what the run gave; baselines, privacy, metrics and spreads may be missing.
      rounds: the lines of ``rounds.jsonl``.
      experiment: text of the resolved ``experiment.toml``, shown in full; None leaves it out.
      attacks: what adversaries got under each protection; None or empty leaves the section out.
    """
    reports = view.rounds_of(rounds)
    return _template().render(
        result=result,
        rounds=reports,
        experiment=experiment,
        attacks=attacks or {},
        style=Markup(STYLE),  # noqa: S704 # a constant of this package
        **_words(result, reports),
        **_comparison(result),
        **_clients(result, reports),
        **_course(result, reports),
    )


def _words(result: Result, rounds: view.Rounds) -> dict[str, Any]:
    return {
        "question": _question(result, view.client_count(result, rounds)),
        "clients": view.client_count(result, rounds),
        "asked_rounds": rounds[-1].rounds if rounds else None,
        "engine_words": ENGINES,
        "unit_words": UNITS,
        "noise_words": NOISES,
        "attack_units": ATTACK_UNITS,
        "guarantees": view.overall(result),
        "gaps": view.not_covered(result),
        "repeatability": _repeatability(result),
    }


def _question(result: Result, clients: int | None) -> str:
    whose = "several clients" if clients is None else "one client" if clients == 1 else f"{clients} clients"
    wishes = ["no record leaves its client"]
    if result.secure_aggregation.mode != "off":
        wishes.append("the server sees only sums")
    if result.privacy:
        wishes.append(f"the model tells little about any single {view.overall(result)[0].unit}")
    listed = wishes[0] if len(wishes) == 1 else f"{', '.join(wishes[:-1])} and {wishes[-1]}"
    return f"How good a model can {whose} train together, if {listed}?"


def _repeatability(result: Result) -> str:
    if result.privacy and not result.manifest.reproducible_noise:
        return (
            "The noise comes from the operating system and cannot be drawn again: another run gives other "
            "numbers, close to these."
        )
    return "The same versions, seed and machine give the same numbers."


def _comparison(result: Result) -> dict[str, Any]:
    names = view.metric_names(result)
    standings = view.standings(result)
    return {
        "names": names,
        "headline": names[0] if names else None,
        "standings": standings,
        "on_scale": {name for name in names if view.fits_unit_scale(name, result)},
    }


def _clients(result: Result, rounds: view.Rounds) -> dict[str, Any]:
    rows = view.client_rows(result, rounds)
    headline = next(iter(view.metric_names(result)), "")
    ranked = [row for row in rows if view.defined(row.metrics.get(headline))]
    common = result.final.get(headline)
    return {
        "client_rows": rows,
        "client_metrics": list(dict.fromkeys(name for row in rows for name in row.metrics)),
        "worst": ranked[0] if len(ranked) > 1 else None,
        "best": ranked[-1] if len(ranked) > 1 else None,
        "common": common if view.defined(common) else None,
        "any_dropped": any(row.dropped for row in rows),
        "shown_clients": SHOWN_CLIENTS,
    }


def _course(result: Result, rounds: view.Rounds) -> dict[str, Any]:
    return {
        "charts": charts_of(result, rounds),
        "round_metrics": list(dict.fromkeys(name for entry in rounds for name in entry.metrics)),
        "has_epsilon": any(entry.epsilon is not None for entry in rounds),
        "total_up": sum(entry.bytes_up for entry in rounds),
        "total_down": sum(entry.bytes_down for entry in rounds),
        "failed": view.failed_rounds(rounds),
        "shown_failures": SHOWN_FAILURES,
        "dropouts": view.dropouts(rounds),
    }


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=_number,
        epsilon=_epsilon,
        delta=_delta,
        finite=math.isfinite,
        found=_found,
        percent=_percent,
        bytes=_bytes,
        seconds=_seconds,
        counted=_counted,
        runs=consecutive,
        defined_number=view.defined,
        lower_better=view.lower_is_better,
    )
    return environment.from_string(TEMPLATE)


def _data(value: float, shown: str) -> Markup:
    return Markup('<data value="{}">{}</data>').format(value, shown)


def _number(value: float | None) -> Markup:
    if value is None or math.isnan(value):
        return Markup('<span class="undefined">not defined</span>')
    if math.isinf(value):
        return _data(value, "∞" if value > 0 else "−∞")
    return _data(value, _rounded(value))


def _rounded(value: float) -> str:
    """Returns whole numbers in full, others with three decimals below 1 and four digits from 1 upwards."""
    if float(value).is_integer() and abs(value) < 1e15:
        shown = f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    elif abs(value) < 1e-3:
        shown = view.significant(value)
    else:
        shown = f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}"
    return shown.replace("-", "−")


def _delta(value: float) -> Markup:
    return _data(value, view.significant(value))


def _epsilon(value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return _number(value)
    return _data(value, format_epsilon(value))


def _found(entry: PrivacyEntry) -> str:
    found = view.found_of_100(entry, false_alarms=0.01)
    return f"{math.ceil(found * 10) / 10:g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _bytes(value: int) -> Markup:
    size, unit = float(value), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return _data(value, f"{size:.3g}\N{NO-BREAK SPACE}{unit}")


def _seconds(value: float) -> Markup:
    if not math.isfinite(value) or value < 120:
        return _data(value, f"{value:.3g}\N{NO-BREAK SPACE}s")
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    return _data(value, shown)


def _counted(count: int, noun: str) -> Markup:
    return _data(count, f"{count or 'no'} {noun}{'' if count == 1 else 's'}")


def consecutive(numbers: Sequence[int]) -> str:
    """Returns ascending numbers as text, neighbours joined.

    >>> consecutive([1, 2, 3, 7, 9, 10])
    '1–3, 7, 9–10'
    """
    starts = [0, *(at + 1 for at, (low, high) in enumerate(pairwise(numbers)) if high != low + 1)]
    groups = [numbers[start:stop] for start, stop in pairwise([*starts, len(numbers)])]
    return ", ".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in groups if part)
