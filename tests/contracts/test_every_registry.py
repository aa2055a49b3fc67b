"""What every registry must hold: words resolve, parts say what they are, nothing heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedlearn.aggregators import AGGREGATORS
from fedlearn.algorithms import ALGORITHMS
from fedlearn.compression import COMPRESSORS
from fedlearn.data import DATASETS, PARTITIONERS
from fedlearn.errors import ConfigError, UnknownName
from fedlearn.models import MODELS
from fedlearn.registry import Registry
from fedlearn.remedies import AUGMENTATIONS, INITIALISATIONS, PENALTIES, TUNINGS

REMEDIES = [AUGMENTATIONS, PENALTIES, INITIALISATIONS, TUNINGS]
REGISTRIES = [MODELS, DATASETS, PARTITIONERS, ALGORITHMS, AGGREGATORS, COMPRESSORS, *REMEDIES]
PARTS = [
    pytest.param(registry, word, id=f"{registry.kind}-{word}") for registry in REGISTRIES for word in registry
]


@pytest.mark.parametrize(("registry", "word"), PARTS)
def test_word_names_a_documented_part_of_its_own_package(registry: Registry, word: str) -> None:
    part = registry.resolve(word)
    assert callable(part)
    assert part.__doc__
    assert registry[word] == f"{part.__module__}:{part.__name__}"
    assert word == word.lower()


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_typo_is_answered_with_the_nearest_word(registry: Registry) -> None:
    word = max(registry, key=len)
    with pytest.raises(UnknownName, match=f"Did you mean '{word}'"):
        registry.resolve(word[:-1] + "x")


@pytest.mark.parametrize(("registry", "word"), PARTS)
def test_an_argument_that_a_part_does_not_take_is_refused(registry: Registry, word: str) -> None:
    with pytest.raises(ConfigError, match="takes no argument 'nonsense'"):
        registry.build(word, {"nonsense": 1})


@pytest.mark.parametrize(
    "package", ["models", "data", "remedies", "algorithms", "aggregators", "compression"]
)
def test_naming_the_parts_loads_neither_torch_nor_scikit_learn(package: str) -> None:
    code = (
        f"import sys, fedlearn.{package}\n"
        "heavy = {'torch', 'sklearn', 'opacus', 'flwr'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "registry", [ALGORITHMS, AGGREGATORS, COMPRESSORS], ids=lambda registry: registry.kind
)
def test_the_server_s_parts_need_no_torch(registry: Registry) -> None:
    modules = ", ".join(path.partition(":")[0] for path in registry.values())
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
