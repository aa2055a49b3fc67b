"""How far apart equal engines end: the peers' common work by a bare loop, twice, begun one rounding apart.

``python -m tests.bench.parity --json`` prints, after each round, how far the two global models are apart.
Float32 leaves 1e-8; then some unit's input lies within that of zero, its ReLU has a slope in one run and
none in the other, and from there the runs are different ones. No engine can promise more than this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests.bench.figure import Figure, options, show
from tests.bench.peers import PEERS

sys.path.insert(0, str(PEERS))
import fl_common as common  # type: ignore[import-not-found]  # a peer's script, found by its path

ROUNDING = 2**-23
"""What one rounding of a float32 is, relative to its value."""

APART = 1e-6
"""Updates further apart than this took different paths; rounding alone leaves a tenth of it."""

ROUNDS = {"mlp": 13, "cnn": 4}

Records = tuple[Tensor, Tensor]


def update(net: Module, params: Tensor, records: Records, work: argparse.Namespace) -> Tensor:
    """What one client adds to the parameters: an epoch of plain SGD, records in their order."""
    vector_to_parameters(params.clone(), net.parameters())
    inputs, targets = records
    for start in range(0, len(targets), work.batch):
        net.zero_grad()
        batch = slice(start, start + work.batch)
        cross_entropy(net(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for value in net.parameters():
                assert value.grad is not None
                value.sub_(work.lr * value.grad)
    return parameters_to_vector(net.parameters()).detach() - params


def figures(model: str, work: argparse.Namespace) -> Iterator[Figure]:
    """After each round: the largest difference of a parameter, and how many clients parted in it."""
    inputs, targets = common.load_fashion()
    users = common.partition(targets, work.users, work.alpha, work.mean_size, work.sizes, work.seed)
    net = common.make_model(model, work.seed)
    one = parameters_to_vector(net.parameters()).detach().clone()
    signs = torch.randint(-1, 2, one.shape, generator=torch.Generator().manual_seed(1))
    other = one * (1 + ROUNDING * signs)
    for number, cohort in enumerate(common.schedule(work.users, work.cohort, ROUNDS[model], work.seed), 1):
        sums, parted = torch.zeros(2, len(one), dtype=torch.float64), 0
        for user in cohort:
            chosen = torch.from_numpy(users[user])
            records = inputs[chosen], targets[chosen]
            updates = [update(net, params, records, work) for params in (one, other)]
            parted += bool((updates[0] - updates[1]).abs().max() > APART)
            sums += torch.stack(updates)
        one, other = torch.stack([one, other]) + (sums / work.cohort).float()
        yield Figure(
            name=f"{model}, begun one rounding apart, after round {number}",
            ours=float((one - other).abs().max()),
            unit="1",
            beside={"clients_parted": parted},
        )


def main() -> None:
    """Prints the figures of the models that the command line chooses."""
    arguments = options(__doc__, only="mlp or cnn").parse_args()
    torch.set_num_threads(1)
    work = common.add_args(argparse.ArgumentParser()).parse_args([])
    for model in ROUNDS:
        if model.startswith(arguments.only):
            for figure in figures(model, work):
                show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
