"""The curves of a sweep: a metric against each key of the grid, with its spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from fedlearn.runs.comparison import Group
from fedlearn.runs.report.charts import Chart, legend
from fedlearn.runs.report.drawing import Axis, Band, draw_spread

_LONGEST_TICK = 14
_LOGARITHMIC_FROM = 8.0
"""Ratio of the largest to the least value from which distances are drawn as ratios."""
_MOST_LINES = 6
_BASELINES = {"local": "local only", "unprotected": "without protection", "pooled": "pooled"}

Spread = tuple[float, float, float]


def curves_of(groups: Sequence[Group], metric: str) -> list[Chart]:
    """Returns one chart per key of the grid that has at least two values, in the order of the grid."""
    keys = dict.fromkeys(key for group in groups for key in group.label)
    return [_curve(groups, key, metric) for key in keys if len(_values(groups, key)) > 1]


def axis_of(values: Sequence[str]) -> Axis:
    """Returns where the values of a setting lie: numbers at their size, others side by side.

    >>> axis_of(["0.1", "1", "10"]).logarithmic, axis_of(["fedavg", "fedprox"]).places
    (True, [0.0, 1.0])
    """
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(known) < len(values):
        ticks = [
            value if len(value) <= _LONGEST_TICK else f"{value[: _LONGEST_TICK - 1]}…" for value in values
        ]
        return Axis(places=[float(place) for place in range(len(values))], ticks=ticks)
    ratio = max(known) / min(known) if min(known) > 0 else 0.0
    return Axis(
        places=known, ticks=[f"{number:g}" for number in known], logarithmic=ratio >= _LOGARITHMIC_FROM
    )


def _curve(groups: Sequence[Group], key: str, metric: str) -> Chart:
    values = _values(groups, key)
    lines = _lines(groups, key, values, metric)
    title = f"{metric.capitalize()} against {key}"
    svg = draw_spread(lines, axis=axis_of(values), salt=title)
    return Chart(
        title=title,
        legend=legend(lines),
        description=f"{title}. {'; '.join(_told(line, values) for line in lines)}.",
        caption=f"Horizontally: {key}. Median over seeds; the band is from the least to the greatest.",
        svg=Markup(svg),  # noqa: S704 # drawn here; matplotlib escapes the ticks
    )


def _lines(groups: Sequence[Group], key: str, values: Sequence[str], metric: str) -> list[Band]:
    """Returns a line per setting of the other keys; the baselines too where there is only one."""
    points: dict[tuple[str, ...], dict[str, Group]] = {}
    for group in groups:
        others = tuple(f"{name} = {value}" for name, value in group.label.items() if name != key)
        points.setdefault(others, {})[group.label.get(key, "")] = group
    lines = []
    for style, (others, by_value) in enumerate(list(points.items())[:_MOST_LINES]):
        found = [by_value[value].spread(metric) if value in by_value else None for value in values]
        lines.append(_band(", ".join(others) or f"{metric}, these runs", found, style))
    if len(points) == 1:
        (by_value,) = points.values()
        lines += _baselines(by_value, values, metric)
    return lines


def _baselines(by_value: Mapping[str, Group], values: Sequence[str], metric: str) -> list[Band]:
    lines = []
    for style, (name, label) in enumerate(_BASELINES.items(), start=1):
        found = [by_value[value].baseline(name, metric) for value in values]
        if any(found):
            lines.append(_band(label, [spread and (spread[0],) * 3 for spread in found], style))
    return lines


def _band(label: str, found: Sequence[Spread | None], style: int) -> Band:
    median, low, high = zip(*(spread or (math.nan,) * 3 for spread in found), strict=True)
    return Band(label=label, points=median, low=low, high=high, style=style)


def _told(line: Band, values: Sequence[str]) -> str:
    told = [
        f"{point:.3g} at {value}"
        for value, point in zip(values, line.points, strict=True)
        if math.isfinite(point)
    ]
    return f"{line.label}: {', '.join(told) or 'no figures'}"


def _values(groups: Sequence[Group], key: str) -> list[str]:
    """Returns the values of a key: numbers ascending, else in the order of the grid."""
    values = list(dict.fromkeys(group.label[key] for group in groups if key in group.label))
    if any(_number(value) is None for value in values):
        return values
    return sorted(values, key=float)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
