"""Registries: words and import paths, arguments checked by name, and misspellings answered."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.errors import ConfigError, UnknownName
from fedlearn.registry import Registry, check_arguments, import_path, nearest

PARTS = Registry("part", {"fraction": "fractions:Fraction", "delta": "datetime:timedelta"})


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part with arguments of each kind."""

    shape: tuple[int, ...] = ()
    width: int
    depth: int = 2


def anything(shape: tuple[int, ...] = (), **arguments: Any) -> dict[str, Any]:
    """A part that takes what it gets."""
    return {"shape": shape, **arguments}


def nothing() -> None:
    """A part without arguments."""


OWN = Registry("part", {"whole": f"{__name__}:Part", "any": f"{__name__}:anything"})


class TestResolve:
    def test_a_registry_is_a_mapping_of_words_to_paths(self) -> None:
        assert dict(PARTS) == {"fraction": "fractions:Fraction", "delta": "datetime:timedelta"}
        assert len(PARTS) == 2
        assert "fraction" in PARTS
        assert PARTS["delta"] == "datetime:timedelta"

    def test_a_word_and_a_path_give_the_same_object(self) -> None:
        from fractions import Fraction

        assert PARTS.resolve("fraction") is PARTS.resolve("fractions:Fraction") is Fraction

    def test_naming_parts_imports_none(self) -> None:
        code = (
            "import sys\nfrom fedlearn.registry import Registry\n"
            "Registry('part', {'one': 'this_module_is_not_there:One'})\n"
            "sys.exit(' '.join({'torch', 'numpy', 'flwr'} & set(sys.modules)) or None)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_a_misspelt_word_is_answered_with_the_nearest_and_all(self) -> None:
        with pytest.raises(UnknownName) as caught:
            PARTS.resolve("fracton")
        assert str(caught.value) == (
            "part 'fracton' is not known. Did you mean 'fraction'? Known: delta, fraction;"
            " your own: 'package.module:Name'"
        )

    def test_a_word_like_no_other_is_answered_with_all(self) -> None:
        with pytest.raises(UnknownName, match=r"part 'zzz' is not known\. Known: delta, fraction"):
            PARTS.resolve("zzz")

    @pytest.mark.parametrize(
        "path", ["no_such_module:X", "math:no_such_name", "math:", ":X", ".relative:X", "math.sqrt:real", ":"]
    )
    def test_a_path_that_leads_nowhere_is_an_unknown_name(self, path: str) -> None:
        with pytest.raises(UnknownName, match="cannot be imported"):
            import_path(path)

    def test_a_registered_path_that_is_broken_says_which(self) -> None:
        with pytest.raises(UnknownName, match="'no_such_module:X' cannot be imported"):
            Registry("part", {"one": "no_such_module:X"}).resolve("one")

    def test_the_original_import_error_stays_for_debugging(self) -> None:
        with pytest.raises(UnknownName) as caught:
            import_path("no_such_module:X")
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)


class TestBuild:
    def test_user_arguments_and_given_ones_meet(self) -> None:
        assert OWN.build("whole", {"width": 3}, shape=(4,)) == Part(shape=(4,), width=3)

    def test_a_part_with_open_arguments_takes_all(self) -> None:
        assert OWN.build("any", {"name": 1, "kind": 2}, shape=(1,)) == {"shape": (1,), "name": 1, "kind": 2}

    def test_an_unknown_argument_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(ConfigError) as caught:
            OWN.build("whole", {"width": 3, "dept": 1}, shape=(4,))
        assert str(caught.value) == (
            "part 'whole' takes no argument 'dept'. Did you mean 'depth'? It takes: width, depth"
        )

    def test_what_the_framework_gives_the_user_cannot(self) -> None:
        with pytest.raises(ConfigError, match="takes no argument 'shape'"):
            OWN.build("whole", {"width": 3, "shape": (9,)}, shape=(4,))

    def test_a_missing_argument_is_named_with_the_line_to_write(self) -> None:
        with pytest.raises(ConfigError, match=r"needs the argument 'width': arguments = \{ width = … \}"):
            OWN.build("whole", {}, shape=(4,))

    def test_a_part_without_arguments_says_so(self) -> None:
        with pytest.raises(ConfigError, match="It takes: none"):
            check_arguments(nothing, {"width": 1}, label="part 'nothing'")

    def test_what_cannot_be_called_is_no_part(self) -> None:
        with pytest.raises(ConfigError, match=r"part 'math:pi' is a float; name a class or a function"):
            PARTS.build("math:pi", {})


class TestNearest:
    def test_nothing_close_gives_nothing(self) -> None:
        assert nearest("learning_rate", ["delta", "clients"]) == ""

    @given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
    def test_a_known_word_is_its_own_nearest(self, known: list[str], data: st.DataObject) -> None:
        word = data.draw(st.sampled_from(known))
        assert nearest(word, known) == f" Did you mean {word!r}?"

    @given(st.text(), st.lists(st.text()))
    def test_the_answer_is_always_one_of_the_known(self, word: str, known: list[str]) -> None:
        answer = nearest(word, known)
        assert answer == "" or any(answer == f" Did you mean {one!r}?" for one in known)


def test_import_path_returns_any_object() -> None:
    assert import_path("math:pi") == math.pi
