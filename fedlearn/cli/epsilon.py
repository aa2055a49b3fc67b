"""``fedlearn epsilon``: of noise, sample rate, steps and ε give three; the fourth is solved for.

Examples::

    fedlearn epsilon --noise-multiplier 1 --sample-rate 0.0526 --steps 190 --delta 1e-4
    fedlearn epsilon --epsilon 4 --sample-rate 0.0526 --steps 190 --delta 1e-4 --json
    fedlearn epsilon --unit client --clients 1000 --cohort 100 --sampling poisson
        --rounds 1000 --noise-multiplier 1 --delta 5e-4

With ``--unit client`` the rate is that of clients and a step is a round. A fixed cohort amplifies nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace

from fedlearn.errors import ConfigError, DeltaTooLarge
from fedlearn.privacy import accounting, calibration
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.guarantee import OUTSIDERS, PrivacyGuarantee, format_epsilon

FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)
_FLAGS = {
    "noise_multiplier": "--noise-multiplier",
    "sample_rate": "--sample-rate",
    "steps": "--steps",
    "epsilon": "--epsilon",
}
_SOLVERS = {"noise_multiplier": "noise", "sample_rate": "sample_rate", "steps": "steps"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A complete training as the accountant sees it.

    Attributes:
      event: its releases.
      guarantee: what they spend, by PLD.
      epsilon_rdp: the same by Rényi DP, as a cross-check.
      solved: which of the four was solved for.
    """

    event: SampledGaussianEvent
    guarantee: PrivacyGuarantee
    epsilon_rdp: float
    solved: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--noise-multiplier", type=float, metavar="σ", help="noise stddev / clipping bound")
    parser.add_argument(
        "--sample-rate", type=float, metavar="q", help="chance of a record in a step, in (0, 1]"
    )
    parser.add_argument("--steps", type=int, metavar="T", help="steps over all rounds")
    parser.add_argument("--epsilon", type=float, metavar="ε", help="target, to solve for the one left out")
    parser.add_argument("--delta", type=float, required=True, metavar="δ", help="below 1 / records")
    parser.add_argument(
        "--rounds", type=int, metavar="T", dest="steps", help="unit client: --steps by its name"
    )
    parser.add_argument("--clients", type=int, metavar="n", help="unit client: number of clients")
    parser.add_argument("--cohort", type=int, metavar="m", help="unit client: clients of a round; none: all")
    parser.add_argument(
        "--sampling",
        choices=["fixed", "poisson"],
        default="fixed",
        help="unit client: how cohorts are drawn; ε of Poisson ones holds against those who see none of them",
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="also draw ε over steps, as PNG, SVG or PDF by the name"
    )
    parser.add_argument("--unit", choices=["record", "client"], default="record", help="what is protected")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the plan; returns 0."""
    plan = solve(arguments)
    print(json.dumps(as_dict(plan), indent=2) if arguments.json else as_text(plan))
    if arguments.plot:
        plot(plan, arguments.plot)
    return 0


def solve(arguments: argparse.Namespace) -> Plan:
    """Returns the plan with the missing quantity filled in.

    Raises:
      ConfigError: not exactly one of the four is missing, or a value is out of range.
      TargetUnreachable: no value of the missing one meets the target.
    """
    given = {name: getattr(arguments, name) for name in _FLAGS if getattr(arguments, name) is not None}
    if arguments.clients is not None or arguments.cohort is not None or arguments.sampling != "fixed":
        given["sample_rate"] = _rate_of_clients(arguments)
    missing = [name for name in _FLAGS if name not in given]
    if len(missing) != 1:
        flags = ", ".join(_FLAGS.values())
        raise ConfigError(f"{len(given)} of {flags} are given: give three, the fourth is solved for")
    solved = missing[0]
    target = given.pop("epsilon", None)
    if target is not None:
        calibrate = getattr(calibration, f"calibrate_{_SOLVERS[solved]}")
        given[solved] = calibrate(epsilon=target, delta=arguments.delta, **given)
    event = SampledGaussianEvent(**given)
    return Plan(
        event=event,
        guarantee=_guarantee(event, arguments),
        epsilon_rdp=accounting.epsilon_rdp([event], delta=arguments.delta),
        solved=solved,
    )


def as_dict(plan: Plan) -> dict[str, object]:
    """Returns the plan as JSON-able values; an infinite ε is null."""
    guarantee = plan.guarantee
    return {
        "epsilon": _finite(guarantee.epsilon),
        "delta": guarantee.delta,
        "unit": guarantee.unit,
        "relation": guarantee.relation,
        "noise_multiplier": plan.event.noise_multiplier,
        "sample_rate": plan.event.sample_rate,
        "steps": plan.event.steps,
        "solved_for": plan.solved,
        "epsilon_rdp": _finite(plan.epsilon_rdp),
        "accountant": guarantee.accountant,
        "attacker_tpr_at_fpr": {str(rate): guarantee.attacker_tpr(rate) for rate in FALSE_POSITIVE_RATES},
    }


def as_text(plan: Plan) -> str:
    """Returns the plan for people: the guarantee, how it grows, and what an attacker can do."""
    event, guarantee = plan.event, plan.guarantee
    lines = [
        str(guarantee),
        f"cross-check by Rényi DP: ε = {format_epsilon(plan.epsilon_rdp)}",
        "",
        f"  noise multiplier σ  {event.noise_multiplier:.4g}{_mark(plan, 'noise_multiplier')}",
        f"  sample rate q       {event.sample_rate:.4g}{_mark(plan, 'sample_rate')}",
        f"  steps T             {event.steps}{_mark(plan, 'steps')}",
        "",
        "  after steps   ε",
        *_curve(plan),
        "",
        "  a membership test with false-positive rate … finds at most … of the members",
        *(f"  {rate:>11.1%}   {guarantee.attacker_tpr(rate):.1%}" for rate in FALSE_POSITIVE_RATES),
    ]
    return "\n".join(lines)


def plot(plan: Plan, path: str) -> None:
    """Draws ε over steps into a file whose name says its kind.

    Raises:
      ConfigError: a kind that cannot be drawn, or a file that cannot be written.
    """
    from matplotlib.figure import Figure

    counts = sorted({max(1, round(plan.event.steps * part / 24)) for part in range(1, 25)})
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(counts, [_epsilon_after(plan, count) for count in counts], color="black")
    axes.set(xlabel="steps", ylabel=f"ε at δ = {plan.guarantee.delta:g} per {plan.guarantee.unit}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path} cannot be written: {error}") from error


def _rate_of_clients(arguments: argparse.Namespace) -> float:
    """Returns the rate at which clients are drawn, as far as it amplifies: 1 for fixed cohorts.

    Raises:
      ConfigError: options that do not go together, or a cohort larger than the population.
      DeltaTooLarge: δ is not below one over the number of clients.
    """
    if arguments.unit != "client" or arguments.sample_rate is not None or arguments.clients is None:
        raise ConfigError(
            "--clients, --cohort and --sampling go together with --unit client, --clients given and no"
            " --sample-rate"
        )
    clients, cohort = arguments.clients, arguments.cohort or arguments.clients
    if not 1 <= cohort <= clients:
        raise ConfigError(f"--cohort {cohort} must lie in [1, {clients}], the number of --clients")
    if arguments.delta * clients >= 1:
        raise DeltaTooLarge(
            f"--delta {arguments.delta:g} allows the publication of one of {clients} clients; it must be"
            f" below {1 / clients:.3g}"
        )
    return cohort / clients if arguments.sampling == "poisson" else 1.0


def _guarantee(event: SampledGaussianEvent, arguments: argparse.Namespace) -> PrivacyGuarantee:
    drawn = arguments.unit == "client" and arguments.sampling == "poisson"
    return PrivacyGuarantee(
        epsilon=accounting.epsilon([event], delta=arguments.delta),
        delta=arguments.delta,
        unit="client" if arguments.unit == "client" else "record",
        noise="local" if arguments.unit == "record" else "central",
        adversary=OUTSIDERS if drawn else "whoever sees every release but not the samples",
        accountant=accounting.ACCOUNTANT,
        scope=f"{event.steps} steps and nothing else",
    )


def _course(plan: Plan) -> list[tuple[int, float]]:
    """Returns (steps, ε) after a tenth, a quarter, a half and all of the steps."""
    total = plan.event.steps
    counts = sorted({max(1, round(total * part)) for part in (0.1, 0.25, 0.5, 1.0)})
    return [(count, _epsilon_after(plan, count)) for count in counts]


def _epsilon_after(plan: Plan, steps: int) -> float:
    return accounting.epsilon([replace(plan.event, steps=steps)], delta=plan.guarantee.delta)


def _curve(plan: Plan) -> list[str]:
    """Returns the course as lines of text, each with a bar as long as its ε."""
    course = _course(plan)
    most = max((spent for _, spent in course if math.isfinite(spent)), default=0.0)
    return [
        f"  {steps:>11}   {format_epsilon(spent):<8}"
        + ("█" * max(1, round(40 * spent / most)) if most and math.isfinite(spent) else "")
        for steps, spent in course
    ]


def _mark(plan: Plan, name: str) -> str:
    return "  (solved for)" if plan.solved == name else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
