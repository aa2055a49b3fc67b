"""The report is one whole, self-contained page with every number of the result, whatever is missing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.runs.progress import RoundReport
from fedlearn.runs.report import Material, report_page
from fedlearn.runs.report.figures import consecutive
from fedlearn.runs.report.section import Section
from fedlearn.runs.report.view import (
    client_rows,
    found_of_100,
    lower_is_better,
    metric_names,
    rounds_of,
    standings,
)
from fedlearn.runs.result import Baseline, Baselines, Result
from tests.runs.reports import (
    ABSENT,
    HOSTILE,
    bare_result,
    full_result,
    guarantee,
    hostile_result,
    hostile_rounds,
    some_attacks,
    some_holdings,
    some_rounds,
)

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a browser would find: elements, ids, attributes, text and the exact numbers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.values: set[float] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "data":
            self.values.add(float(dict(attrs)["value"] or "nan"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all_of(self, attribute: str) -> list[str]:
        return [value for name, value in self.attributes if name == attribute]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def html_of(result: Result, rounds: list[dict[str, Any]], **more: Any) -> str:
    return report_page(Material(result=result, rounds=rounds_of(rounds), **more))


def parsed(result: Result, rounds: list[dict[str, Any]], **more: Any) -> Page:
    page = Page(html_of(result, rounds, **more))
    assert page.open == []
    return page


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from numbers_in(part)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield float(value)


def test_page_is_self_contained() -> None:
    html = html_of(full_result(), some_rounds(), experiment='name = "a-run"')
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not page.all_of("src")
    assert not page.all_of("srcset")
    assert not page.all_of("action")
    assert all(target.startswith("#") for target in page.all_of("href"))
    assert not any(word in html for word in ("http:", "https:", "@import", "url(http"))
    assert "img-src data:" in html


def test_ids_are_unique_and_every_reference_has_its_target() -> None:
    html = html_of(full_result(), some_rounds())
    page = Page(html)
    ids = page.all_of("id")
    assert len(ids) == len(set(ids))
    references = page.all_of("aria-labelledby") + [target[1:] for target in page.all_of("href")]
    assert set(references) <= set(ids)


def test_every_number_of_the_result_is_on_the_page() -> None:
    result = full_result()
    record = result.model_dump(exclude={"schema_version"})
    assert set(numbers_in(record)) <= parsed(result, some_rounds()).values


def test_every_number_of_the_rounds_is_on_the_page() -> None:
    values = parsed(full_result(), some_rounds()).values
    for entry in some_rounds():
        told = {key: entry[key] for key in ("metrics", "survivors", "epsilon", "bytes_up", "bytes_down")}
        assert set(numbers_in(told)) <= values


def test_every_word_of_the_manifest_and_the_findings_is_on_the_page() -> None:
    result = full_result()
    words = parsed(result, some_rounds(), experiment="rounds = 4").words
    manifest = result.manifest
    for part in (
        *manifest.versions,
        *manifest.versions.values(),
        *result.findings,
        manifest.data,
        manifest.python,
        manifest.platform,
        "0123456789ab",
        "rounds = 4",
    ):
        assert part in words
    assert "fedlearn simulate experiment.toml --engine inprocess" in words


def test_epsilon_never_stands_without_its_meaning() -> None:
    words = parsed(full_result(), some_rounds()).words
    assert "ε = 2.96 at δ = 1.25e-5" in words
    for part in ("one record of one client", "add-remove", "the server and whoever receives the model"):
        assert part in words
    assert "training, all rounds of this test" in words
    assert "PLD of a test" in words


def test_missing_baseline_shows_its_reason() -> None:
    assert "no figures: the records of sites cannot be pooled" in parsed(full_result(), []).words


def test_page_of_a_bare_result() -> None:
    page = parsed(bare_result(engine="sites"), [])
    assert "not private" in page.words
    assert "every update" in page.words
    assert "not measured" in page.words
    assert page.words.count("no figures: baselines.local is off") == 2
    assert "no failed rounds and no dropouts" in page.words
    assert "figure" not in page.tags


def test_unprotected_run_stands_in_the_row_without_protection() -> None:
    rows = standings(bare_result())
    assert [(row.label, row.own) for row in rows] == [
        ("Local only", False),
        ("Federated without protection", True),
        ("Federated with protection", False),
        ("Pooled", False),
    ]
    assert [row.own for row in standings(full_result())] == [False, False, True, False]


def test_failed_rounds_and_dropouts_are_told() -> None:
    words = parsed(full_result(), some_rounds()).words
    assert "Over the run: 1 failed round and 3 dropouts." in words
    assert "Round 2: agree: 1 client answered, 2 are needed" in words
    assert "no answer in time: 1–3" in words


@pytest.mark.parametrize(
    ("mode", "warning"), [("ideal", "Nothing was masked in this run."), ("masked", "one sum")]
)
def test_what_the_server_saw(mode: str, warning: str) -> None:
    secure = full_result().secure_aggregation.model_copy(update={"mode": mode})
    assert warning in parsed(full_result(secure_aggregation=secure), []).words


def test_reproducible_noise_is_stamped_on_the_page() -> None:
    manifest = full_result().manifest.model_copy(update={"reproducible_noise": True})
    assert "The noise of this run was reproducible." in parsed(full_result(manifest=manifest), []).words


def test_infinite_epsilon_is_called_no_guarantee() -> None:
    result = full_result(privacy=[guarantee("overall", math.inf)])
    page = parsed(result, [])
    assert "ε = ∞" in page.words
    assert "guarantees nothing" in page.words


def test_worst_served_client_is_named() -> None:
    assert "The model serves basel worst: accuracy 0.712, against 0.961 for amsterdam." in (
        parsed(full_result(), some_rounds()).words
    )


def test_clients_are_ordered_from_worst_to_best_with_undefined_last() -> None:
    rows = client_rows(full_result(), rounds_of(some_rounds()))
    assert [(row.name, row.dropped) for row in rows] == [("basel", 3), ("amsterdam", 0), ("chiba", 0)]
    by_loss = full_result(final={"loss": 0.2})
    assert [row.name for row in client_rows(by_loss, [])] == ["basel", "chiba", "amsterdam"]


def test_many_clients_are_all_there() -> None:
    per_client = {f"c{number}": {"accuracy": number / 1000} for number in range(60)}
    page = parsed(full_result(per_client=per_client, privacy=[]), [])
    assert "The other 35 clients" in page.words
    assert {number / 1000 for number in range(60)} <= page.values


def test_charts_tell_what_they_show() -> None:
    page = parsed(full_result(), some_rounds())
    descriptions = [
        label for label in page.all_of("aria-label") if "over rounds." in label or "grows" in label
    ]
    assert descriptions == [
        "Accuracy over rounds. accuracy, this run: 0.6 after round 1, 0.9 after round 4;"
        " local only: 0.851; without protection: 0.941.",
        "ε grows to 2.80 at δ = 1.25e-5 by the last round.",
    ]


def test_data_picture_has_every_count() -> None:
    holdings = some_holdings(clients=50)
    page = parsed(full_result(), some_rounds(), holdings=holdings)
    assert set(numbers_in(holdings.model_dump())) <= page.values
    assert "At real sites no such statistic leaves." in page.words
    assert "The numbers of records and labels on this page" in page.words
    assert "the first 50 of 52 clients" in page.words


def test_sites_show_no_data_picture() -> None:
    page = parsed(full_result(engine="sites"), some_rounds())
    assert "no statistic of them left for this page" in page.words
    assert "heat" not in page.all_of("class")


def test_attacks_stand_beside_protections_with_their_pictures() -> None:
    page = parsed(full_result(), some_rounds(), attacks=some_attacks())
    assert {57.1, 40.5, 8.3, 11.5, 31.5, 9.25} <= page.values
    assert "succeeds" in page.words
    assert "fails" in page.words
    assert "not tried" in page.words
    assert len(page.all_of("src")) == len(page.all_of("alt")) == 8
    assert all(source.startswith("data:image/png;base64,") for source in page.all_of("src"))
    assert all(page.all_of("alt"))


def test_attacks_on_the_run_as_it_was_protected_are_told_in_short() -> None:
    table = some_attacks()
    own = list(table.values())[-1]
    page = parsed(full_result(), some_rounds(), attacks=table)
    assert f"{sum(report.succeeded for report in own)} of {len(own)} attacks succeed" in page.words
    assert "fedlearn attack on this folder" in parsed(full_result(), some_rounds()).words


def test_an_epsilon_that_stops_nobody_is_said_to_stop_nobody() -> None:
    result = full_result()
    weak = [entry.model_copy(update={"epsilon": 50.0}) for entry in result.privacy]
    words = parsed(result.model_copy(update={"privacy": weak}), some_rounds()).words
    assert "this ε by itself hides nobody" in words
    assert "hides nobody" not in parsed(result, some_rounds()).words


def test_promises_are_sentences_with_their_figures() -> None:
    words = parsed(full_result(), some_rounds()).words
    assert "No record leaves the client that holds it" in words
    assert "a factor of at most e^ε = 19.4" in words
    assert "as long as at most 1 of the clients worked with it" in words


def test_sections_may_be_added_and_leave_themselves_out() -> None:
    greeting = Section(
        key="own", title="An own section", template="<p>{{ word }}</p>", values=lambda _: {"word": "<b>"}
    )
    silent = Section(key="silent", title="Not to be seen", template="", values=lambda _: None)
    html = report_page(Material(result=full_result()), sections=(greeting, silent))
    assert "An own section" in html
    assert "<p>&lt;b&gt;</p>" in html
    assert "Not to be seen" not in html


def test_same_result_gives_the_same_page() -> None:
    assert html_of(full_result(), some_rounds()) == html_of(full_result(), some_rounds())


def test_charts_have_no_fixed_colours() -> None:
    html = html_of(full_result(), some_rounds())
    body = html[html.index("<body>") :]
    assert "var(--series-1)" in body
    assert "currentColor" in body
    assert "stroke: #" not in body
    assert "fill: #" not in body


def test_hostile_words_stay_text() -> None:
    page = parsed(hostile_result(), hostile_rounds(), experiment=HOSTILE)
    assert not {"script", "img"} & set(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count(HOSTILE) > 15


metric_values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
metric_tables = st.dictionaries(st.text(min_size=1, max_size=8), metric_values, max_size=3)


@settings(max_examples=20)
@given(
    final=metric_tables,
    per_client=st.dictionaries(st.text(max_size=6), metric_tables, max_size=3),
    pooled=metric_tables,
    tables=st.lists(metric_tables, max_size=3),
    epsilon=st.one_of(st.none(), st.floats(min_value=0)),
)
def test_any_result_gives_a_whole_page(
    final: dict[str, float | None],
    per_client: dict[str, dict[str, float | None]],
    pooled: dict[str, float | None],
    tables: list[dict[str, float | None]],
    epsilon: float | None,
) -> None:
    baselines = Baselines(local=ABSENT, unprotected=ABSENT, pooled=Baseline(metrics=pooled))
    result = full_result(
        final=final,
        spread={},
        per_client=per_client,
        baselines=baselines,
        privacy=[] if epsilon is None else [guarantee("overall", epsilon)],
    )
    rounds = [
        asdict(RoundReport(round=number, rounds=3, metrics=table, survivors=1, epsilon=epsilon))
        for number, table in enumerate(tables, start=1)
    ]
    page = parsed(result, rounds)
    assert set(numbers_in(result.model_dump(exclude={"schema_version"}))) <= page.values


@given(st.sets(st.integers(1, 60)))
def test_joined_rounds_read_back_as_the_same_rounds(rounds: set[int]) -> None:
    read: set[int] = set()
    for part in filter(None, consecutive(sorted(rounds)).split(", ")):
        low, _, high = part.partition("–")
        read |= set(range(int(low), int(high or low) + 1))
    assert read == rounds


@given(st.floats(0, 1e6), st.floats(0.001, 0.5))
def test_membership_bound_lies_between_false_alarms_and_everyone(epsilon: float, false_alarms: float) -> None:
    found = found_of_100(guarantee("overall", epsilon), false_alarms=false_alarms)
    assert 100 * false_alarms <= found <= 100


def test_membership_bound_known_answer() -> None:
    assert found_of_100(guarantee("overall", 1.0), false_alarms=0.01) == pytest.approx(2.71828 + 0.00125)


def test_unknown_keys_of_a_round_are_passed_over() -> None:
    assert rounds_of([some_rounds()[0] | {"later": 1}]) == rounds_of(some_rounds()[:1])


def test_headline_is_the_first_metric_of_the_experiment() -> None:
    assert metric_names(full_result())[0] == "accuracy"
    assert lower_is_better("log_loss")
    assert not lower_is_better("recall")


def test_drawing_leaves_home_and_environment_alone(tmp_path: Any) -> None:
    code = (
        "import os; from fedlearn.runs.report.drawing import Line, draw_lines;"
        "draw_lines([Line(label='a', points=[0.5])], rounds=[1], salt='a');"
        "raise SystemExit('MPLCONFIGDIR' in os.environ)"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []
