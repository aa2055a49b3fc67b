"""Line charts as inline SVG that takes its colours from the page around it.

A chart holds lines and tick numbers only; its title and legend belong to the page, where text wraps,
is escaped and is found by a search.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

INK = "#a00000"
GRID = "#a000ff"
FAILED = "#a000fe"
SERIES = ("#a00001", "#a00002", "#a00003", "#a00004", "#a00005", "#a00006")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1, 1.6), (6, 2, 1, 2), (3, 1), (8, 3))
"""Dash patterns in line widths, so that lines differ without colour; the first is solid."""
_CSS = {
    INK: "currentColor",
    GRID: "var(--line)",
    FAILED: "var(--bad)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
_MARKED_UP_TO = 30
"""Rounds up to which each one gets a marker."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
      label: what it shows; for the legend.
      points: one value per round; NaN leaves a gap.
      style: number of its colour and dash pattern, from 0; repeats after six.
    """

    label: str
    points: Sequence[float]
    style: int = 0


@dataclass(frozen=True, kw_only=True)
class Level:
    """A value to compare lines with, drawn across the chart.

    Attributes:
      label: what it is; for the legend.
      value: where it lies; finite.
      style: number of its colour and dash pattern, from 0; repeats after six.
    """

    label: str
    value: float
    style: int


@dataclass(frozen=True, kw_only=True)
class Band:
    """One line of a chart over a setting, with its spread.

    Attributes:
      label: what it shows; for the legend.
      points: one median per place; NaN leaves a gap.
      low: least values.
      high: greatest values.
      style: number of its colour and dash pattern, from 0; repeats after six.
    """

    label: str
    points: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    style: int = 0


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal axis of a chart over a setting.

    Attributes:
      places: where the values of the setting lie, ascending.
      ticks: what is written there; may come from a user.
      logarithmic: whether distances are ratios; places are above 0 then.
    """

    places: Sequence[float]
    ticks: Sequence[str]
    logarithmic: bool = False


def css_colour(style: int) -> str:
    """Returns the colour of a style as a CSS value; the page defines ``--series-1`` to ``--series-6``."""
    return _CSS[SERIES[style % len(SERIES)]]


def css_dashes(style: int, *, width: float) -> str:
    """Returns the dash pattern of a style as a ``stroke-dasharray`` for a stroke of this width."""
    pattern = DASHES[style % len(DASHES)]
    return " ".join(f"{part * width:g}" for part in pattern) or "none"


def draw_lines(
    lines: Sequence[Line],
    *,
    rounds: Sequence[int],
    levels: Sequence[Level] = (),
    failed: Sequence[int] = (),
    from_zero: bool = False,
    salt: str,
) -> str:
    """Returns a chart over rounds as an ``<svg>`` element for an HTML page.

    Args:
      lines: at least one; each has as many points as there are rounds.
      rounds: the horizontal axis.
      levels: values drawn across the chart.
      failed: rounds that are marked as failed.
      from_zero: let the vertical axis begin at 0.
      salt: tells the charts of one page apart, so that their element ids differ; the same drawing with
        the same salt is the same text.
    """

    def draw(axes: Any) -> None:
        for round in failed:
            axes.axvline(round, color=FAILED, linewidth=1.0, alpha=0.55)
        _draw_levels(axes, levels)
        _draw_lines(axes, lines, rounds)
        _dress(axes)
        if from_zero:
            axes.set_ylim(bottom=0.0)

    return _figure(draw, salt)


def draw_ranking(values: Sequence[float], *, levels: Sequence[Level] = (), salt: str) -> str:
    """Returns values in their order as dots, each with a stroke to the first level, as an ``<svg>`` element.

    No stroke goes to the foot of the chart, which is not at zero: its length would say nothing.

    Args:
      values: from left to right; finite.
      levels: values drawn across the chart.
      salt: as of :func:`draw_lines`.
    """

    def draw(axes: Any) -> None:
        places = range(1, len(values) + 1)
        _draw_levels(axes, levels)
        for level in levels[:1]:
            axes.vlines(places, level.value, values, color=SERIES[0], linewidth=1.6, alpha=0.45)
        axes.plot(places, values, linestyle="none", marker="o", markersize=4.5, color=SERIES[0], zorder=3)
        _dress(axes)
        axes.margins(y=0.1)

    return _figure(draw, salt)


def draw_spread(lines: Sequence[Band], *, axis: Axis, salt: str) -> str:
    """Returns medians over a setting, each with its spread, as an ``<svg>`` element.

    Args:
      lines: at least one; each has as many points as the axis has places.
      axis: the horizontal one.
      salt: as of :func:`draw_lines`.
    """

    def draw(axes: Any) -> None:
        for line in lines:
            colour = SERIES[line.style % len(SERIES)]
            axes.fill_between(axis.places, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(axis.places, line.points, linewidth=2.0, marker="o", markersize=4, **_style(line.style))
        if axis.logarithmic:
            axes.set_xscale("log")
        _dress(axes, whole=False)
        axes.set_xticks(axis.places, axis.ticks, parse_math=False)
        axes.minorticks_off()

    return _figure(draw, salt)


def _figure(draw: Callable[[Any], None], salt: str) -> str:
    with _matplotlib_settings(salt):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.7, 2.6), layout="constrained")
        draw(figure.add_subplot())
        target = io.StringIO()
        figure.savefig(
            target,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return _for_page(target.getvalue())


def _draw_levels(axes: Any, levels: Sequence[Level]) -> None:
    for level in levels:
        axes.axhline(level.value, linewidth=1.3, zorder=2, **_style(level.style))


def _draw_lines(axes: Any, lines: Sequence[Line], rounds: Sequence[int]) -> None:
    marker = "o" if len(rounds) <= _MARKED_UP_TO else None
    for line in lines:
        axes.plot(
            rounds, line.points, linewidth=2.0, marker=marker, markersize=3.5, zorder=3, **_style(line.style)
        )


def _style(number: int) -> dict[str, Any]:
    pattern = DASHES[number % len(DASHES)]
    return {"color": SERIES[number % len(SERIES)], "linestyle": (0, pattern) if pattern else "solid"}


def _dress(axes: Any, *, whole: bool = True) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(color=GRID, labelcolor=INK, labelsize=9.5, length=0, pad=5)
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.margins(x=0.03, y=0.12)


def _for_page(svg: str) -> str:
    """Returns a file's SVG as an element: no prologue, no namespaces, no size, no style of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true">', svg, count=1)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg).replace("xlink:href", "href")
    for colour, css in _CSS.items():
        svg = svg.replace(colour, css)
    used = set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", svg))
    return re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg).strip()


@contextmanager
def _matplotlib_settings(salt: str) -> Iterator[None]:
    _import_matplotlib()
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.5}):
        yield


def _import_matplotlib() -> None:
    """Lets matplotlib's first import keep its font list in a passing folder instead of the user's home."""
    if "MPLCONFIGDIR" in os.environ or "matplotlib.font_manager" in sys.modules:
        return
    with TemporaryDirectory(prefix="fedlearn-matplotlib-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            importlib.import_module("matplotlib.font_manager")
        finally:
            del os.environ["MPLCONFIGDIR"]
