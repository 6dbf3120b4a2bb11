"""Who may send requests, how often and how many at once: tokens, sessions of the page, rates."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection

from vireid.server.refusal import Refusal

COOKIE = "vireid_session"
MAX_SESSIONS = 1000
MAX_CLIENTS = 10_000


class Tokens:
    """Tokens of users and the sessions that the page opened with them.

    Tokens are compared as SHA-256 digests in constant time, against every user's, so that
    neither content nor length nor the user's place in the list shows in the answer's time.
    """

    def __init__(
        self,
        tokens: dict[str, str],
        *,
        session_hours: float,
        failures_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._digests = {user: _digest(token) for user, token in tokens.items()}
        self._failures = RateLimiter(failures_per_minute / 60, failures_per_minute, clock)
        self._seconds = session_hours * 3600
        self._clock = clock
        self._sessions: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    @property
    def required(self) -> bool:
        """Whether requests need a token at all."""
        return bool(self._digests)

    def who(self, request: HTTPConnection) -> str | None:
        """The user whose token or session a request carries; None if it carries none that fits."""
        token = _bearer(request)
        if token:
            return self.user_of(token)
        return self.user_of_session(request.cookies.get(COOKIE, ""))

    def refuse(self, request: HTTPConnection, client: str) -> Refusal:
        """The answer to a request that carries nothing that fits.

        Args:
            request: its headers are read.
            client: whose wrong tokens are counted (`client_key`).
        """
        if _bearer(request):
            return self.wrong(client)
        return Refusal(
            401,
            "sign_in",
            "A token is needed: send it as 'Authorization: Bearer TOKEN', or sign in on the page.",
        )

    def check(self, token: str, client: str) -> str:
        """The owner of a token.

        Raises:
            Refusal: it is wrong, or this client was wrong too often.
        """
        user = self.user_of(token)
        if user is None:
            raise self.wrong(client)
        return user

    def wrong(self, client: str) -> Refusal:
        """The answer to a wrong token. Who was wrong too often has to wait; the right token never
        has to, since others may share the address."""
        wait = self._failures.take(client)
        if wait > 0:
            return Refusal(
                429,
                "failures",
                "There were too many wrong tokens from this address. "
                f"Wait {math.ceil(wait)} s and try again.",
                wait,
            )
        return Refusal(
            401, "token", "The token is wrong. Ask the person who runs this server for yours."
        )

    def user_of(self, token: str) -> str | None:
        """The owner of a token, or None."""
        candidate = _digest(token)
        owner = None
        for user, digest in self._digests.items():
            if hmac.compare_digest(candidate, digest):
                owner = user
        return owner

    def open_session(self, user: str) -> str:
        """A new random session key for a signed-in user; beyond `MAX_SESSIONS` the oldest end."""
        key = secrets.token_urlsafe(32)
        self._sessions[_digest(key)] = (user, self._clock() + self._seconds)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return key

    def user_of_session(self, key: str) -> str | None:
        """The owner of a session that has not ended, or None."""
        digest = _digest(key)
        user, end = self._sessions.get(digest, (None, 0.0))
        if user is not None and end < self._clock():
            self._sessions.pop(digest, None)
            return None
        return user

    def close_session(self, key: str) -> None:
        """End a session; unknown keys are ignored."""
        self._sessions.pop(_digest(key), None)


class RateLimiter:
    """A token bucket for each client, refilled at a steady rate.

    At most `MAX_CLIENTS` buckets are kept; the least recently used one is dropped.
    """

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = per_second, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Use one permit.

        Returns:
            0.0 if there was one, else the seconds until there will be.
        """
        permits = self._permits(client)
        if permits < 1:
            return (1 - permits) / self._rate
        self._keep(client, permits - 1)
        return 0.0

    def wait(self, client: str) -> float:
        """Seconds until there is a permit, without using one."""
        return max(0.0, (1 - self._permits(client)) / self._rate)

    def _permits(self, client: str) -> float:
        now = self._clock()
        permits, then = self._buckets.get(client, (self._burst, now))
        return min(self._burst, permits + (now - then) * self._rate)

    def _keep(self, client: str, permits: float) -> None:
        self._buckets[client] = (permits, self._clock())
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)


def _bearer(request: HTTPConnection) -> str:
    """The token in a request's headers, or ""."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def client_key(address: str) -> str:
    """Whom rates are counted for: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
