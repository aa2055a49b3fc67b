"""What a proposed run would spend of a site's records, before any of it is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import Event
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import counted
from fedlearn.rounds.protection import Protection


def forecast(setup: RunSetup, site: str, *, ledger: Ledger, dataset: str) -> float | None:
    """Returns ε after all of a run, on top of everything spent before; None without DP.

    It is what the ledger will hold, at its δ and per its unit, if each round is done once. A round that is
    done again costs more, and the ledger weighs it then.

    Args:
      setup: of the run.
      site: whose records.
      ledger: the site's.
      dataset: the ledger's name of the records.
    """
    charges = list(charges_of(setup, site))
    if not charges:
        return None
    budget = ledger.budget(dataset)
    whole = Account(ledger.account(dataset, unit=budget.unit).events)
    for unit, event in charges:
        whole.charge(counted(event, unit=unit, per=budget.unit))
    return whole.epsilon(delta=budget.delta)


def charges_of(setup: RunSetup, site: str) -> Iterator[tuple[Unit, Event]]:
    """Yields what all rounds of a run charge a site with, and the releases before the first of them."""
    yield from ((setup.protections[site].unit, event) for event in setup.charged_before(site))
    yield from _charges(setup.protections[site], releases=_rounds_of(setup, site))


def _charges(protection: Protection, *, releases: int) -> Iterator[tuple[Unit, Event]]:
    event = protection.event()
    if event is not None and releases:
        yield protection.unit, replace(event, steps=event.steps * releases)


def _rounds_of(setup: RunSetup, site: str) -> int:
    """Returns how many rounds the public schedule asks the site in; all, where secret coins decide."""
    rounds = setup.experiment.config.rounds
    if setup.mechanism is not None and setup.sampling.poisson:
        return rounds
    return sum(site in setup.experiment.cohort(round) for round in range(rounds))
