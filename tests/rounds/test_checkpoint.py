"""Checkpoints: whole or not there, and never another file's."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save as to_safetensors

from fedlearn.errors import RunDirectoryError
from fedlearn.rounds.checkpoint import Checkpoint, write_atomically

HEADER = {"rounds": 3, "experiment": "ab12", "record": {"rounds": [{"failure": None}], "name": "é"}}


def checkpoint(rounds: int = 3) -> Checkpoint:
    arrays = {
        "params": np.array([1.5, -0.0, np.nan, np.inf], np.float32),
        "round": np.array([rounds], np.int64),
        "momentum": np.arange(4, dtype=np.float32),
    }
    return Checkpoint(rounds=rounds, experiment="ab12", arrays=arrays, record=HEADER["record"])  # type: ignore[arg-type]


def file_of(header: Any, **arrays: np.ndarray[Any, Any]) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content: bytes = to_safetensors({"header": np.frombuffer(text, np.uint8), **arrays})
    return content


class TestRoundTrip:
    def test_everything_comes_back_bit_by_bit(self, tmp_path: Path) -> None:
        saved = checkpoint()
        saved.save(tmp_path / "state")
        back = Checkpoint.load(tmp_path / "state")
        assert (back.rounds, back.experiment, back.record) == (3, "ab12", HEADER["record"])
        assert sorted(back.arrays) == sorted(saved.arrays)
        for name, array in saved.arrays.items():
            assert back.arrays[name].dtype == array.dtype
            assert back.arrays[name].tobytes() == array.tobytes()

    def test_folders_are_made_and_a_later_checkpoint_replaces_an_earlier(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "state"
        for rounds in (1, 2):
            checkpoint(rounds).save(path)
        assert Checkpoint.load(path).rounds == 2
        assert [entry.name for entry in path.parent.iterdir()] == ["state"]

    def test_arrays_stay_out_of_its_representation(self) -> None:
        assert "momentum" not in repr(checkpoint())


class TestForeignFiles:
    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match=r"no checkpoint to resume from: .*state: No such file"):
            Checkpoint.load(tmp_path / "state")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="Is a directory"):
            Checkpoint.load(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not a checkpoint",
            b"\xff" * 64,
            to_safetensors({"params": np.zeros(2, np.float32)}),
            file_of(b"{not json"),
            file_of(b"\xff\xfe"),
            file_of([1, 2]),
            file_of(7),
            file_of({key: value for key, value in HEADER.items() if key != "rounds"}),
            file_of({key: value for key, value in HEADER.items() if key != "record"}),
            file_of({**HEADER, "record": None}),
            file_of({**HEADER, "record": "words"}),
            file_of({**HEADER, "rounds": "three"}),
            file_of({**HEADER, "rounds": None}),
            file_of({**HEADER, "rounds": float("inf")}),
            file_of(b"[" * 100_000),
        ],
        ids=[
            "empty",
            "text",
            "bytes",
            "no-header",
            "no-json",
            "no-utf8",
            "list",
            "number",
            "no-rounds",
            "no-record",
            "record-none",
            "record-words",
            "word",
            "none",
            "infinite",
            "nested",
        ],
    )
    def test_what_is_no_checkpoint_is_refused_by_its_path(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "state"
        path.write_bytes(content)
        with pytest.raises(RunDirectoryError, match="state is not a checkpoint"):
            Checkpoint.load(path)

    def test_no_prefix_of_a_checkpoint_is_one(self, tmp_path: Path) -> None:
        path = tmp_path / "state"
        checkpoint().save(path)
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            with pytest.raises(RunDirectoryError, match="is not a checkpoint"):
                Checkpoint.load(path)


class TestAtomicity:
    @pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace"), (Path, "open")])
    def test_a_full_disk_keeps_the_old_file_and_leaves_no_partial_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
    ) -> None:
        path = tmp_path / "state"
        checkpoint(1).save(path)

        def full(*arguments: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, full)
            with pytest.raises(RunDirectoryError) as caught:
                checkpoint(2).save(path)
        assert str(caught.value) == (
            f"{path} cannot be written: No space left on device;"
            " free space or choose another folder with --out"
        )
        assert Checkpoint.load(path).rounds == 1
        assert [entry.name for entry in tmp_path.iterdir()] == ["state"]

    def test_a_crash_before_the_rename_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "state"
        checkpoint(1).save(path)

        class Killed(BaseException):
            """What no handler catches."""

        def killed(*arguments: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(Killed):
                checkpoint(2).save(path)
        assert Checkpoint.load(path).rounds == 1
        checkpoint(3).save(path)
        assert Checkpoint.load(path).rounds == 3
        assert [entry.name for entry in tmp_path.iterdir()] == ["state"]

    def test_the_content_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[str] = []
        fsync, replace = os.fsync, Path.replace

        def flushed(descriptor: int) -> None:
            events.append(f"flushed {os.fstat(descriptor).st_size}")
            fsync(descriptor)

        def named(self: Path, target: Path) -> Path:
            events.append("named")
            return replace(self, target)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(Path, "replace", named)
        write_atomically(tmp_path / "file", b"four")
        assert events[:2] == ["flushed 4", "named"]

    def test_a_file_where_a_folder_belongs_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("a file", encoding="utf-8")
        for path in (tmp_path / "run" / "state", tmp_path / "run" / "deeper" / "state"):
            with pytest.raises(RunDirectoryError, match="cannot be written"):
                write_atomically(path, b"content")

    def test_a_folder_where_the_file_belongs_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "state" / "inside").mkdir(parents=True)
        with pytest.raises(RunDirectoryError, match="cannot be written: Is a directory"):
            write_atomically(tmp_path / "state", b"content")
