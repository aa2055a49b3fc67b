"""The charts of the report: metrics and ε over rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.report.drawing import Band, Level, Line, css_colour, css_dashes, draw_lines, draw_ranking
from fedlearn.runs.report.view import (
    ClientRow,
    Rounds,
    defined,
    lower_is_better,
    overall,
    significant,
    unit_scale,
)
from fedlearn.runs.result import Result

_LEGEND_WIDTH = 3.0
_LARGEST = 1e12
_MOST_CHARTS = 6
"""Experiments may measure anything; the table of rounds has the rest."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend: label, CSS colour and SVG dash pattern."""

    label: str
    colour: str
    dashes: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of the page.

    Attributes:
      title: what is drawn.
      legend: one key per line and level.
      description: what the chart says, for those who do not see it.
      caption: how to read it.
      svg: an ``<svg>`` element.
    """

    title: str
    legend: list[Key]
    description: str
    caption: str
    svg: Markup


def charts_of(result: Result, rounds: Rounds) -> list[Chart]:
    """Returns the charts that a run has figures for: the headline metric, the other metrics, ε."""
    names = list(dict.fromkeys(name for entry in rounds for name in entry.metrics))
    drawn = [name for name in names if any(defined(value) for value in _metric(rounds, name))]
    headline, others = drawn[:1], drawn[1:]
    charts = [_headline(result, rounds, name) for name in headline]
    together = [name for name in others if unit_scale(_metric(rounds, name)) and not lower_is_better(name)]
    groups = ([together] if together else []) + [[name] for name in others if name not in together]
    charts += [_metrics(rounds, group) for group in groups[: _MOST_CHARTS - 2]]
    if any(defined(_drawable(entry.epsilon)) for entry in rounds):
        charts.append(_epsilon(result, rounds))
    return charts


def ranking_of(result: Result, metric: str, rows: Sequence[ClientRow]) -> Chart:
    """Returns the chart of a metric by client, the one that is served worst first.

    Args:
      result: the run.
      metric: what is drawn.
      rows: clients in that order, each with a value.
    """
    values = [_drawable(row.metrics.get(metric)) for row in rows]
    common = _drawable(result.final.get(metric))
    levels = [Level(label="common held-out records", value=common, style=1)] if defined(common) else []
    title = f"{metric.capitalize()} by client"
    worst, best = rows[0], rows[-1]
    return Chart(
        title=title,
        legend=legend([Line(label=f"{metric} of one client", points=values), *levels]),
        description=(
            f"{title}: from {values[0]:.3g} for {worst.name} to {values[-1]:.3g} for {best.name},"
            f" over {len(rows)} clients."
        ),
        caption="From left to right: clients, the worst served first.",
        svg=Markup(draw_ranking(values, levels=levels, salt=title)),  # noqa: S704 # drawn here from numbers
    )


def _headline(result: Result, rounds: Rounds, metric: str) -> Chart:
    baselines = result.baselines
    candidates = (
        ("local only", baselines.local),
        ("without protection", baselines.unprotected),
        ("pooled", baselines.pooled),
    )
    levels = [
        Level(label=label, value=value, style=style)
        for style, (label, baseline) in enumerate(candidates, start=1)
        if defined(value := _drawable((baseline.metrics or {}).get(metric)))
    ]
    line = Line(label=f"{metric}, this run", points=_metric(rounds, metric))
    return _chart(f"{metric.capitalize()} over rounds", [line], rounds, levels=levels)


def _metrics(rounds: Rounds, metrics: Sequence[str]) -> Chart:
    lines = [
        Line(label=metric, points=_metric(rounds, metric), style=at) for at, metric in enumerate(metrics)
    ]
    title = f"{metrics[0].capitalize()} over rounds" if len(metrics) == 1 else "Other metrics over rounds"
    return _chart(title, lines, rounds)


def _epsilon(result: Result, rounds: Rounds) -> Chart:
    points = [_drawable(entry.epsilon) for entry in rounds]
    delta = next((entry.delta for entry in overall(result)), None)
    at = "" if delta is None else f" at δ = {significant(delta)}"
    line = Line(label=f"ε spent so far{at}", points=points, style=3)
    chart = _chart("ε over rounds", [line], rounds, from_zero=True)
    last = format_epsilon(next(value for value in reversed(points) if defined(value)))
    return Chart(
        title=chart.title,
        legend=chart.legend,
        description=f"ε grows to {last}{at} by the last round.",
        caption=f"{chart.caption} Less is more private; a round once spent is never given back.",
        svg=chart.svg,
    )


def _chart(
    title: str,
    lines: Sequence[Line],
    rounds: Rounds,
    *,
    levels: Sequence[Level] = (),
    from_zero: bool = False,
) -> Chart:
    failed = [entry.round for entry in rounds if entry.failure is not None]
    svg = draw_lines(
        lines,
        rounds=[entry.round for entry in rounds],
        levels=levels,
        failed=failed,
        from_zero=from_zero,
        salt=title,
    )
    told = [_told(line, rounds) for line in lines] + [f"{level.label}: {level.value:.3g}" for level in levels]
    return Chart(
        title=title,
        legend=legend([*lines, *levels]),
        description=f"{title}. {'; '.join(told)}.",
        caption="Horizontally: rounds." + (" Upright lines: failed rounds." if failed else ""),
        svg=Markup(svg),  # noqa: S704 # drawn here from numbers; no text of the run is in it
    )


def legend(drawn: Iterable[Line | Level | Band]) -> list[Key]:
    """Returns one key per line, level and band."""
    return [
        Key(
            label=part.label,
            colour=css_colour(part.style),
            dashes=css_dashes(part.style, width=_LEGEND_WIDTH),
        )
        for part in drawn
    ]


def _told(line: Line, rounds: Rounds) -> str:
    known = [(entry.round, value) for entry, value in zip(rounds, line.points, strict=True) if defined(value)]
    (first, start), (last, end) = known[0], known[-1]
    return f"{line.label}: {start:.3g} after round {first}, {end:.3g} after round {last}"


def _metric(rounds: Rounds, name: str) -> list[float]:
    return [_drawable(entry.metrics.get(name)) for entry in rounds]


def _drawable(value: float | None) -> float:
    """Returns the value, or NaN where there is nothing to draw or no axis could hold it."""
    return value if defined(value) and abs(value) <= _LARGEST else math.nan
