"""Runs side by side: curves over every key, one table, and what failed, on a page that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fedlearn.runs.comparison import Group
from fedlearn.runs.report.comparison_page import comparison_page
from fedlearn.runs.report.curves import axis_of, curves_of
from tests.runs.reports import HOSTILE, bare_result, full_result

COMMAND = "fedlearn sweep a.toml"


def group(values: Sequence[float], **label: str) -> Group:
    return Group(
        label={key.replace("_", "."): value for key, value in label.items()},
        results=[full_result(final={"accuracy": value}) for value in values],
    )


def test_a_curve_has_medians_in_the_order_of_the_numbers() -> None:
    groups = [group([0.9, 0.7, 0.8], rounds="10"), group([0.5], rounds="2"), group([0.6], rounds="5")]
    (chart,) = curves_of(groups, "accuracy")
    assert chart.title == "Accuracy against rounds"
    assert "accuracy, these runs: 0.5 at 2, 0.6 at 5, 0.8 at 10" in chart.description
    assert [key.label for key in chart.legend] == ["accuracy, these runs", "local only", "without protection"]


def test_every_key_has_a_curve_with_a_line_per_setting_of_the_others() -> None:
    groups = [
        group([0.5], rounds="1", training_momentum="0.0"),
        group([0.6], rounds="2", training_momentum="0.0"),
        group([0.7], rounds="1", training_momentum="0.9"),
        group([0.8], rounds="2", training_momentum="0.9"),
    ]
    first, second = curves_of(groups, "accuracy")
    assert [key.label for key in first.legend] == ["training.momentum = 0.0", "training.momentum = 0.9"]
    assert [key.label for key in second.legend] == ["rounds = 1", "rounds = 2"]


def test_one_value_is_no_curve() -> None:
    assert curves_of([group([0.5], rounds="1")], "accuracy") == []


@pytest.mark.parametrize(
    ("values", "places", "logarithmic"),
    [
        (["0.5", "1", "3"], [0.5, 1, 3], False),
        (["0.5", "1", "10"], [0.5, 1, 10], True),
        (["0", "100"], [0, 100], False),
        (["fedavg", "fedprox"], [0, 1], False),
        (["nan", "1"], [0, 1], False),
    ],
)
def test_places_of_values(values: list[str], places: list[float], logarithmic: bool) -> None:
    axis = axis_of(values)
    assert (axis.places, axis.logarithmic) == (places, logarithmic)


def test_the_page_is_whole_and_escapes_what_users_wrote() -> None:
    groups = [group([0.5], algorithm_name=HOSTILE), group([0.6], algorithm_name="$x^2$ <b>")]
    html = comparison_page(groups, title=HOSTILE, lead=HOSTILE, command=HOSTILE, failures=[HOSTILE])
    assert html.startswith("<!DOCTYPE html>")
    assert not any(tag in html for tag in ("<script", "<img", "<b>"))
    assert "default-src 'none'" in html


def test_runs_without_metrics_still_have_a_page() -> None:
    html = comparison_page(
        [Group(label={"run": "a"}, results=[bare_result()])], title="a", lead="b", command=COMMAND
    )
    assert "All runs" in html
    assert "What the setting does" not in html
