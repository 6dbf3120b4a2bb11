"""The checks that every request passes before the application sees it.

One pure ASGI layer, outermost, in this order: allowed host → same site → whose token → rate → body
(size and time) → application under a deadline. Every answer has the same strict headers.

Until a request has shown a token or a session that fits, it counts against its address; from then
on against its user there. So strangers can't use up what users may do, not even from their address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import re
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from vireid.server.access import RateLimiter, Tokens, client_key
from vireid.server.audit import AuditLog
from vireid.server.refusal import Refusal
from vireid.server.settings import ServerSettings, is_loopback, is_within

logger = logging.getLogger("vireid.server")

OPEN_PATHS = frozenset({"/", "/api/health", "/api/session"})
OPEN_PREFIX = "/static/"
SEARCH_PATHS = frozenset({"/api/search", "/api/search/by-row", "/api/sightings"})
SMALL_BODY = 64 * 1024
OPEN_BODY = 4 * 1024  # of a request without a token: a sign-in
OPEN_SECONDS = 3.0
OPEN_BODIES, OWN_OPEN_BODIES = 16, 4  # at the same time, in all and of one client
SLOW_SECONDS = 0.5  # after which a body's place may be needed by another
LINGER_SECONDS = 2.0
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-robots-tag", b"noindex"),
)
LATE = Refusal(
    503, "late", "The server is busy and could not answer in time. Try again in a moment.", 2
)
FAILED = Refusal(500, "internal", "The server failed on this request. The log says where.")


class Guard:
    """The ASGI layer; see the module's first lines."""

    def __init__(
        self, app: Any, *, settings: ServerSettings, tokens: Tokens, audit: AuditLog
    ) -> None:
        self._app = app
        self._settings = settings
        self._tokens = tokens
        self._audit = audit
        self._searches = RateLimiter(settings.searches_per_second, settings.search_burst)
        self._reads = RateLimiter(settings.reads_per_second, settings.read_burst)
        self._notes = RateLimiter(settings.refusals_per_minute / 60, settings.refusals_per_minute)
        self._signs = RateLimiter(settings.sign_ins_per_minute / 60, settings.sign_ins_per_minute)
        self._proxies = tuple(map(ipaddress.ip_network, settings.trusted_proxies))
        self._bodies = BodySlots(settings.max_uploads, settings.max_uploads)
        self._open_bodies = BodySlots(OPEN_BODIES, OWN_OPEN_BODIES)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, admitted = time.perf_counter(), 0, False

        async def answer(message: dict) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message.get("headers", []))
            await send(message)

        try:
            async with asyncio.timeout(self._settings.request_seconds):
                replay = await self._admit(scope, receive)
                admitted = True
                await self._app(scope, replay, answer)
        except Refusal as refusal:
            self._note(scope, refusal)
            unread = not admitted and scope["method"] not in ("GET", "HEAD")
            await _refuse(refusal, answer, receive if unread else None)
        except TimeoutError:
            if not status:
                await _refuse(LATE, answer, None)
        except Exception as error:
            _log_failure(error)
            if not status:
                await _refuse(FAILED, answer, None)
        finally:
            logger.info(
                "%s %s %s %.0f ms",
                scope["method"] if scope["method"].isalpha() else "?",
                route_of(scope["path"]),
                status,
                (time.perf_counter() - started) * 1000,
            )

    async def _admit(self, scope: dict, receive: Any) -> Any:
        """Checks in order of cost.

        Returns:
            The receive callable for the application, with the whole body in it.

        Raises:
            Refusal: by the first check that fails.
        """
        request = HTTPConnection(scope)
        for name in ("host", "authorization", "content-length"):
            if len(request.headers.getlist(name)) > 1:
                raise Refusal(400, "headers", f"The request has two {name} headers.")
        address = self._address(scope, request.headers)
        client = client_key(address)
        path = scope["path"]
        scope["vireid.client"], scope["vireid.user"] = address, "local"
        self._check_host(request.headers.get("host", ""))
        _check_site(path, request.headers)
        known = not self._tokens.required
        if not known:
            user = self._tokens.who(request)
            known = user is not None
            scope["vireid.user"] = user or "unknown"
        reads = scope["method"] in ("GET", "HEAD")
        who = f"{scope['vireid.user']} at {client}" if known else client
        limiter = self._searches if path in SEARCH_PATHS and known else self._reads
        if not known and not reads and path in OPEN_PATHS:
            limiter = self._signs
        wait = limiter.take(who)
        if wait > 0:
            sentence = (
                "There were too many requests from this address. Wait "
                f"{math.ceil(wait)} s and try again."
            )
            raise Refusal(429, "rate", sentence, wait)
        if not known and not (path in OPEN_PATHS or path.startswith(OPEN_PREFIX)):
            raise self._tokens.refuse(request, client)
        if reads:
            return receive
        return await self._body(path, request.headers.get("content-length"), receive, known, who)

    def _address(self, scope: dict, headers: Headers) -> str:
        """Who has sent a request: whoever a trusted proxy says, else who is connected.

        Of the addresses that a chain of proxies has noted, the last one counts that is none of the
        trusted ones': what comes before it is hearsay.
        """
        address = scope["client"][0] if scope.get("client") else "unknown"
        noted = ",".join(headers.getlist("x-forwarded-for")).split(",")
        if self._is_proxy(address) and headers.get("x-forwarded-proto", "").strip() == "https":
            scope["scheme"] = "https"
        while self._is_proxy(address) and noted:
            word = noted.pop().strip()
            said = word if _is_address(word) else _host_name(word) or ""
            if not _is_address(said):
                break
            address = said.strip("[]")
        return address

    def _is_proxy(self, address: str) -> bool:
        return is_within(address, self._proxies)

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        allowed = name is not None and (
            name.lower() in self._settings.allowed_hosts or is_loopback(name)
        )
        if not allowed and name is not None and not is_loopback(self._settings.host):
            allowed = name.lower() == self._settings.host.lower() or _is_address(name)
        if not allowed:
            raise Refusal(
                421,
                "host",
                "This server does not answer to the host name of the request. Use its IP address, "
                "or start it with --allowed-host and the name.",
            )

    async def _body(
        self, path: str, declared: str | None, receive: Any, known: bool, who: str
    ) -> Any:
        """Receive the whole body, within the limits; returns a callable that replays it."""
        limit, seconds, slots = OPEN_BODY, OPEN_SECONDS, self._open_bodies
        allowed = f"{limit // 1024} KiB"
        if known and path not in OPEN_PATHS:
            limit, seconds, slots = SMALL_BODY, self._settings.upload_seconds, self._bodies
            allowed = f"{limit // 1024} KiB"
            if path == "/api/search":
                limit += self._settings.max_upload_bytes
                allowed = f"{self._settings.max_upload_bytes / 2**20:.0f} MiB"
        too_large = Refusal(413, "too_large", f"The upload is larger than the {allowed} allowed.")
        if declared is not None:
            if not re.fullmatch(r"[0-9]{1,15}", declared):
                raise Refusal(400, "headers", "The Content-Length header is not a number.")
            if int(declared) > limit:
                raise too_large
        try:
            async with asyncio.timeout(seconds) as deadline:
                async with slots.held(deadline, who):
                    parts, size = [], 0
                    while True:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise Refusal(400, "cut", "The upload ended early.")
                        parts.append(message.get("body", b""))
                        size += len(parts[-1])
                        if size > limit:
                            raise too_large
                        if not message.get("more_body", False):
                            break
        except TimeoutError as error:
            raise Refusal(408, "slow", "The upload took too long.") from error
        body: dict | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

        async def replay() -> dict:
            nonlocal body
            if body is None:
                return await receive()
            message, body = body, None
            return message

        return replay

    def _note(self, scope: dict, refusal: Refusal) -> None:
        """Log a refusal. Overload is not an event, and a client that is refused all the time must
        not fill the disk."""
        client = scope.get("vireid.client", "unknown")
        if refusal.status == 503 or self._notes.take(client_key(client)) > 0:
            return
        logger.warning("refused: %s", refusal.code)
        try:
            self._audit.write(
                "refused",
                user=scope.get("vireid.user", "unknown"),
                client=client,
                durable=False,
                code=refusal.code,
                route=route_of(scope["path"]),
            )
        except OSError as error:
            logger.error("the audit log can't be written: %s", error.strerror)


class BodySlots:
    """Places for bodies that are being received. When all are taken, the next body gets the place
    of the one that has taken longest: slow clients keep nobody out.

    Args:
        places: in all.
        own: of one client, whose oldest body goes at once.
    """

    def __init__(self, places: int, own: int) -> None:
        self._places, self._own = places, own
        self._held: dict[
            asyncio.Timeout, tuple[str, float]
        ] = {}  # client, since when; oldest first

    @asynccontextmanager
    async def held(self, deadline: asyncio.Timeout, client: str) -> AsyncIterator[None]:
        """Hold a place during the block; wait for `SLOW_SECONDS` at most.

        Args:
            deadline: of the body; it is brought forward if the place is needed.
            client: who sends it.

        Raises:
            Refusal: so many are waiting that there is no place.
        """
        now = asyncio.get_running_loop().time
        end = now() + SLOW_SECONDS
        mine = [held for held, (whose, _) in self._held.items() if whose == client]
        if len(mine) >= self._own:
            self._cut(mine[0])
        while len(self._held) >= self._places:
            oldest, (_, since) = next(iter(self._held.items()))
            if since + SLOW_SECONDS <= now():
                self._cut(oldest)
            elif now() < end:
                await asyncio.sleep(0.02)
            else:
                raise Refusal(503, "busy", "Many uploads are under way. Try again in a moment.", 1)
        self._held[deadline] = client, now()
        try:
            yield
        finally:
            self._held.pop(deadline, None)

    def _cut(self, deadline: asyncio.Timeout) -> None:
        del self._held[deadline]
        deadline.reschedule(asyncio.get_running_loop().time())


def route_of(path: str) -> str:
    """A path as it is logged: only routes of this server, without numbers."""
    if path in OPEN_PATHS or path in SEARCH_PATHS or path in ("/api/info", "/api/openapi.json"):
        return path
    if re.fullmatch(r"/static/[a-z_]{1,20}\.[a-z0-9]{1,5}", path):
        return path
    return "/api/image/N" if re.fullmatch(r"/api/image/[0-9]+", path) else "(other)"


def _log_failure(error: Exception) -> None:
    """Log only type and place: messages of exceptions may contain file paths."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file = frame.filename.replace("\\", "/").rsplit("/", 1)[-1]
    logger.error("%s in %s:%s", type(error).__name__, file, frame.lineno)


def _check_site(path: str, headers: Headers) -> None:
    """Pages of other sites may link to ours; they may not call or embed it."""
    if path == "/":
        return
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    same = origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()
    if site not in ("same-origin", "none") or not same:
        raise Refusal(403, "other_site", "Requests from pages of other sites are refused.")


def _host_name(host: str) -> str | None:
    """The name or address in a Host header without its port; None if it is malformed."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", host)
    return match.group(1) if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    ours = {name for name, _ in HEADERS}
    kept = [(name, value) for name, value in headers if name.lower() not in ours]
    if not any(name.lower() == b"cache-control" for name, _ in kept):
        kept.append((b"cache-control", b"no-store"))
    return [*kept, *HEADERS]


async def _refuse(refusal: Refusal, send: Any, unread: Any) -> None:
    """Answer; if the body is still `unread` (its receive callable), close the connection, but keep
    reading for a moment: a client that is still sending would get an error, not the answer."""
    body = json.dumps(refusal.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(n.lower().encode(), v.encode()) for n, v in refusal.headers.items()]
    if unread is not None:
        headers.append((b"connection", b"close"))
    linger = unread is not None and refusal.code not in ("slow", "cut")
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": linger})
    if not linger:
        return
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await unread()).get("more_body"):
                pass
    except TimeoutError:
        logger.info("stopped reading a refused upload")
    await send({"type": "http.response.body", "body": b"", "more_body": False})
