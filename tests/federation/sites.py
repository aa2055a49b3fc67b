"""A federation of real agents in one process: kits on disk, no sockets, no Flower."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedlearn.config import ExperimentConfig, validated
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.provisioning.config import FederationConfig
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.server.agreement import Agreement
from fedlearn.federation.server.conduct import known_experiment
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.server.sealed import SealedTransport
from fedlearn.federation.site.agent import Agent
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.run_agent import open_agent
from fedlearn.federation.terms import Proposal
from fedlearn.rounds.transport import Lost, Message

Fault = Callable[[Message], Message | Lost | None]
"""Answers in a site's place, or None to let it answer itself."""

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "rounds": 2,
    "seed": 4,
    "metrics": ["accuracy"],
    "data": {
        "dataset": "breast-cancer",
        "partition": {"kind": "iid", "clients": 5},
        "test_fraction": 0.3,
    },
    "model": {"name": "logistic"},
    "training": {"learning_rate": 0.5, "local_steps": 1, "sample_rate": 0.5},
    "privacy": {"enabled": True, "epsilon": 3.0, "delta": 1e-3},
    "secure_aggregation": {"enabled": True, "min_survivors": 4},
}
RUN = "small-1"
POLICY = {"max_epsilon": 4.0, "max_delta": 1e-3}


def experiment(**changes: Any) -> ExperimentConfig:
    return ExperimentConfig.from_dict({**EXPERIMENT, **changes})


def site_names(count: int = 5) -> list[str]:
    return [f"client-{number}" for number in range(count)]


def kits_in(
    folder: Path,
    *,
    sites: Iterable[str] = tuple(site_names()),
    policy: Mapping[str, Any] = POLICY,
    data: Mapping[str, Any] | None = None,
    keys: str = "kit",
) -> Kits:
    values = {
        "name": "test",
        "sites": list(sites),
        "keys": keys,
        "server": {"names": ["127.0.0.1"], "host": "127.0.0.1"},
        "site": {
            "data": {"source": "breast-cancer", "id": "breasts", "share": "dealt", **(data or {})},
            "policy": dict(policy),
        },
    }
    return Kits.create(validated(FederationConfig, values), folder)


def agent_of(kits: Kits, site: str) -> Agent:
    return open_agent(SiteConfig.load(kits.site(site) / "site.toml"))


class Sites:
    """Hands each message to its site's agent; a fault may step in.

    Attributes:
      agents: by site.
      faults: by site.
      sent: every message, as it left the server.
    """

    def __init__(self, kits: Kits) -> None:
        self.kits = kits
        self.agents = {site: agent_of(kits, site) for site in kits.config.sites}
        self.faults: dict[str, Fault] = {}
        self.sent: list[Message] = []
        self.answers: list[Message | Lost] = []

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        for request in requests:
            self.sent.append(request)
            fault = self.faults.get(request.client)
            answer = None if fault is None else fault(request)
            answer = self.agents[request.client].handle(request) if answer is None else answer
            self.answers.append(answer)
            yield answer

    def restart(self, site: str) -> None:
        """As after kill -9: nothing but what is on disk."""
        self.agents[site] = agent_of(self.kits, site)

    def transport(self) -> SealedTransport:
        return SealedTransport(
            self,
            key=read_signing_key(self.kits.server / "signing.key"),
            roster=self.kits.roster(),
            step_seconds=60.0,
        )


def agreement(sites: Sites, *, run: str = RUN, least: int = 5, **changes: Any) -> Agreement:
    """Returns a server's part in agreeing on a run, in a folder of its own."""
    folder = sites.kits.folder / run
    folder.mkdir(exist_ok=True)
    return Agreement(
        transport=sites.transport(),
        run=run,
        experiment=experiment(**changes).to_toml(),
        roster=sites.kits.roster().digest,
        directory=folder,
        least=least,
    )


def setup_of(sites: Sites, proposal: Proposal) -> RunSetup:
    """Returns the run as a server that has the public data sets up what was agreed on."""
    config = ServerConfig.load(sites.kits.server / "server.toml")
    known = known_experiment(proposal, config.model_copy(update={"evaluate": "experiment"}))
    return RunSetup(experiment=known, run=proposal.run, roster=sites.kits.roster().clients)


def gone(message: Message) -> Lost:
    return Lost(client=message.client, reason="unreachable")
