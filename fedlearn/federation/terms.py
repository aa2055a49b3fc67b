"""What a server and a site say to each other about a run: data, never code.

==========  ===========================  =========================================================
request     reply                        meaning
==========  ===========================  =========================================================
Inquiry     Standing, or Refusal         would you take part in this, and what do you hold?
Proposal    Acceptance, or Refusal       these are the terms: take part from now on
Finish      Acceptance                   the run is over: forget its keys
==========  ===========================  =========================================================
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

import msgspec

from fedlearn.errors import MalformedMessage

MAX_EXPERIMENT_BYTES = 2**20

Run = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=512)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Toml = Annotated[str, msgspec.Meta(max_length=MAX_EXPERIMENT_BYTES)]
Shape = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=2**31)], ...], msgspec.Meta(max_length=8)]


class _SiteMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run: Run


class Inquiry(_SiteMessage, frozen=True, kw_only=True, tag="inquire"):
    """Asks whether a site would take part.

    Attributes:
      experiment: the resolved experiment, as TOML.
      roster: digest of the server's roster.
    """

    experiment: Toml
    roster: bytes


class Schema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What records look like; public, and the same at every site.

    Attributes:
      shape: of one record's inputs; None where the model does not ask.
      classes: number of classes.
      vocabulary: number of tokens of a text; None for others.
    """

    shape: Shape | None = None
    classes: Size | None = None
    vocabulary: Size | None = None


class Standing(_SiteMessage, frozen=True, kw_only=True, tag="standing"):
    """A site would take part.

    Attributes:
      declared_size: its public number of training records.
      schema: what its records look like.
    """

    declared_size: Size
    schema: Schema


class Proposal(_SiteMessage, frozen=True, kw_only=True, tag="propose"):
    """The terms of a run, the same for all its sites.

    Attributes:
      attempt: counted up each time the server takes the run up again; a half-done round of an
        earlier attempt is void.
      experiment: the resolved experiment, as TOML.
      roster: digest of the server's roster.
      sizes: site → declared size, of every site that takes part.
      schema: what records look like.
    """

    attempt: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    experiment: Toml
    roster: bytes
    sizes: Annotated[dict[Annotated[str, msgspec.Meta(max_length=128)], Size], msgspec.Meta(max_length=4096)]
    schema: Schema

    def continues(self, before: Proposal) -> bool:
        """Returns whether these are the terms of an earlier attempt, to which sites may have been added.

        No site may be taken out, and none may change its size: a sum of fewer sites tells more of each.
        """
        same = (self.run, self.experiment, self.roster, self.schema)
        kept = before.sizes.items() <= self.sizes.items()
        return kept and same == (before.run, before.experiment, before.roster, before.schema)


class Acceptance(_SiteMessage, frozen=True, kw_only=True, tag="accepted"):
    """The site takes part, or has forgotten what is over."""


class Refusal(_SiteMessage, frozen=True, kw_only=True, tag="refused"):
    """The site does not take part.

    Attributes:
      rule: name of the rule, as in the site's policy.
      asked: the value that the server asked for.
      allowed: the value that the site allows.
    """

    rule: Text
    asked: Text
    allowed: Text

    def __str__(self) -> str:
        return f"{self.rule}: {self.asked} is asked for, {self.allowed} is allowed"


class Finish(_SiteMessage, frozen=True, kw_only=True, tag="finish"):
    """The run is over."""


SiteRequest: TypeAlias = Inquiry | Proposal | Finish
SiteReply: TypeAlias = Standing | Acceptance | Refusal
M = TypeVar("M")

_requests: msgspec.msgpack.Decoder[SiteRequest] = msgspec.msgpack.Decoder(SiteRequest)
_replies: msgspec.msgpack.Decoder[SiteReply] = msgspec.msgpack.Decoder(SiteReply)


def encode(message: SiteRequest | SiteReply) -> bytes:
    """Returns the message as MessagePack."""
    return msgspec.msgpack.encode(message)


def decode_request(body: bytes) -> SiteRequest:
    """Returns the request; raises MalformedMessage if it is not exactly one."""
    return _decoded(_requests, body)


def decode_reply(body: bytes) -> SiteReply:
    """Returns the reply; raises MalformedMessage if it is not exactly one."""
    return _decoded(_replies, body)


def _decoded(decoder: msgspec.msgpack.Decoder[M], body: bytes) -> M:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"site message does not decode: {error}") from None
