"""A site that was not there when a run began: it joins the terms, between two rounds, if it likes them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import tomli_w

from fedlearn.config import toml_file
from fedlearn.federation.server.newcomers import TRIES, Newcomers
from fedlearn.federation.terms import Acceptance, Refusal
from fedlearn.privacy.release import latest, read, spent
from tests.federation.sites import RUN, Sites, agreement, gone, kits_in, setup_of, site_names

EARLY, LATE = site_names()[:4], "client-4"


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(kits_in(tmp_path / "kits"))


def steps_of(sites: Sites, site: str) -> int:
    rows = read(sites.kits.site(site) / "state" / "ledger.sqlite")
    return int(spent(latest(rows).values(), "breasts").steps)


def test_a_site_joins_between_two_rounds_and_is_charged_from_then_on(sites: Sites) -> None:
    agreed = agreement(sites, least=4)
    setup = setup_of(sites, agreed.reach(EARLY))
    params = setup.experiment.initial_params
    outcome = setup.server(sites.transport()).run_round(params, EARLY, round=0)
    assert outcome.survivors == tuple(EARLY)
    assert agreed.invite(LATE) is True
    proposal = agreed.renew(site_names())
    assert set(proposal.sizes) == set(site_names())
    setup = setup_of(sites, proposal)
    outcome = setup.server(sites.transport()).run_round(params, site_names(), round=1)
    assert (outcome.failure, outcome.survivors) == (None, tuple(site_names()))
    assert steps_of(sites, "client-0") == 2 * steps_of(sites, LATE) > 0


def test_a_site_that_refuses_changes_nothing_for_the_others(sites: Sites) -> None:
    agreed = agreement(sites, least=4)
    before = agreed.reach(EARLY)
    file = sites.kits.site(LATE) / "site.toml"
    values = toml_file(file)
    values["policy"]["max_epsilon"] = 0.001
    file.write_text(tomli_w.dumps(values))
    sites.restart(LATE)
    assert agreed.invite(LATE) is False
    assert agreed.kept().sizes == before.sizes
    assert sites.agents[LATE].counters.refusals
    assert set(agreed.renew(EARLY).sizes) == set(EARLY)


def test_who_refused_is_not_asked_again_and_who_is_silent_a_few_times(sites: Sites) -> None:
    agreed = agreement(sites, least=4)
    agreed.reach(EARLY)
    newcomers = Newcomers(members=site_names(), connected=site_names)
    sites.faults[LATE] = gone
    asked = len(sites.sent)
    for _ in range(TRIES + 2):
        newcomers.invite(agreed)
    assert len(sites.sent) == asked + TRIES
    assert newcomers.waiting(EARLY) == ()
    sites.faults.clear()
    eager = Newcomers(members=site_names(), connected=site_names)
    eager.invite(agreed)
    assert LATE in agreed.kept().sizes
    assert eager.waiting(agreed.kept().sizes) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda sizes: {name: size for name, size in sizes.items() if name != "client-3"},
        lambda sizes: {**sizes, "client-3": sizes["client-3"] + 1},
    ],
)
def test_no_site_is_taken_out_of_the_terms_or_weighed_anew(sites: Sites, change: object) -> None:
    agreed = agreement(sites, least=4)
    proposal = agreed.reach(EARLY)
    sizes = change(proposal.sizes)  # type: ignore[operator]
    other = msgspec.structs.replace(proposal, attempt=proposal.attempt + 1, sizes=sizes)
    answer = agreed.transport.ask({"client-0": other})["client-0"]
    assert isinstance(answer, Refusal)
    assert answer.rule == "run"
    same = msgspec.structs.replace(proposal, attempt=proposal.attempt + 2)
    assert agreed.transport.ask({"client-0": same})["client-0"] == Acceptance(run=RUN)
