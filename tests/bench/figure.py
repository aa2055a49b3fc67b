"""One figure of a benchmark: how its times are taken, in turns and by medians, and how it is printed."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
      name: what is measured.
      ours: our value; of repeats the median, unless the unit says another.
      spread: the least and the greatest of our repeats; None if there was one.
      reference: the value it is held against, measured in the same run; None if there is none.
      unit: of all of these.
      ratio: how much better ours is than the reference, or which part of it; None without a reference.
      bar: what is asked of ours or of the ratio.
      holds: whether it is met; None if nothing is asked, or it could not be measured.
      beside: what else was seen, by name; printed as fields of the JSON line.
    """

    name: str
    ours: float
    spread: tuple[float, float] | None = None
    reference: float | None = None
    unit: str
    ratio: float | None = None
    bar: str = "none"
    holds: bool | None = None
    beside: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Times:
    """Seconds of one task, over all repeats."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def spread(self, scale: float = 1.0) -> tuple[float, float]:
        """The least and the greatest, times ``scale``."""
        return scale * min(self.seconds), scale * max(self.seconds)

    def rates(self, amount: float) -> Times:
        """``amount`` per second, of every repeat."""
        return Times(tuple(amount / second for second in self.seconds))


def in_turns(
    *tasks: Callable[[], object], repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time
) -> list[Times]:
    """The tasks take turns, so that all meet the same machine."""
    taken: list[list[float]] = [[] for _ in tasks]
    for _ in range(repeats):
        for times, task in zip(taken, tasks, strict=True):
            started = clock()
            task()
            times.append(clock() - started)
    return [Times(tuple(times)) for times in taken]


def median_ratio(above: Times, below: Times) -> float:
    """The median of the ratios within each turn."""
    pairs: Sequence[tuple[float, float]] = list(zip(above.seconds, below.seconds, strict=True))
    return statistics.median(one / other for one, other in pairs)


def rounded(figure: Figure) -> dict[str, Any]:
    """The figure's fields and what was seen beside it, to four digits that count."""
    fields = asdict(figure)
    return {name: _digits(value) for name, value in (fields | fields.pop("beside")).items()}


def _digits(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [_digits(item) for item in value] if isinstance(value, tuple) else value


def show(figure: Figure, *, as_json: bool) -> None:
    """Prints the figure on one line: for a program with every field, for a person with those that it has."""
    fields = rounded(figure)
    if as_json:
        print(json.dumps(fields, ensure_ascii=False), flush=True)
        return
    met = {True: "ok", False: "NO", None: "–"}[figure.holds]
    spread = "" if figure.spread is None else f" ({fields['spread'][0]} – {fields['spread'][1]})"
    reference = "" if figure.reference is None else f"; reference {fields['reference']}"
    ratio = "" if figure.ratio is None else f"; ratio {fields['ratio']}"
    bar = "" if figure.bar == "none" else f"; bar: {figure.bar}"
    print(
        f"{met:>2}  {figure.name}: {fields['ours']} {figure.unit}{spread}{reference}{ratio}{bar}", flush=True
    )


def options(description: str | None, *, only: str = "") -> argparse.ArgumentParser:
    """A parser that knows ``--json``, and ``--only`` if that is said to choose something."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    if only:
        parser.add_argument("--only", default="", metavar="PATTERN", help=only)
    return parser


def show_groups(description: str | None, groups: Mapping[str, Callable[[], Iterator[Figure]]]) -> None:
    """Prints the figures of the groups that the command line chooses, as they are measured."""
    parser = options(description, only=f"beginning of the groups to run: {', '.join(groups)}")
    arguments = parser.parse_args()
    for name, group in groups.items():
        if re.match(arguments.only, name):
            for figure in group():
                show(figure, as_json=arguments.json)
