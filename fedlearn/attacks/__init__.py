"""What an adversary gets: each attack sees what its adversary sees, and no more.

An attack is a frozen value with ``run(scene, rng) -> AttackReport``. It reads the transcript of a round
(what a server sees) or a trained model (what a recipient sees), both from the protocol as it
runs, and reports its score beside the score of guessing without having seen anything. An audit
(:mod:`~fedlearn.attacks.audit`) turns such a success into a bound on ε.
"""

from __future__ import annotations

from fedlearn.registry import Registry

ATTACKS = Registry(
    "attack",
    {
        "update-inversion": "fedlearn.attacks.linear_inversion:UpdateInversion",
        "sum-inversion": "fedlearn.attacks.linear_inversion:SumInversion",
        "gradient-matching": "fedlearn.attacks.gradient_matching:GradientMatching",
        "imprint": "fedlearn.attacks.imprint:Imprint",
        "sum-imprint": "fedlearn.attacks.imprint:SumImprint",
        "property": "fedlearn.attacks.client_property:ClientProperty",
        "one-run-audit": "fedlearn.attacks.one_run:OneRunAudit",
        "membership": "fedlearn.attacks.membership:Membership",
    },
)
"""Word → class of an attack."""

__all__ = ["ATTACKS"]
