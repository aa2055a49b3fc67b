"""How the page writes figures: rounded for the eye, exact in the ``value`` of a ``<data>`` element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.report import view


def data(value: float, shown: str) -> Markup:
    """Returns a figure as shown, with its exact value."""
    return Markup('<data value="{}">{}</data>').format(value, shown)


def number(value: float | None) -> Markup:
    """Returns a number; in words where it is not defined."""
    if value is None or math.isnan(value):
        return Markup('<span class="undefined">not defined</span>')
    if math.isinf(value):
        return data(value, "∞" if value > 0 else "−∞")
    return data(value, _rounded(value))


def _rounded(value: float) -> str:
    """Returns whole numbers in full, others with three decimals below 1 and four digits from 1 upwards."""
    if float(value).is_integer() and abs(value) < 1e15:
        shown = f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    elif abs(value) < 1e-3:
        shown = view.significant(value)
    else:
        shown = f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}"
    return shown.replace("-", "−")


def delta(value: float) -> Markup:
    """Returns δ with three significant digits."""
    return data(value, view.significant(value))


def epsilon(value: float | None) -> Markup:
    """Returns ε as everywhere in this package."""
    if value is None or not math.isfinite(value):
        return number(value)
    return data(value, format_epsilon(value))


def percent(value: float) -> str:
    """Returns a share in percent.

    >>> percent(0.25)
    '25.0%'
    """
    return f"{100 * value:.1f}%"


def size(value: float) -> Markup:
    """Returns a number of bytes with three digits and its unit."""
    shown, unit = float(value), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if shown < 1000:
            break
        shown, unit = shown / 1000, larger
    return data(value, f"{shown:.3g}\N{NO-BREAK SPACE}{unit}")


def seconds(value: float) -> Markup:
    """Returns a time: seconds, from two minutes on minutes, and hours."""
    if not math.isfinite(value) or value < 120:
        return data(value, f"{value:.3g}\N{NO-BREAK SPACE}s")
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return data(value, shown)


def counted(count: int, noun: str) -> Markup:
    """Returns a number of things in words."""
    return data(count, f"{count or 'no'} {noun}{'' if count == 1 else 's'}")


def consecutive(numbers: Sequence[int]) -> str:
    """Returns ascending numbers as text, neighbours joined.

    >>> consecutive([1, 2, 3, 7, 9, 10])
    '1–3, 7, 9–10'
    """
    starts = [0, *(at + 1 for at, (low, high) in enumerate(pairwise(numbers)) if high != low + 1)]
    groups = [numbers[start:stop] for start, stop in pairwise([*starts, len(numbers)])]
    return ", ".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in groups if part)


FILTERS = {
    "number": number,
    "epsilon": epsilon,
    "delta": delta,
    "finite": math.isfinite,
    "percent": percent,
    "bytes": size,
    "seconds": seconds,
    "counted": counted,
    "runs": consecutive,
    "defined_number": view.defined,
    "lower_better": view.lower_is_better,
}
"""Name in a template → function."""
