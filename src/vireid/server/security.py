"""The checks that every request passes before the application sees it.

One pure ASGI layer, outermost, in this order: allowed host → same site → rate → token → body
(size and time) → application under a deadline. Every answer has the same strict headers.
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
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from vireid.server.access import RateLimiter, Tokens, client_key
from vireid.server.audit import AuditLog
from vireid.server.refusal import Refusal
from vireid.server.settings import ServerSettings, is_loopback

logger = logging.getLogger("vireid.server")

OPEN_PATHS = frozenset({"/", "/api/health", "/api/session"})
OPEN_PREFIX = "/static/"
SEARCH_PATHS = frozenset({"/api/search", "/api/search/by-row", "/api/sightings"})
SMALL_BODY = 64 * 1024
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
        self._bodies = 0

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
        address = request.client.host if request.client else "unknown"
        client = client_key(address)
        path = scope["path"]
        scope["vireid.client"], scope["vireid.user"] = address, "local"
        self._check_host(request.headers.get("host", ""))
        _check_site(path, request.headers)
        limiter = self._searches if path in SEARCH_PATHS else self._reads
        wait = limiter.take(client)
        if wait > 0:
            sentence = (
                "There were too many requests from this address. Wait "
                f"{math.ceil(wait)} s and try again."
            )
            raise Refusal(429, "rate", sentence, wait)
        if self._tokens.required and not (path in OPEN_PATHS or path.startswith(OPEN_PREFIX)):
            scope["vireid.user"] = self._tokens.admit(request, client)
        if scope["method"] in ("GET", "HEAD"):
            return receive
        return await self._body(path, request.headers.get("content-length"), receive)

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
                "or add the name to `allowed_hosts`.",
            )

    async def _body(self, path: str, declared: str | None, receive: Any) -> Any:
        """Receive the whole body, within the limits; returns a callable that replays it."""
        limit = SMALL_BODY
        if path == "/api/search":
            limit += self._settings.max_upload_bytes
        too_large = Refusal(
            413,
            "too_large",
            "The upload is larger than the "
            f"{self._settings.max_upload_bytes / 2**20:.0f} MiB allowed.",
        )
        if declared is not None:
            if not re.fullmatch(r"[0-9]{1,15}", declared):
                raise Refusal(400, "headers", "The Content-Length header is not a number.")
            if int(declared) > limit:
                raise too_large
        if self._bodies >= self._settings.max_uploads:
            raise Refusal(503, "busy", "Many uploads are under way. Try again in a moment.", 1)
        self._bodies += 1
        try:
            async with asyncio.timeout(self._settings.upload_seconds):
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
            raise Refusal(
                408,
                "slow",
                f"The upload took longer than {self._settings.upload_seconds:.0f} s.",
            ) from error
        finally:
            self._bodies -= 1
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
