"""Attacks on a running server by address, header, token and rate; each is refused and logged,
and the server lives on. Files are in test_security_uploads.py."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import server_kit as kit

from vireid.server.settings import ServerSettings
from vireid.types import InputError


@pytest.fixture(scope="module")
def locked(world: kit.World, tmp_path_factory: pytest.TempPathFactory):
    """A server that asks for a token, and its audit log."""
    log = tmp_path_factory.mktemp("locked") / "log.jsonl"
    settings = replace(kit.LOOSE, tokens={"jane": kit.TOKEN, "joe": "another-long-token"},
                       audit_log=log, failures_per_minute=6)  # fmt: skip
    with kit.running(world, settings) as found:
        yield found, log


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
        assert kit.post(client, kit.image_bytes()).status_code == 401
        assert client.get("/api/session").json() == {"required": True, "user": None}


def test_tokens_name_their_user(locked) -> None:
    server, log = locked
    with server.client(headers={"authorization": f"Bearer {kit.TOKEN}"}) as client:
        assert client.get("/api/info").json()["user"] == "jane"
        assert kit.post(client, kit.image_bytes()).status_code == 200
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
        for attempt in range(2):
            answer = client.get("/api/info", headers={"authorization": f"Bearer guess{attempt}"})
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) > 0
            answer = client.post("/api/session", json={"token": "guess"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "failures")
        lines = kit.audit_lines(tmp_path / "log.jsonl")
        assert [line["code"] for line in lines] == ["token"] * 4 + ["failures"] * 4
        # The right token is never locked out: others may share the address.
        right = {"authorization": f"Bearer {kit.TOKEN}"}
        assert client.get("/api/info", headers=right).status_code == 200
        assert client.post("/api/session", json={"token": kit.TOKEN}).status_code == 200


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
        codes = [kit.post(client, kit.image_bytes()).status_code for _ in range(6)]
        assert codes[:3] == [200] * 3
        assert 429 in codes[3:]
        answer = kit.post(client, kit.image_bytes())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/api/info").status_code == 200


def test_logs_hold_no_paths(server, client, world, caplog) -> None:
    with caplog.at_level(logging.DEBUG, logger="vireid"):
        kit.post(client, kit.image_bytes())
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
        assert kit.post(client, kit.image_bytes()).status_code == 500
        assert server.alive()
