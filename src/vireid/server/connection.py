"""uvicorn's HTTP/1.1 connection with the limits that it lacks: how long a client may take to send
and to read, and how many connections one client may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vireid.server.access import client_key

CROWD_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What one connection and one client may take.

    Attributes:
        head_seconds: for a request line and headers.
        idle_seconds: for all of them after an answer, waiting included.
        body_seconds: for a request's body.
        stalled_seconds, answer_seconds: without reading anything of an answer, and for all of it.
        connections, client_connections: at the same time, in all and of one address.
    """

    head_seconds: float
    idle_seconds: float
    body_seconds: float
    stalled_seconds: float = 10.0
    answer_seconds: float = 60.0
    connections: int = 512
    client_connections: int = 64


class _Held:
    """The connections of one client, oldest first: new ones, and those that have sent a request."""

    def __init__(self) -> None:
        self.new: dict[H11Protocol, None] = {}
        self.known: dict[H11Protocol, None] = {}

    def __len__(self) -> int:
        return len(self.new) + len(self.known)

    def know(self, one: H11Protocol) -> None:
        """It has sent a request."""
        self.new.pop(one, None)
        self.known[one] = None

    def drop(self, one: H11Protocol) -> None:
        """Count it no more."""
        self.new.pop(one, None)
        self.known.pop(one, None)

    def close_one(self) -> bool:
        """Close the connection that has waited longest for a request, if there is one."""
        idle = (one for one in self.known if one.conn.their_state is h11.IDLE)
        last = next(iter(self.new), None) or next(idle, None)
        if last is None:
            return False
        self.drop(last)
        # A request may be on its way, behind a crowd of other connections.
        last.loop.call_later(CROWD_SECONDS, self._end, last)
        return True

    def _end(self, one: H11Protocol) -> None:
        if one not in self.known:
            one.transport.abort()


def limited_protocol(
    limits: ConnectionLimits, is_proxy: Callable[[str], bool] = lambda address: False
) -> type[H11Protocol]:
    """A protocol class for `uvicorn.Config(http=...)`.

    A client that has all the connections it may have loses the one that has waited longest for a
    request, so that slow ones never keep a new one out; if all are busy, the new one is closed.

    Args:
        limits: of time and number.
        is_proxy: whether an address speaks for many clients and may hold any number.
    """
    held: dict[str, _Held] = {}  # of each client
    tick = min(1.0, limits.head_seconds / 4)

    class LimitedProtocol(H11Protocol):
        _client = ""
        _timer: asyncio.TimerHandle | None = None
        _phase: Any = None  # what the client is doing, and since when
        _since = 0.0
        _unread = 0  # bytes of the answer that wait to be read
        _moved = _unread_since = 0.0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            self._client = client_key(address)
            mine = held.get(self._client)
            room = True
            if mine and len(mine) >= limits.client_connections and not is_proxy(address):
                room = mine.close_one()
            elif sum(map(len, held.values())) >= limits.connections:
                room = max(held.values(), key=len).close_one()
            if not room:
                transport.abort()
                return
            held.setdefault(self._client, _Held()).new[self] = None
            self._since = self._moved = self._unread_since = self.loop.time()
            self._timer = self.loop.call_later(tick, self._look)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and self._timer is not None:
                held.setdefault(self._client, _Held()).know(self)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if mine := held.get(self._client):
                mine.drop(self)
                if not mine:
                    del held[self._client]
            super().connection_lost(exc)

        def _look(self) -> None:
            """Close the connection if the client is too slow."""
            now = self.loop.time()
            phase = (self.conn.their_state, self.cycle)
            if phase != self._phase:
                self._phase, self._since = phase, self._since if self._phase is None else now
            unread = self.transport.get_write_buffer_size()
            if unread == 0:
                self._unread_since = now
            if unread == 0 or unread < self._unread:
                self._moved = now
            self._unread = unread
            if (
                now - self._since > self._allowed()
                or now - self._moved > limits.stalled_seconds
                or now - self._unread_since > limits.answer_seconds
            ):
                self.transport.abort()
            else:
                self._timer = self.loop.call_later(tick, self._look)

        def _allowed(self) -> float:
            """Seconds for what the client is doing."""
            if self.conn.their_state is h11.SEND_BODY:
                return limits.body_seconds
            if self.conn.their_state is not h11.IDLE:
                return float("inf")  # the request is there; the application has its own deadline
            return limits.head_seconds if self.cycle is None else limits.idle_seconds

    return LimitedProtocol
