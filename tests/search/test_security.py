"""Attacks on a running server: each is refused and logged, and the server lives on."""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import server_kit as kit
from PIL import Image

from vireid.search import create_index
from vireid.search.settings import ServerSettings
from vireid.types import InputError


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "log.jsonl"


@pytest.fixture(scope="module")
def server(world: kit.World, audit: Path):
    settings = replace(
        kit.LOOSE, audit_log=audit, max_upload_bytes=2**20, max_pixels=4_000_000,
        upload_seconds=1.0,
    )  # fmt: skip
    with kit.running(world, settings) as found:
        yield found
        assert found.alive()


@pytest.fixture(scope="module")
def client(server: kit.Running):
    with server.client() as found:
        yield found


@pytest.fixture(scope="module")
def locked(world: kit.World, tmp_path_factory: pytest.TempPathFactory):
    """A server that asks for a token, and its audit log."""
    log = tmp_path_factory.mktemp("locked") / "log.jsonl"
    settings = replace(kit.LOOSE, tokens={"jane": kit.TOKEN, "joe": "another-long-token"},
                       audit_log=log, failures_per_minute=6)  # fmt: skip
    with kit.running(world, settings) as found:
        yield found, log


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


def test_only_plain_pictures_under_the_roots_are_served(trapped) -> None:
    server, bad, good, log = trapped
    with server.client() as client:
        hits = kit.post(client, kit.picture_bytes(), top=60).json()["hits"]
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
    assert any(line.get("code") == "no_picture" for line in kit.audit_lines(log))


def test_a_link_that_appears_later_is_not_followed(trapped, tmp_path) -> None:
    from vireid.search.pictures import _read_plain

    server, *_ = trapped
    root = Path(server.index.image_roots[0])
    assert _read_plain(root, ("inner", "fine.jpg"))
    assert _read_plain(root, ("link.jpg",)) is None
    assert _read_plain(root, ("linked", "secret.jpg")) is None
    assert _read_plain(root, ("pipe.jpg",)) is None


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
    """Real pictures with bytes flipped, cut out, doubled, or with another format's head."""
    random = np.random.default_rng(7)
    seeds = [kit.picture_bytes(i, form=form) for i, form in
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
    plain = kit.picture_bytes()
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
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_a_picture"),
        (lambda: b"<script>alert(1)</script>", 415, "not_a_picture"),
        (lambda: b"%PDF-1.7", 415, "not_a_picture"),
        (lambda: b"PK\x03\x04" + b"\0" * 100, 415, "not_a_picture"),
        (lambda: encoded("TIFF"), 415, "not_a_picture"),
        (lambda: encoded("GIF"), 415, "not_a_picture"),
        (lambda: encoded("PPM"), 415, "not_a_picture"),
        (lambda: animation("PNG"), 415, "animated"),
        (lambda: animation("WEBP"), 415, "animated"),
        (lambda: kit.picture_bytes(form="JPEG")[:300], 422, "broken"),
    ],
)
def test_files_that_are_no_fair_pictures(client, server, audit, make, status, code) -> None:
    data = make()
    started = time.perf_counter()
    answer = kit.post(client, data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert time.perf_counter() - started < 5
    assert kit.audit_lines(audit)[-1]["code"] == code
    assert server.alive()


def test_a_declared_type_changes_nothing(client) -> None:
    for declared in ("text/html", "application/x-php", "image/svg+xml", "", "x" * 200):
        files = {"image": ("a.php", kit.picture_bytes(), declared or None)}
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
    monkeypatch.setattr("vireid.search.server.HEAD_SECONDS", 0.4)
    with kit.running(world) as server:
        for start in (b"", b"GET / HTTP/1.1\r\nHost: 127.0"):
            started = time.perf_counter()
            assert server.raw(start) == b""
            assert 0.2 < time.perf_counter() - started < 3
        slow = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: " + b"y" * 200
        assert server.raw(slow + b"\r\n\r\n", pause=1.0) == b""
        assert server.alive()


# ---- addresses, headers, sites


def test_other_host_names_are_refused(client, server, audit) -> None:
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "127.0.0.1@evil",
                 "[::1", "10.0.0.7", "a b", "local host"):  # fmt: skip
        answer = client.get("/api/info", headers={"host": name})
        assert answer.status_code in (400, 421), name
    assert kit.audit_lines(audit)[-1]["event"] == "refused"
    for name in ("localhost", f"localhost:{server.port}", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert client.get("/api/info", headers={"host": name}).status_code == 200, name


def test_pages_of_other_sites_may_not_call(client) -> None:
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"},
                    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):  # fmt: skip
        assert client.get("/api/info", headers=headers).status_code == 403
        assert client.get("/api/image/1", headers=headers).status_code == 403
        assert client.post("/api/search/by-row", json={"row_id": "1"}, headers=headers
                           ).status_code == 403  # fmt: skip
    same = {"origin": str(client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert client.get("/api/info", headers=same).status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    assert "access-control-allow-origin" not in client.options("/api/info").headers


def test_every_answer_has_strict_headers(client) -> None:
    for path in ("/", "/static/app.js", "/api/info", "/nothing", "/api/image/1"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
    refused = client.get("/api/info", headers={"host": "evil.example"})
    assert "default-src 'none'" in refused.headers["content-security-policy"]


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: 127.0.0.1\r\nHost: evil.example",
        b"Host: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 50",
        b"Host: 127.0.0.1\r\nContent-Length: -1",
        b"Host: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"Host: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"Host: 127.0.0.1\r\nX: a\nEvil: b",
        b"Host: 127.0.0.1\r\nX\0: a",
        b"Host: 127.0.0.1\r\nX: " + b"a" * 100_000,
        b"Host: 127.0.0.1\r\nbroken line",
        b"",
    ],
)
def test_broken_and_doubled_headers(server, lines) -> None:
    request = b"POST /api/search/by-row HTTP/1.1\r\n" + lines + b"\r\n\r\nhello"
    answer = server.raw(request, wait=1.5)
    codes = {part.split()[0] for part in answer.split(b"HTTP/1.1 ")[1:]}
    assert codes <= {b"400", b"408", b"413", b"415", b"421", b"422", b"431", b"501"}
    assert server.alive()


def test_headers_cannot_be_injected(locked) -> None:
    server, log = locked
    with server.client() as client:
        token = {"token": "x\r\nSet-Cookie: vireid_session=mine\r\n"}
        answer = client.post("/api/session", json=token)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        answer = client.get("/api/nothing%0d%0aSet-Cookie:%20a=b?x=%0d%0aLocation:%20evil")
        assert "set-cookie" not in answer.headers
        assert "location" not in answer.headers
    for line in log.read_text().splitlines():
        json.loads(line)


def test_websockets_are_closed(server) -> None:
    head = (b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, close\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
    assert b" 101 " not in server.raw(head)[:20]
    assert server.alive()


# ---- tokens


def test_without_a_token_only_the_empty_page_is_there(locked) -> None:
    server, _ = locked
    with server.client() as client:
        for path in ("/", "/static/app.js", "/api/health", "/api/session"):
            assert client.get(path).status_code == 200
        for path in ("/api/info", "/api/image/1", "/api/openapi.json", "/api/sightings?row_id=1",
                     "/api//info", "/nothing", "/static/../api/info"):  # fmt: skip
            assert client.get(path).status_code == 401, path
        assert kit.post(client, kit.picture_bytes()).status_code == 401
        assert client.get("/api/session").json() == {"required": True, "user": None}


def test_tokens_name_their_user(locked) -> None:
    server, log = locked
    with server.client(headers={"authorization": f"Bearer {kit.TOKEN}"}) as client:
        assert client.get("/api/info").json()["user"] == "jane"
        assert kit.post(client, kit.picture_bytes()).status_code == 200
    assert kit.audit_lines(log)[-1]["user"] == "jane"
    assert kit.TOKEN not in log.read_text()


def test_the_page_signs_in_with_a_cookie_that_scripts_cannot_read(locked) -> None:
    server, _ = locked
    with server.client() as client:
        answer = client.post("/api/session", json={"token": "another-long-token"})
        assert answer.json()["user"] == "joe"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "another" not in cookie
        assert client.get("/api/info").json()["user"] == "joe"
        client.delete("/api/session")
        assert client.get("/api/info").status_code == 401
    forged = {"cookie": "vireid_session=" + "A" * 43}
    assert httpx.get(f"{server.url}/api/info", headers=forged).status_code == 401


def test_guessing_tokens_has_to_wait(world, tmp_path) -> None:
    settings = replace(kit.LOOSE, tokens={"jane": kit.TOKEN}, failures_per_minute=4,
                       audit_log=tmp_path / "log.jsonl")  # fmt: skip
    with kit.running(world, settings) as server, server.client() as client:
        for guess in ("Bearer wrong", "Bearer \xff", "Bearer " + kit.TOKEN[:-1], "Bearer x y"):
            answer = client.get("/api/info", headers={"authorization": guess.encode("latin-1")})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        right = {"authorization": f"Bearer {kit.TOKEN}"}
        answer = client.get("/api/info", headers=right)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        lines = kit.audit_lines(tmp_path / "log.jsonl")
        assert [line["code"] for line in lines] == ["token"] * 4 + ["failures"]


def test_other_addresses_need_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "my-machine"):
        with pytest.raises(InputError, match="no token is set"):
            ServerSettings(host=host)
        assert ServerSettings(host=host, tokens={"a": kit.TOKEN})
    for host in ("127.0.0.1", "::1", "localhost", "127.8.9.10"):
        assert ServerSettings(host=host)
    with pytest.raises(InputError, match="at least 8"):
        ServerSettings(tokens={"a": "1234567"})
    assert kit.TOKEN not in repr(ServerSettings(tokens={"a": kit.TOKEN}))


# ---- rates and logs


def test_rates(world) -> None:
    settings = replace(kit.LOOSE, searches_per_second=1.0, search_burst=3)
    with kit.running(world, settings) as server, server.client() as client:
        codes = [kit.post(client, kit.picture_bytes()).status_code for _ in range(6)]
        assert codes[:3] == [200] * 3
        assert 429 in codes[3:]
        answer = kit.post(client, kit.picture_bytes())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/api/info").status_code == 200


def test_logs_hold_no_paths(server, client, world, caplog) -> None:
    with caplog.at_level(logging.DEBUG, logger="vireid"):
        kit.post(client, kit.picture_bytes())
        kit.post(client, b"broken")
        client.get("/home/jane/secret?name=jane")
        client.get("/api/image/1")
        broken = server.index.entries
        server.index.entries = lambda rows: open("/home/jane/secret.db")  # noqa: SIM115
        try:
            assert client.get("/api/image/1").status_code == 500
        finally:
            server.index.entries = broken
    text = caplog.text
    assert "jane" not in text.lower()
    assert str(world.root) not in text
    assert ".jpg" not in text
    assert "/api/search 200" in text
    assert "FileNotFoundError" in text


def test_no_search_without_its_line_in_the_log(world, tmp_path) -> None:
    with kit.running(world, replace(kit.LOOSE, audit_log=Path("/dev/full"))) as server, \
            server.client() as client:  # fmt: skip
        assert kit.post(client, kit.picture_bytes()).status_code == 500
        assert server.alive()
