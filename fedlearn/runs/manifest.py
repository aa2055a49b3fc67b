"""What is needed to run an experiment again."""

from __future__ import annotations

import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version

from fedlearn.experiment import Experiment
from fedlearn.runs.result import Manifest

_PACKAGES = ("fedlearn", "torch", "opacus", "flwr", "cryptography", "dp-accounting", "numpy", "scikit-learn")


def manifest_of(experiment: Experiment) -> Manifest:
    """Returns versions, seed and data source of an experiment."""
    return Manifest(
        versions={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        seed=experiment.config.seed,
        git_revision=_git_revision(),
        data=experiment.population.source,
        initial_weights=_initial_weights(experiment),
        reproducible_noise=experiment.config.reproducible_noise,
        python=platform.python_version(),
        platform=platform.platform(),
    )


def peak_rss_mb() -> float:
    """Returns the peak resident memory of this process and its ended children, in MB (10^6 bytes)."""
    kilobytes = sum(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return round(kilobytes * 1024 / 1e6, 1)


def _initial_weights(experiment: Experiment) -> str | None:
    weights = experiment.initial_weights
    if weights is None:
        return None
    part = experiment.config.remedies.initial.part
    return f"{weights.source}{f' ({part})' if part else ''}, SHA-256 {weights.sha256}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        command = ["git", "rev-parse", "--short=12", "HEAD"]  # whichever git the user runs
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
