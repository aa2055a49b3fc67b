"""The steps of a session, and which of them a request belongs to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from fedlearn.errors import MalformedMessage


class Step(StrEnum):
    """The five steps in their order, and the end."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUTS = "inputs"
    AGREE = "agree"
    UNMASK = "unmask"
    FINISHED = "finished"


_REQUESTS = {f"sa1.{step}": step for step in Step if step is not Step.FINISHED}
_elements = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)])
_tag = msgspec.msgpack.Decoder(str)


def step_of(body: bytes) -> Step:
    """Returns the step that a request says it belongs to; its other fields are not looked at.

    Raises:
      MalformedMessage: the body does not start like a request.

    >>> from fedlearn.secagg.messages import AdvertiseRequest, encode
    >>> step_of(encode(AdvertiseRequest(bytes(32), "run", 0)))
    <Step.ADVERTISE: 'advertise'>
    """
    try:
        return _REQUESTS[_tag.decode(_elements.decode(body)[0])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        raise MalformedMessage("the body is no request of a session") from None
