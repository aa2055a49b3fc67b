"""``federation.toml``: what a consortium agrees on before anything is set up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fedlearn.config import Name, Section, toml_file, validated
from fedlearn.federation.server.config import Port


class ServerSection(Section):
    """Where the server is."""

    names: list[str] = Field(
        min_length=1,
        description="names and addresses by which sites reach it; the first goes into their kits",
    )
    host: str = Field(default="0.0.0.0", description="interface that it listens on")  # noqa: S104  # a server
    port: Port = Field(default=9092, description="its port")
    public_port: Port | None = Field(
        default=None, description="port that sites connect to: the proxy's; none: the server's own"
    )
    certificate_days: int = Field(default=365, ge=1, description="how long its certificate holds")
    evaluate: Literal["nowhere", "experiment"] = Field(default="nowhere", description="see server.toml")
    warm: bool = Field(default=False, description="see server.toml")
    minimum_sites: int | None = Field(
        default=None, ge=1, description="fewest sites that a run begins with; none: all"
    )
    wait_seconds: float = Field(default=600.0, gt=0, description="how long it waits for them")

    @property
    def reached_at(self) -> int:
        """Port that sites connect to."""
        return self.public_port or self.port


class SiteDefaults(Section):
    """What the skeleton of every site's ``site.toml`` says; each site changes its own."""

    data: dict[str, Any] = Field(default_factory=dict, description="the [data] table")
    policy: dict[str, Any] = Field(default_factory=dict, description="the [policy] table")
    limits: dict[str, Any] = Field(default_factory=dict, description="the [limits] table")
    link: dict[str, Any] = Field(default_factory=dict, description="more of the [link] table")


class FederationConfig(Section):
    """A federation to set up."""

    name: Name = Field(description="of the federation")
    sites: list[Name] = Field(min_length=1, description="names of the sites")
    keys: Literal["kit", "site"] = Field(
        default="kit",
        description="private keys are made here and travel in the kits, or each site makes its own",
    )
    server: ServerSection
    site: SiteDefaults = Field(default_factory=SiteDefaults)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.sites)) != len(self.sites):
            raise ValueError("two sites have one name")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Returns the federation in a file; raises ConfigError with one line per mistake."""
        return validated(cls, toml_file(path))
