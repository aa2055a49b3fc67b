"""The public surface: small, complete, documented, and cheap to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

import fedlearn

HEAVY = ("torch", "flwr", "ray", "grpc", "opacus", "sklearn", "scipy", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Returns which heavy packages a fresh interpreter has loaded after some code."""
    script = f"import sys\n{code}\nsys.stderr.write('loaded:' + ' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(HEAVY) & set(done.stderr.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("name", [name for name in fedlearn.__all__ if not name.startswith("_")])
def test_every_public_name_resolves_to_something_documented(name: str) -> None:
    thing = getattr(fedlearn, name)
    assert thing.__name__ == name
    assert inspect.getdoc(thing)
    assert thing is getattr(fedlearn, name), "resolved twice, it is the same object"


def test_the_surface_is_what_it_says() -> None:
    assert len(fedlearn.__all__) <= 25
    assert len(set(fedlearn.__all__)) == len(fedlearn.__all__)
    assert set(fedlearn.__all__) == {*fedlearn._HOMES, "__version__"}
    assert dir(fedlearn) == sorted(fedlearn.__all__)


def test_star_import_brings_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from fedlearn import *", names)  # noqa: S102  the statement under test
    assert set(names) - {"__builtins__"} == set(fedlearn.__all__)


def test_the_version_is_the_distribution_s() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", fedlearn.__version__)
    assert fedlearn.__version__ == version("fedlearn")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fedlearn' has no attribute 'simulat'"):
        _ = fedlearn.simulat


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import fedlearn; fedlearn.__version__") == set()


def test_configuration_and_errors_load_nothing_heavy() -> None:
    assert loaded_by("from fedlearn import ExperimentConfig, FedLearnError; ExperimentConfig()") == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["config"], ["config", "--help"]], ids=" ".join
)
def test_the_command_line_s_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "from fedlearn.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as done:\n    assert not done.code\n"
    )
    assert loaded_by(code) == set()


def test_who_trains_without_privacy_loads_no_opacus() -> None:
    code = "from fedlearn.experiment import Experiment; from fedlearn.simulation import simulate"
    assert "opacus" not in loaded_by(code)
