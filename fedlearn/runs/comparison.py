"""Runs side by side: a table over points of a grid, and the curve over its first axis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.result import Metrics, Result


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one point, over seeds.

    Attributes:
      label: what sets the point apart, e.g. ``{"privacy.epsilon": "3"}``; or the run's name.
      results: at least one.
    """

    label: Mapping[str, str]
    results: Sequence[Result]

    def spread(self, metric: str) -> tuple[float, float, float] | None:
        """Returns median, least and greatest of a final metric; None where no run has it."""
        return spread_of([result.final.get(metric) for result in self.results])

    @property
    def epsilon(self) -> float | None:
        """The greatest ε of its runs; None without DP."""
        values = [result.epsilon for result in self.results if result.epsilon is not None]
        return max(values, default=None)

    def baseline(self, name: str, metric: str) -> tuple[float, float, float] | None:
        """Returns the same of a baseline's metric: of ``local``, ``unprotected`` or ``pooled``."""
        found: list[Metrics] = [getattr(result.baselines, name).metrics or {} for result in self.results]
        return spread_of([metrics.get(metric) for metrics in found])


def spread_of(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Returns median, least and greatest of the values that are defined; None if none is.

    >>> spread_of([0.5, None, 0.25, 1.0])
    (0.5, 0.25, 1.0)
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    return (statistics.median(known), min(known), max(known)) if known else None


def comparison_lines(groups: Sequence[Group]) -> list[str]:
    """Returns the table of the groups as Markdown: median (least – greatest) over seeds.

    The columns are those of every table here: local only, without protection, this run, pooled, ε.
    """
    keys = list(dict.fromkeys(key for group in groups for key in group.label))
    metrics = list(
        dict.fromkeys(name for group in groups for result in group.results for name in result.final)
    )
    first = metrics[0] if metrics else None
    heads = [*keys, *metrics]
    if first is not None:
        heads += [f"{first}, {name}" for name in ("local only", "no protection", "pooled")]
    heads += ["ε", "runs"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for group in groups:
        cells = [group.label.get(key, "") for key in keys]
        cells += [_cell(group.spread(name)) for name in metrics]
        if first is not None:
            cells += [_cell(group.baseline(name, first)) for name in ("local", "unprotected", "pooled")]
        cells += ["–" if group.epsilon is None else format_epsilon(group.epsilon), str(len(group.results))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(spread: tuple[float, float, float] | None) -> str:
    if spread is None:
        return "–"
    median, least, greatest = spread
    return f"{median:.3f}" if least == greatest else f"{median:.3f} ({least:.3f} – {greatest:.3f})"
