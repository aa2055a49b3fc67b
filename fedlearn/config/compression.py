"""How updates are made shorter on their way up."""

from __future__ import annotations

from pydantic import Field

from fedlearn.config.section import Arguments, Section


class CompressionConfig(Section):
    """How updates are made shorter on their way up."""

    name: str | None = Field(
        default=None, description="quantise, top-k, random-k, or module:Name; none sends whole updates"
    )
    arguments: Arguments = Field(default_factory=dict, description="the compressor's own arguments")
    error_feedback: bool = Field(
        default=False, description="a client adds what it has not sent to its next update, and keeps the rest"
    )
