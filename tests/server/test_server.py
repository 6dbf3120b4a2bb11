"""The HTTP interface over a real index and a real network."""

from __future__ import annotations

import csv
import io
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import server_kit as kit
from command_kit import said
from PIL import Image

from vireid.data.decoding import decode
from vireid.index import Filters, Searcher, create_index, open_index
from vireid.server import endpoints as server_files
from vireid.server.app import create_app, default_audit_log, serve
from vireid.server.settings import ServerSettings
from vireid.server.uploads import decode_upload, to_pixels
from vireid.types import InputError, Modality


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "log.jsonl"


@pytest.fixture(scope="module")
def server(world: kit.World, audit: Path):
    with kit.running(world, replace(kit.LOOSE, audit_log=audit)) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: kit.Running):
    with server.client() as found:
        yield found


def test_info_says_what_the_index_holds(client, world) -> None:
    info = client.get("/api/info").json()
    assert info["count"] == kit.PIDS * kit.CAMERAS * kit.IMAGES
    assert info["identities"] == kit.PIDS - 1
    assert [camera["camid"] for camera in info["cameras"]] == [1, 2, 3, 4, 5, 6]
    assert info["modalities"] == {"visible": 40, "infrared": 20}
    assert info["time_range"]["first"] == pytest.approx(world.embeddings.times.min())
    assert info["weights"] == world.embedder.weights_hash[:12]
    assert info["user"] == "local"
    assert info["images"] is True


def test_a_search_answers_as_the_library_does(client, world) -> None:
    data = (world.root / "cam3/0002/0001.jpg").read_bytes()
    answer = kit.post(client, data, top=12).json()
    with open_index(world.index) as index:
        path = world.root / "cam3/0002/0001.jpg"
        (hits,) = Searcher(index, world.embedder).search_images([path], "infrared", top=12)
    assert [hit["row_id"] for hit in answer["hits"]] == [str(hit.row_id) for hit in hits]
    assert [hit["similarity"] for hit in answer["hits"]] == pytest.approx(
        [hit.similarity for hit in hits], abs=2e-6
    )
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, 13))
    best = answer["hits"][0]
    assert (best["pid"], best["camid"], best["modality"]) == ("2", 3, "infrared")
    assert best["name"] == "0001.jpg"
    assert best["similarity"] > 0.999
    assert (answer["query"]["width"], answer["query"]["height"]) == (48, 96)


def test_uploads_are_resized_as_gallery_images_are(world) -> None:
    path = world.root / "cam1/0001/0000.jpg"
    image = decode_upload(path.read_bytes(), max_pixels=10**6, min_side=8)
    assert np.array_equal(to_pixels(image, kit.SIZE), decode(path, kit.SIZE))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_formats(client, form) -> None:
    assert len(kit.post(client, kit.image_bytes(form=form), top=3).json()["hits"]) == 3


def test_filters_hold_for_every_hit(client) -> None:
    answer = kit.post(
        client, kit.image_bytes(), top=60, cameras="1, 4", result_modality="visible",
        time_from=kit.START + 1800, time_to=kit.START + 3600,
    ).json()  # fmt: skip
    assert answer["hits"]
    for hit in answer["hits"]:
        assert hit["camid"] in (1, 4)
        assert hit["modality"] == "visible"
        assert kit.START + 1800 <= hit["time"] <= kit.START + 3600
    assert answer["searched"] == len(answer["hits"])  # so few that all are shown
    only = kit.post(client, kit.image_bytes(), pids="3", top=60).json()["hits"]
    assert {hit["pid"] for hit in only} == {"3"}
    assert len(only) == kit.CAMERAS * kit.IMAGES


def test_times_without_a_zone_are_utc_wherever_the_server_is(client, monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    if hasattr(time, "tzset"):
        time.tzset()
    try:
        forms = (kit.START + 1800, "2026-01-05T08:30", "2026-01-05 16:30+08:00")
        uploads = [kit.post(client, kit.image_bytes(), top=60, time_from=t) for t in forms]
        rows = [
            client.post("/api/search/by-row", json={"row_id": "1", "top": 60, "time_from": t})
            for t in forms
        ]
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()
    assert {len(answer.json()["hits"]) for answer in [*uploads, *rows]} == {48}
    late = {"row_id": "1", "time_from": 1_767_600_000_000}  # milliseconds
    answer = client.post("/api/search/by-row", json=late)
    assert answer.status_code == 422
    assert "'time_from'" in answer.json()["error"]["sentence"]
    assert "looks like milliseconds" in answer.json()["error"]["sentence"]
    for odd, word in ((2026, "may be a date"), (True, "'time_from': Input")):
        answer = client.post("/api/search/by-row", json={"row_id": "1", "time_from": odd})
        assert answer.status_code == 422 and word in answer.json()["error"]["sentence"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"modality": "x-ray"}, "modality"),
        ({"cameras": "one"}, "cameras"),
        ({"cameras": "9" * 19}, "cameras"),
        ({"time_from": "yesterday"}, "time_from"),
        ({"time_from": "nan"}, "time_from"),
        ({"time_from": 20, "time_to": 10}, "time_from"),
        ({"result_modality": "radar"}, "modality"),
        ({"top": 0}, "top"),
        ({"top": 100_000}, "top"),
        ({"top": "many"}, "top"),
    ],
)
def test_fields_that_cannot_be_used_are_named(client, fields, word) -> None:
    answer = kit.post(client, kit.image_bytes(), **fields)
    assert answer.status_code == 422
    assert word in answer.json()["error"]["sentence"]


def test_search_with_an_entry_and_its_sightings(client, world) -> None:
    first = kit.post(client, kit.image_bytes(), pids="2", top=1).json()["hits"][0]
    answer = client.post("/api/search/by-row", json={"row_id": first["row_id"], "top": 7}).json()
    assert answer["query"]["row_id"] == first["row_id"]
    assert first["row_id"] not in {hit["row_id"] for hit in answer["hits"]}
    assert len(answer["hits"]) == 7 and answer["hits"][0]["rank"] == 1
    filtered = client.post(
        "/api/search/by-row",
        json={"row_id": first["row_id"], "cameras": [3], "result_modality": "infrared"},
    ).json()
    assert {hit["camid"] for hit in filtered["hits"]} == {3}
    per_camera = kit.PIDS * kit.IMAGES
    own = first["camid"] == 3  # then it is left out
    assert filtered["searched"] == len(filtered["hits"]) == per_camera - own
    assert answer["searched"] == per_camera * kit.CAMERAS - 1
    seen = client.get("/api/sightings", params={"row_id": first["row_id"]}).json()
    assert (seen["basis"], seen["pid"]) == ("identity", "2")
    assert len(seen["sightings"]) == kit.CAMERAS * kit.IMAGES
    times = [hit["time"] for hit in seen["sightings"]]
    assert times == sorted(times)


def test_sightings_without_identity_say_that_they_only_look_alike(client) -> None:
    everything = kit.post(client, kit.image_bytes(), top=60).json()["hits"]
    unknown = next(hit for hit in everything if hit["pid"] is None)
    seen = client.get("/api/sightings", params={"row_id": unknown["row_id"]}).json()
    assert seen["basis"] == "similarity"
    assert len(seen["sightings"]) == 50


@pytest.mark.parametrize("row_id", ["999999", "9223372036854775807", "9999999999999999999"])
def test_entries_that_do_not_exist(client, server, row_id) -> None:
    body = {"row_id": row_id}
    assert client.post("/api/search/by-row", json=body).status_code == 422
    assert client.get("/api/sightings", params={"row_id": row_id}).status_code == 422
    answer = client.get(f"/api/image/{row_id}")
    assert answer.status_code in (404, 422)
    assert "no such entry" in answer.json()["error"]["sentence"]
    assert server.alive()


def test_images_are_small_jpegs_without_metadata(client) -> None:
    row = kit.post(client, kit.image_bytes(), top=1).json()["hits"][0]["row_id"]
    for size in ("thumb", "full"):
        answer = client.get(f"/api/image/{row}", params={"size": size})
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (48, 96)
        assert not image.getexif()


def test_the_interface_is_described(client) -> None:
    described = client.get("/api/openapi.json").json()
    assert sorted(described["paths"]) == [
        "/api/health", "/api/image/{row_id}", "/api/info", "/api/search", "/api/search/by-row",
        "/api/session", "/api/sightings",
    ]  # fmt: skip
    assert "503" in described["paths"]["/api/search"]["post"]["responses"]
    assert "modality" in str(described)


def test_who_searched_is_written_down_without_images(client, audit) -> None:
    kit.post(client, kit.image_bytes(), top=5, cameras="2", reason="case 17\nforged: line")
    line = kit.audit_lines(audit)[-1]
    assert line["event"] == "search"
    assert (line["user"], line["client"], line["hits"]) == ("local", "127.0.0.1", 5)
    assert line["filters"] == {"cameras": [2]}
    assert line["reason"] == "case 17\nforged: line"
    assert line["time"].startswith("20")
    text = audit.read_text()
    assert "me.png" not in text
    assert "Jane" not in text
    assert audit.stat().st_mode & 0o077 == 0


def test_many_clients_get_the_answers_that_one_gets(server) -> None:
    queries = [kit.image_bytes(pid, infrared=bool(i % 2)) for i, pid in enumerate([1, 2, 3] * 8)]
    fields = [{"top": 5 + i % 3, "modality": ["visible", "infrared"][i % 2]} for i in range(24)]
    with server.client() as one:
        alone = [kit.post(one, q, **f).json()["hits"] for q, f in zip(queries, fields)]

    def ask(i: int) -> list[dict]:
        with server.client() as own:
            return kit.post(own, queries[i], **fields[i]).json()["hits"]

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, range(24)))
    for a, b in zip(alone, together):
        assert len(a) == len(b)
        assert [h["similarity"] for h in a] == pytest.approx([h["similarity"] for h in b], abs=1e-4)


def test_overload_is_answered_quickly(world) -> None:
    settings = replace(kit.LOOSE, max_waiting=1, max_batch=1)
    with kit.running(world, settings) as server:
        slow = threading.Event()
        index = server.index
        search = index.search

        def slowly(*arguments: object, **options: object):
            slow.set()
            time.sleep(0.4)  # a large index on a slow disk
            return search(*arguments, **options)

        index.search = slowly  # type: ignore[method-assign]

        def ask(_: int) -> tuple[int, float, str | None]:
            with server.client() as own:
                started = time.perf_counter()
                answer = kit.post(own, kit.image_bytes())
                return (answer.status_code, time.perf_counter() - started,
                        answer.headers.get("retry-after"))  # fmt: skip

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
        codes = [code for code, _, _ in answers]
        assert set(codes) == {200, 503}
        assert all(int(wait) >= 1 for code, _, wait in answers if code == 503)
        assert server.alive()


def test_a_late_answer_is_503(world) -> None:
    with kit.running(world, replace(kit.LOOSE, request_seconds=0.3)) as server:
        search = server.index.search
        server.index.search = lambda *a, **k: (time.sleep(0.8), search(*a, **k))[1]
        with server.client() as client:
            answer = kit.post(client, kit.image_bytes())
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
            assert answer.json()["error"]["code"] == "late"
            assert server.alive()


def test_a_reason_may_be_asked_for(world) -> None:
    with kit.running(world, replace(kit.LOOSE, require_reason=True)) as server, \
            server.client() as client:  # fmt: skip
        answer = kit.post(client, kit.image_bytes())
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "reason"
        assert kit.post(client, kit.image_bytes(), reason="case 4").status_code == 200


def test_weights_of_another_index_are_refused(world, tmp_path) -> None:
    other = kit.make_embedder(tmp_path / "other.safetensors", seed=5)
    with open_index(world.index) as index, pytest.raises(InputError, match="weights"):
        create_app(index, other, ServerSettings())


def test_serve_refuses_what_it_cannot_do(world, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("VIREID_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"no token.*VIREID_TOKEN"):
        serve(world.index, world.weights, host="0.0.0.0")
    with pytest.raises(InputError, match="at least 8"):
        serve(world.index, world.weights, host="0.0.0.0", token="short")
    with pytest.raises(InputError, match="can't listen on"):
        serve(world.index, world.weights, host="203.0.113.7", token=kit.TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"can't listen on 127.0.0.1:{port}.*in use"):
            serve(world.index, world.weights, port=port)
    with pytest.raises(InputError, match="no index"):
        serve(tmp_path / "nothing", world.weights, port=0)
    assert default_audit_log(world.index).name == "index.audit.jsonl"


def test_an_empty_filter_is_no_filter(client) -> None:
    answer = kit.post(client, kit.image_bytes(), cameras="", time_from="", result_modality="")
    assert answer.status_code == 200
    assert Filters(modality=Modality.VISIBLE) != Filters()


def frame(world: kit.World, turned: bool = False) -> bytes:
    """A full frame with a person of the index at 40,50, 48 x 96; as a PNG file."""
    image, out, exif = Image.new("RGB", (300, 200), "gray"), io.BytesIO(), Image.Exif()
    image.paste(Image.open(world.root / "cam3/0002/0000.jpg"), (40, 50))
    if turned:
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(out, "PNG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("turned", [False, True])
def test_a_box_is_cut_from_the_upright_image(client, world, turned: bool) -> None:
    data = frame(world, turned)
    whole = kit.post(client, data, top=3).json()
    assert whole["hits"][0]["similarity"] < 0.995
    assert "Draw a box around the person" in whole["query"]["notes"][0]
    found = kit.post(client, data, top=3, box="40,50,48,96").json()
    assert found["hits"][0]["similarity"] > 0.999 and found["query"]["notes"] == []
    assert (found["query"]["width"], found["query"]["height"]) == (48, 96)
    for box, code in (("0,0,0,9", "box"), ("280,0,48,96", "box"), ("1,2,3", "input"),
                      ("0,0,9,90", "too_small")):  # fmt: skip
        answer = kit.post(client, data, box=box)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
        assert "box" in answer.json()["error"]["sentence"].lower()


def several(client, images: list[bytes], **fields: object):
    files = [("image", (f"{n}.png", data, "image/png")) for n, data in enumerate(images)]
    return client.post("/api/search", files=files, data={"modality": "infrared", **fields})


def test_several_images_of_one_person(client, world) -> None:
    paths = [world.root / f"cam3/0002/000{n}.jpg" for n in (0, 1)]
    images = [frame(world), paths[1].read_bytes()]
    answer = several(client, images, top="8", box=["40,50,48,96", "whole"]).json()
    with open_index(world.index) as index:
        (hits,) = Searcher(index, world.embedder).search_images(
            paths, "infrared", one_person=True, top=8
        )
    assert [hit["row_id"] for hit in answer["hits"]] == [str(hit.row_id) for hit in hits]
    assert answer["hits"][0]["similarity"] == pytest.approx(hits[0].similarity, abs=1e-5)
    assert answer["query"]["images"] == 2
    noted = several(client, images).json()["query"]["notes"]
    assert len(noted) == 1 and noted[0].startswith("Image 1: The image has 300 x 200 pixels")
    for many, fields, words in (
        (images, {"box": ["whole"]}, "1 boxes for 2 images"),
        (images * 5, {}, "There are 10 images; one search takes at most 8"),
        ([images[0], b"no image"], {}, "Image 2 of 2: The file is not an image"),
    ):
        refused = several(client, many, **fields)
        assert refused.status_code in (415, 422)
        assert words in refused.json()["error"]["sentence"]


def test_limits_are_those_of_all_images_together(world) -> None:
    with kit.running(world, replace(kit.LOOSE, max_pixels=66_000)) as server, \
            server.client() as client:  # fmt: skip
        assert kit.post(client, frame(world)).status_code == 200
        answer = several(client, [frame(world), kit.image_bytes(), kit.image_bytes()])
        assert answer.status_code == 413
        assert "Image 3 of 3" in answer.json()["error"]["sentence"]
        assert "count together" in answer.json()["error"]["sentence"]


def test_results_as_a_table(client, world) -> None:
    fields = {"top": 5, "cameras": "3"}
    hits = kit.post(client, kit.image_bytes(), **fields).json()["hits"]
    answer = kit.post(client, kit.image_bytes(), format="csv", **fields)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    shown = ("name", "pid", "camid", "similarity")
    assert [[row["path"], row["pid"], row["camid"], row["similarity"]] for row in rows] == [
        ["" if hit[name] is None else str(hit[name]) for name in shown] for hit in hits
    ]  # of an image's path, clients are told its name only
    by_row = client.post("/api/search/by-row", json={"row_id": "1", "format": "csv", "top": 2})
    assert [row["query"] for row in csv.DictReader(io.StringIO(by_row.text))] == ["entry 1"] * 2


def test_names_of_cameras_and_ids_beyond_javascripts_numbers(world, tmp_path) -> None:
    pids = np.where(world.embeddings.pids == 2, 10**17 + 1, world.embeddings.pids)
    with create_index(
        tmp_path / "ix", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1], image_roots=[world.root],
    ) as index:  # fmt: skip
        index.add(replace(world.embeddings, pids=pids))
        index.set_camera_names({3: "North gate"})
    with kit.running(replace(world, index=tmp_path / "ix")) as server, server.client() as client:
        cameras = client.get("/api/info").json()["cameras"]
        assert [one["name"] for one in cameras] == [None, None, "North gate", None, None, None]
        only = {"pids": str(10**17 + 1), "cameras": "3", "top": 9}
        hits = kit.post(client, kit.image_bytes(), **only).json()["hits"]
        assert {(hit["pid"], hit["camera"]) for hit in hits} == {(str(10**17 + 1), "North gate")}
        assert "North gate" in kit.post(client, kit.image_bytes(), format="csv", **only).text
        with open_index(tmp_path / "ix", write=True) as index:  # a server sees it at once
            index.set_camera_names({3: "South gate"})
        assert kit.post(client, kit.image_bytes(), **only).json()["hits"][0]["camera"] == (
            "South gate"
        )


def test_serve_opens_a_browser_when_it_is_told_to(monkeypatch, capsys) -> None:
    from vireid.server.app import _say_where

    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)))
    _say_where(ServerSettings(), 8123, browser=False)
    assert "http://127.0.0.1:8123; open it in a browser." in said(capsys)
    assert opened == []
    _say_where(ServerSettings(host="0.0.0.0", tokens={"a": kit.TOKEN}), 8123, browser=True)
    assert opened == ["http://127.0.0.1:8123"] and "no browser could be opened" in said(capsys)


def test_all_that_the_page_says_is_in_one_file() -> None:
    static = Path(server_files.STATIC)
    page = (static / "index.html").read_text(encoding="utf-8")
    texts = (static / "texts.js").read_text(encoding="utf-8")
    scripts = [file for file in sorted(static.glob("*.js")) if file.name != "texts.js"]
    # The page itself says its own name, and what is seen without scripts.
    bare = re.sub(
        r"<(title|noscript|h1)\b.*?</\1>|<option.*?</option>|<!--.*?-->", "", page, flags=re.S
    )
    assert re.findall(r">\s*([^<>\s][^<>]*)<", bare) == []
    assert re.findall(r'\s(?:aria-label|placeholder|title)="', bare) == []
    used = set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', page))
    block = texts[texts.index("export const PAGE = {") : texts.index("};")]
    assert used <= set(re.findall(r"^  (\w+):", block, flags=re.M))
    assert set(re.findall(r"^  (\w+):", block, flags=re.M)) <= used | set(
        re.findall(r"PAGE\.(\w+)", texts)
    )
    # No script has a text of several words, or one that begins like a sentence.
    for file in scripts:
        code = re.sub(r"^\s*(//|/?\*).*$|//.*$", "", file.read_text(encoding="utf-8"), flags=re.M)
        said = re.findall(r"\"([A-Z][a-z]+ [^\"]*|[^\"]*[a-z]\. [^\"]*)\"", code)
        assert said == [], file.name
        for name in re.findall(r"\bT\.(\w+)", code):
            assert re.search(rf"export (?:const|function) {name}\b", texts), (file.name, name)


def test_unknown_fields_are_refused(client: httpx.Client) -> None:
    """Of a form and of an address: whoever mistypes a filter would search without it."""

    def told(answer: httpx.Response) -> str:
        assert answer.status_code == 422, answer.text
        return str(answer.json()["error"]["sentence"])

    sentence = told(kit.post(client, kit.image_bytes(), camera=1, topp=3))
    assert "The form has no field 'camera'. Did you mean 'cameras'?" in sentence
    assert "'topp'" in sentence
    files = {"image": ("a.png", kit.image_bytes(), "image/png")}
    form = {"files": files, "data": {"modality": "infrared"}}
    assert "no field 'cameras'" in told(client.post("/api/search?cameras=1", **form))
    for address in ("/api/image/1?sise=full", "/api/sightings?row_id=1&top=3", "/api/info?x=1"):
        assert "The address takes no field" in told(client.get(address)), address
    assert client.get("/?x=1").status_code == 200
