"""What clients keep between rounds: one contract for both memories, and what files add to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedlearn.errors import ProtocolError, RunDirectoryError
from fedlearn.rounds.memory_folder import FolderMemory
from fedlearn.training.memory import Elsewhere, HeldMemory, Memory, Slots

Make = Callable[[], Memory]


def numbers(value: float) -> dict[str, np.ndarray]:
    return {"control": np.full(3, value, np.float32)}


@pytest.fixture(params=["held", "folder"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    held = HeldMemory()
    return (lambda: held) if request.param == "held" else (lambda: FolderMemory(tmp_path / "clients"))


def recalled(memory: Memory, *, before: int) -> float | None:
    found = memory.recall("a", "training", before=before)
    return float(found["control"][0]) if found else None


class TestEveryMemory:
    def test_recalls_nothing_of_a_client_that_kept_nothing(self, make: Make) -> None:
        assert make().recall("a", "training", before=9) == {}

    def test_recalls_what_was_kept_in_the_newest_round_before(self, make: Make) -> None:
        make().keep("a", "training", round=3, slots=numbers(3.0))
        make().keep("a", "training", round=5, slots=numbers(5.0))
        assert [recalled(make(), before=round) for round in (3, 4, 5, 6, 99)] == [None, 3.0, 3.0, 5.0, 5.0]

    def test_a_round_that_is_done_again_recalls_the_same_and_replaces_what_it_kept(self, make: Make) -> None:
        for round in (0, 1, 2):
            make().keep("a", "training", round=round, slots=numbers(round))
        assert recalled(make(), before=2) == 1.0
        make().keep("a", "training", round=2, slots=numbers(7.0))
        assert (recalled(make(), before=2), recalled(make(), before=3)) == (1.0, 7.0)

    def test_a_round_before_those_that_were_cut_off_takes_their_place(self, make: Make) -> None:
        for round in (4, 5):
            make().keep("a", "training", round=round, slots=numbers(round))
        make().keep("a", "training", round=5, slots=numbers(50.0))
        assert recalled(make(), before=100) == 50.0

    def test_clients_and_parts_do_not_meet(self, make: Make) -> None:
        make().keep("a", "training", round=0, slots=numbers(1.0))
        assert make().recall("b", "training", before=1) == {}
        assert make().recall("a", "feedback", before=1) == {}

    def test_bits_and_dtypes_come_back(self, make: Make) -> None:
        kept: Slots = {"x": np.array([np.pi, -0.0, 1e-42], np.float32), "n": np.array([7], np.int64)}
        make().keep("a", "training", round=0, slots=kept)
        found = make().recall("a", "training", before=1)
        assert {name: (array.dtype, array.tobytes()) for name, array in found.items()} == {
            name: (array.dtype, array.tobytes()) for name, array in kept.items()
        }

    def test_what_is_changed_afterwards_is_not_what_was_kept(self, make: Make) -> None:
        kept = numbers(1.0)
        make().keep("a", "training", round=0, slots=kept)
        kept["control"].fill(9.0)
        assert recalled(make(), before=1) == 1.0


class TestFiles:
    def test_two_rounds_are_held_and_no_more(self, tmp_path: Path) -> None:
        memory = FolderMemory(tmp_path, durable=False)
        for round in range(6):
            memory.keep("a", "training", round=round, slots=numbers(round))
        assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
            "training-4.safetensors",
            "training-5.safetensors",
        ]

    @pytest.mark.parametrize("client", ["..", "a/b", ".", "a\\b", "ä"])
    def test_no_name_leads_out_of_the_folder(self, tmp_path: Path, client: str) -> None:
        memory = FolderMemory(tmp_path / "clients")
        memory.keep(client, "training", round=0, slots=numbers(1.0))
        assert [path.name for path in tmp_path.iterdir()] == ["clients"]
        assert memory.recall(client, "training", before=1)

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        memory = FolderMemory(tmp_path)
        memory.keep("a", "training", round=0, slots=numbers(1.0))
        (tmp_path / "a" / "training-0.safetensors").write_bytes(b"nonsense")
        with pytest.raises(RunDirectoryError, match=r"training-0\.safetensors.*'a'"):
            memory.recall("a", "training", before=1)

    def test_others_may_not_look(self, tmp_path: Path) -> None:
        FolderMemory(tmp_path / "clients").keep("a", "training", round=0, slots=numbers(1.0))
        assert (tmp_path / "clients" / "a").stat().st_mode & 0o077 == 0

    def test_forgetting_removes_everything(self, tmp_path: Path) -> None:
        memory = FolderMemory(tmp_path / "clients")
        memory.keep("a", "training", round=0, slots=numbers(1.0))
        memory.forget()
        assert not (tmp_path / "clients").exists()


def test_what_is_kept_elsewhere_cannot_be_read_here() -> None:
    with pytest.raises(ProtocolError, match="own machine"):
        Elsewhere().recall("a", "training", before=1)
