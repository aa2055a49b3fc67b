"""How long the clients of a run take for what they are asked, on the simulated clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlearn.fleet import Fleet
from fedlearn.fleet.pace import Stretch, worked
from fedlearn.rounds.messages import decode_request
from fedlearn.rounds.transport import Message

if TYPE_CHECKING:
    from fedlearn.experiment.setup import RunSetup


class Work:
    """How long clients take for requests.

    A request to train takes its bytes down, its records — steps × records of a step, of the declared
    size — and the bytes of its vector up; any other one its bytes both ways.

    Args:
      setup: what the parties of the run agree on.
      fleet: how fast clients are, and when they are online.
    """

    def __init__(self, setup: RunSetup, fleet: Fleet) -> None:
        self._setup = setup
        self.fleet = fleet

    def stretch(self, request: Message, *, at: float, up: int = 0) -> Stretch:
        """Returns when the client begins and ends with a request that is sent at some time.

        Args:
          request: the request.
          at: simulated time.
          up: bytes of the answer; one to a request to train is known beforehand.
        """
        records = 0.0
        if request.vectors:
            training = self._training(request)
            if training is not None:
                records, up = _records(training, request.client), training.reply_bytes
            else:  # statistics: one pass over the records, and sums as long as the request
                records, up = _size(self._setup, request.client), request.vectors[0].nbytes
        seconds = self.fleet.pace(request.client).seconds(records=records, down=request.size, up=up)
        return worked(self.fleet.online(request.client, at), at=at, seconds=seconds)

    def is_round(self, request: Message) -> bool:
        """Returns whether a request belongs to a round of training, and not to a release of statistics."""
        return self._training(request) is not None

    def _training(self, request: Message) -> RunSetup | None:
        run = decode_request(request.body).run
        return next((setup for setup in (self._setup, *self._setup.stages) if setup.run == run), None)

    def round_seconds(self, client: str) -> float:
        """Returns how long a client takes for a round of training while it is online."""
        return self.fleet.pace(client).seconds(
            records=_records(self._setup, client), down=self._setup.request_bytes, up=self._setup.reply_bytes
        )


def _records(setup: RunSetup, client: str) -> float:
    plan = setup.protections[client].plan
    return plan.steps * plan.sample_rate * _size(setup, client)


def _size(setup: RunSetup, client: str) -> int:
    return setup.experiment.population.clients[client].declared_size
