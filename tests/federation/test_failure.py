"""A failure inside Flower reaches the launcher as the error that it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedlearn import errors
from fedlearn.errors import ConfigError, FedLearnError, RunError
from fedlearn.federation import failure

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FedLearnError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_with_its_line_and_exit_code(tmp_path: Path, kind: type[FedLearnError]) -> None:
    error = kind.__new__(kind)
    error.args = ("epsilon=7 is over 3; lower it",)
    with pytest.raises(kind), failure.recorded(tmp_path):
        raise error
    read = failure.read(tmp_path)
    assert type(read) is kind
    assert str(read) == "epsilon=7 is over 3; lower it"
    assert read.exit_code == kind.exit_code


def test_any_other_error_is_a_run_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), failure.recorded(tmp_path / "made"):
        raise ZeroDivisionError("division by zero")
    read = failure.read(tmp_path / "made")
    assert isinstance(read, RunError)
    assert str(read) == "the run failed with ZeroDivisionError: division by zero"


def test_success_records_nothing(tmp_path: Path) -> None:
    with failure.recorded(tmp_path):
        pass
    assert failure.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"error": 1, "message": "", "exit_code": 1}', "\xff"])
def test_an_unreadable_record_is_still_a_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / failure.FAILURE).write_text(text, encoding="latin-1")
    assert isinstance(failure.read(tmp_path), RunError)


@pytest.mark.parametrize("name", ["annotations", "__builtins__", "ClassVar"])
def test_a_name_that_is_no_error_is_not_raised(tmp_path: Path, name: str) -> None:
    record = {"error": name, "message": "m", "exit_code": 1}
    (tmp_path / failure.FAILURE).write_text(json.dumps(record))
    assert type(failure.read(tmp_path)) is RunError


def test_a_directory_that_cannot_be_written_does_not_hide_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the first"), failure.recorded(tmp_path / "file" / "below"):
        raise ConfigError("the first")
