"""Flower's ClientApp: a relay to the client's resident process.

It imports neither torch nor anything that touches data, because Flower may start a process for
every message. It keeps nothing in Flower's Context: keys, sessions and budgets stay in the
resident process.
"""

from __future__ import annotations

from flwr.app import Context
from flwr.app import Message as FlowerMessage
from flwr.clientapp import ClientApp

from fedlearn.federation.records import decode_errand, encode_reply
from fedlearn.federation.relay import SOCKET_KEY, relay

app = ClientApp()


def hand_over(message: FlowerMessage, context: Context) -> FlowerMessage:
    """Relays one message; what is no request of ours raises, which Flower reports to the sender."""
    errand = decode_errand(message.content)
    address = str(context.node_config.get(SOCKET_KEY, errand.address))
    answer = relay(errand.message, address=address, seconds=errand.seconds)
    return FlowerMessage(encode_reply(answer), reply_to=message)


app.query()(hand_over)
