"""Takes the pictures of the search page in docs/images, in Debian's Chromium.

    python docs/page_pictures.py [--weights RUN|FILE|synth] [--people SYSU-LIKE-FOLDER]

The people are synthetic (`vireid.synthetic`), their times are invented, the answers are the
network's own.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import vireid
from vireid.index import Index, create_index, open_index
from vireid.server.app import create_app, server_config
from vireid.server.settings import ServerSettings

IMAGES = Path(__file__).parent / "images"
INFRARED = (3, 6)
UNNAMED = 4  # every fourth person is not known by name
PLACES = {1: "North gate", 2: "Lobby", 3: "Yard", 4: "Car park", 5: "Corridor", 6: "South gate"}
MORNING = 1_767_600_000.0
MAX_BYTES = 120 * 1024
DESKTOP = {"viewport": {"width": 1360, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True,
         "has_touch": True}  # fmt: skip
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             ]  # fmt: skip
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include>/etc/fonts/fonts.conf</include><match target="pattern">
<edit name="family" mode="prepend" binding="strong">
<string>Liberation Sans</string></edit></match></fontconfig>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", default="synth")
    parser.add_argument("--people", type=Path, help="SYSU layout; made anew if left out")
    parser.add_argument("--query", default="cam3/0001/0001.jpg", help="an infrared image in it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people = options.people or make_people(folder / "people")
        embedder = vireid.load(options.weights, device="cpu")
        make_index(people, folder / "index", embedder, leave_out=options.query)
        (folder / "fonts.conf").write_text(FONTS)
        os.environ["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
        with open_index(folder / "index") as index:
            frame = make_frame(people, folder / "frame.png", of=options.query)
            take(people / options.query, frame, serve(index, embedder))


def make_people(folder: Path) -> Path:
    """24 synthetic people, 6 cameras, 3 images each."""
    from vireid.synthetic import write_dataset

    write_dataset(folder, identities=24, images=3, seed=4242)
    return folder


def make_index(people: Path, place: Path, embedder: vireid.Embedder, leave_out: str) -> None:
    """Index all images but the query, each person walking by the cameras within half an hour."""
    files = sorted(f for f in people.glob("cam*/*/*.jpg") if f != people / leave_out)
    pids = np.array([int(f.parent.name) for f in files])
    camids = np.array([int(f.parent.parent.name[3:]) for f in files])
    numbers = np.array([int(f.stem) for f in files])
    times = MORNING + pids * 2900 % 30000 + camids * 611 % 2400 + numbers * 9
    infrared = np.isin(camids, INFRARED).astype(np.int64)
    known = np.where(pids % UNNAMED == 0, -1, pids)
    made = embedder.embed(files, infrared, pids=known, camids=camids, times=times.astype(float))
    made = replace(made, paths=[str(f.relative_to(people)) for f in files])
    which = embedder.default_embedding
    with create_index(place, weights_hash=embedder.weights_hash, embedding=which,
                      dim=made.vectors[which].shape[1], image_roots=[people]) as index:  # fmt: skip
        index.add(made)
        index.set_camera_names(PLACES)


def make_frame(people: Path, file: Path, of: str) -> Path:
    """A full frame of a camera: three people in front of a wall."""
    frame = Image.new("RGB", (960, 540), (84, 84, 84))
    camera = people / of.split("/", maxsplit=1)[0]
    chosen = sorted(camera.glob("*/0002.jpg"))[2:8:2]
    for left, image in zip((90, 400, 720), map(Image.open, chosen)):
        larger = image.resize((image.width * 430 // image.height, 430), Image.Resampling.LANCZOS)
        frame.paste(larger, (left, 60))
    frame.save(file)
    return file


def serve(index: Index, embedder: vireid.Embedder) -> str:
    """Start the server in a thread; it ends with the process."""
    settings = ServerSettings(read_burst=5000)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(create_app(index, embedder, settings), settings))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def take(query: Path, frame: Path, url: str) -> None:
    """All pictures."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)

        def shots(options: dict, *names: str, by_person: bool = False) -> None:
            context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.goto(url)
            page.set_input_files("#file", query)
            page.locator("input[name=result_modality][value=visible]").evaluate("e => e.click()")
            page.click("#go:not([disabled])")
            page.wait_for_selector(".card .image.loaded")
            if by_person:
                page.locator("input[name=view][value=person]").check(force=True)
            page.mouse.move(700, 5)
            save(page, names[0])
            if len(names) > 1:
                page.click(".card >> nth=0")
                page.wait_for_selector(".detail .strip:not([hidden])")
                save(page, names[1])
            context.close()

        def box(options: dict, name: str) -> None:
            context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector(".state")
            page.set_input_files("#file", frame)
            page.wait_for_selector("#box-dialog[open]")
            for field, value in (("x", 404), ("y", 66), ("width", 200), ("height", 420)):
                page.fill(f"#box-{field}", str(value))
            page.focus("#box")
            save(page, name)
            context.close()

        box({**DESKTOP, "color_scheme": "light"}, "page_box")
        shots({**DESKTOP, "color_scheme": "light"}, "page_light", "page_side_by_side")
        shots({**DESKTOP, "color_scheme": "dark"}, "page_dark", by_person=True)
        shots(PHONE, "page_phone")
        browser.close()


def save(page: Page, name: str) -> None:
    """Write a picture as WebP, of at most `MAX_BYTES`."""
    page.wait_for_timeout(1200)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in range(90, 40, -5):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=6)
        if out.tell() <= MAX_BYTES:
            break
    (IMAGES / f"{name}.webp").write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
