"""What a site allows: a proposal and a policy in, the first broken rule out. Pure and complete.

Every rule is a function of one :class:`Case`; nothing is imported, loaded or trained to decide.

>>> from fedlearn.config import ExperimentConfig
>>> policy = PolicySection(max_epsilon=3.0, max_delta=1e-5)
>>> case = Case(config=ExperimentConfig(), policy=policy, served=("hearts",))
>>> str(judge(case))
'dataset: none is asked for, hearts is allowed'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from fedlearn.config import ExperimentConfig
from fedlearn.experiment.statistics import are_declared
from fedlearn.federation.site.config import PolicySection
from fedlearn.federation.terms import Schema


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked for, and what is known of the site. None: not known yet; its rule is not applied.

    Attributes:
      config: the experiment.
      policy: what the site allows.
      served: data sets that may be asked for.
      cohort: number of sites in a round.
      survivors: fewest sites in a sum, the statistics' included.
      rosters: digest of the server's roster and of the site's.
      sizes: the site's declared size in the proposal, and in its own configuration.
      schemas: what records look like in the proposal, and at the site.
      parameters: of the model.
      epsilon: ε that will have been spent after the run, at the policy's δ and per its unit, with all runs
        before.
    """

    config: ExperimentConfig
    policy: PolicySection
    served: tuple[str, ...]
    cohort: int | None = None
    survivors: int | None = None
    rosters: tuple[bytes, bytes] | None = None
    sizes: tuple[int, int] | None = None
    schemas: tuple[Schema, Schema] | None = None
    parameters: int | None = None
    epsilon: float | None = None


_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Found: TypeAlias = tuple[object, object] | None
Rule: TypeAlias = Callable[[Case], Found]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A rule that a proposal breaks: its name, the value asked and the value allowed."""

    rule: str
    asked: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.asked} is asked for, {self.allowed} is allowed"


def judge(case: Case) -> Breach | None:
    """Returns the first rule that the proposal breaks; None if the site takes part."""
    for name, rule in RULES.items():
        found = rule(case)
        if found is not None:
            return Breach(rule=name, asked=_short(found[0]), allowed=_short(found[1]))
    return None


def _dataset(case: Case) -> Found:
    asked = case.config.data.dataset
    return None if asked in case.served else (asked or "none", ", ".join(case.served))


def _imports(case: Case) -> Found:
    allowed = case.policy.imports
    strange = [path for path in _import_paths(case.config) if path not in allowed]
    return (strange[0], ", ".join(allowed) or "registered names only") if strange else None


def _initial_weights(case: Case) -> Found:
    initial = case.config.remedies.initial
    # Who knows the digest has the file: no file of the site's own is read into a model for others.
    if initial.name is None or initial.sha256 is not None:
        return None
    return "initial weights from a file that any content may stand in", "remedies.initial.sha256"


def _models(case: Case) -> Found:
    return _listed(case.config.model.name, case.policy.models)


def _trainers(case: Case) -> Found:
    return _listed(case.config.training.optimizer, case.policy.trainers)


def _roster(case: Case) -> Found:
    return _equal(case.rosters, lambda digest: f"roster {digest.hex()[:12]}")


def _simulation_only(case: Case) -> Found:
    if case.config.reproducible_noise:
        return "reproducible_noise = true", "noise keyed by the operating system"
    if case.config.faults.dropout > 0:
        return f"faults.dropout = {case.config.faults.dropout}", "none"
    if case.config.fleet.enabled:
        return "fleet.enabled = true", "machines as they are"
    return None


def _privacy(case: Case) -> Found:
    if case.policy.require_privacy and not case.config.privacy.enabled:
        return "no differential privacy", "privacy.enabled = true"
    if case.policy.require_privacy and are_declared(case.config):
        return "statistics that are declared unprotected", "privacy.statistics = 'charged'"
    return None


def _unit(case: Case) -> Found:
    privacy, wanted = case.config.privacy, case.policy.unit
    # What hides a whole client hides each of its records, too.
    if not privacy.enabled or privacy.unit in {wanted, "client"}:
        return None
    return privacy.unit, wanted


def _noise(case: Case) -> Found:
    privacy, allowed = case.config.privacy, case.policy.noise
    if not privacy.enabled or privacy.noise in allowed:
        return None
    return f"{privacy.noise} noise", ", ".join(allowed) or "none"


def _shared_noise(case: Case) -> Found:
    privacy, secure = case.config.privacy, case.config.secure_aggregation
    if not privacy.enabled or privacy.noise != "distributed" or (secure.enabled and secure.mode == "masked"):
        return None
    # One site's part of the noise protects nobody by itself: allow_plain cannot mean this.
    return "a share of the noise that the server sees by itself", "masked secure aggregation"


def _delta(case: Case) -> Found:
    privacy = case.config.privacy
    return _at_most(privacy.delta, case.policy.max_delta) if privacy.enabled else None


def _epsilon(case: Case) -> Found:
    if case.epsilon is not None and case.epsilon > case.policy.max_epsilon:
        return f"{case.epsilon:.4g} after this run and all before it", f"{case.policy.max_epsilon:g}"
    asked = case.config.privacy.epsilon
    if not case.config.privacy.enabled or asked is None:
        return None
    return _at_most(asked, case.policy.max_epsilon)


def _plain(case: Case) -> Found:
    secure = case.config.secure_aggregation
    if case.policy.allow_plain or (secure.enabled and secure.mode == "masked"):
        return None
    return "ideal mode" if secure.enabled else "updates in the clear", "masked secure aggregation"


def _colluders(case: Case) -> Found:
    secure = case.config.secure_aggregation
    return _at_least(secure.colluders, case.policy.min_colluders) if secure.enabled else None


def _cohort(case: Case) -> Found:
    return None if case.cohort is None else _at_least(case.cohort, case.policy.min_cohort)


def _survivors(case: Case) -> Found:
    return None if case.survivors is None else _at_least(case.survivors, case.policy.min_survivors)


def _redo(case: Case) -> Found:
    secure = case.config.secure_aggregation
    if secure.enabled and secure.redo_without_dp and not case.policy.redo_without_dp:
        return "a second masked update for one model", "one"
    return None


def _rounds(case: Case) -> Found:
    return _at_most(case.config.rounds, case.policy.max_rounds)


def _steps(case: Case) -> Found:
    training = case.config.training
    return _at_most(training.local_steps or training.epochs or 1, case.policy.max_steps)


def _parameters(case: Case) -> Found:
    return None if case.parameters is None else _at_most(case.parameters, case.policy.max_parameters)


def _sizes(case: Case) -> Found:
    return _equal(case.sizes, str)


def _schemas(case: Case) -> Found:
    return _equal(case.schemas, lambda one: f"{one.shape} in {one.classes} classes")


RULES: Mapping[str, Rule] = {
    "dataset": _dataset,
    "imports": _imports,
    "initial_weights": _initial_weights,
    "models": _models,
    "trainers": _trainers,
    "roster": _roster,
    "simulation-only": _simulation_only,
    "require_privacy": _privacy,
    "unit": _unit,
    "noise": _noise,
    "shared_noise": _shared_noise,
    "max_delta": _delta,
    "max_epsilon": _epsilon,
    "allow_plain": _plain,
    "min_colluders": _colluders,
    "min_cohort": _cohort,
    "min_survivors": _survivors,
    "redo_without_dp": _redo,
    "max_rounds": _rounds,
    "max_steps": _steps,
    "max_parameters": _parameters,
    "declared_size": _sizes,
    "schema": _schemas,
}
"""Rule → function; applied in this order."""


def _import_paths(config: ExperimentConfig) -> Iterator[str]:
    """Yields every ``module:Name`` of the experiment, wherever it stands: what resolving it would import."""
    # A data set's name is a label here: its own rule compares it with what the site serves.
    asked = config.model_dump(exclude={"data": {"dataset", "folder", "arguments"}})
    yield from (text for text in _texts(asked) if _IMPORT_PATH.fullmatch(text))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _listed(asked: str, allowed: list[str]) -> Found:
    return None if not allowed or asked in allowed else (asked, ", ".join(allowed))


def _at_most(asked: float, allowed: float) -> Found:
    return None if asked <= allowed else (f"{asked:g}", f"at most {allowed:g}")


def _at_least(asked: float, allowed: float) -> Found:
    return None if asked >= allowed else (f"{asked:g}", f"at least {allowed:g}")


def _equal(pair: tuple[T, T] | None, shown: Callable[[T], str]) -> Found:
    if pair is None or pair[0] == pair[1]:
        return None
    return shown(pair[0]), shown(pair[1])


def _short(value: object) -> str:
    return str(value)[:256]
