"""``server.toml``: where the server listens, its keys, and how long it waits for sites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedlearn.config import Name, Section
from fedlearn.federation.party_file import PartyFile
from fedlearn.federation.site.config import PublicKey

Port = Annotated[int, Field(ge=1, le=65535)]


class WaitingSection(Section):
    """How long the server waits, and for how many."""

    sites: int | None = Field(
        default=None, ge=1, description="fewest sites that a run begins with; none: all of the roster"
    )
    seconds: float = Field(default=600.0, gt=0, description="how long it waits for them")
    step_seconds: float = Field(
        default=600.0, gt=0, description="for the answers of one step, where the experiment sets no deadline"
    )


class ServerConfig(PartyFile):
    """The server, complete. Paths are relative to the file's folder."""

    name: Name = Field(description="of the federation")
    consortium: PublicKey = Field(description="public key that signs the roster, 64 hexadecimal digits")
    roster: str = Field(default="roster.bin", description="the signed roster")
    key: str = Field(default="signing.key", description="signs messages to sites; mode 0600")
    certificate: str = Field(default="server.pem", description="TLS certificate")
    certificate_key: str = Field(default="server.key", description="its private key; mode 0600")
    ca: str = Field(default="ca.crt", description="certificate of the authority that signed it")
    host: str = Field(default="127.0.0.1", description="interface that the SuperLink listens on")
    port: Port = Field(default=9092, description="its port")
    state: str = Field(default="state", description="folder of runs and of Flower's state")
    warm: bool = Field(
        default=False, description="keep loaded what a run needs; otherwise each loads it at its beginning"
    )
    evaluate: Literal["nowhere", "experiment"] = Field(
        default="nowhere",
        description="'experiment': the data set is public, and the server evaluates on its test part",
    )
    waiting: WaitingSection = Field(default_factory=WaitingSection)

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.path(self.state) / "runs"
