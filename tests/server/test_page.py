"""The page in Debian's Chromium, against a real server."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import server_kit as kit
from PIL import Image

from vireid.index import create_index

CHROMIUM = Path("/usr/bin/chromium")
playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]
expect = playwright_api.expect
expect.set_options(timeout=30_000)  # test machines are busy
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
OpenPage = Callable[..., AbstractContextManager]


@pytest.fixture(scope="module")
def server(world: kit.World) -> Iterator[kit.Running]:
    with kit.running(world) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: object) -> OpenPage:
    """Opens the page of a server; fails on script errors, policy violations, other hosts."""

    @contextmanager
    def opened(server: kit.Running, expected: tuple[str, ...] = (), **options: object):
        options = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options}
        context = browser.new_context(**options)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith((server.url, "blob:"))
                else problems.append(request.url))  # fmt: skip
        page.set_default_timeout(30_000)
        page.goto(server.url)
        yield page
        context.close()
        left = [text for text in problems if not any(word in text for word in expected)]
        assert left == []

    return opened


def query_file(world: kit.World, pid: int = 2, camid: int = 3) -> str:
    return str(world.root / f"cam{camid}/{pid:04d}/0001.jpg")


def search(page, path: str) -> None:
    """Choose an image and search with it."""
    page.set_input_files("#file", path)
    expect(page.locator("#images img").first).to_be_visible()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".card").first).to_be_visible()


def test_upload_results_filter_details(world, server, open_page) -> None:
    with open_page(server) as page:
        expect(page.get_by_text("60 images · 6 cameras · 4 known people")).to_be_visible()
        expect(page.get_by_role("heading", name="Find one person")).to_be_visible()
        expect(page.get_by_role("button", name="Search", exact=True)).to_be_disabled()

        search(page, query_file(world))
        expect(page.get_by_role("radio", name="Infrared camera")).to_be_checked()
        expect(page.get_by_role("heading", name="24 most similar")).to_be_focused()
        expect(page.get_by_role("status")).to_contain_text(
            "24 most similar. The best has similarity 1.00"
        )
        assert page.locator(".card").count() == 24
        first = page.get_by_role("button", name="Result 1: similarity 1.00, Camera 3, infrared")
        expect(first.locator("img")).to_have_js_property("naturalWidth", 48)
        assert page.locator("#strip circle.sighting").count() == 24

        page.get_by_role("checkbox", name="Camera 4").check(force=True)
        page.get_by_role("checkbox", name="Camera 5").check(force=True)
        expect(page.locator("#filter-count")).to_have_text("1 filter")
        page.locator("#top").select_option("12")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("heading", name="12 most similar")).to_be_visible()
        assert set(page.locator(".card-line.strong").all_inner_texts()) == {"Camera 4", "Camera 5"}
        expect(page.locator("#results-facts")).to_contain_text("among 20 images")
        expect(page.locator(".card").first).not_to_contain_text("strangers")

        page.get_by_role("radio", name="By person").check()
        expect(page.locator(".group").first).to_be_visible()
        assert page.locator(".card").count() == 12
        page.get_by_role("radio", name="By similarity").check()

        page.locator(".card").nth(1).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading", name="Result 2 of 12")).to_be_focused()
        assert dialog.get_by_role("figure").count() == 2
        expect(dialog.locator(".image.missing")).to_have_count(0)
        expect(dialog.get_by_text("a hint, not a proof")).to_be_visible()
        expect(dialog.get_by_text("Too few people are in this index")).to_be_visible()
        expect(dialog.locator(".strip circle.current")).to_have_count(1)

        dialog.get_by_role("button", name="Search with this one").click()
        expect(page.locator("#results-facts")).to_contain_text("image of camera")
        expect(page.locator("#results-facts")).to_contain_text("among 19 images")
        expect(page.get_by_role("button", name="Back to the previous search")).to_be_visible()
        page.get_by_role("button", name="Back to the previous search").click()
        expect(page.locator("#results-facts")).to_contain_text("image of yours")


def test_nothing_passes_the_filters(world, server, open_page) -> None:
    with open_page(server) as page:
        page.get_by_role("checkbox", name="Camera 1").check(force=True)
        page.locator("label", has_text="Infrared").nth(1).click()
        page.set_input_files("#file", query_file(world))
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("heading", name="No image passes the filters")).to_be_visible()
        page.get_by_role("button", name="Clear filters and search").click()
        expect(page.get_by_role("heading", name="24 most similar")).to_be_visible()


@pytest.mark.parametrize(
    ("zone", "last"), [("UTC", "2026-01-05T08:25"), ("Asia/Shanghai", "2026-01-05T16:25")]
)
def test_times_are_those_of_the_browsers_zone(world, server, open_page, zone, last) -> None:
    with open_page(server, timezone_id=zone) as page:
        expect(page.get_by_role("heading", name="Find one person")).to_be_visible()
        low, high = page.locator("#time-from").get_attribute("min"), "2030-01-01T00:00"
        page.locator("#time-from").fill(high)
        page.locator("#time-to").fill(low)
        page.set_input_files("#file", query_file(world))
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_text("The first time is after the last one.")).to_be_visible()
        page.locator("#time-from").fill(low)
        page.locator("#time-to").fill(last)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator(".card").first).to_be_visible()
        # The first person at the first five cameras, two images each.
        assert page.locator(".card-text").count() == 10


def test_by_keyboard_alone(world, server, open_page) -> None:
    with open_page(server) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
        page.set_input_files("#file", query_file(world))
        expect(page.locator("#go")).to_be_enabled()
        page.locator("#go").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="24 most similar")).to_be_focused()
        page.locator(".card").first.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator(".card").nth(1)).to_be_focused()
        page.keyboard.press("ArrowDown")
        below = page.evaluate(
            "[...document.querySelectorAll('.card')].indexOf(document.activeElement)"
        )
        assert below > 2
        page.keyboard.press("ArrowUp")
        expect(page.locator(".card").nth(1)).to_be_focused()
        page.keyboard.press("End")
        expect(page.locator(".card").last).to_be_focused()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Result 1 of 24")).to_be_focused()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("heading", name="Result 3 of 24")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".card").nth(2)).to_be_focused()


def test_everything_has_a_name(world, server, open_page) -> None:
    unnamed = """() => [...document.querySelectorAll('button, a, input, select')]
        .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.innerText?.trim()
            || e.labels?.length || e.title)).map((e) => e.outerHTML)"""
    with open_page(server) as page:
        search(page, query_file(world))
        assert page.evaluate(unnamed) == []
        assert page.locator("img:not([alt])").count() == 0
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].filter((e) => "
                               "e.checkVisibility()).map((e) => +e.tagName[1])")  # fmt: skip
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        page.locator("#strip > summary").click()
        expect(page.get_by_role("img", name="Where and when")).to_be_visible()
        page.get_by_text("As a table").click()
        assert page.get_by_role("row").count() == 25
        page.locator(".card").first.click()
        expect(page.get_by_role("dialog", name="Result 1 of 24")).to_be_visible()
        assert page.evaluate(unnamed) == []


CONTRAST = """() => {
    const light = (rgb) => rgb.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => { for (; e; e = e.parentElement) {
        const c = getComputedStyle(e).backgroundColor;
        if (!c.endsWith(', 0)') && c !== 'transparent') return c; } return 'rgb(255,255,255)'; };
    return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && !e.closest('svg')
        && !e.matches('.rank, option, .visually-hidden, .skip') && !e.closest('.visually-hidden'))
        .map((e) => { const a = light(getComputedStyle(e).color), b = light(behind(e));
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 90)]; })
        .filter(([ratio]) => ratio < 4.5); }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(world, server, open_page, scheme) -> None:
    options = {"color_scheme": scheme, "reduced_motion": "reduce"}
    with open_page(server, **options) as page:
        page.wait_for_selector(".state")
        assert page.evaluate(CONTRAST) == []
        search(page, query_file(world))
        page.wait_for_timeout(200)
        assert page.evaluate(CONTRAST) == []


def test_colours_can_be_switched_and_stay(server, open_page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with open_page(server, color_scheme="light") as page:
        light = page.evaluate(ground)
        page.get_by_role("button", name="Use dark colours").click()
        expect(page.get_by_role("button", name="Use light colours")).to_be_visible()
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark


@pytest.mark.parametrize("width", [320, 768])
def test_narrow_screens(world, server, open_page, width) -> None:
    with open_page(server, viewport={"width": width, "height": 800}) as page:
        fits = "document.documentElement.scrollWidth <= window.innerWidth"
        assert page.evaluate(fits)
        search(page, query_file(world))
        assert page.evaluate(fits)
        page.locator(".card").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.locator(".strip")).to_be_visible()
        assert page.evaluate("document.querySelector('#detail-body').scrollWidth <= "
                             "document.querySelector('#detail-body').clientWidth")  # fmt: skip


def test_files_that_are_refused(world, server, open_page, tmp_path) -> None:
    wrong, empty, large = tmp_path / "notes.txt", tmp_path / "empty.png", tmp_path / "large.png"
    wrong.write_text("not an image")
    empty.write_bytes(b"")
    large.write_bytes(kit.image_bytes() + b"\0" * 11 * 2**20)
    with open_page(server) as page:
        expect(page.locator(".state")).to_be_visible()
        for path, words in ((wrong, "not an image"), (empty, "is empty"), (large, "at most 10")):
            page.set_input_files("#file", str(path))
            expect(page.get_by_role("alert")).to_contain_text(words)
            expect(page.locator("#go")).to_be_disabled()
        page.set_input_files("#file", query_file(world))
        expect(page.locator("#file-problem")).to_be_hidden()
        expect(page.locator("#go")).to_be_enabled()
        page.get_by_role("button", name="Remove").click()
        expect(page.locator("#go")).to_be_disabled()


def test_an_image_can_be_dropped(world, server, open_page) -> None:
    drop = """async (bytes) => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'dropped.png', {type: 'image/png'}));
        document.querySelector('#results').dispatchEvent(
            new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})); }"""
    with open_page(server) as page:
        expect(page.locator(".state")).to_be_visible()
        page.evaluate(drop, list(kit.image_bytes(infrared=False)))
        expect(page.get_by_text("dropped.png")).to_be_visible()
        expect(page.get_by_role("radio", name="Visible camera")).to_be_checked()
        # Or chosen before the server has said what it allows.
        held: list = []
        page.route("**/api/info", lambda route: held.append(route))
        page.reload()
        page.set_input_files("#file", query_file(world))
        page.wait_for_timeout(100)
        held[0].continue_()
        expect(page.locator("#images img")).to_be_visible()


def test_a_search_as_of_the_other_sensor_is_remarked_on(world, server, open_page) -> None:
    with open_page(server) as page:
        search(page, query_file(world))
        expect(page.get_by_role("radio", name="Infrared camera")).to_be_checked()
        expect(page.locator("#query-notes")).to_be_empty()
        page.get_by_role("radio", name="Visible camera").check(force=True)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator("#query-notes")).to_contain_text("has no colour, but is searched with")


def test_too_many_searches_and_a_server_that_is_gone(world, open_page) -> None:
    settings = replace(kit.LOOSE, searches_per_second=0.02, search_burst=1)
    with kit.running(world, settings) as server:
        expected = ("429", "ERR_CONNECTION")
        page_of = open_page(server, expected=expected)
        page = page_of.__enter__()
        search(page, query_file(world))
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Too many searches")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="The server can't be reached")).to_be_visible()
    page_of.__exit__(None, None, None)


def test_a_busy_server_is_asked_again(world, open_page) -> None:
    settings = replace(kit.LOOSE, searches_per_second=0.2, search_burst=1)
    with kit.running(world, settings) as server, open_page(server, expected=("429",)) as page:
        search(page, query_file(world))
        with server.client() as other:  # however long that has taken, the next one is too soon
            kit.post(other, kit.image_bytes())
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("trying again in")
        expect(page.get_by_role("heading", name="24 most similar")).to_be_visible(timeout=20_000)


def test_signing_in_and_giving_a_reason(world, open_page, tmp_path) -> None:
    settings = replace(
        kit.LOOSE, tokens={"jane": kit.TOKEN}, require_reason=True, audit_log=tmp_path / "log"
    )
    with kit.running(world, settings) as server, open_page(server, expected=("401",)) as page:
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
        dialog.get_by_label("Token").fill("wrong")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.get_by_role("alert")).to_contain_text("The token is wrong")
        assert page.evaluate("document.querySelector('#sign-in').scrollLeft") == 0
        dialog.get_by_label("Token").fill(kit.TOKEN)
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(page.get_by_text("jane", exact=True)).to_be_visible()
        expect(page.get_by_text("records who searches when")).to_be_visible()
        page.set_input_files("#file", query_file(world))
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_label("Why do you search?")).to_be_focused()
        page.get_by_label("Why do you search?").fill("case 17")
        search(page, query_file(world))
        assert kit.audit_lines(tmp_path / "log")[-1]["event"] == "search"
        assert kit.audit_lines(tmp_path / "log")[-1]["reason"] == "case 17"
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_an_empty_index(world, open_page, tmp_path) -> None:
    create_index(
        tmp_path / "index", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1],
    ).close()  # fmt: skip
    with kit.running(replace(world, index=tmp_path / "index")) as server, \
            open_page(server) as page:  # fmt: skip
        expect(page.get_by_role("heading", name="The index is empty")).to_be_visible()
        expect(page.locator("#time-field")).to_be_hidden()


def test_images_that_cannot_be_shown(world, open_page, tmp_path) -> None:
    with create_index(
        tmp_path / "index", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1],
    ) as index:  # fmt: skip
        index.add(world.embeddings)
    with kit.running(replace(world, index=tmp_path / "index")) as server, \
            open_page(server, expected=("404",)) as page:  # fmt: skip
        search(page, query_file(world))
        expect(page.get_by_text("Image can't be shown").first).to_be_visible()


def test_the_strip_says_which_times_are_not_known(world, open_page, tmp_path) -> None:
    times = np.full(len(world.embeddings), np.nan)
    times[0] = kit.START
    for name, known in (("one", times), ("none", times * np.nan)):
        with create_index(
            tmp_path / name, weights_hash=world.embedder.weights_hash,
            dim=world.embeddings.embedding.shape[1], image_roots=[world.root],
        ) as index:  # fmt: skip
            index.add(replace(world.embeddings, times=known))
    with kit.running(replace(world, index=tmp_path / "one")) as server, \
            open_page(server, timezone_id="UTC") as page:  # fmt: skip
        page.locator("#top").select_option("96")
        search(page, query_file(world))
        expect(page.locator("#strip .strip-head")).to_contain_text(
            f"{len(times) - 1} of them without a time"
        )
        page.locator("#strip > summary").click()
        (dot,) = page.locator("#strip circle.sighting").all()
        middle = page.locator("#strip svg").bounding_box()
        labels = [box.bounding_box() for box in page.locator("#strip text.tick").all()]
        assert dot.is_visible() and labels
        assert all(box["x"] + box["width"] <= middle["x"] + middle["width"] for box in labels)
    with kit.running(replace(world, index=tmp_path / "none")) as server, \
            open_page(server) as page:  # fmt: skip
        search(page, query_file(world))
        expect(page.locator("#strip")).to_be_hidden()  # there is nothing to draw
        expect(page.get_by_role("radio", name="By minute")).to_be_hidden()


# ---- boxes, several images


def frame_file(world: kit.World, tmp_path: Path) -> str:
    """A full frame, 400 x 300, with a person of the index at 100,80: 48 x 96."""
    frame = Image.new("RGB", (400, 300), "gray")
    frame.paste(Image.open(query_file(world)), (100, 80))
    frame.save(tmp_path / "frame.png")
    return str(tmp_path / "frame.png")


def box_of(page) -> np.ndarray:
    """The box that is drawn: x, y, width, height."""
    names = ("x", "y", "width", "height")
    return np.array([int(page.locator(f"#box-{name}").input_value()) for name in names])


def test_a_box_is_drawn_in_a_full_frame(world, server, open_page, tmp_path) -> None:
    with open_page(server) as page:
        expect(page.locator(".state")).to_be_visible()
        page.set_input_files("#file", frame_file(world, tmp_path))
        dialog = page.get_by_role("dialog", name="Draw a box around the person")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.locator("#images")).to_contain_text("needs a box")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(dialog).to_be_visible()  # not before it has one

        # With the mouse: drawn anew, then moved, then by its corner.
        image = page.locator("#box-image").bounding_box()
        scale = image["width"] / 400

        def move(x: float, y: float) -> None:
            page.mouse.move(image["x"] + x * scale, image["y"] + y * scale)

        for path in ([(20, 20), (60, 100)], [(40, 60), (120, 120)], [(140, 160), (148, 176)]):
            move(*path[0])
            page.mouse.down()
            move(*path[1])
            page.mouse.up()
        assert np.abs(box_of(page) - [100, 80, 48, 96]).max() <= 2
        # With the keyboard: in numbers, and by arrow keys (steps of a hundredth of the height).
        for name, value in (("x", 103), ("y", 80), ("width", 45), ("height", 99)):
            page.locator(f"#box-{name}").fill(str(value))
        page.locator("#box").focus()
        for key in ("ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp"):
            page.keyboard.press(key)
        assert list(box_of(page)) == [100, 80, 48, 96]
        page.locator("#box-x").fill("9999")  # a box stays within its image
        page.keyboard.press("Tab")
        assert list(box_of(page)) == [352, 80, 48, 96]
        page.locator("#box-x").fill("100")
        dialog.get_by_role("button", name="Use this box").click()
        expect(page.locator("#images")).to_contain_text("box of 48 × 96")
        expect(page.get_by_role("button", name="Result 1: similarity 1.00")).to_be_visible()
        assert "box=100%2C80%2C48%2C96" in page.url


def test_a_box_is_drawn_by_touch(world, server, open_page, tmp_path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with open_page(server, **phone) as page:
        expect(page.locator(".state")).to_be_visible()
        page.set_input_files("#file", frame_file(world, tmp_path))
        expect(page.locator("#box-dialog")).to_be_visible()
        image = page.locator("#box-image").bounding_box()
        assert image["width"] <= 390
        scale, touch = image["width"] / 400, page.context.new_cdp_session(page)

        def at(kind: str, *points: tuple[float, float]) -> None:
            places = [{"x": image["x"] + x * scale, "y": image["y"] + y * scale} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

        at("touchStart", (20, 20))
        at("touchMove", (60, 60))
        at("touchMove", (80, 150))
        at("touchEnd")
        assert np.abs(box_of(page) - [20, 20, 60, 130]).max() <= 2
        page.get_by_role("button", name="Use the whole image").click()
        expect(page.locator("#images")).to_contain_text("400 × 300")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator("#query-notes")).to_contain_text("400 x 300 pixels")


def test_an_index_of_images_as_they_are_stored(world, open_page, tmp_path) -> None:
    """Its server doesn't turn an image as its tag says, and neither may the page."""
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.open(frame_file(world, tmp_path)).save(tmp_path / "turned.jpg", exif=tag)
    made = world.embeddings.preprocessing | {"orientation": "stored"}
    with create_index(
        tmp_path / "index", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1], image_roots=[world.root],
    ) as index:  # fmt: skip
        index.add(replace(world.embeddings, preprocessing=made))
    for place, width in ((tmp_path / "index", 400), (world.index, 300)):
        with kit.running(replace(world, index=place)) as server, open_page(server) as page:
            page.set_input_files("#file", str(tmp_path / "turned.jpg"))
            if width == 400:  # else it is higher than wide, as a person is
                expect(page.locator("#box-dialog")).to_be_visible()
                page.get_by_role("button", name="Use the whole image").click()
            expect(page.locator("#images")).to_contain_text(f"{width} × ")


def test_several_images_of_one_person(world, server, open_page, tmp_path) -> None:
    with open_page(server) as page:
        search(page, query_file(world))
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Add another image").click()
        chooser.value.set_files([query_file(world, 2, 6)])
        expect(page.locator("#images li")).to_have_count(2)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator("#results-facts")).to_contain_text("2 infrared images of yours")
        expect(page.locator("#query-thumb img")).to_have_count(2)
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Change").click()
        chooser.value.set_files([query_file(world)] * 9)
        expect(page.locator("#file-problem")).to_contain_text("at most 8 images")
        expect(page.locator("#images li")).to_have_count(2)
        page.get_by_role("button", name="Remove 0001.jpg").first.click()
        expect(page.locator("#images li")).to_have_count(1)


# ---- addresses, filters of a search


def test_back_and_reload_keep_the_search(world, server, open_page) -> None:
    with open_page(server) as page:
        page.get_by_role("checkbox", name="Camera 4").check(force=True)
        search(page, query_file(world))
        uploaded, best = page.url, page.locator(".card").first.get_attribute("aria-label")
        assert "cameras=4" in uploaded
        page.get_by_role("button", name="Search with result 1", exact=True).click(force=True)
        expect(page.locator("#results-facts")).to_contain_text("image of camera 4")
        by_row = page.url
        page.go_back()
        expect(page.locator("#results-facts")).to_contain_text("image of yours")
        page.go_forward()
        expect(page.locator("#results-facts")).to_contain_text("image of camera 4")
        page.go_back()
        page.reload()
        expect(page.locator(".card").first).to_have_attribute("aria-label", best)
        assert page.url == uploaded
        expect(page.locator("#query-thumb img")).to_have_js_property("naturalWidth", 48)
        expect(page.get_by_role("checkbox", name="Camera 4")).to_be_checked()
        expect(page.locator("#images li")).to_have_count(1)
        page.go_back()
        expect(page.get_by_role("heading", name="Find one person")).to_be_visible()
    with open_page(server) as page:  # another tab, or somebody who was sent the address
        page.goto(by_row)
        page.reload()
        expect(page.locator("#results-facts")).to_contain_text("image of camera 4")
        page.goto(uploaded)
        expect(page.get_by_role("heading", name="is not here any more")).to_be_visible()
        expect(page.get_by_role("checkbox", name="Camera 4")).to_be_checked()


def test_filters_are_shown_and_taken_away(world, server, open_page) -> None:
    with open_page(server) as page:
        page.get_by_label("Identity").fill("2, 3")
        page.get_by_role("checkbox", name="Camera 4").check(force=True)
        search(page, query_file(world))
        assert page.locator(".card").count() == 4
        page.get_by_role("button", name="without this filter: Camera 4").click()
        expect(page.locator(".card")).to_have_count(24)
        expect(page.get_by_role("checkbox", name="Camera 4")).not_to_be_checked()
        page.get_by_role("button", name="Other sensor only (visible)").click()
        expect(page.get_by_role("button", name="filter: Visible images only")).to_be_visible()
        expect(page.locator(".card .dot.visible")).to_have_count(16)
        assert page.locator(".card .dot.infrared").count() == 0
        assert "identity=2%2C+3" in page.url and "sensor=visible" in page.url
        page.get_by_role("button", name="Search with result 1", exact=True).click(force=True)
        expect(page.locator("#results-facts")).to_contain_text("among 15 images")


def test_results_as_a_table_and_images_of_one_walk_as_one_card(world, server, open_page) -> None:
    with open_page(server) as page:
        search(page, query_file(world))
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        assert download.value.suggested_filename == "vireid-search.csv"
        text = download.value.path().read_text()
        assert [row["rank"] for row in csv.DictReader(io.StringIO(text))] == [
            str(rank) for rank in range(1, 25)
        ]

        page.get_by_role("radio", name="By minute").check()
        shown = page.locator(".cards > li:not([hidden])")
        folded = shown.count()
        assert 12 <= folded < 24  # two images of a person at a camera, 5 s apart
        more = page.get_by_role("button", name="1 more of this minute").first
        more.click()
        expect(shown).to_have_count(folded + 1)
        page.get_by_role("button", name="Show fewer").click()
        expect(shown).to_have_count(folded)


def test_long_names_and_ids_stay_whole_and_within_their_cards(world, open_page, tmp_path) -> None:
    pids = np.where(world.embeddings.pids > 0, 999_999_999_999_999_990 + world.embeddings.pids, -1)
    camids = world.embeddings.camids + 999_999_900
    with create_index(
        tmp_path / "index", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1], image_roots=[world.root],
    ) as index:  # fmt: skip
        index.add(replace(world.embeddings, pids=pids, camids=camids))
        index.set_camera_names({999_999_903: "Donaudampfschifffahrtsgesellschaftskapitänstreppe"})
    with kit.running(replace(world, index=tmp_path / "index")) as server, \
            open_page(server, viewport={"width": 1024, "height": 768}) as page:  # fmt: skip
        page.get_by_label("Identity").fill("999999999999999992")
        search(page, query_file(world))
        expect(page.locator(".card").first).to_contain_text("Person 999999999999999992")
        expect(page.locator(".card").first).to_contain_text("kapitänstreppe")
        expect(page.locator(".card").first).to_contain_text("2026")
        page.locator("#strip > summary").click()
        over = """() => [...document.querySelectorAll('.card, .card *, .chip, #strip')]
            .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
                && getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML)"""
        assert page.evaluate(over) == []
        names = "[...document.querySelectorAll('#strip text.lane')].map((e) => e.getBBox().width)"
        lines = (
            "[...document.querySelectorAll('#strip .lane-line')].map((e) => +e.getAttribute('x1'))"
        )
        assert max(page.evaluate(names)) <= min(page.evaluate(lines))


# ---- what is seen on which screen


def test_nothing_hides_an_error_on_a_laptop(world, server, open_page) -> None:
    """A 1366 x 768 screen, of which a browser leaves the page 650 pixels."""
    with open_page(server, viewport={"width": 1366, "height": 650}) as page:
        page.set_input_files("#file", query_file(world))
        page.locator("#time-from").fill("2030-01-01T00:00")
        page.locator("#time-to").fill("2029-01-01T00:00")
        page.get_by_role("button", name="Search", exact=True).click()
        problem = page.get_by_text("The first time is after the last one.")
        expect(problem).to_be_in_viewport(ratio=1)
        on_top = """(e) => { const b = e.getBoundingClientRect(), x = b.x + b.width / 2;
            return e.contains(document.elementFromPoint(x, b.y + b.height / 2)); }"""
        assert problem.evaluate(on_top)
        assert page.locator("#time-from").evaluate(on_top)
        page.locator("#time-to").fill("2031-01-01T00:00")
        page.get_by_role("button", name="Search with these").click()
        expect(page.get_by_role("heading", name="No image passes the filters")).to_be_visible()


def test_images_are_shown_whole_and_the_screen_is_used(world, server, open_page) -> None:
    with open_page(server) as page:
        search(page, query_file(world))
        fit = "(e) => getComputedStyle(e).objectFit"
        assert page.locator(".card img").first.evaluate(fit) == "contain"
        used = """() => { const all = [...document.querySelectorAll('.card, .query')]
            .map((e) => e.getBoundingClientRect()); return (Math.max(...all.map((b) => b.right))
            - Math.min(...all.map((b) => b.left))) / window.innerWidth; }"""
        for width in (390, 1024, 2560):
            page.set_viewport_size({"width": width, "height": 1000})
            assert page.evaluate(used) > 0.9


# ---- accessibility


def test_axe_finds_no_fault(world, server, open_page, tmp_path) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    axe = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    faults = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
        .map((v) => [v.impact, v.id, v.nodes.map((n) => n.html.slice(0, 120))])"""

    def check(page) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(faults) == []

    with open_page(server, reduced_motion="reduce") as page:
        expect(page.locator(".state")).to_be_visible()
        page.evaluate(axe)  # by the driver: as a script of the page its policy would refuse it
        check(page)
        page.set_input_files("#file", frame_file(world, tmp_path))
        expect(page.locator("#box-dialog")).to_be_visible()
        check(page)
        page.get_by_role("button", name="Use this box").click()
        page.get_by_role("checkbox", name="Camera 4").check(force=True)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator(".card .image.loaded").first).to_be_visible()
        page.locator("#strip > summary").click()
        page.wait_for_timeout(250)
        check(page)
        page.locator(".card").first.click()
        expect(page.locator(".detail .strip svg").first).to_be_visible()
        check(page)
