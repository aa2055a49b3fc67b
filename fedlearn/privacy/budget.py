"""The most that a data set may spend, and the refusal of what would exceed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from fedlearn._validate import between, positive
from fedlearn.errors import BudgetExhausted
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import Event
from fedlearn.privacy.guarantee import Unit, format_epsilon
from fedlearn.privacy.release import Release


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that the records of one data set may spend, over all runs.

    Attributes:
      epsilon: limit on ε; > 0.
      delta: δ at which ε is taken; below one over the number of records.
      unit: what ε is counted per; releases that protect the other unit are counted in it.
    """

    epsilon: float
    delta: float
    unit: Unit = "record"

    def __post_init__(self) -> None:
        positive(epsilon=self.epsilon)
        between(0.0, 1.0, delta=self.delta)


def refuse_beyond(budget: Budget, account: Account, release: Release) -> None:
    """Returns if a release fits a budget.

    Args:
      budget: the limit.
      account: what is spent, counted per the budget's unit.
      release: what is asked for.

    Raises:
      BudgetExhausted: it does not fit; says what is spent and what would fit.
    """
    events = release.counted(per=budget.unit)
    if _fits(budget, account, events):
        return
    before = account.epsilon(delta=budget.delta)
    after = Account((*account.events, *events)).epsilon(delta=budget.delta)
    raise BudgetExhausted(
        f"data set {release.dataset!r}: release {release.id!r} would raise ε from {format_epsilon(before)} to"
        f" {format_epsilon(after)} at δ = {budget.delta:g} per {budget.unit}; the budget is"
        f" {budget.epsilon:g}.{_what_would_fit(budget, account, events)}"
    )


def _fits(budget: Budget, account: Account, events: Iterable[Event]) -> bool:
    return Account((*account.events, *events)).epsilon(delta=budget.delta) <= budget.epsilon


def _what_would_fit(budget: Budget, account: Account, events: tuple[Event, ...]) -> str:
    """Returns how many steps of the longest event the budget still allows, as a sentence."""
    event = max(events, key=lambda event: event.steps)
    others = [other for other in events if other is not event]
    low, high = 0, event.steps
    while high - low > 1:
        middle = (low + high) // 2
        part = dataclasses.replace(event, steps=middle)
        low, high = (middle, high) if _fits(budget, account, [*others, part]) else (low, middle)
    return f" Of its {event.steps} steps {low} would fit"
