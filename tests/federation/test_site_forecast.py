"""What a site weighs before it accepts is what its ledger holds afterwards, and what was printed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fedlearn.errors import PolicyRefusal
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.forecast import charges_of, forecast
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.site.run_agent import open_ledger
from fedlearn.privacy.ledger import Ledger
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute
from fedlearn.runs.verification import verify_run
from tests.federation.sites import EXPERIMENT, POLICY, Sites, agreement, kits_in, setup_of, site_names

PRIVATE = EXPERIMENT["privacy"]
SHARED: dict[str, Any] = {
    "privacy": {**PRIVATE, "noise": "distributed"},
    "training": {"learning_rate": 0.5, "sample_rate": 0.5, "local_steps": 1},
    "data": {**EXPERIMENT["data"], "standardise": "federated"},
}
BY_CLIENT: dict[str, Any] = {
    "privacy": {**PRIVATE, "unit": "client", "noise": "distributed"},
    "aggregation": {"weights": "uniform"},
}
PER_CLIENT = {**POLICY, "unit": "client"}
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "records, local noise": ({}, POLICY),
    "records, local noise and charged statistics": ({"data": SHARED["data"]}, POLICY),
    "records, local noise, four sites a round": ({"cohort": {"fraction": 0.8}, "rounds": 3}, POLICY),
    "records, shared noise and charged statistics": (SHARED, POLICY),
    "clients, shared noise": (BY_CLIENT, PER_CLIENT),
    "clients, the server's noise": (
        {**BY_CLIENT, "privacy": {**BY_CLIENT["privacy"], "noise": "central"}},
        {**PER_CLIENT, "noise": ["central"]},
    ),
    "clients, counted per record": (BY_CLIENT, {**POLICY, "max_epsilon": 30.0}),
}


def agreed(sites: Sites, run: str, **changes: Any) -> RunSetup:
    """Returns the set-up of a run that all sites have accepted."""
    return setup_of(sites, agreement(sites, run=run, **changes).reach(site_names()))


def trained(sites: Sites, setup: RunSetup) -> None:
    """Runs all rounds over the agents; nothing is written."""
    execution = Execution(setup, sites.transport(), directory=None, progress=Silent(), strict=False)
    execution.run(execution.begin())


def conducted(sites: Sites, setup: RunSetup) -> Result:
    """Runs all rounds over the agents and writes what a server writes; returns what it prints."""
    opened = OpenRun(
        experiment=setup.experiment,
        run=setup.run,
        directory=RunDirectory.create(sites.kits.folder / "runs" / setup.run, setup.experiment),
        checkpoint=None,
        opened=time.perf_counter(),
    )
    return execute(opened, setup, sites.transport(), engine="sites", progress=Silent(), strict=False)


def ledger_of(sites: Sites, site: str) -> Ledger:
    config = SiteConfig.load(sites.kits.site(site) / "site.toml")
    return open_ledger(config, Identity.load(config))


@pytest.mark.parametrize("mode", MODES)
def test_the_forecast_is_what_the_ledger_holds_after_the_run(mode: str, tmp_path: Path) -> None:
    changes, policy = MODES[mode]
    sites = Sites(kits_in(tmp_path / "kits", policy=policy))
    setup = agreed(sites, "first", **changes)
    ledgers = {site: ledger_of(sites, site) for site in site_names()}
    before = {
        site: forecast(setup, site, ledger=ledger, dataset="breasts") for site, ledger in ledgers.items()
    }
    trained(sites, setup)
    assert before == {site: ledger.epsilon("breasts") for site, ledger in ledgers.items()}
    assert all(0 < ledger.epsilon("breasts") <= policy["max_epsilon"] for ledger in ledgers.values())


@pytest.mark.parametrize("mode", ["records, shared noise and charged statistics", "clients, shared noise"])
def test_a_sites_ledger_holds_exactly_what_was_printed(mode: str, tmp_path: Path) -> None:
    changes, policy = MODES[mode]
    sites = Sites(kits_in(tmp_path / "kits", policy=policy))
    setup = agreed(sites, "first", **changes)
    result = conducted(sites, setup)
    printed = {entry.client: entry.epsilon for entry in result.privacy}
    for site in site_names():
        ledger = ledger_of(sites, site)
        assert ledger.epsilon("breasts") == printed[site] <= PRIVATE["epsilon"]
        unit = setup.protections[site].unit
        charged = Counter(event for charged, event in charges_of(setup, site) if charged == unit)
        assert Counter(ledger.account("breasts", unit=unit).events) == charged
    assert verify_run(sites.kits.folder / "runs" / "first")


def test_what_was_spent_before_counts_whatever_it_protected(tmp_path: Path) -> None:
    sites = Sites(kits_in(tmp_path / "kits", policy={**POLICY, "max_epsilon": 30.0}))
    trained(sites, agreed(sites, "first", **BY_CLIENT))
    ledger = ledger_of(sites, "client-0")
    first = ledger.epsilon("breasts")
    second = agreed(sites, "second")
    expected = forecast(second, "client-0", ledger=ledger, dataset="breasts")
    assert expected is not None
    assert expected > first
    trained(sites, second)
    assert ledger.epsilon("breasts") == expected


def test_a_run_that_hides_clients_may_be_too_much_for_their_records(tmp_path: Path) -> None:
    sites = Sites(kits_in(tmp_path / "kits"))
    with pytest.raises(PolicyRefusal, match=r"max_epsilon: \S+ after this run and all before it"):
        agreed(sites, "first", **BY_CLIENT)


def test_statistics_that_are_declared_unprotected_reach_no_site(tmp_path: Path) -> None:
    sites = Sites(kits_in(tmp_path / "kits"))
    declared = {**SHARED, "privacy": {**SHARED["privacy"], "statistics": "declared"}}
    with pytest.raises(PolicyRefusal, match="require_privacy: statistics that are declared unprotected"):
        agreed(sites, "first", **declared)
    assert ledger_of(sites, "client-0").account("breasts").events == ()


def test_without_privacy_nothing_is_forecast(tmp_path: Path) -> None:
    sites = Sites(kits_in(tmp_path / "kits", policy={**POLICY, "require_privacy": False}))
    setup = agreed(sites, "first", privacy={"enabled": False})
    assert forecast(setup, "client-0", ledger=ledger_of(sites, "client-0"), dataset="breasts") is None
