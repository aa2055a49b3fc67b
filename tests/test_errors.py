"""The error tree: one root, documented nouns, exit codes, and errors that survive pickling."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator

import pytest

from fedlearn import errors
from fedlearn.errors import FaultyDealer, FaultyHolder, FedLearnError, ProtocolError, TooFewClients


def tree(root: type[FedLearnError] = FedLearnError) -> Iterator[type[FedLearnError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


OURS = [error for error in tree() if error.__module__ == errors.__name__]
INSTANCES: list[FedLearnError] = [
    *(error("one line") for error in OURS if error not in (FaultyDealer, FaultyHolder)),
    FaultyDealer("hospital-3", "share does not match", b"complaint"),
    FaultyHolder("hospital-4", "share does not match"),
    TooFewClients("2 of 5", step="shares", answered=2, needed=4, missing=("hospital-1",)),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_every_error_stands_in_the_tree_of_the_module_s_documentation(error: type[FedLearnError]) -> None:
    assert errors.__doc__ is not None
    line = re.search(rf"^ *[│├└─ ]*{error.__name__}\b *(.*)$", errors.__doc__, re.MULTILINE)
    assert line, f"{error.__name__} is missing from the tree"
    assert error.__doc__
    assert error is FedLearnError or line.group(1), "each error has its half line of meaning"


def test_the_documented_tree_holds_no_error_that_is_gone() -> None:
    assert errors.__doc__ is not None
    documented = re.findall(r"[├└]── (\w+)", errors.__doc__)
    assert sorted(documented) == sorted(error.__name__ for error in OURS if error is not FedLearnError)


def test_exit_codes_tell_the_families_apart() -> None:
    families = FedLearnError.__subclasses__()
    codes = [family.exit_code for family in families]
    assert len(set(codes)) == len(codes)
    assert min(codes) > FedLearnError.exit_code


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_an_exit_code_fits_in_a_byte_and_is_no_success(error: type[FedLearnError]) -> None:
    assert 0 < error.exit_code < 256


def test_an_interrupted_run_ends_like_a_process_that_got_sigint() -> None:
    assert errors.RunInterrupted.exit_code == 128 + 2


@pytest.mark.parametrize("error", INSTANCES, ids=lambda error: type(error).__name__)
def test_an_error_from_another_process_arrives_whole(error: FedLearnError) -> None:
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  our own bytes
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert vars(back) == vars(error)


def test_a_fault_names_who_is_at_fault_and_the_way_out() -> None:
    assert str(FaultyDealer("a", "its share is wrong")).startswith("dealer 'a': its share is wrong; start")
    assert str(FaultyHolder("b", "its share is wrong")).startswith("holder 'b': its share is wrong; its")
    assert issubclass(FaultyDealer, ProtocolError)


def test_too_few_clients_says_who_is_missing_for_programs_too() -> None:
    error = TooFewClients("void", step="unmask", answered=1, needed=3, missing=iter(["a", "b"]))
    assert (error.step, error.answered, error.needed, error.missing) == ("unmask", 1, 3, ("a", "b"))
