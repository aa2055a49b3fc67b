"""Bytes that a run counts are bytes that Flower carries, but for an envelope of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from flwr.common.serde import recorddict_to_proto

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.records import ArrayCache, Errand, encode_errand, encode_reply
from fedlearn.rounds.exchange import Traffic
from fedlearn.rounds.transport import Lost, Message
from fedlearn.simulation.inprocess import InProcess, in_one_process

ENVELOPE = 400
"""Most bytes of Flower's records around a message: names, types and shapes of what they hold."""


class Weighed:
    """Passes messages on and weighs each as Flower would carry it."""

    def __init__(self, inner: InProcess) -> None:
        self._inner = inner
        self.carried: dict[str, list[tuple[int, int]]] = {}

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        given = list(requests)
        for request in given:
            content = encode_errand(Errand(message=request), cache=ArrayCache())
            self._weigh(request, recorddict_to_proto(content).ByteSize())
        for answer in self._inner.exchange(given, deadline=deadline):
            if isinstance(answer, Message):
                self._weigh(answer, recorddict_to_proto(encode_reply(answer)).ByteSize())
            yield answer

    def _weigh(self, message: Message, carried: int) -> None:
        self.carried.setdefault(message.client, []).append((message.size, carried))


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"secure_aggregation": {"enabled": True, "modulus_bits": 16}},
        {"secure_aggregation": {"enabled": True, "mode": "ideal"}},
        {"compression": {"name": "quantise", "arguments": {"bits": 4}}},
        {"compression": {"name": "top-k"}},
        {"compression": {"name": "random-k"}, "secure_aggregation": {"enabled": True, "modulus_bits": 16}},
    ],
    ids=["clear", "masked-16", "ideal-32", "quantised", "top-k", "random-k-masked"],
)
def test_counted_and_carried_agree(sections: dict[str, Any]) -> None:
    experiment = Experiment.from_dict(
        {
            "data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 5}},
            "model": {"name": "mlp"},
            **sections,
        }
    )
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run="run", roster=enrolment.roster)
    weighed = Weighed(in_one_process(setup, enrolment))
    outcome = setup.server(weighed, strict=True).run_round(
        experiment.initial_params, experiment.cohort(0), round=0
    )
    assert outcome.failure is None
    vector = 4 * experiment.initial_params.size
    for client, messages in weighed.carried.items():
        counted = sum(size for size, _ in messages)
        assert outcome.traffic[client] == Traffic(
            down=sum(size for size, _ in messages[0::2]), up=sum(size for size, _ in messages[1::2])
        )
        assert all(0 < carried - size <= ENVELOPE for size, carried in messages)
        assert counted > vector + setup.reply_bytes, "the model down, and the update up"
