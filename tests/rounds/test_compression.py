"""Compressed updates in a round: nothing is lost for good, and nothing longer than allowed is summed."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.compression import COMPRESSORS
from fedlearn.compression.random_k import RandomK
from fedlearn.rounds.compression import CompressedTrainer, Compression
from fedlearn.training.memory import HeldMemory, Shelf
from tests.rounds.parties import Constant

D = 200


def compression(name: str, *, error_feedback: bool = False) -> Compression:
    arguments = {"fraction": 0.05} if name != "quantise" else {"bits": 2}
    return Compression(
        compressor=COMPRESSORS.build(name, arguments),
        dimension=D,
        run="run",
        error_feedback=error_feedback,
    )


class Updates:
    """A trainer with another update each round."""

    def train(self, params: Vector, *, round: int) -> Vector:
        return np.random.default_rng(round).standard_normal(D).astype(np.float32)


def trainer(how: Compression, memory: HeldMemory | None = None) -> CompressedTrainer:
    shelf = Shelf(memory=memory or HeldMemory(), client="a", part="compression")
    return CompressedTrainer(trainer=Updates(), compression=how, client="a", seed=1, shelf=shelf)


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_with_error_feedback_all_is_sent_in_the_end(name: str) -> None:
    """Σ sent = Σ updates − what is still kept: the sum telescopes."""
    how, memory = compression(name, error_feedback=True), HeldMemory()
    client = trainer(how, memory)
    sent, updates = np.zeros(D), np.zeros(D)
    for round in range(30):
        payload = client.train(np.zeros(D, np.float32), round=round)
        sent += how.released(how.addend(payload, round=round), round=round)
        updates += Updates().train(np.zeros(0, np.float32), round=round)
    kept = memory.recall("a", "compression", before=30)["unsent"]
    np.testing.assert_allclose(sent + kept, updates, atol=1e-3)
    assert np.abs(kept).max() > 0


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_a_round_that_is_done_again_sends_the_same(name: str) -> None:
    client = trainer(compression(name, error_feedback=True))
    client.train(np.zeros(D, np.float32), round=0)
    first = client.train(np.zeros(D, np.float32), round=1)
    assert client.train(np.zeros(D, np.float32), round=1).tobytes() == first.tobytes()


def test_without_error_feedback_nothing_is_kept() -> None:
    memory = HeldMemory()
    trainer(compression("top-k"), memory).train(np.zeros(D, np.float32), round=0)
    assert memory.recall("a", "compression", before=9) == {}


def test_what_is_left_out_by_chance_is_made_up_for() -> None:
    how = compression("random-k")
    payload = how.payload(np.ones(D, np.float32), round=0, coins=np.random.default_rng(0))
    released = how.released(payload, round=0)
    assert sorted(set(released.tolist())) == [0.0, 20.0]
    assert released.sum() == D


def test_coins_are_the_client_s_own_and_decided_by_seed_and_round() -> None:
    how = compression("quantise")
    update = np.linspace(-1, 1, D, dtype=np.float32)

    def sent(client: str, seed: int, round: int) -> bytes:
        shelf = Shelf(memory=HeldMemory(), client=client, part="compression")
        part = CompressedTrainer(
            trainer=Constant(update), compression=how, client=client, seed=seed, shelf=shelf
        )
        return part.train(np.zeros(D, np.float32), round=round).tobytes()

    assert sent("a", 1, 0) == sent("a", 1, 0)
    assert len({sent("a", 1, 0), sent("b", 1, 0), sent("a", 2, 0), sent("a", 1, 1)}) == 4


def test_a_clipped_vector_stays_within_its_bound() -> None:
    """A projection of a sum of gradients within C is within C, too."""
    how = Compression(compressor=RandomK(fraction=0.3), dimension=D, run="run")
    for round in range(50):
        gradient = Updates().train(np.zeros(0, np.float32), round=round)
        gradient /= np.linalg.norm(gradient)
        payload = how.payload(gradient, round=round, coins=np.random.default_rng(0))
        assert np.linalg.norm(payload) <= 1.0 + 1e-6
