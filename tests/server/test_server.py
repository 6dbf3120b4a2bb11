"""The HTTP interface over a real index and a real network."""

from __future__ import annotations

import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import server_kit as kit
from PIL import Image

from vireid.data.decoding import decode
from vireid.index import Filters, Searcher, open_index
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
    assert (best["pid"], best["camid"], best["modality"]) == (2, 3, "infrared")
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
    assert {hit["pid"] for hit in only} == {3}
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
    assert (seen["basis"], seen["pid"]) == ("identity", 2)
    assert len(seen["sightings"]) == kit.CAMERAS * kit.IMAGES
    times = [hit["time"] for hit in seen["sightings"]]
    assert times == sorted(times)


def test_sightings_without_identity_say_that_they_only_look_alike(client) -> None:
    everything = kit.post(client, kit.image_bytes(), top=60).json()["hits"]
    unknown = next(hit for hit in everything if hit["pid"] == -1)
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
