"""The picture of an answer: every row with its spread, beside local only, federated and pooled."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedlearn.rounds.checkpoint import write_atomically
from fedlearn.runs.comparison import spread_of
from fedlearn.simulation.scenarios.answer import Answer, Row, Scores
from fedlearn.simulation.scenarios.page import PLOTS

_INK, _RULE = "#24292f", "#d0d7de"
_REFERENCES = (
    ("local only", "local", "#a15c00"),
    ("federated", "federated", "#57606a"),
    ("pooled", "pooled", "#116329"),
)
_REMEDY = "#0969da"


def draw(answer: Answer, *, folder: Path, name: str) -> Path:
    """Writes ``plots/NAME.svg`` and returns its path; the same answer gives the same bytes.

    One panel per condition; a row per remedy with its median and its range; a line with its range
    for each of local only, federated and pooled.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(row.condition for row in answer.rows))
    remedies = list(dict.fromkeys(row.remedy for row in answer.rows))
    settings = {"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        size = (max(4.6, 1.6 + 2.3 * len(conditions)), 1.5 + 0.32 * len(remedies))
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
        for panel, condition in zip(panels, conditions, strict=True):
            _panel(panel, [row for row in answer.rows if row.condition == condition], remedies)
            panel.set_title(condition, fontsize=9, color=_INK)
            panel.set_xlabel(answer.metric, color=_INK)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        target = io.BytesIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    path = folder / PLOTS / f"{name}.svg"
    write_atomically(path, target.getvalue())
    return path


def _panel(panel: Any, rows: Sequence[Row], remedies: Sequence[str]) -> None:
    for label, column, colour in _REFERENCES:
        _reference(panel, getattr(rows[0], column), label, colour)
    for row in rows:
        spread = spread_of(row.remedied) if row.remedy else None
        if spread is not None:
            middle, least, greatest = spread
            place = remedies.index(row.remedy)
            panel.errorbar(
                middle,
                place,
                xerr=[[middle - least], [greatest - middle]],
                fmt="o",
                color=_REMEDY,
                capsize=3,
                zorder=3,
            )
    panel.set_yticks(range(len(remedies)), labels=[remedy or "as it is" for remedy in remedies])
    panel.set_ylim(len(remedies) - 0.5, -0.5)
    panel.grid(axis="x", color=_RULE, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(length=0, labelcolor=_INK)


def _reference(panel: Any, scores: Scores, label: str, colour: str) -> None:
    spread = spread_of(scores)
    if spread is not None:
        middle, least, greatest = spread
        panel.axvspan(least, greatest, color=colour, alpha=0.12, linewidth=0)
        style = {"local only": ":", "federated": "-", "pooled": "--"}[label]
        panel.axvline(middle, color=colour, linestyle=style, linewidth=1.4, label=label)
