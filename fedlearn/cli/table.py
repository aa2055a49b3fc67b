"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Iterator

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.result import Baseline, Metrics, Result


def summary_lines(result: Result) -> list[str]:
    """Returns what a user should know at the end of a run, line by line."""
    return [
        "",
        *_metric_table(result),
        *_own_models(result),
        "",
        *_privacy(result),
        *_server_view(result),
        *_simulated(result),
        *_findings(result),
        _where(result),
    ]


def _metric_table(result: Result) -> Iterator[str]:
    metrics = list(result.final)
    if not metrics:
        yield f"{result.name}: {result.rounds} rounds; no held-out test set, so no metrics"
        return
    first = metrics[0]
    width = max(10, *(len(metric) + 2 for metric in metrics))
    heads = "".join(f"{metric:>{width}}" for metric in metrics)
    yield f"{'same held-out test set':<34}{heads}   {first}, worst to best client"
    yield "─" * (34 + width * len(metrics) + 28)
    for label, values, spread in _rows(result):
        yield f"{label:<34}{_cells(values, metrics, width)}   {_range(spread.get(first))}"
    for label, baseline in _baselines(result):
        if baseline.metrics is None:
            yield f"{label:<34}  {baseline.reason}"


_OWN_ROWS = (
    ("global", "the federated model"),
    ("personal", "a personal one"),
    ("local", "local only"),
    ("own", "the one each keeps"),
)


def _own_models(result: Result) -> Iterator[str]:
    """Yields what clients gain by models of their own, on their own held-out records."""
    found = result.personalisation
    if found is None:
        return
    yield ""
    if found.reason is not None:
        yield f"personalisation   {found.reason}"
        return
    for means, models, who in (
        (found.means, found.clients, "each client on its own held-out records"),
        (found.unseen_means, found.unseen, "clients that took no part"),
    ):
        if models:
            metrics = list(means["own"])
            width = max(10, *(len(metric) + 2 for metric in metrics))
            yield f"{who:<40}" + "".join(f"{metric:>{width}}" for metric in metrics)
            for key, label in _OWN_ROWS:
                kept = sum(model.kept == key for model in models.values())
                note = f"   kept by {kept} of {len(models)}" if key != "own" else ""
                yield f"  {label:<38}{_cells(means[key], metrics, width)}{note}"


def _rows(result: Result) -> Iterator[tuple[str, Metrics, dict[str, tuple[float, float]]]]:
    baselines = dict(_baselines(result))
    for label in ("local only", "federated, no protection"):
        if (found := baselines[label]).metrics is not None:
            yield label, found.metrics, found.spread
    yield f"federated, {_protection(result)}", result.final, result.spread
    if (pooled := baselines["pooled"]).metrics is not None:
        yield "pooled", pooled.metrics, pooled.spread


def _baselines(result: Result) -> Iterator[tuple[str, Baseline]]:
    yield "local only", result.baselines.local
    yield "federated, no protection", result.baselines.unprotected
    yield "pooled", result.baselines.pooled


def _protection(result: Result) -> str:
    private, masked = bool(result.privacy), result.secure_aggregation.mode != "off"
    if private and masked:
        return "both protections"
    if private:
        return "privacy only"
    return "secure sum only" if masked else "as configured"


def _cells(values: Metrics, metrics: list[str], width: int) -> str:
    cells = ((values.get(metric)) for metric in metrics)
    return "".join(f"{'–' if value is None else format(value, '.3f'):>{width}}" for value in cells)


def _range(spread: tuple[float, float] | None) -> str:
    return "" if spread is None else f"{spread[0]:.3f} – {spread[1]:.3f}"


def _privacy(result: Result) -> Iterator[str]:
    overall = next((entry for entry in result.privacy if entry.client == "overall"), None)
    if overall is None:
        yield "privacy           none: the model may reveal single records"
        return
    yield (
        f"privacy           ε = {format_epsilon(overall.epsilon)} at δ = {overall.delta:g}"
        f" per {overall.unit} ({overall.relation})"
    )
    yield f"                  against {overall.adversary}; {overall.scope}"
    if result.manifest.reproducible_noise:
        yield "                  the noise is reproducible: this run protects nobody"


def _server_view(result: Result) -> Iterator[str]:
    secure = result.secure_aggregation
    if secure.mode == "off":
        yield "the server saw    every client's update"
    elif secure.mode == "ideal":
        yield "the server saw    sums (simulated without keys: nothing was masked)"
    else:
        yield (
            f"the server saw    one sum per round, of at least {secure.min_survivors} clients;"
            f" safe with {secure.colluders} of them colluding"
        )
    if secure.dropouts or secure.failed_rounds:
        yield f"                  {secure.dropouts} dropouts, {secure.failed_rounds} failed rounds"


def _simulated(result: Result) -> Iterator[str]:
    if result.timing.simulated_s is not None:
        yield f"simulated time    {result.timing.simulated_s:.1f} s, on the machines of [fleet]"


def _findings(result: Result) -> Iterator[str]:
    for number, finding in enumerate(result.findings):
        yield f"{'worth knowing' if number == 0 else '':<18}{finding}"


def _where(result: Result) -> str:
    updates = result.timing.client_updates_per_s
    return (
        f"run directory     {result.directory}  ({result.rounds} rounds, {updates:.0f} client updates/s;"
        " open report.html)"
    )
