"""Real agents with kits, ledgers and keys, driven as a server drives them: agreement, rounds, restarts."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import PolicyRefusal, RosterMismatch, TamperedLedger, UnknownClient, UnsafeFile
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation import terms
from fedlearn.federation.envelope import seal
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.terms import Inquiry, Proposal, Refusal
from fedlearn.privacy import store
from fedlearn.privacy.chain import check_chain
from fedlearn.privacy.release import latest, read, spent
from fedlearn.rounds.messages import Failure, TrainRequest, decode_reply, encode
from fedlearn.rounds.outcome import RoundOutcome
from fedlearn.rounds.transport import Lost, Message
from tests.federation.sites import (
    EXPERIMENT,
    RUN,
    Sites,
    agent_of,
    agreement,
    experiment,
    gone,
    kits_in,
    setup_of,
    site_names,
)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(kits_in(tmp_path / "kits"))


def run_round(sites: Sites, setup: RunSetup, params: np.ndarray[Any, Any], number: int) -> RoundOutcome:
    server = setup.server(sites.transport())
    return server.run_round(params, site_names(), round=number)


def epsilon_of(sites: Sites, site: str) -> float:
    return float(account_of(sites, site).epsilon(delta=1e-3))


def account_of(sites: Sites, site: str) -> Any:
    rows = read(sites.kits.site(site) / "state" / "ledger.sqlite")
    check_chain(rows)
    return spent(latest(rows).values(), "breasts")


def states_of(sites: Sites, site: str) -> list[str]:
    rows = read(sites.kits.site(site) / "state" / "ledger.sqlite")
    return [row.values["state"] for row in rows]


def test_five_sites_agree_train_and_charge_their_ledgers(sites: Sites) -> None:
    proposal = agreement(sites).reach(site_names())
    setup = setup_of(sites, proposal)
    params = setup.experiment.initial_params
    outcome = run_round(sites, setup, params, 0)
    assert outcome.failure is None
    assert outcome.survivors == tuple(site_names())
    assert states_of(sites, "client-0") == ["opened", "reserved", "committed"]
    event = setup.protections["client-0"].event()
    assert event is not None
    assert account_of(sites, "client-0").events == (event,)


def test_one_of_five_may_vanish_and_rejoins_after_a_restart(sites: Sites) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    sites.faults["client-2"] = gone
    params = setup.experiment.initial_params
    outcome = run_round(sites, setup, params, 0)
    assert outcome.failure is None
    assert outcome.dropped == {"client-2": "unreachable"}
    sites.faults.clear()
    sites.restart("client-2")
    outcome = run_round(sites, setup, params, 1)
    assert outcome.survivors == tuple(site_names())


def vanish_at(step: int) -> Any:
    """Answers ``step`` requests, then dies: nothing of what it knew outlives it."""
    answered = iter(range(step))

    def fault(message: Message) -> Lost | None:
        return None if next(answered, None) is not None else gone(message)

    return fault


@pytest.mark.parametrize("step", range(5))
def test_a_site_killed_at_any_step_is_a_dropout_and_its_ledger_never_undercounts(
    sites: Sites, step: int
) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    sites.faults["client-1"] = vanish_at(step)
    outcome = run_round(sites, setup, setup.experiment.initial_params, 0)
    assert outcome.failure is None
    trained = step > 2
    assert ("client-1" in outcome.survivors) == trained
    sites.restart("client-1")
    assert account_of(sites, "client-1").steps == (setup.protections["client-1"].plan.steps if trained else 0)
    sites.faults.clear()
    assert run_round(sites, setup, setup.experiment.initial_params, 1).failure is None


def test_a_site_killed_in_training_is_charged(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))

    class Killed(BaseException):
        """As SIGKILL: nothing after it runs."""

    def killed(message: Message) -> Lost:
        from fedlearn.training.local import LocalTrainer

        def die(*arguments: Any, **named: Any) -> Any:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(LocalTrainer, "train", die)
            patch.setattr("fedlearn.rounds.releases.LedgerReleases._burn", lambda *_: None)
            with contextlib.suppress(Killed):
                sites.agents["client-1"].handle(message)
        return gone(message)

    sites.faults["client-1"] = lambda message: killed(message) if message.vectors else None
    outcome = run_round(sites, setup, setup.experiment.initial_params, 0)
    assert outcome.failure is None
    assert states_of(sites, "client-1")[-1] == "reserved"
    sites.restart("client-1")
    assert states_of(sites, "client-1")[-1] == "burned"
    assert account_of(sites, "client-1").steps == setup.protections["client-1"].plan.steps


def test_two_of_five_lost_fail_the_round_by_name_and_the_next_begins(sites: Sites) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    sites.faults["client-1"] = sites.faults["client-2"] = gone
    params = setup.experiment.initial_params
    outcome = run_round(sites, setup, params, 0)
    assert outcome.failure is not None
    assert "3 clients" in outcome.failure
    sites.faults.clear()
    assert run_round(sites, setup, params, 1).failure is None


def test_a_refused_proposal_gives_no_byte_of_an_update(sites: Sites) -> None:
    greedy: dict[str, Any] = {"privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3}}
    with pytest.raises(PolicyRefusal, match=r"max_epsilon: 8 is asked for, at most 4 is allowed"):
        agreement(sites, **greedy).reach(site_names())
    request = Message(
        client="client-0",
        body=encode(TrainRequest(run=RUN, round=0)),
        vectors=(np.zeros(62, dtype=np.float32),),
    )
    answers = list(sites.transport().exchange([request]))
    assert isinstance(answers[0], Message)
    assert answers[0].vectors == ()
    reply = decode_reply(answers[0].body)
    assert isinstance(reply, Failure)
    assert reply.code == "UnknownClient"
    assert states_of(sites, "client-0") == ["opened"]


def test_what_earlier_runs_spent_counts(sites: Sites) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    for number in range(2):
        assert run_round(sites, setup, setup.experiment.initial_params, number).failure is None
    assert epsilon_of(sites, "client-0") == pytest.approx(3.0, abs=0.05)
    inquiry = Inquiry(run="second", experiment=experiment().to_toml(), roster=sites.kits.roster().digest)
    standing = sites.transport().ask({site: inquiry for site in site_names()})
    sizes = {site: one.declared_size for site, one in standing.items() if isinstance(one, terms.Standing)}
    schema = next(one.schema for one in standing.values() if isinstance(one, terms.Standing))
    proposal = Proposal(
        run="second",
        attempt=1,
        experiment=experiment().to_toml(),
        roster=sites.kits.roster().digest,
        sizes=sizes,
        schema=schema,
    )
    answer = sites.transport().ask({"client-0": proposal})["client-0"]
    assert isinstance(answer, Refusal)
    assert answer.rule == "max_epsilon"
    assert answer.allowed == "4"


def test_a_half_done_round_is_done_again_under_privacy_with_a_new_charge(sites: Sites) -> None:
    asked = agreement(sites)
    setup = setup_of(sites, asked.reach(site_names()))
    params = setup.experiment.initial_params
    for site in site_names():  # the server dies after the masked inputs
        sites.faults[site] = vanish_at(3)
    assert run_round(sites, setup, params, 0).failure is not None
    sites.faults.clear()
    assert asked.renew(site_names()).attempt == 2
    assert run_round(sites, setup, params, 0).failure is None
    steps = setup.protections["client-0"].plan.steps
    assert account_of(sites, "client-0").steps == 2 * steps


def test_without_privacy_a_second_sum_for_one_model_is_refused(tmp_path: Path) -> None:
    policy = {"max_epsilon": 1.0, "max_delta": 1e-3, "require_privacy": False}
    sites = Sites(kits_in(tmp_path / "kits", policy=policy))
    asked = agreement(sites, privacy={"enabled": False})
    setup = setup_of(sites, asked.reach(site_names()))
    params = setup.experiment.initial_params
    for site in site_names():
        sites.faults[site] = vanish_at(3)
    assert run_round(sites, setup, params, 0).failure is not None
    sites.faults.clear()
    for site in site_names():
        sites.restart(site)
    asked.renew(site_names())
    outcome = run_round(sites, setup, params, 0)
    assert outcome.failure is not None
    assert set(outcome.dropped.values()) == {"AlreadyAnswered"}


def test_a_run_keeps_its_terms_and_each_attempt_is_a_later_one(sites: Sites) -> None:
    proposal = agreement(sites).reach(site_names())
    again = sites.transport().ask({"client-0": proposal})["client-0"]
    assert isinstance(again, Refusal)
    assert (again.rule, again.asked) == ("attempt", "1")
    other = msgspec.structs.replace(proposal, attempt=2, experiment=experiment(rounds=3).to_toml())
    answer = sites.transport().ask({"client-0": other})["client-0"]
    assert isinstance(answer, Refusal)
    assert answer.rule == "run"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sizes": {"client-0": 80, "../../etc": 10}}, "sites"),
        ({"sizes": {"client-1": 80}}, "sites"),
        ({"roster": b"other"}, "roster"),
        ({"experiment": "name = 'a"}, "experiment"),
        ({"experiment": "unknown = 1"}, "experiment"),
    ],
)
def test_hostile_proposals_are_refused_by_name(sites: Sites, changes: dict[str, Any], rule: str) -> None:
    base = agreement(sites)
    proposal = Proposal(
        run="hostile",
        attempt=1,
        experiment=base.experiment,
        roster=base.roster,
        sizes={site: 80 for site in site_names()},
        schema=terms.Schema(shape=(30,), classes=2),
    )
    answer = sites.transport().ask({"client-0": msgspec.structs.replace(proposal, **changes)})["client-0"]
    assert isinstance(answer, Refusal)
    assert answer.rule == rule
    assert not (sites.kits.site("client-0") / "state" / "runs" / "hostile.proposal").exists()


@pytest.mark.parametrize("run", ["../up", "a/b", "", "a" * 200, ".hidden"])
def test_a_run_id_is_no_path(sites: Sites, run: str) -> None:
    inquiry = Inquiry(run=run, experiment=experiment().to_toml(), roster=b"")
    answer = sites.transport().ask({"client-0": inquiry})["client-0"]
    assert isinstance(answer, Refusal)
    assert answer.rule == "MalformedMessage"


def sealed_inquiry(sites: Sites, *, key: SigningKey, clock: float) -> Message:
    inquiry = Inquiry(run="r", experiment=experiment().to_toml(), roster=sites.kits.roster().digest)
    message = Message(client="client-0", body=terms.encode(inquiry))
    return seal(message, kind="site", key=key, clock=lambda: clock)[0]


def test_only_the_rosters_server_is_answered(sites: Sites) -> None:
    forged = sealed_inquiry(sites, key=SigningKey.generate(), clock=time.time())
    assert isinstance(sites.agents["client-0"].handle(forged), Lost)
    site_key = read_signing_key(sites.kits.site("client-1") / "site.key")
    by_a_site = sealed_inquiry(sites, key=site_key, clock=time.time())
    assert isinstance(sites.agents["client-0"].handle(by_a_site), Lost)
    assert sites.agents["client-0"].counters.rejected == 2


def test_a_replayed_message_is_refused_also_after_a_restart(sites: Sites) -> None:
    key = read_signing_key(sites.kits.server / "signing.key")
    message = sealed_inquiry(sites, key=key, clock=time.time())
    assert isinstance(sites.agents["client-0"].handle(message), Message)
    for _ in range(2):
        reply = sites.agents["client-0"].handle(message)
        assert isinstance(reply, Message)
        assert b"AlreadyAnswered" in reply.body
        sites.restart("client-0")


def test_an_old_message_is_refused_as_clock(sites: Sites) -> None:
    key = read_signing_key(sites.kits.server / "signing.key")
    reply = sites.agents["client-0"].handle(sealed_inquiry(sites, key=key, clock=time.time() - 3600))
    assert isinstance(reply, Message)
    assert b"ClockSkew" in reply.body
    assert b"clock:" in reply.body


def test_a_relay_cannot_answer_for_another_site(sites: Sites) -> None:
    inquiry = Inquiry(run=RUN, experiment=experiment().to_toml(), roster=sites.kits.roster().digest)
    sites.faults["client-4"] = lambda message: replaced(sites.answers[-1], client="client-4")
    answers = sites.transport().ask({site: inquiry for site in site_names()})
    assert answers["client-4"] == Lost(client="client-4", reason="TamperedMessage")
    assert isinstance(answers["client-3"], terms.Standing)


@pytest.mark.parametrize("where", ["body", "vector", "stale"])
def test_a_tampered_answer_is_a_loss_by_name_and_the_others_go_on(sites: Sites, where: str) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    kept: list[Message] = []

    def tamper(message: Message) -> Message | Lost | None:
        answer = sites.agents["client-0"].handle(message)
        if isinstance(answer, Lost):
            return answer
        kept.append(answer)
        if where == "stale":
            return kept[0]
        if where == "vector" and answer.vectors:
            return replaced(answer, vectors=(answer.vectors[0] + np.uint32(1),))
        return (
            replaced(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
            if where == "body"
            else None
        )

    def once(message: Message) -> Message | Lost | None:
        return tamper(message) if where != "vector" or message.vectors else None

    sites.faults["client-0"] = once
    outcome = run_round(sites, setup, setup.experiment.initial_params, 0)
    assert outcome.failure is None
    assert "client-0" not in outcome.survivors or where == "stale"
    assert outcome.dropped.get("client-0", "TamperedMessage") in {"TamperedMessage", "MalformedMessage"}


def test_a_revoked_site_does_not_start_and_an_old_roster_is_refused(sites: Sites) -> None:
    kits = sites.kits
    old = (kits.site("client-0") / "roster.bin").read_bytes()
    kits.revoke("client-3")
    with pytest.raises(UnknownClient, match="not on roster version 2"):
        agent_of(kits, "client-3")
    agent_of(kits, "client-0")
    (kits.site("client-0") / "roster.bin").write_bytes(old)
    with pytest.raises(RosterMismatch, match="version 1 does not follow the pinned version 2"):
        agent_of(kits, "client-0")


def test_a_key_that_others_can_read_is_refused(sites: Sites) -> None:
    (sites.kits.site("client-0") / "site.key").chmod(0o644)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        agent_of(sites.kits, "client-0")


def test_linked_data_are_refused(tmp_path: Path) -> None:
    real, folder = tmp_path / "real", tmp_path / "data"
    real.write_text("records")
    folder.mkdir()
    (folder / "records.csv").symlink_to(real)
    kits = kits_in(tmp_path / "kits", data={"folder": str(folder)})
    with pytest.raises(UnsafeFile, match="is a link"):
        agent_of(kits, "client-0")


def test_a_tampered_ledger_stops_the_site(sites: Sites) -> None:
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    run_round(sites, setup, setup.experiment.initial_params, 0)
    path = sites.kits.site("client-0") / "state" / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER rows_stay")
        database.execute("DELETE FROM rows WHERE length = 2")
    with pytest.raises(TamperedLedger, match="restore the newest copy"):
        agent_of(sites.kits, "client-0")


def test_a_locked_ledger_trains_nothing_and_the_site_s_log_says_so(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.001)
    sites.restart("client-0")
    setup = setup_of(sites, agreement(sites).reach(site_names()))
    with (
        contextlib.closing(
            sqlite3.connect(sites.kits.site("client-0") / "state" / "ledger.sqlite", isolation_level=None)
        ) as other,
        caplog.at_level("INFO", logger="fedlearn.site"),
    ):
        sites.faults["client-0"] = locks_before_training(other)
        outcome = run_round(sites, setup, setup.experiment.initial_params, 0)
    assert outcome.dropped == {"client-0": "LedgerUnavailable"}
    assert account_of(sites, "client-0").steps == 0
    (failed,) = [record for record in caplog.records if record.getMessage() == "request failed"]
    assert failed.told["error"] == "LedgerUnavailable"  # type: ignore[attr-defined]  # set by told
    assert "locked" in failed.told["reason"]  # type: ignore[attr-defined]


def locks_before_training(ledger: sqlite3.Connection) -> Any:
    """Keeps everybody else from writing to a ledger from the third request on: that is the training."""
    asked = iter(range(2))

    def fault(message: Message) -> None:
        if next(asked, None) is None and not ledger.in_transaction:
            ledger.execute("BEGIN EXCLUSIVE")

    return fault


def test_the_experiment_of_these_tests_has_five_clients() -> None:
    assert EXPERIMENT["data"]["partition"]["clients"] == len(site_names())


def test_three_sites_are_told_that_they_are_too_few(tmp_path: Path) -> None:
    names = site_names(3)
    sites = Sites(kits_in(tmp_path / "kits", sites=names))
    data = {**EXPERIMENT["data"], "partition": {"kind": "iid", "clients": 3}}
    few = agreement(sites, least=3, data=data, secure_aggregation={"enabled": True})
    with pytest.raises(PolicyRefusal, match=r"clients=3 must be at least colluders \+ 3 = 4"):
        few.reach(names)


def test_four_sites_cannot_lose_one_and_are_told_so_beforehand(tmp_path: Path) -> None:
    names = site_names(4)
    sites = Sites(kits_in(tmp_path / "kits", sites=names))
    data = {**EXPERIMENT["data"], "partition": {"kind": "iid", "clients": 4}}
    setup = setup_of(sites, agreement(sites, least=4, data=data).reach(names))
    assert setup.secure is not None
    assert "tolerates no dropout" in setup.secure.parameters.caution
    sites.faults["client-3"] = gone
    server = setup.server(sites.transport())
    outcome = server.run_round(setup.experiment.initial_params, names, round=0)
    assert outcome.failure is not None
    assert "3 clients" in outcome.failure
    sites.faults.clear()
    assert server.run_round(setup.experiment.initial_params, names, round=1).failure is None
