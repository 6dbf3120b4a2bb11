"""Attacks with files: paths, links, broken and oversized images."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import server_kit as kit
from PIL import Image

from vireid.index import create_index

# ---- files


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory, world: kit.World):
    """An index whose entries point at what must not be served."""
    folder = tmp_path_factory.mktemp("trapped")
    root, outside = folder / "root", folder / "outside"
    for place in (root / "inner", outside):
        place.mkdir(parents=True)
    secret = outside / "secret.jpg"
    Image.new("RGB", (64, 128), "red").save(secret)
    Image.new("RGB", (64, 128), "blue").save(root / "inner" / "fine.jpg")
    (root / "link.jpg").symlink_to(secret)
    (root / "linked").symlink_to(outside)
    (root / "inside.jpg").symlink_to(root / "inner" / "fine.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    os.mkfifo(root / "pipe.jpg")
    (root / "text.jpg").write_text("root:x:0:0")
    (root / "bomb.png").write_bytes(kit.plain_png(9000, 9000))
    (folder / "root-twin").mkdir()
    Image.new("RGB", (64, 128)).save(folder / "root-twin" / "near.jpg")
    bad = [
        "../outside/secret.jpg", "inner/../../outside/secret.jpg", str(secret), "/etc/passwd",
        "link.jpg", "linked/secret.jpg", "loop.jpg", "pipe.jpg", "text.jpg", "bomb.png", ".",
        "inner", "missing.jpg", "../root-twin/near.jpg", "..\\outside\\secret.jpg", "a" * 5000,
        "%2e%2e/outside/secret.jpg", "~/x.jpg", "file:///etc/passwd",
    ]  # fmt: skip
    good = ["inner/fine.jpg", "inside.jpg", str(root / "inner" / "fine.jpg")]
    count = len(bad) + len(good)
    made = world.embeddings
    rows = np.arange(count) % len(made)
    embeddings = replace(
        made, vectors={"embedding": made.embedding[rows]}, paths=[*bad, *good],
        pids=made.pids[rows], camids=made.camids[rows], modality=made.modality[rows],
        times=made.times[rows],
    )  # fmt: skip
    with create_index(
        folder / "index", weights_hash=made.weights_hash, dim=made.embedding.shape[1],
        image_roots=[root],
    ) as index:  # fmt: skip
        index.add(embeddings)
    log = folder / "log.jsonl"
    trapped_world = replace(world, index=folder / "index", root=root)
    with kit.running(trapped_world, replace(kit.LOOSE, audit_log=log, max_pixels=4_000_000)) as s:
        yield s, bad, good, log


def test_only_plain_images_under_the_roots_are_served(trapped) -> None:
    server, bad, good, log = trapped
    with server.client() as client:
        hits = kit.post(client, kit.image_bytes(), top=60).json()["hits"]
        entries = server.index.entries([int(hit["row_id"]) for hit in hits])
        rows = {entry.path: entry.row_id for entry in entries}
        assert set(rows) == {*bad, *good}
        for path in bad:
            for size in ("thumb", "full"):
                answer = client.get(f"/api/image/{rows[path]}", params={"size": size})
                assert answer.status_code == 404, path
                assert "secret" not in answer.text
                assert "/" not in answer.json()["error"]["sentence"]
        for path in good:
            answer = client.get(f"/api/image/{rows[path]}")
            assert answer.status_code == 200, path
            assert Image.open(io.BytesIO(answer.content)).getpixel((5, 5))[2] > 200
        assert server.alive()
    assert any(line.get("code") == "no_image" for line in kit.audit_lines(log))


def test_a_link_that_appears_later_is_not_followed(trapped, tmp_path) -> None:
    from vireid.server.images import _read_regular

    server, *_ = trapped
    root = Path(server.index.image_roots[0])
    assert _read_regular(root, ("inner", "fine.jpg"))
    assert _read_regular(root, ("link.jpg",)) is None
    assert _read_regular(root, ("linked", "secret.jpg")) is None
    assert _read_regular(root, ("pipe.jpg",)) is None


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd", "/static/../server.py", "/static/..%2f..%2fserver.py",
        "/static/%2e%2e/%2e%2e/settings.py", "/static//etc/passwd", "/static/index.html/..",
        "/api/image/../../etc/passwd", "/api/image/..%2f..%2fetc%2fpasswd", "/api/image/1%00.jpg",
        "/api/image/-1", "/api/image/1e3", "/api/image/1;ls", "//evil.example/", "/%c0%ae%c0%ae/",
        "/static/app.js%00", "/docs", "/redoc", "/openapi.json", "/api/image/" + "9" * 3000,
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(server, target) -> None:
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = server.raw(head.encode())
    assert answer.split()[1] in (b"404", b"422", b"400"), answer[:200]
    assert b"root:" not in answer
    assert b"Traceback" not in answer


# ---- uploads


def mutations(count: int) -> list[bytes]:
    """Real images with bytes flipped, cut out, doubled, or with another format's head."""
    random = np.random.default_rng(7)
    seeds = [kit.image_bytes(i, form=form) for i, form in
             enumerate(("PNG", "JPEG", "WEBP", "BMP") * 2)]  # fmt: skip
    made = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(int(random.integers(1, 6))):
            at = int(random.integers(0, len(data)))
            kind = int(random.integers(0, 5))
            if kind == 0:
                data[at] ^= int(random.integers(1, 256))
            elif kind == 1:
                del data[at : at + int(random.integers(1, 200))]
            elif kind == 2:
                data[at:at] = random.bytes(int(random.integers(1, 200)))
            elif kind == 3:
                data[at : at + 4] = b"\xff\xff\xff\xff"
            else:
                data[:8] = seeds[int(random.integers(0, len(seeds)))][:8]
            if len(data) < 16:
                break
        made.append(bytes(data))
    return made


@pytest.mark.long
def test_200_mutated_files(client, server) -> None:
    codes = [kit.post(client, data, top=1).status_code for data in mutations(200)]
    assert set(codes) <= {200, 413, 415, 422}
    assert sum(code != 200 for code in codes) > 60
    assert server.alive()


def png_bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels, with hardly any data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(
            ">I", zlib.crc32(name + body))  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
            + chunk(b"IEND", b""))  # fmt: skip


def text_bomb() -> bytes:
    """A PNG whose text chunk unpacks to 200 MB."""
    plain = kit.image_bytes()
    body = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(
        ">I", zlib.crc32(b"zTXt" + body))  # fmt: skip
    return plain[:33] + chunk + plain[33:]


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (64, 128), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:])
    return out.getvalue()


def encoded(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 128)).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: png_bomb(60_000, 60_000), 413, "too_many_pixels"),
        (lambda: png_bomb(2**31 - 1, 2**31 - 1), 413, "too_many_pixels"),
        (lambda: kit.plain_png(5000, 5000), 413, "too_many_pixels"),
        (lambda: kit.plain_png(2001, 2001), 413, "too_many_pixels"),
        (lambda: kit.plain_png(4, 400), 422, "too_small"),
        (lambda: png_bomb(64, 128), 422, "broken"),
        (text_bomb, 422, "broken"),
        (lambda: b"", 422, "empty"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (lambda: b"<script>alert(1)</script>", 415, "not_an_image"),
        (lambda: b"%PDF-1.7", 415, "not_an_image"),
        (lambda: b"PK\x03\x04" + b"\0" * 100, 415, "not_an_image"),
        (lambda: encoded("EPS"), 415, "not_an_image"),
        (lambda: encoded("ICO"), 415, "not_an_image"),
        (lambda: encoded("PCX"), 415, "not_an_image"),
        (lambda: animation("GIF"), 415, "animated"),
        (lambda: animation("PNG"), 415, "animated"),
        (lambda: animation("WEBP"), 415, "animated"),
        (lambda: kit.image_bytes(form="JPEG")[:300], 422, "broken"),
    ],
)
def test_files_that_are_no_fair_images(client, server, audit, make, status, code) -> None:
    data = make()
    started = time.perf_counter()
    answer = kit.post(client, data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert time.perf_counter() - started < 5
    assert kit.audit_lines(audit)[-1]["code"] == code
    assert server.alive()


def test_a_declared_type_changes_nothing(client) -> None:
    for declared in ("text/html", "application/x-php", "image/svg+xml", "", "x" * 200):
        files = {"image": ("a.php", kit.image_bytes(), declared or None)}
        answer = client.post("/api/search", files=files, data={"modality": "infrared"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"modality=infrared&image=x", "application/x-www-form-urlencoded"),
        (b"no boundary", "multipart/form-data"),
        (b"--x\r\ngarbage", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n" + b"A" * 100,
         "multipart/form-data; boundary=x"),
        (b"\0" * 500, "application/octet-stream"),
    ],
)  # fmt: skip
def test_bodies_of_another_kind(client, server, body, kind) -> None:
    answer = client.post("/api/search", content=body, headers={"content-type": kind})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["sentence"]
    assert server.alive()


def test_too_large_uploads(client, server) -> None:
    answer = kit.post(client, b"\x89PNG" + os.urandom(3 * 2**20))
    assert answer.status_code == 413

    def endless():
        for _ in range(200):
            yield b"x" * 65536

    answer = client.post("/api/search", content=endless(), headers={"content-type": "image/png"})
    assert answer.status_code == 413
    assert client.post("/api/search/by-row", content=b"[" * 100_000).status_code == 413
    assert server.alive()


def test_deeply_nested_json(client) -> None:
    content = b"[" * 30_000 + b"]" * 30_000
    kind = {"content-type": "application/json"}
    answer = client.post("/api/search/by-row", content=content, headers=kind)
    assert answer.status_code in (400, 422)


def test_slow_uploads_are_cut(server) -> None:
    head = (b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: 100000\r\n\r\n")  # fmt: skip
    answers: list[bytes] = []
    started = time.perf_counter()
    threads = [threading.Thread(target=lambda: answers.append(server.raw(head + b"x" * 500)))
               for _ in range(20)]  # fmt: skip
    for thread in threads:
        thread.start()
    assert server.alive()
    for thread in threads:
        thread.join()
    assert time.perf_counter() - started < 10
    assert len(answers) == 20
    assert all(b" 408 " in answer[:20] for answer in answers)
    assert server.alive()


def test_slow_heads_are_cut(world, monkeypatch) -> None:
    monkeypatch.setattr("vireid.server.app.HEAD_SECONDS", 0.4)
    with kit.running(world) as server:
        for start in (b"", b"GET / HTTP/1.1\r\nHost: 127.0"):
            started = time.perf_counter()
            assert server.raw(start) == b""
            assert 0.2 < time.perf_counter() - started < 3
        slow = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: " + b"y" * 200
        assert server.raw(slow + b"\r\n\r\n", pause=1.0) == b""
        assert server.alive()
