"""The clients of a run: what each answers, before the first round and in it, and what counts its releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import PrivacyError
from fedlearn.experiment.randomness import noise_of, rounding_of
from fedlearn.experiment.stages import run_of, stage_run
from fedlearn.experiment.trainers import trainer_of
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.client import Client
from fedlearn.rounds.member import Membership
from fedlearn.rounds.protection import Protection
from fedlearn.rounds.receipts import Issuer
from fedlearn.rounds.releases import AccountedReleases, LedgerReleases, Releases
from fedlearn.secagg.latches import Latches
from fedlearn.training.local import Workbench

if TYPE_CHECKING:
    from fedlearn.experiment.setup import RunSetup


@dataclass(frozen=True, kw_only=True)
class ClientParts:
    """What one client has for itself, and all its releases in a run share.

    Attributes:
      name: its id.
      key: its signing key; None: it signs nothing, and is no member of secure aggregation.
      account: what its records have spent in the run.
      ledger: what they have spent over all runs, which then decides; None counts this run alone.
      dataset: its name of the records.
      latches: its memory of what it has answered.
    """

    name: str
    key: SigningKey | None
    account: Account
    ledger: Ledger | None
    dataset: str
    latches: Latches


def client_of(
    setup: RunSetup, parts: ClientParts, *, bench: Workbench, first: Client | None = None
) -> Client:
    """Returns a client of a run, with what answers for it before the first round.

    Args:
      setup: the run.
      parts: what the client has for itself.
      bench: the workbench it trains on.
      first: what answers before; of a stage only.

    Raises:
      PrivacyError: the ledger has no budget for the records, or the run no differential privacy.
    """
    config, name = setup.experiment.config, parts.name
    before = first or _statistics_client(setup, parts)
    for stage in setup.stages:
        before = client_of(stage, parts, bench=stage.own_bench, first=before)
    protection = setup.protections[name]
    return Client(
        **_shared(setup, parts, protection, ledger=parts.ledger),
        run=setup.run,
        trainer=trainer_of(setup, name, protection, bench),
        dimension=setup.request_length(bench.model),
        rounding=rounding_of(config, setup.run, name),
        noise=noise_of(config, setup.run, name, "part"),
        issuer=_issuer(setup, parts),
        first=before,
    )


def _statistics_client(setup: RunSetup, parts: ClientParts) -> Client | None:
    """Returns what answers for the client when statistics are released; None if none are."""
    if setup.statistics is None:
        return None
    config, name = setup.experiment.config, parts.name
    protection = setup.statistics_protections[name]
    # Statistics that are declared unprotected cost nothing that a ledger could count.
    ledger = None if protection.event() is None else parts.ledger
    return Client(
        **_shared(setup, parts, protection, ledger=ledger),
        run=stage_run(setup.run, "statistics"),
        trainer=setup.statistics.trainer(setup.experiment.population.clients[name]),
        dimension=setup.statistics.request.size,
        rounding=rounding_of(config, setup.run, name, "statistics"),
        noise=noise_of(config, setup.run, name, "statistics"),
    )


def _shared(
    setup: RunSetup, parts: ClientParts, protection: Protection, *, ledger: Ledger | None
) -> dict[str, Any]:
    """Returns what all releases of a client share: one account or ledger, one memory, one key."""
    return {
        "name": parts.name,
        "protection": protection,
        "releases": _releases(setup, parts, protection, ledger),
        "membership": _membership(setup, parts, protection),
    }


def _releases(setup: RunSetup, parts: ClientParts, protection: Protection, ledger: Ledger | None) -> Releases:
    if ledger is None:
        return AccountedReleases(client=parts.name, protection=protection, account=parts.account)
    if setup.experiment.config.reproducible_noise:
        raise PrivacyError(
            "reproducible_noise = true protects nobody from one who knows the seed, so a ledger has"
            " nothing to count: switch it off, or run without a ledger"
        )
    return LedgerReleases(ledger, run=run_of(setup.run), dataset=parts.dataset, protection=protection)


def _membership(setup: RunSetup, parts: ClientParts, protection: Protection) -> Membership | None:
    if parts.key is None:
        return None
    redo = setup.experiment.config.secure_aggregation.redo_without_dp
    repeats = protection.event() is not None or redo
    return Membership(key=parts.key, latches=parts.latches, repeat_model=repeats)


def _issuer(setup: RunSetup, parts: ClientParts) -> Issuer | None:
    if parts.key is None:
        return None
    config = setup.experiment.config
    return Issuer(
        key=parts.key,
        roster=setup.roster,
        dataset=parts.dataset,
        delta=config.privacy.delta,
        noise="reproducible" if config.reproducible_noise else "os",
        ledger=parts.ledger,
    )
