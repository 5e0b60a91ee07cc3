"""The explorer in real headless Chromium: every page fits, can be read and walked through, and runs nothing foreign."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browsing import SCREENSHOTS, Heard, browser, scrolls_sideways, violations
from tests.explorer.conftest import HOSTILE, PAGES, record_more
from tests.explorer.serving import served
from tests.report.conftest import TEXT, Content, make_run

from cotlens.report import report_stage
from cotlens.types import Silent

__all__ = ["browser"]

pytestmark = pytest.mark.browser

#: Each page once.
SEEN = tuple(address for address in PAGES if not address.startswith("/compare?"))

#: Brings every chart of a page before the reader, which is when it is drawn.
SCROLL = """async () => {
    for (const part of document.querySelectorAll(".chart[data-widths]")) {
        part.scrollIntoView();
        for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    }
    scrollTo(0, 0);
}"""
DRAWN = """[...document.querySelectorAll(".chart[data-widths]")].every(
    part => part.dataset.drawn && part.view && part.querySelector("svg.marks"))"""
#: A chart that is drawn again has another view.
AGED = "document.querySelectorAll('.chart[data-widths]').forEach(part => part.view.old = true)"
ANEW = "[...document.querySelectorAll('.chart[data-widths]')].every(part => part.view && !part.view.old)"
OPEN_ALL = "document.querySelectorAll('main details').forEach(one => one.open = true)"
CLOSE_ALL = "document.querySelectorAll('main details').forEach(one => one.open = false)"
#: What has the focus, and whether it shows: a ring around it or around what is drawn for it.
FOCUS = """() => {
    const at = document.activeElement;
    const shown = [at, at.querySelector("span"), at.nextElementSibling].filter(Boolean);
    const ring = shown.some(part => {
        const style = getComputedStyle(part), box = part.getBoundingClientRect();
        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 && box.width * box.height > 0;
    });
    return [at.tagName, at.getAttribute("href") ?? at.id ?? "", ring || at === document.body];
}"""
COLOUR = "spans => spans.map(span => getComputedStyle(span).backgroundColor)"
#: Every concept's colour at its darkest, beneath type.
ALL_COLOURS = """() => {
    const strip = document.querySelector(".tokens");
    for (let place = 0; place < 14; place++) {
        const other = strip.cloneNode(true);
        other.className = strip.className.replace(/ c-?\\d+/, ` c${place}`);
        other.removeAttribute("role");
        for (const token of other.children) token.className = token.className.replace(/ h\\d/, " h5");
        strip.parentElement.append(other);
    }
}"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for all of this file: the chart library is bundled into it once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("COTLENS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a report, effects, logit lens, similar neurons, and lists of more than one page."""
    run = make_run(tmp_path_factory.mktemp("seen") / "run", Content(questions=26, right=13))
    report_stage(run, Silent())
    run.finish("report", 1.0)
    return record_more(run.path)


@pytest.fixture(scope="module")
def explorer(run_path: Path, cache: Path) -> Iterator[str]:
    with served(run_path) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(60_000)  # on a busy machine
    yield opened
    opened.close()


def wait_until(page: Page, expression: str) -> None:
    """Playwright's own waiting evaluates a text within the page, which the explorer's policy forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never comes true: {expression}")


def look(page: Page, address: str) -> None:
    """Open a page and wait for all of its charts."""
    page.goto(address)
    page.evaluate(SCROLL)
    wait_until(page, DRAWN)


def go_dark(page: Page) -> None:
    """As when the system's colours change; charts are drawn again in theirs."""
    page.evaluate(AGED)
    page.emulate_media(color_scheme="dark")
    wait_until(page, ANEW)


def picture(page: Page, address: str, width: int, scheme: str) -> None:
    name = "".join(char if char.isalnum() else "-" for char in address.strip("/")) or "overview"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("address", SEEN)
def test_every_page_fits_and_can_be_read(page: Page, explorer: str, address: str, width: int) -> None:
    """At either width in light and dark; axe, which takes longest, sees each width and each of the two once."""
    page.set_viewport_size({"width": width, "height": 900})
    heard = Heard(page)
    look(page, explorer + address)
    picture(page, address, width, "light")
    if width == 1280:
        page.evaluate(OPEN_ALL)
        assert violations(page) == []
        page.evaluate(CLOSE_ALL)
    go_dark(page)
    picture(page, address, width, "dark")
    page.evaluate(OPEN_ALL)
    assert not scrolls_sideways(page)
    if width == 390:
        assert violations(page) == []
    assert heard.said == []
    assert [url for url in heard.asked if not url.startswith((f"{explorer}/", "blob:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_type_can_be_read_on_every_colour(browser: Browser, explorer: str, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"{explorer}/completion/cot/q0")
    page.evaluate(ALL_COLOURS)
    assert page.locator(".tokens .h5").count() > 14 * len(TEXT)
    assert len(set(page.locator(".tokens .h5:first-child span").evaluate_all(COLOUR))) == 14
    assert violations(page, ".walk") == []
    page.close()


@pytest.mark.parametrize("address", SEEN)
def test_whatever_takes_the_focus_shows_it(page: Page, explorer: str, address: str) -> None:
    """Tab goes through a whole page and out at its end; every stop can be seen."""
    page.goto(explorer + address)
    if "/completion/" in address:
        page.wait_for_selector("html[data-walks]")
    stops = []
    for _ in range(400):
        page.keyboard.press("Tab")
        stops.append(tuple(page.evaluate(FOCUS)))
        if stops[-1][0] == "BODY":
            break
    assert stops[-1][0] == "BODY", "the focus is caught"
    assert len(stops) > 10
    assert [stop for stop in stops if not stop[2]] == []


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until something that fits ``selector`` has the focus."""
    for _ in range(200):
        press(page, "Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def test_a_reader_without_a_mouse_comes_from_the_overview_to_a_neuron_and_back(page: Page, explorer: str) -> None:
    heard = Heard(page)
    page.goto(explorer)
    press(page, "g", "c")
    page.wait_for_url("**/completions")
    tab_to(page, ".completions a")
    press(page, "Enter")
    page.wait_for_url("**/completion/cot/q0")
    page.wait_for_selector("html[data-walks]")
    _walk_tokens(page)
    tab_to(page, "[data-grid] a")
    press(page, "ArrowDown", "ArrowRight")
    cell = page.locator("[data-grid] td:focus-within")
    assert cell.evaluate("cell => [cell.parentElement.sectionRowIndex, cell.cellIndex]") == [1, 2]
    page.wait_for_selector("[data-about] b")
    name = page.locator("[data-about] b").inner_text()
    press(page, "Enter")
    page.wait_for_url(f"**/neuron/{name}")
    assert page.locator("h1").inner_text() == name
    press(page, "]")
    page.wait_for_url(lambda url: not url.endswith(name))
    press(page, "[")
    page.wait_for_url(f"**/neuron/{name}")
    press(page, "/")
    page.keyboard.type("sum")
    press(page, "Enter")
    page.wait_for_url("**/neurons?token=sum")
    assert page.locator("table.neurons tbody tr").count() > 1
    for key, end in (("n", "/neurons"), ("k", "/concepts"), ("v", "/compare"), ("i", "/interventions"), ("o", "/")):
        press(page, "g", key)
        page.wait_for_url(explorer + end)
    assert heard.said == []


def _walk_tokens(page: Page) -> None:
    """Arrows go along the tokens, to and fro, and the grid goes along; ``c`` takes another concept."""
    at, token, role = (page.locator(f"[data-{name}]").first for name in ("at", "token", "role"))
    tab_to(page, "a.token")
    press(page, "Home")
    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    assert (at.inner_text(), token.inner_text(), role.inner_text()) == ("3", "␣4", "operand")
    # In this run the first neuron of a layer at the step t is t.
    expect(page.locator("[data-grid] tbody a").first).to_have_attribute("href", "/neuron/L3N3")
    assert page.url.endswith("step=3")
    press(page, "ArrowDown")
    assert int(at.inner_text()) > 9, "the line below is another sentence"
    press(page, "ArrowUp", "End", "ArrowLeft")
    assert at.inner_text() == str(len(TEXT) - 2)
    assert page.evaluate("document.activeElement.dataset.step") == str(len(TEXT) - 2)
    colours = page.locator(".tokens").get_attribute("class")
    press(page, "c")
    assert page.locator(".tokens").get_attribute("class") != colours


def test_the_list_of_keys_and_the_colours_obey_keys(page: Page, explorer: str) -> None:
    page.goto(explorer)
    press(page, "?")
    assert page.locator("dialog#keys").is_visible()
    assert violations(page, "dialog") == []
    press(page, "Escape")
    assert not page.locator("dialog#keys").is_visible()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    press(page, "t", "t")
    assert page.evaluate(paper) != light
    page.reload()
    assert page.evaluate(paper) != light, "the choice is kept"


def point_at_a_mark(page: Page, figure: Locator) -> None:
    """Go over the marks until one says something."""
    for mark in figure.locator("svg.marks .mark-symbol path, svg.marks .mark-rect path").all()[:40]:
        box = mark.bounding_box()
        if box and min(box["width"], box["height"]) >= 4:
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            if page.locator("#vg-tooltip-element.visible").count():
                return
    raise AssertionError("no mark says anything")


@pytest.mark.parametrize(("address", "name"), [("/", "accuracy"), ("/neuron/L1N0", "neuron-coefficients")])
def test_a_chart_can_be_pointed_at_and_taken_along(page: Page, explorer: str, address: str, name: str) -> None:
    look(page, explorer + address)
    figure = page.locator(f"#figure-{name}")
    figure.scroll_into_view_if_needed()
    point_at_a_mark(page, figure)
    files = {}
    for kind in ("svg", "png", "csv"):
        with page.expect_download() as taken:
            figure.locator(".take a", has_text=kind.upper()).click()
        assert taken.value.suggested_filename == f"{name}.{kind}"
        files[kind] = taken.value.path().read_bytes()
    assert files["svg"].startswith(b"<svg")
    assert files["png"].startswith(b"\x89PNG")
    assert len(files["csv"].decode().splitlines()) == 1 + figure.locator("tbody tr").count()


def test_hostile_texts_are_shown_and_run_nothing(browser: Browser, cache: Path, tmp_path: Path) -> None:
    """In tokens, questions, completions, reasons and a concept's name; on pages, in charts and in the report."""
    tokens = [*TEXT[:3], HOSTILE, *TEXT[4:]]
    text = {"question": HOSTILE, "strange": HOSTILE, "reason": HOSTILE, "concept": HOSTILE, "model": "tiny<b>"}
    run = make_run(tmp_path / "run", Content(tokens=tokens, **text))
    report_stage(run, Silent())
    run.finish("report", 1.0)
    page = browser.new_page()
    heard = Heard(page)
    with served(run.path) as address:
        for name in (*SEEN, "/neuron/L3N5", "/neurons?token=onerror&match=contains", "/report"):
            page.goto(address + name)
            page.evaluate(OPEN_ALL)
            shown = page.locator("body").inner_text()
            assert "</script>" in shown or name in ("/api", "/neurons?token=sum"), name
            assert not {"\u202e", "\x1b", "\x00"} & set(shown), name
            assert page.locator("img, script:not([src]), [onerror], [onmouseover]").count() == 0, name
            assert heard.said == [], name
        _point_everywhere(page, address)
    assert heard.said == []
    assert all(url.startswith(f"{address}/") for url in heard.asked)
    page.close()


def _point_everywhere(page: Page, address: str) -> None:
    """What stands in charts, what they tell of their marks, and the walk of its cells is foreign text too."""
    for name in ("/", "/compare", "/interventions", "/concepts"):
        look(page, address + name)
        assert page.locator("svg.marks image, svg.marks script, img").count() == 0
    page.locator("svg.marks").first.scroll_into_view_if_needed()
    point_at_a_mark(page, page.locator(".figure").first)
    page.goto(f"{address}/completion/cot/q0?concept=add")
    page.wait_for_selector("html[data-walks]")
    for cell in page.locator("[data-grid] td").all()[:8]:
        cell.hover()
    page.locator("a.token").nth(3).click()
    page.wait_for_selector("[data-about] code")
    assert "</script>" in page.locator("[data-token]").inner_text()


def test_pages_work_without_scripts(browser: Browser, explorer: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    heard = Heard(page)
    for address in SEEN:
        page.goto(explorer + address)
        assert page.locator("main h1").is_visible()
        assert page.locator(".chart:not(:has(img))").count() == 0
        assert page.locator("[data-theme-switch], .keys-hint").first.is_hidden()
    page.goto(explorer)
    picture_of = page.locator(".chart img").first
    picture_of.scroll_into_view_if_needed()
    assert picture_of.bounding_box()["width"] > 300  # type: ignore[index]
    page.goto(f"{explorer}/completion/cot/q0")
    page.locator("a.token").nth(4).click()
    assert "step=4" in page.url
    assert page.locator("[data-at]").inner_text() == "4"
    page.get_by_label("equals").check()
    page.get_by_role("button", name="Show").click()
    assert "concept=equals" in page.url
    assert page.locator(".tokens .h5").count() > 0
    page.locator("#find").fill("sum")
    page.locator("#find").press("Enter")
    assert page.url.endswith("/neurons?token=sum")
    assert heard.said == []
    context.close()


@pytest.fixture
def site(run_path: Path, cache: Path, tmp_path: Path) -> Iterator[str]:
    """``cotlens view --static``, behind Python's own web server."""
    out = str(tmp_path / "site")
    command = [sys.executable, "-m", "cotlens.cli", "view", str(run_path), "--static", out, "--limit", "1"]
    subprocess.run(command, check=True, env=os.environ | {"COTLENS_CACHE": str(cache)}, capture_output=True)
    server = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", out]
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split('port ')[1].split()[0]}"
        process.terminate()


def test_an_exported_folder_is_whole_behind_any_server(page: Page, site: str) -> None:
    heard = Heard(page)
    look(page, f"{site}/")
    assert page.locator(".chart svg.marks").count() > 3
    look(page, f"{site}/neuron/L1N0.html")
    page.goto(f"{site}/completion/cot-q0.html?step=2")
    page.wait_for_selector("html[data-walks]")
    press(page, "ArrowRight")
    assert page.locator("[data-at]").inner_text() == "3"
    page.wait_for_load_state("networkidle")
    assert [url for url in heard.asked if not url.startswith(f"{site}/")] == []
    assert heard.said == []
    assert not scrolls_sideways(page)
