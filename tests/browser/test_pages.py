"""The pages that runs leave behind, in a real browser: whole, quiet, offline, and readable on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedlearn.results.explain.explanation import Explanation
from fedlearn.results.explain.page import explanation_page
from fedlearn.runs.comparison import Group
from fedlearn.runs.report import Material, report_page
from fedlearn.runs.report.comparison_page import comparison_page
from fedlearn.runs.report.view import rounds_of
from tests.browser.chromium import Tab, chromium, executable
from tests.runs.reports import (
    bare_result,
    full_result,
    hostile_result,
    hostile_rounds,
    some_attacks,
    some_holdings,
    some_rounds,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(executable() is None, reason="no Chromium on this machine"),
]

PHONE, SCREEN = 380, 1000
UNREADABLE = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const light = colour => colour.slice(0, 3).map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  const smallest = 12, faintest = 4.5;  // CSS pixels; WCAG 2.2, 1.4.3
  const bad = [];
  for (const element of document.querySelectorAll("main *:not(svg *)")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen")) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const seen = contrast(rgba(style.color), ground(element));
    if (size < smallest || seen < faintest)
      bad.push(`${element.textContent.trim().slice(0, 30)}: ${size} px, contrast ${seen.toFixed(2)}`);
  }
  return bad;
})()
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    program = executable()
    assert program is not None
    with chromium(program) as opened:
        yield opened


def pages() -> dict[str, str]:
    rounds = rounds_of(some_rounds())
    full = Material(
        result=full_result(),
        rounds=rounds,
        experiment='name = "a-run"',
        attacks=some_attacks(),
        holdings=some_holdings(),
    )
    many = Material(
        result=full_result(per_client={f"c{n}": {"accuracy": 1 - n / 99} for n in range(60)}),
        rounds=rounds,
        holdings=some_holdings(clients=60, classes=30),
    )
    hostile = Material(result=hostile_result(), rounds=rounds_of(hostile_rounds()))
    groups = [
        Group(
            label={"privacy.epsilon": f"{epsilon:g}"},
            results=[full_result(final={"accuracy": 0.5 + epsilon / 30})],
        )
        for epsilon in (0.5, 1, 3, 10)
    ]
    bare = Material(result=bare_result(engine="sites"))
    explanation = Explanation(
        run="a",
        method="integrated gradients",
        source="a test",
        records=3,
        clients=None,
        shape=[40],
        names=[f"feature {number}" for number in range(40)],
        shares=[number / 780 for number in range(40)],
        directions=[-0.5] * 40,
        gap=0.01,
    )
    maps = explanation.model_copy(update={"shape": [1, 5, 8], "by_class": {"3": explanation.shares}})
    return {
        "explanation": explanation_page(explanation),
        "maps": explanation_page(maps),
        "full": report_page(full),
        "many clients": report_page(many),
        "hostile": report_page(hostile),
        "bare": report_page(bare),
        "sweep": comparison_page(
            groups, title="a", lead="b", command="fedlearn sweep a.toml", failures=["c"]
        ),
    }


@pytest.fixture(
    params=["full", "many clients", "hostile", "bare", "sweep", "explanation", "maps"], scope="module"
)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tab: Tab) -> Tab:
    path = tmp_path_factory.mktemp("pages") / "page.html"
    path.write_text(pages()[request.param], encoding="utf-8")
    tab.look(width=SCREEN)
    tab.open(path)
    return tab


def test_it_renders_whole(page: Tab) -> None:
    assert page.evaluate("document.compatMode") == "CSS1Compat"
    assert page.evaluate("document.querySelector('footer').getBoundingClientRect().height") > 0
    heights = "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().height)"
    assert all(height > 5 for height in page.evaluate(heights))
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_console_stays_empty(page: Tab) -> None:
    assert page.told("Log.entryAdded") == []
    assert page.told("Runtime.exceptionThrown") == []
    assert page.told("Runtime.consoleAPICalled") == []


def test_no_request_leaves(page: Tab) -> None:
    asked = [event["request"]["url"] for event in page.told("Network.requestWillBeSent")]
    own = [url for url in asked if url.startswith("file:")]
    assert len(own) == 1
    assert all(url.startswith("data:image/png;base64,") for url in asked if url not in own)
    assert page.evaluate("document.scripts.length") == 0


@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_nothing_scrolls_sideways(page: Tab, width: int) -> None:
    page.look(width=width)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_text_is_large_and_clear_enough(page: Tab, width: int, dark: bool) -> None:
    page.look(width=width, dark=dark)
    assert page.evaluate(UNREADABLE) == []


def test_dark_is_dark_and_light_is_light(page: Tab) -> None:
    grounds = []
    for dark in (False, True):
        page.look(width=SCREEN, dark=dark)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(max(int(part) for part in ground.removeprefix("rgb(").rstrip(")").split(",")))
    assert grounds[0] > 200
    assert grounds[1] < 60


def test_it_prints(page: Tab) -> None:
    folded = "[...document.querySelectorAll('details :is(table, pre)')].every(part => part.checkVisibility())"
    page.ask("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate(folded)
    paper = page.printed()
    assert paper.startswith(b"%PDF-")
    assert b"/Type /Page" in paper


def test_the_checks_see_what_they_are_to_see(tab: Tab, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><main><p style="font-size:8px">small</p><p style="color:#ccc">pale</p>'
        '<div style="width:2000px">wide</div><img src="http://127.0.0.1:9/x.png"></main>'
        "<script>throw new Error('loud')</script>",
        encoding="utf-8",
    )
    tab.look(width=SCREEN)
    tab.open(bad)
    assert len(tab.evaluate(UNREADABLE)) == 2
    assert tab.evaluate("document.documentElement.scrollWidth") >= 2000
    assert tab.told("Runtime.exceptionThrown")
    assert tab.told("Log.entryAdded")
    assert any("127.0.0.1" in event["request"]["url"] for event in tab.told("Network.requestWillBeSent"))
