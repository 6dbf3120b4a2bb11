"""A page of figures: one file, which says what one sees and fits a telephone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from vireid.figures import ActivationRow, cmc_curve, save_figure
from vireid.figures.page import (
    Section,
    chart,
    commands,
    numbers,
    rankings,
    similar_places,
    tiles,
    write_page,
)
from vireid.figures.ranked import Entry, RankedList
from vireid.figures.style import GREEN, RED

CHROMIUM = Path("/usr/bin/chromium")
WORDS = "What is to be seen <here> & `vireid there`."


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def curve() -> Figure:
        return cmc_curve({"a": [0.5, 1.0]})

    g = np.random.default_rng(0)
    image = g.integers(0, 256, (64, 32, 3), np.uint8)
    hits = [
        Entry(image, 0.9, "1", True),
        Entry(image, 0.4, "2", False),
        Entry(image, 0.3, "3", None, skipped=True),
    ]
    found = np.zeros((2, 4, 2))
    found[0, 1, 1] = 1
    places = ActivationRow(image, [image] * 2, found, ["0.9 same", "0.1 other"])
    sections = [
        Section("People", tiles([[(image, f"camera {n}") for n in range(1, 7)]] * 2), WORDS),
        Section("Numbers", numbers({"Rank-1": "85.3 %"}), WORDS),
        Section("Curve", chart(curve, 'a "curve"', narrow=curve), WORDS),
        Section("Lists", rankings([RankedList(image, "q", "", hits)] * 2), WORDS, wide=True),
        Section("Places", similar_places([places]), WORDS, wide=True),
        Section("Go on", commands(["vireid " + "long " * 60, "<next> --data-root"]), WORDS),
    ]
    file = tmp_path_factory.mktemp("page") / "page.html"
    return write_page(file, "A <title>", "What it is about.", sections)


def test_a_chart_on_a_page_is_the_chart_of_a_file(tmp_path: Path) -> None:
    """With text in the sizes that it was laid out for, so that nothing is cut off."""

    def curve() -> Figure:
        return cmc_curve({"a": [0.5, 1.0]})

    drawn = re.search(r'<img src="data:image/png;base64,([^"]+)"', chart(curve, "a curve"))
    assert drawn is not None
    assert base64.b64decode(drawn[1]) == save_figure(curve(), tmp_path / "c.png").read_bytes()


class Found(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "source", "br", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_one_file_that_closes_what_it_opens(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Found(text)
    assert found.open == []
    for tag, attributes in found.tags:
        assert tag != "script"
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes[name])
        assert tag != "img" or "alt" in attributes
    assert not re.search(r"@import|url\((?!data:)", text)
    assert text.count("What is to be seen &lt;here&gt; &amp; <code>vireid there</code>.") == 6
    assert "<h1>A &lt;title&gt;</h1>" in text and "&lt;next&gt;" in text
    assert "&lt;next&gt; <i>--data-root</i>\n" in text
    images = [found for tag, found in found.tags if tag == "img"]
    assert len(images) == 12 + 1 + 8 + 3
    frames = [a["style"] for tag, a in found.tags if tag == "figure" and a.get("style")]
    assert f"--frame: {GREEN}" in frames and f"--frame: {RED}" in frames
    assert "0.90 same" in text and "0.40 other" in text and "0.30 skipped" in text
    assert "0.1 other, no place adds" in text
    drawn = re.findall(r'(?:src|srcset)="(data:image/png;base64,[^"]+)', text)
    assert len(drawn) == 4 and len(set(drawn)) == 2, "light and dark, of each width"


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")
def test_a_page_fits_a_telephone(page: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        asked: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.goto(page.as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") == 390
        sideways = "[...document.querySelectorAll('main *')].filter(one => " + (
            "one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != 'inline')"
        )
        assert view.evaluate(f"{sideways}.map(one => one.className)") == []
        dark = view.evaluate("document.querySelector('picture img').currentSrc")
        view.emulate_media(color_scheme="light")
        view.wait_for_function(
            "before => document.querySelector('picture img').currentSrc != before", arg=dark
        )
        others = [url for url in asked if not url.startswith("data:")]
        assert others == [page.as_uri()]
        browser.close()
