from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.runs import IMAGES, TABLE, a_run


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("runs") / "table", TABLE)


@pytest.fixture(scope="session")
def federated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model standardises by constants that it carries, after the public ones."""
    return a_run(tmp_path_factory.mktemp("runs") / "federated", TABLE, data={"standardise": "federated"})


@pytest.fixture(scope="session")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("runs") / "images", IMAGES)
