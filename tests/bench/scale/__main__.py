"""Rates, checks, extrapolations: ``python -m tests.bench.scale --json [--only GROUP] [--check 100,200]``."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from fedlearn.secagg.messages import MAX_CLIENTS
from tests.bench.figure import Figure, options, show
from tests.bench.scale.model import Session, client_bytes, client_seconds, server_seconds
from tests.bench.scale.rates import Rates, measured
from tests.bench.scale.sessions import run

DIMENSION = 225_034
"""Parameters of the CNN of the other benchmarks."""

RING_BYTES = 2
COLLUDING = DROPOUT = 0.1
LOST = 0.05
LEAST, MOST = 0.8, 1.25
"""What a prediction may be of what is seen."""

COHORTS = (100, 1000, 10_000, 100_000, 1_000_000)


def session_of(clients: int, *, dimension: int = DIMENSION) -> Session:
    """The session of a cohort: a tenth may collude, a tenth may vanish, a twentieth does."""
    return Session.of(
        clients,
        colluders=int(COLLUDING * clients),
        dropout=DROPOUT,
        dimension=dimension,
        ring_bytes=RING_BYTES,
        lost=int(LOST * clients),
    )


def rate_figures(rates: Rates) -> Iterator[Figure]:
    """What the model is made from."""
    for name, seconds in vars(rates).items():
        yield Figure(name=f"rate: {name}", ours=seconds * 1e9, unit="ns")


def check_figures(sizes: Sequence[int], turns: int) -> Iterator[Figure]:
    """Predictions against whole sessions of this run: the ratio is predicted over seen.

    A session stands between two measurements of the rates, because the machine is not the same from one
    minute to the next; figures are medians over turns.
    """
    for clients in sizes:
        session = session_of(clients, dimension=20_000)
        predicted: list[dict[str, float]] = []
        found: list[dict[str, float]] = []
        after = measured()
        for _ in range(turns):
            before = after
            seen = run(session, colluders=int(COLLUDING * clients), dropout=DROPOUT)
            after = measured()
            predicted.append(halfway(foreseen(session, before), foreseen(session, after)))
            found.append(vars(seen))
        for what, unit in (
            ("client_seconds", "s"),
            ("server_seconds", "s"),
            ("up", "bytes"),
            ("down", "bytes"),
        ):
            ratios = [mine[what] / theirs[what] for mine, theirs in zip(predicted, found, strict=True)]
            ratio = statistics.median(ratios)
            yield Figure(
                name=f"check, {clients} clients, {session.neighbours} neighbours: {what}",
                ours=statistics.median(values[what] for values in predicted),
                reference=statistics.median(values[what] for values in found),
                unit=unit,
                ratio=ratio,
                bar=f"{LEAST} <= ratio <= {MOST}",
                holds=LEAST <= ratio <= MOST,
                beside={"ratios": (min(ratios), max(ratios)), "turns": turns},
            )


def foreseen(session: Session, rates: Rates) -> dict[str, float]:
    """What the model says of a session, under the names of what is seen."""
    up, down = client_bytes(session)
    return {
        "client_seconds": sum(client_seconds(session, rates).values()),
        "server_seconds": sum(server_seconds(session, rates).values()),
        "up": up,
        "down": down,
    }


def halfway(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The mean of two predictions."""
    return {name: (one[name] + other[name]) / 2 for name in one}


def clear_figures(rates: Rates) -> Iterator[Figure]:
    """A round in the clear: one vector down, one up, one addition."""
    for clients in COHORTS:
        yield Figure(
            name=f"in the clear, cohort of {clients}: CPU of the server",
            ours=clients * DIMENSION * rates.clear_coordinate,
            unit="s",
            beside={"bytes_up": 4 * DIMENSION * clients, "bytes_down": 4 * DIMENSION * clients},
        )


def masked_figures(rates: Rates) -> Iterator[Figure]:
    """One masked session of so many clients; above the protocol's limit nobody may run one."""
    for clients in COHORTS:
        session = session_of(clients)
        up, down = client_bytes(session)
        client, server = client_seconds(session, rates), server_seconds(session, rates)
        largest = max(client, key=client.__getitem__), max(server, key=server.__getitem__)
        yield Figure(
            name=f"masked, one session of {clients}: CPU of a client",
            ours=sum(client.values()),
            unit="s",
            beside={
                "neighbours": session.neighbours,
                "threshold": session.threshold,
                "bytes_up": up,
                "bytes_down": down + 4 * DIMENSION,
                "server_s": sum(server.values()),
                "server_bytes_out": (down + 4 * DIMENSION) * clients,
                "most_of_client": largest[0],
                "most_of_server": largest[1],
                "allowed": clients <= MAX_CLIENTS,
            },
        )


def population_figures(rates: Rates) -> Iterator[Figure]:
    """Populations with cohorts of 1,000: what a pass over the population costs, a client once each."""
    session = session_of(1000)
    up, down = client_bytes(session)
    for population in COHORTS[2:]:
        rounds = population // 1000
        yield Figure(
            name=f"masked, population of {population} in cohorts of 1000: CPU of the server",
            ours=rounds * sum(server_seconds(session, rates).values()),
            unit="s",
            beside={
                "rounds": rounds,
                "client_s": sum(client_seconds(session, rates).values()),
                "bytes_up": up * population,
                "bytes_down": (down + 4 * DIMENSION) * population,
            },
        )


def main() -> None:
    """Prints the figures that the command line chooses."""
    parser = options(__doc__, only="rates, check, clear, masked or population")
    parser.add_argument("--check", default="100,200", help="cohorts of the sessions that are run")
    parser.add_argument("--turns", type=int, default=3, help="how often each of these is run")
    arguments = parser.parse_args()
    rates = measured()
    sizes = [int(size) for size in arguments.check.split(",")]
    for name, figures in (
        ("rates", rate_figures(rates)),
        ("check", check_figures(sizes, arguments.turns)),
        ("clear", clear_figures(rates)),
        ("masked", masked_figures(rates)),
        ("population", population_figures(rates)),
    ):
        if name.startswith(arguments.only):
            for figure in figures:
                show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
