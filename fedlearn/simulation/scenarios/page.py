"""The page of all answers: made of the kept figures and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.comparison import spread_of
from fedlearn.simulation.scenarios.answer import Answer, AttackScores, Row
from fedlearn.simulation.scenarios.question import Question

BEGIN = "<!-- answers: written by fedlearn scenarios -->"
END = "<!-- end of answers -->"
PLOTS = "plots"
CORES = 2

_UNITS = {"psnr_db": "dB", "auc": "AUC", "epsilon": "ε"}


def updated(page: str, answers: Mapping[str, tuple[Question, Answer | None]]) -> str:
    """Returns the page with what stands between its two marks written anew.

    Args:
      page: its text.
      answers: name → question and kept answer; None where it was never answered.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(_lines(answers))
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def _lines(answers: Mapping[str, tuple[Question, Answer | None]]) -> Iterator[str]:
    known = {name: (question, answer) for name, (question, answer) in answers.items() if answer is not None}
    yield from _overview(known)
    if waiting := [name for name in answers if name not in known]:
        yield ""
        yield f"Not answered yet: {', '.join(f'`{name}`' for name in waiting)}."
    for name, (question, answer) in known.items():
        yield ""
        yield from _section(name, question, answer)


def _overview(answers: Mapping[str, tuple[Question, Answer]]) -> Iterator[str]:
    quick = [answer for question, answer in answers.values() if not question.grid.long]
    yield (
        f"`make simulations` answers all but the long ones: {_minutes(quick)} minutes on {CORES} cores."
        " A line shows the best of its rows below, or the one that the question is about."
    )
    yield ""
    heads = ["question", "command", "minutes", "condition"]
    heads += ["local only", "federated", "federated + …", "pooled", "plot"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for name, (question, answer) in answers.items():
        command = f"`fedlearn scenarios {name}`{', long' if question.grid.long else ''}"
        lead = [question.grid.asks, command, _minutes([answer])]
        plot = f"[plot]({PLOTS}/{name}.svg)"
        for condition in question.grid.conditions:
            row = headline(answer, condition, question.grid.headline)
            cells = [cell(row.local), cell(row.federated), _with(row), cell(row.pooled)]
            yield f"| {' | '.join([*lead, condition or '–', *cells, plot])} |"
            lead, plot = ["", "", ""], ""


def headline(answer: Answer, condition: str, remedy: str | None) -> Row:
    """Returns the row of a condition that stands for it: the named remedy's, or the best in the median."""
    rows = [row for row in answer.rows if row.condition == condition]
    named = [row for row in rows if row.remedy == remedy]
    return named[0] if named else max(rows, key=lambda row: median(_known(row.remedied) or [0.0]))


def _with(row: Row) -> str:
    return f"{cell(row.remedied)}: {row.remedy}" if row.remedy else "–"


def _section(name: str, question: Question, answer: Answer) -> Iterator[str]:
    grid = question.grid
    runs = (
        f"{grid.repeats} runs a row"
        if grid.repeat_by == "seed"
        else f"{grid.repeats} values of `{grid.repeat_by}`"
    )
    of = " of each client on its own held-out records" if grid.scored == "clients" else ""
    yield f"## {name}"
    yield ""
    yield f"**{grid.asks}** {answer.metric.capitalize()}{of}; {runs};"
    yield f"{_minutes([answer])} minutes on {CORES} cores."
    yield ""
    yield from _table(answer, conditions=list(grid.conditions))
    yield ""
    yield f"![{name}: {answer.metric} under every condition]({PLOTS}/{name}.svg)"
    for remark in grid.remarks:
        yield ""
        yield remark


def _table(answer: Answer, *, conditions: Sequence[str]) -> Iterator[str]:
    named = len(conditions) > 1
    attacks = next(iter(answer.plain_attacks.values()), {})
    has_epsilon = any(row.epsilon is not None for row in answer.rows)
    heads = [*(["condition"] if named else []), answer.remedy]
    heads += ["local only", "federated", f"federated + {answer.remedy}", "pooled", "difference"]
    heads += (["ε"] if has_epsilon else []) + [
        _attack_head(label, scores) for label, scores in attacks.items()
    ]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for condition in conditions:
        rows = [row for row in answer.rows if row.condition == condition]
        first = [condition] if named else []
        if attacks:
            bare = [cell(rows[0].local), cell(rows[0].federated), "–", cell(rows[0].pooled), "–"]
            bare += ["–"] if has_epsilon else []
            bare += [attack_cell(scores) for scores in answer.plain_attacks[condition].values()]
            yield f"| {' | '.join([*first, 'nothing', *bare])} |"
        for row in rows:
            cells = [cell(row.local), cell(row.federated), cell(row.remedied) if row.remedy else "–"]
            cells += [cell(row.pooled), difference(row) if row.remedy else "–"]
            cells += [_epsilon(row.epsilon)] if has_epsilon else []
            cells += [attack_cell(row.attacks[label]) for label in attacks]
            yield f"| {' | '.join([*first, row.remedy or '–', *cells])} |"


def cell(values: Sequence[float | None]) -> str:
    """Returns median (least – greatest).

    >>> cell([0.5, 0.25, 1.0]), cell([None])
    ('0.500 (0.250 – 1.000)', '–')
    """
    spread = spread_of(values)
    if spread is None:
        return "–"
    middle, least, greatest = spread
    return f"{middle:.3f}" if least == greatest else f"{middle:.3f} ({least:.3f} – {greatest:.3f})"


def difference(row: Row) -> str:
    """Returns what the remedy adds run by run, and whether every run says the same.

    A remedy *helps* or *hurts* if it does in every run; else it is said in how many it was better.
    """
    gains = row.gains
    if not gains:
        return "–"
    better = sum(gain > 0 for gain in gains)
    mixed = f"better in {better} of {len(gains)}"
    word = "helps" if min(gains) > 0 else "hurts" if max(gains) < 0 else mixed
    return f"{median(gains):+.3f} ({min(gains):+.3f} – {max(gains):+.3f}): {word}"


def attack_cell(scores: AttackScores) -> str:
    """Returns the score with its spread or upper limit, and whether the attack succeeds."""
    middle, least, greatest = median(scores.values), min(scores.values), max(scores.values)
    digits = 1 if scores.score == "psnr_db" else 2
    spread = f" ({least:.{digits}f} – {greatest:.{digits}f})" if len(scores.values) > 1 else ""
    if (limit := scores.details.get("auc_upper_95")) is not None and not spread:
        spread = f" (≤ {limit:.3f})"
        digits = 3
    outcome = "**succeeds**" if middle >= scores.success else "fails"
    return f"{middle:.{digits}f}{spread}: {outcome}"


def _attack_head(label: str, scores: AttackScores) -> str:
    unit = _UNITS.get(scores.score, scores.score)
    return f"{label}, {unit} (blind {scores.null:g}, success {scores.success:g})"


def _epsilon(value: float | None) -> str:
    return "–" if value is None else format_epsilon(value)


def _minutes(answers: Sequence[Answer]) -> str:
    minutes = sum(answer.cpu_seconds for answer in answers) / 60 / CORES
    return f"{minutes:.1f}" if minutes < 10 else f"{minutes:.0f}"


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
