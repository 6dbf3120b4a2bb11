"""A hostile client beside a working one: the working one notices nothing. And an index that goes
away while it is served."""

from __future__ import annotations

import ast
import logging
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import server_kit as kit

from vireid.index import create_index
from vireid.server.settings import ServerSettings

BUSY = 3.0  # times as long as on a free machine
OWN = {"authorization": f"Bearer {kit.TOKEN}"}


@pytest.fixture
def locked(world: kit.World, tmp_path: Path) -> Iterator[kit.Running]:
    """A server with its usual limits that asks for a token."""
    settings = ServerSettings(tokens={"jane": kit.TOKEN}, audit_log=tmp_path / "log.jsonl")
    with kit.running(world, settings) as server:
        yield server


def other_address() -> str:
    """Another address of this machine, or the same where it has but one (macOS)."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.2", 0))
        except OSError:
            return "127.0.0.1"
    return "127.0.0.2"


class Pace:
    """What a process beside the server does at the same time (`pace.py`), as a measure of time on a
    machine that other programs keep busy, too."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._samples: list[tuple[float, float, float]] = []  # due, done, how slow
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            due, done, slowness = map(float, line.split())
            self._samples.append((due, done, slowness))

    def judge(self, spans: Iterable[tuple[float, float]], seconds: float) -> None:
        """Each of these spans of time took less than `seconds` of a free machine: so many times as
        long as work took just then, and once as long as this machine stood still in between. Where
        work takes `BUSY` times as long, all that can be seen is that everything is answered."""
        spans = list(spans)
        end = time.monotonic() + 60  # a sample that the last span overlaps may be under way
        while (not self._samples or self._samples[-1][0] < spans[-1][1]) and time.monotonic() < end:
            time.sleep(0.05)
        for started, ended in spans:
            meanwhile = [(slowness, done - due) for due, done, slowness in self._samples
                         if done > started - 0.5 and due < ended + 0.5]  # fmt: skip
            assert meanwhile, "nothing was measured"
            slowness, stalls = zip(*meanwhile)
            slow = statistics.median(slowness)
            took, most = ended - started, seconds * slow + max(stalls)
            most = most if slow < BUSY else 60 * seconds
            assert took < most, f"{took:.2f} s, at most {most:.2f}, {slow:.1f} times slow; {spans}"


@pytest.fixture
def pace() -> Iterator[Pace]:
    words = [sys.executable, str(Path(__file__).with_name("pace.py"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            process.stdout.readline()  # it has started
            yield Pace(process.stdout)
        finally:
            process.kill()


def searches(client: httpx.Client, seconds: float) -> list[tuple[float, float]]:
    """When each search was asked and answered of a client that goes on searching, three times at
    least."""
    image, spans, end = kit.image_bytes(), [], time.monotonic() + seconds
    while len(spans) < 3 or time.monotonic() < end:
        started = time.monotonic()
        answer = kit.post(client, image)
        spans.append((started, time.monotonic()))
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["hits"]) == 24
        time.sleep(0.25)  # the rate that one user may keep up
    return spans


@contextmanager
def attacked(server: kit.Running, source: str) -> Iterator[dict[str, int]]:
    """The hostile client at work during the block, and what it has seen after it."""
    script = str(Path(__file__).with_name("hostile.py"))
    words = [sys.executable, script, str(server.port), source]
    seen: dict[str, int] = {}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdin and process.stdout
            assert process.stdout.readline() == "started\n"
            yield seen
            process.stdin.close()
            seen |= ast.literal_eval(process.stdout.read())
        finally:
            process.kill()


def assert_held_off(seen: dict[str, int], minutes: float) -> None:
    """What the hostile client got: cut off, and no more wrong tokens than are allowed a minute."""
    assert seen["slow_head cut"] > 0 and seen["slow_sign_in cut"] > 0, seen
    assert "guess 200" not in seen and 0 < seen["guess 401"] <= 11 + 10 * minutes, seen


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_a_working_client_beside_a_hostile_one(
    locked: kit.Running, pace: Pace, source: str
) -> None:
    begun = time.perf_counter()
    with locked.client(headers=OWN, timeout=120) as client:
        searches(client, 0.5)
        with attacked(locked, other_address() if source != "127.0.0.1" else source) as seen:
            spans = searches(client, 2.5)
            # Nor is anybody kept from coming: on a new connection, with the page and its sign-in.
            with locked.client(timeout=120) as other:
                started = time.monotonic()
                page, session = other.get("/"), {"token": kit.TOKEN}
                if source != "127.0.0.1":  # strangers of one address share its sign-ins
                    assert page.status_code == 200
                    assert other.post("/api/session", json=session).status_code == 200
                answer = kit.post(other, kit.image_bytes())
                assert answer.status_code == (401 if source == "127.0.0.1" else 200)
                came = (started, time.monotonic())
            time.sleep(1)
    pace.judge(spans, 1.0)
    pace.judge([came], 3.0)
    assert_held_off(seen, (time.perf_counter() - begun) / 60)


def test_a_working_client_of_an_open_server(world: kit.World, pace: Pace, tmp_path: Path) -> None:
    """Where no token is asked for, a hostile client is nobody else than the working one."""
    settings = ServerSettings(audit_log=tmp_path / "log.jsonl")
    with kit.running(world, settings) as server, server.client(timeout=120) as client:
        searches(client, 0.5)
        with attacked(server, "127.0.0.1") as seen:
            spans = searches(client, 3.5)
    pace.judge(spans, 1.0)
    assert seen["slow_head cut"] > 0 and seen["slow_sign_in cut"] > 0, seen


def test_slow_sign_ins_keep_nobody_out(locked: kit.Running, pace: Pace) -> None:
    slow = []
    try:
        for _ in range(40):
            one = socket.create_connection(("127.0.0.1", locked.port))
            one.sendall(
                b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
            )
            slow.append(one)
        with locked.client() as client:
            started = time.monotonic()
            assert client.post("/api/session", json={"token": kit.TOKEN}).status_code == 200
            assert kit.post(client, kit.image_bytes()).status_code == 200
            pace.judge([(started, time.monotonic())], 3.0)
        started = time.monotonic()
        answers = {one.recv(1000).split()[1] for one in slow}
        assert b"408" in answers and answers <= {b"408", b"503"}
        pace.judge([(started, time.monotonic())], 6.0)
        with locked.client() as client:
            large = client.post("/api/session", content=b"x" * 5000)
            assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
            assert "4 KiB" in large.json()["error"]["sentence"]
    finally:
        for one in slow:
            one.close()


# ---- behind a proxy


@pytest.fixture(scope="module")
def behind(world: kit.World, tmp_path_factory: pytest.TempPathFactory):
    """A server that trusts a proxy at this address, and its audit log."""
    log = tmp_path_factory.mktemp("proxy") / "log.jsonl"
    settings = replace(
        kit.LOOSE, tokens={"jane": kit.TOKEN}, trusted_proxies=("127.0.0.0/8", "10.0.0.7"),
        allowed_hosts=("search.example.org",), audit_log=log, failures_per_minute=3,
    )  # fmt: skip
    with kit.running(world, settings) as server:
        yield server, log


@pytest.mark.parametrize(
    ("noted", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),  # the client's own invention comes first
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::5", "2001:db8::5"),
        ("[2001:db8::5]:80", "2001:db8::5"),
        ("", "127.0.0.1"),
        ("evil\x7f", "127.0.0.1"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_a_trusted_proxy_says_who_asks(behind, noted: str, address: str) -> None:
    server, log = behind
    headers = OWN | {"x-forwarded-for": noted, "host": "search.example.org"}
    with server.client(headers=headers) as client:
        assert kit.post(client, kit.image_bytes()).status_code == 200
    assert kit.audit_lines(log)[-1]["client"] == address


def test_users_behind_one_proxy_are_counted_apart(behind) -> None:
    server, _ = behind
    with server.client() as client:
        wrong = [
            client.get("/api/info", headers={"authorization": "Bearer no", "x-forwarded-for": who})
            for who in ["203.0.113.50"] * 4 + ["203.0.113.51"]
        ]
        assert [answer.status_code for answer in wrong] == [401, 401, 401, 429, 401]
        body = {"token": kit.TOKEN}
        for scheme in ("https", "http"):
            answer = client.post("/api/session", json=body, headers={"x-forwarded-proto": scheme})
            assert ("Secure" in answer.headers["set-cookie"]) is (scheme == "https")


def test_nobody_else_is_believed(locked: kit.Running, tmp_path: Path) -> None:
    with locked.client(headers=OWN | {"x-forwarded-for": "203.0.113.9"}) as client:
        assert kit.post(client, kit.image_bytes()).status_code == 200
    assert kit.audit_lines(tmp_path / "log.jsonl")[-1]["client"] == "127.0.0.1"


# ---- an index that goes away


@pytest.fixture
def own_index(world: kit.World, tmp_path: Path) -> kit.World:
    """A copy of the index that a test may take away."""
    shutil.copytree(world.index, tmp_path / "ix")
    return replace(world, index=tmp_path / "ix")


EVERY = ("/api/info", "/api/image/1", "/api/sightings?row_id=1")


def test_a_deleted_index_answers_nothing(own_index: kit.World, caplog, monkeypatch) -> None:
    monkeypatch.setattr("vireid.server.service.INFO_SECONDS", 0.0)
    with kit.running(own_index) as server, server.client() as client:
        assert all(client.get(path).status_code == 200 for path in EVERY)
        assert kit.post(client, kit.image_bytes()).status_code == 200
        shutil.rmtree(own_index.index)
        with caplog.at_level(logging.INFO, logger="vireid"):
            answers = [kit.post(client, kit.image_bytes())]
            answers.append(client.post("/api/search/by-row", json={"row_id": "1"}))
            for _ in range(20):  # what is known of it is counted again in the background
                if client.get("/api/info").status_code != 200:
                    break
                time.sleep(0.05)
            answers += [client.get(path) for path in EVERY]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 404, 503]
        for answer in answers:
            assert str(own_index.index) not in answer.text and "hits" not in answer.json()
        assert str(own_index.index) not in caplog.text
        assert server.alive()
        # The operator puts one back: an index of the same weights is taken up.
        with create_index(
            own_index.index, weights_hash=own_index.embedder.weights_hash,
            dim=own_index.embeddings.embedding.shape[1], image_roots=[own_index.root],
            preprocessing=own_index.embeddings.preprocessing,
        ) as index:  # fmt: skip
            index.add(replace(own_index.embeddings, pids=own_index.embeddings.pids * 0 + 77))
        hits = kit.post(client, kit.image_bytes()).json()["hits"]
        assert {hit["pid"] for hit in hits} == {"77"}
        assert client.get("/api/image/1").status_code == 200


def test_an_index_of_other_weights_is_not_taken_up(own_index: kit.World) -> None:
    with kit.running(own_index) as server, server.client() as client:
        assert kit.post(client, kit.image_bytes()).status_code == 200
        shutil.rmtree(own_index.index)
        create_index(own_index.index, weights_hash="0" * 64, dim=512).close()
        assert kit.post(client, kit.image_bytes()).status_code == 503
        assert client.get("/api/image/1").status_code == 404


def test_vectors_that_were_deleted_are_not_searched(own_index: kit.World) -> None:
    with kit.running(own_index) as server, server.client() as client:
        assert kit.post(client, kit.image_bytes()).status_code == 200
        (vectors,) = own_index.index.glob("vectors-*")
        vectors.unlink()
        assert kit.post(client, kit.image_bytes()).status_code == 503


def test_a_deleted_image_is_not_shown_from_memory(world: kit.World, tmp_path: Path) -> None:
    shutil.copytree(world.root, tmp_path / "people")
    with create_index(
        tmp_path / "ix", weights_hash=world.embedder.weights_hash,
        dim=world.embeddings.embedding.shape[1], image_roots=[tmp_path / "people"],
    ) as index:  # fmt: skip
        index.add(world.embeddings)
    with kit.running(replace(world, index=tmp_path / "ix")) as server, server.client() as client:
        before = client.get("/api/image/1").content
        assert client.get("/api/image/1").content == before
        file = tmp_path / "people" / world.embeddings.paths[0]
        shutil.copy(tmp_path / "people" / world.embeddings.paths[20], file)
        assert client.get("/api/image/1").content not in (before, b"")
        file.unlink()
        assert client.get("/api/image/1").status_code == 404


def test_answers_never_name_the_index(world: kit.World) -> None:
    with kit.running(world) as server, server.client() as client:
        for path in ("/api/sightings?row_id=999999", "/api/image/999999"):
            text = client.get(path).text
            assert "no such entry" in text and str(world.index) not in text
        text = client.post("/api/search/by-row", json={"row_id": "999999"}).text
        assert "no such entry" in text and str(world.index) not in text
