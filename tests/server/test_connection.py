"""What one connection and one client may take, with a small application behind it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvicorn

from vireid.server.connection import ConnectionLimits, limited_protocol

SHORT = ConnectionLimits(
    head_seconds=0.6, idle_seconds=1.5, body_seconds=0.8, stalled_seconds=0.6, answer_seconds=2.0
)
FEW = ConnectionLimits(
    head_seconds=60, idle_seconds=60, body_seconds=60, connections=12, client_connections=6
)
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = HEAD.replace(b" / ", b" /large ")


async def app(scope, receive, send) -> None:
    if scope["type"] == "http":
        body = b"x" * (20 * 2**20 if scope["path"] == "/large" else 2)
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module", params=[SHORT])
def server(request: pytest.FixtureRequest) -> Iterator[uvicorn.Server]:
    """A server with these limits on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = limited_protocol(request.param, lambda address: address == "127.0.0.3")
        config = uvicorn.Config(app, http=http, lifespan="off", log_config=None, ws="none",
                                timeout_keep_alive=60)  # fmt: skip
        server = uvicorn.Server(config)
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)


few = pytest.mark.parametrize("server", [FEW], indirect=True)


@pytest.fixture
def connect(server: uvicorn.Server) -> Iterator[Callable[..., socket.socket]]:
    """Opens connections that are closed at the end."""
    with ExitStack() as stack:

        def one(data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
            try:
                made = socket.create_connection(("127.0.0.1", server.port), 10, (source, 0))
            except OSError:
                pytest.skip(f"this machine has no address {source}")
            stack.enter_context(made)
            made.sendall(data)
            return made

        yield one


def closed_after(connection: socket.socket, dribble: bytes = b"") -> float:
    """Seconds until the server closes, while bytes come one by one."""
    started = time.perf_counter()
    connection.settimeout(0.1)
    try:
        for number in range(100):
            try:
                if dribble:
                    connection.sendall(dribble[number % len(dribble) :][:1])
                if not connection.recv(4096):
                    break
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    return time.perf_counter() - started


def answer(connection: socket.socket) -> bytes:
    """The whole answer to a request; empty if the connection is closed."""
    found = b""
    try:
        connection.sendall(HEAD)
        while not found.endswith(b"xx") and (part := connection.recv(4096)):
            found += part
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize(
    ("start", "dribble", "most"),
    [
        (b"", b"", 0.6),  # nothing at all
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", 0.6),
        (HEAD + b"GET", b"", 1.5),  # a second head that doesn't end
        (HEAD, b"GET / HTTP", 1.5),
        (HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 999\r\n\r\n"), b"y", 0.8),
    ],
)
def test_what_comes_too_slowly_is_closed(connect, start: bytes, dribble: bytes, most: float):
    took = closed_after(connect(start), dribble)
    assert most * 0.8 < took < most + 3


def test_answers_that_nobody_reads_are_dropped(connect, server: uvicorn.Server) -> None:
    deaf = [connect(LARGE), connect(LARGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))]
    assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in deaf)
    end = time.perf_counter() + 10
    while server.server_state.connections:
        assert time.perf_counter() < end
        time.sleep(0.05)


@few
def test_a_client_with_all_its_connections_loses_the_slow_ones(connect) -> None:
    slow = [connect(HEAD[:10]) for _ in range(6)]
    assert [b" 200 " in answer(connect()) for _ in range(10)] == [True] * 10
    assert all(closed_after(one) < 0.5 for one in slow)


@few
def test_other_clients_keep_theirs(connect) -> None:
    kept = [connect(source="127.0.0.2") for _ in range(3)]
    assert all(b" 200 " in answer(one) for one in kept)
    for _ in range(30):
        connect(HEAD[:10])
    assert all(b" 200 " in answer(one) for one in kept)
    for number in range(40):  # from many addresses, so that all places are taken
        connect(HEAD[:10], source=f"127.0.1.{number % 20 + 1}")
    assert b" 200 " in answer(connect(source="127.0.0.4"))


@few
def test_a_proxy_may_hold_more(connect) -> None:
    held = [connect(source="127.0.0.3") for _ in range(9)]
    assert all(b" 200 " in answer(one) for one in held)
