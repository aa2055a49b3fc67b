"""``fedlearn explain``: which inputs a run's model goes by.

Examples::

    fedlearn explain runs/quickstart
    fedlearn explain runs/persons --epsilon 1 --delta 1e-3
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.cli.records import add_record_arguments, model_of, records_of
from fedlearn.errors import ConfigError

if TYPE_CHECKING:
    from fedlearn.privacy.ledger import Ledger
    from fedlearn.results import LoadedModel
    from fedlearn.results.explain.explanation import Explanation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_record_arguments(parser)
    parser.add_argument("--records", type=int, default=256, metavar="N", help="most records (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="draws the records, without --epsilon")
    parser.add_argument(
        "--epsilon", type=float, metavar="E", help="average over the run's clients under client-level DP"
    )
    parser.add_argument("--delta", type=float, metavar="D", help="δ of it")
    parser.add_argument(
        "--ledger", type=Path, metavar="DIR", help="folder of the clients' ledgers, to charge"
    )
    parser.add_argument("--top", type=int, default=15, metavar="N", help="inputs to print (default 15)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write into (default: the run's)")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Prints the most important inputs; writes ``explanation.json`` and ``explanation.html``."""
    from fedlearn.results.explain.page import explanation_page
    from fedlearn.rounds.checkpoint import write_atomically

    private = arguments.epsilon is not None
    if private != (arguments.delta is not None) or (arguments.ledger is not None and not private):
        raise ConfigError("--epsilon and --delta go together, and --ledger with them")
    if private and (arguments.data or arguments.folder or arguments.client):
        raise ConfigError(
            "--epsilon averages over the run's own clients; leave out --data, --folder and --client"
        )
    if arguments.seed < 0 or arguments.top < 1:
        raise ConfigError(f"--seed {arguments.seed} must be at least 0, --top {arguments.top} at least 1")
    loaded = model_of(arguments)
    explanation = _private(arguments, loaded) if private else _exact(arguments, loaded)
    text = explanation.model_dump_json(indent=2)
    out = arguments.out or arguments.run
    write_atomically(out / "explanation.json", text.encode())
    write_atomically(out / "explanation.html", explanation_page(explanation).encode())
    if arguments.json:
        print(text)
        return 0
    _print(explanation, arguments.top)
    print(f"\n{out / 'explanation.html'}")
    return 0


def _exact(arguments: argparse.Namespace, loaded: LoadedModel) -> Explanation:
    import numpy as np

    from fedlearn.results.explain.explanation import explain

    data = records_of(arguments, loaded)
    return explain(loaded, data, records=arguments.records, rng=np.random.default_rng(arguments.seed))


def _private(arguments: argparse.Namespace, loaded: LoadedModel) -> Explanation:
    from fedlearn.crypto.noise import NoiseSource
    from fedlearn.results.data import population_of
    from fedlearn.results.explain.explanation import client_vectors, private_explanation
    from fedlearn.results.explain.private import private_importance, together
    from fedlearn.results.explain.spent import spent_per_record

    if arguments.records < 1:
        raise ConfigError(f"--records {arguments.records} must be at least 1")
    population = population_of(loaded)
    spent = spent_per_record(loaded.directory)
    with ExitStack() as stack:
        ledgers = _ledgers(arguments.ledger, list(population.clients), stack)
        released = private_importance(
            client_vectors(loaded, population, records=arguments.records),
            epsilon=arguments.epsilon,
            delta=arguments.delta,
            noise=NoiseSource(),
            ledgers=ledgers,
            run=loaded.result.name,
            dataset=loaded.config.data.dataset or "objects",
        )
    return private_explanation(
        loaded, released, clients=len(population.clients), together=together(released, spent)
    )


def _ledgers(folder: Path | None, clients: list[str], stack: ExitStack) -> dict[str, Ledger]:
    from fedlearn.experiment.ledgers import LedgerFolder

    if folder is None:
        return {}
    ledgers = LedgerFolder(folder)
    return stack.enter_context(ledgers.opened(ledgers.enrolment(clients).keys))


def _print(explanation: Explanation, top: int) -> None:
    from fedlearn.privacy.guarantee import format_epsilon

    width = max(map(len, explanation.names), default=0)
    largest = max(explanation.shares, default=0.0) or 1.0
    for at in explanation.ranked()[:top]:
        share = explanation.shares[at]
        print(f"{explanation.names[at]:<{width}}  {share:6.1%}  {'█' * round(24 * share / largest)}")
    print(f"\n{explanation.source}; {explanation.method}")
    for guarantee in (explanation.guarantee, explanation.together):
        if guarantee is not None:
            print(
                f"{guarantee.scope}: ε = {format_epsilon(guarantee.epsilon)} at δ = {guarantee.delta:g}"
                f" per {guarantee.unit}"
                f" ({guarantee.relation}) against {guarantee.adversary}"
            )
    if explanation.stddev is not None:
        print(f"noise of standard deviation {explanation.stddev:.3g} in each share")
    if explanation.guarantee is None:
        print("exact, without noise: it tells something about the records that it was computed on")
    elif explanation.together is None:
        print("the run itself has no differential privacy: together they guarantee nothing")
