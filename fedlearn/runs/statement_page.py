"""``privacy_statement.md``: the statement for people."""

from __future__ import annotations

from collections.abc import Iterable

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.statement import ClientStatement, Overall, Statement


def statement_page(statement: Statement) -> str:
    """Returns the statement as Markdown."""
    return "\n".join(_lines(statement)) + "\n"


def _lines(statement: Statement) -> Iterable[str]:
    trust = statement.trust
    yield f"# Privacy of run {statement.run}"
    yield ""
    yield from _overall(statement)
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| protected | one {statement.unit or 'nothing'} more or less ({statement.relation}) |"
    yield f"| against | {trust.adversary} |"
    yield f"| mechanism | {statement.mechanism or 'none'} |"
    yield f"| sampling | {statement.sampler or 'none'} |"
    yield f"| secure aggregation | {trust.secure_aggregation} |"
    if trust.min_survivors is not None:
        yield (
            f"| assumed | at most {trust.colluders} of {trust.clients} clients collude;"
            f" a sum is over at least {trust.min_survivors} |"
        )
    yield f"| accountant | {statement.accountant} |"
    yield f"| added up | {statement.composition}; {statement.rounds} rounds |"
    yield f"| keys | roster {trust.roster[:16]}… |"
    yield ""
    yield from _clients(statement.clients)
    yield from _audit(statement)
    yield "## Not covered"
    yield ""
    yield from (f"- {gap}" for gap in statement.not_covered)
    yield ""
    yield "Check it with `fedlearn verify` on this folder: every signature and every ε is computed anew."


def _overall(statement: Statement) -> Iterable[str]:
    overall = statement.overall
    if overall is None:
        yield "This run has no differential privacy: no ε can be stated."
        return
    unit = statement.unit or "record"
    yield f"**ε = {_shown(overall.epsilon)} at δ = {overall.delta:g} per {unit}**, {overall.rule}."
    yield ""
    yield from _attacker(overall)


def _attacker(overall: Overall) -> Iterable[str]:
    yield "| a membership test with false positive rate | finds at most |"
    yield "|---|---|"
    for rate, bound in overall.attacker_tpr_at_fpr.items():
        yield f"| {float(rate):.1%} | {bound:.1%} of the members |"


def _clients(clients: list[ClientStatement]) -> Iterable[str]:
    if not clients:
        return
    yield "## Clients"
    yield ""
    yield "| client | ε | δ | C | events | noise from | over all runs | signed |"
    yield "|---|---|---|---|---|---|---|---|"
    for client in clients:
        events = "; ".join(_event(event) for event in client.events) or "none"
        source = "operating system" if client.randomness == "os" else "**a seed**"
        clip = "–" if client.clip_norm is None else f"{client.clip_norm:g}"
        yield (
            f"| {client.client} | {_shown(client.epsilon)} | {client.delta:g} | {clip} | {events} | {source}"
            f" | {_lifetime(client)} | {'yes' if client.signed else 'no'} |"
        )
    yield ""


def _event(event: dict[str, object]) -> str:
    words = {"noise_multiplier": "σ", "sample_rate": "q", "steps": "steps"}
    return ", ".join(
        f"{words.get(name, name)} {value:.4g}"
        for name, value in event.items()
        if isinstance(value, int | float)
    )


def _lifetime(client: ClientStatement) -> str:
    kept = client.lifetime
    return "no ledger" if kept is None else f"ε {_shown(kept.epsilon)} of {kept.budget:g}"


def _audit(statement: Statement) -> Iterable[str]:
    audit = statement.audit
    if audit is None:
        return
    yield "## Audit"
    yield ""
    yield (
        f"{audit['canaries']} canaries in the training of client {audit['client']} show"
        f" ε ≥ {format_epsilon(audit['lower_bound'])} where {_shown(audit['accounted'])} is accounted;"
        f" they could have shown {_shown(audit['greatest_reachable_bound'])} at most."
    )
    yield ""


def _shown(epsilon: float | None) -> str:
    return "∞ (no guarantee)" if epsilon is None else format_epsilon(epsilon)
