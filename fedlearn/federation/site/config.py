"""``site.toml``: what a site holds and what it allows. Written by the site, never by the server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fedlearn.config import Name, Section
from fedlearn.federation.party_file import PartyFile
from fedlearn.privacy.guarantee import Noise, Unit

LEDGER = "ledger.sqlite"
"""The ledger, in the folder of the state."""

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9._\[\]:-]+:[0-9]{1,5}$")]


class DataSection(Section):
    """Which records are the site's own."""

    source: str = Field(description="a data set by name, or the site's own loader, module:Name")
    id: Name = Field(description="the ledger's name for these records; one budget for all runs on them")
    folder: str | None = Field(default=None, description="folder of its files; links in it are refused")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the source's own arguments")
    serves: list[str] = Field(
        default_factory=list, description="data sets that experiments may ask for; empty: the source's name"
    )
    share: Literal["own", "dealt"] = Field(
        default="own",
        description="all records of the source are this site's, or (public data, for trying) the part that"
        " the experiment's partition deals to it",
    )
    declared_size: int | None = Field(
        default=None, ge=1, description="public number of training records; needed with share = 'own'"
    )


class PolicySection(Section):
    """What a proposal may ask for; anything else is refused with the rule's name."""

    unit: Unit = Field(
        default="record",
        description="what a guarantee must protect, and what max_epsilon is counted per; what hides the whole"
        " client hides its records, too, at half the noise multiplier",
    )
    noise: list[Noise] = Field(
        default=["local", "distributed"],
        description="who may add the noise; 'central' trusts the server to add it",
    )
    max_epsilon: float = Field(gt=0, description="ε that the records may spend over all runs, ever")
    max_delta: float = Field(gt=0, lt=1, description="δ at which ε is taken; the largest that may be asked")
    require_privacy: bool = Field(default=True, description="refuse runs without differential privacy")
    allow_plain: bool = Field(default=False, description="allow updates that the server sees one by one")
    min_cohort: int = Field(default=4, ge=1, description="fewest sites in a round")
    min_survivors: int = Field(default=4, ge=1, description="fewest sites in a sum")
    min_colluders: int = Field(default=1, ge=1, description="fewest sites that are assumed to collude")
    redo_without_dp: bool = Field(
        default=False, description="give a second masked update for one model without privacy"
    )
    models: list[str] = Field(default_factory=list, description="models by name; empty: every registered one")
    trainers: list[str] = Field(
        default_factory=list, description="optimizers by name; empty: every registered one"
    )
    imports: list[str] = Field(
        default_factory=list, description="installed parts that may be named as module:Name"
    )
    max_rounds: int = Field(default=10_000, ge=1, description="rounds of one run")
    max_steps: int = Field(default=100_000, ge=1, description="local steps, or epochs, of one round")
    max_parameters: int = Field(default=100_000_000, ge=1, description="parameters of a model")


class LimitsSection(Section):
    """What a run may take of the machine."""

    threads: int = Field(default=1, ge=1, le=1024, description="threads of the agent")
    device: Annotated[str, Field(pattern=r"^(cpu|auto|cuda:[0-9]{1,3})$")] = Field(
        default="cpu",
        description="where the site trains: cpu, cuda:N, or auto for the first GPU, if any",
    )
    seconds_per_request: float = Field(
        default=3600.0, gt=0, description="after which the agent gives up, ends and is started again"
    )


class LinkSection(Section):
    """How the site reaches the server."""

    superlink: Address = Field(description="host:port of the server")
    ca: str = Field(default="ca.crt", description="certificate that the server's must chain to")
    node_key: str = Field(default="node.key", description="private key of the SuperNode")
    port: int = Field(default=9094, ge=1, le=65535, description="loopback port of the SuperNode's own API")
    user: str | None = Field(
        default=None,
        description="user that the SuperNode runs as, by name or as UID:GID; none: the agent's (for trying)",
    )
    fast_poll: bool = Field(default=False, description="poll every 0.2 s instead of Flower's 3 s")
    warm: bool = Field(
        default=False,
        description="fork a process per message from a warm one, not a new interpreter",
    )


class SiteConfig(PartyFile):
    """One site, complete. Paths are relative to the file's folder."""

    site: Name = Field(description="the site's name on the roster")
    consortium: PublicKey = Field(description="public key that signs the roster, 64 hexadecimal digits")
    roster: str = Field(default="roster.bin", description="the signed roster")
    key: str = Field(default="site.key", description="the site's signing key; mode 0600")
    state: str = Field(default="state", description="folder of ledger, latches and accepted runs")
    socket: str = Field(default="run/agent.sock", description="Unix socket of the agent")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="loopback port for Prometheus; none: no endpoint"
    )
    data: DataSection
    policy: PolicySection
    limits: LimitsSection = Field(default_factory=LimitsSection)
    link: LinkSection

    @property
    def served(self) -> list[str]:
        """Data sets that an experiment may ask for."""
        return self.data.serves or [self.data.source]
