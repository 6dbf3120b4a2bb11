"""The search server: a FastAPI application over an index, and the page that uses it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI

from vireid.index.backends import open_index
from vireid.index.base import Index
from vireid.problems import Problems
from vireid.server.endpoints import (
    add_errors,
    add_pages,
    add_reading,
    add_searching,
    add_session,
    add_sightings,
    refuse_unknown_fields,
)
from vireid.server.security import LINGER_SECONDS, Guard
from vireid.server.service import SearchService
from vireid.server.settings import ServerSettings, is_loopback, is_within
from vireid.types import InputError
from vireid.version import __version__

if TYPE_CHECKING:
    from vireid.embed import Embedder

HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15  # longer than any Retry-After of a busy server


def create_app(index: Index, embedder: Embedder, settings: ServerSettings | None = None) -> FastAPI:
    """The search application with all of its checks and limits: what `serve` runs.

    Args:
        index: open for reading; the caller closes it.
        embedder: of the same weights as the index.
        settings: limits, tokens, audit log.

    Raises:
        InputError: the weights differ, or the audit log can't be written.
    """
    settings = settings or ServerSettings()
    service = SearchService(index, embedder, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.count_again()
        yield
        service.close()

    app = FastAPI(
        title="vireid search",
        dependencies=[Depends(refuse_unknown_fields)],
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        description="Find a person in an index of visible and infrared images. A similarity is a "
        "hint, never proof of identity.",
    )
    app.state.service = service
    app.add_middleware(Guard, settings=settings, tokens=service.tokens, audit=service.audit)
    add_pages(app)
    add_session(app, service)
    add_reading(app, service)
    add_searching(app, service)
    add_sightings(app, service)
    add_errors(app)
    return app


def serve(
    index_url: str | Path,
    weights: str | Path = "synth",
    *,
    method: str | None = None,
    arch: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    device: str = "auto",
    settings: ServerSettings | None = None,
    browser: bool = False,
) -> None:
    """Open an index and serve it until interrupted.

    Args:
        index_url: as for `open_index`.
        weights, method, arch: as for `vireid.load`.
        host, port: where to listen; any address other than loopback needs a token.
        token: the secret of the user "token"; None takes $VIREID_TOKEN. More users: see
            `ServerSettings.tokens`.
        device: device of the network.
        settings: everything else.
        browser: open the page in this machine's browser.

    Raises:
        InputError: no token for an address that others can reach, a port in use, no such index,
            weights other than the index's.
    """
    import uvicorn

    from vireid.embed import load
    from vireid.runtime.device import resolve_device

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            """Begin to end. A second signal doesn't hurry it: it takes seconds at most, and what is
            cut off then is answered by tracebacks."""
            if not self.should_exit:
                super().handle_exit(sig, frame)

    token = token or os.environ.get("VIREID_TOKEN")
    settings = settings or ServerSettings()
    problems, place = Problems(), "cpu"  # if the device can't be: to see the rest
    with contextlib.ExitStack() as stack:
        with problems:
            tokens = {**settings.tokens, "token": token} if token else settings.tokens
            settings = replace(settings, host=host, port=port, tokens=tokens)
            listener = stack.enter_context(_listen(host, port))
        with problems:
            index = stack.enter_context(open_index(index_url))
        with problems:
            place = resolve_device(None, device)
        with problems:
            embedder = load(weights, device=place, method=method, arch=arch)
        problems.tell()
        if settings.audit_log is None and "://" not in str(index_url):
            settings = replace(settings, audit_log=default_audit_log(index_url))
        app = create_app(index, embedder, settings)
        stack.callback(app.state.service.close)  # also when it is interrupted before it serves
        _say_where(settings, listener.getsockname()[1], browser=browser)
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            Server(server_config(app, settings)).run(sockets=[listener])


def server_config(app: FastAPI, settings: ServerSettings) -> Any:
    """The uvicorn configuration: no access log (it would contain paths), proxies' headers left to
    `Guard`, limits on connections and on the time that clients take."""
    import uvicorn

    from vireid.server.connection import ConnectionLimits, limited_protocol

    proxies = tuple(map(ipaddress.ip_network, settings.trusted_proxies))
    limits = ConnectionLimits(
        head_seconds=HEAD_SECONDS,
        idle_seconds=KEEP_ALIVE_SECONDS + HEAD_SECONDS,
        body_seconds=settings.upload_seconds + LINGER_SECONDS + 1,  # `Guard` answers before
    )
    return uvicorn.Config(
        app,
        http=limited_protocol(limits, lambda address: is_within(address, proxies)),
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
    )


def default_audit_log(index_url: str | Path) -> Path:
    """Next to the index: INDEX.audit.jsonl."""
    path = Path(index_url)
    return path.with_name(path.name + ".audit.jsonl")


def _say_where(settings: ServerSettings, port: int, *, browser: bool) -> None:
    from vireid.console import say, warn

    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.certificate else "http"
    url = f"{scheme}://{name}:{port}"
    how = "." if browser else "; open it in a browser."
    say(f"The page is at {url}{how} Ctrl-C stops the server.")
    if browser:
        # Connections wait in the listener until the server takes them.
        here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, name)
        if not webbrowser.open(f"{scheme}://{here}:{port}"):
            warn(f"no browser could be opened here. Open {url} in one yourself.")
    if settings.audit_log:
        say(f"Who searches when is logged in {settings.audit_log}")
    if not is_loopback(settings.host) and not settings.certificate:
        say(
            "Other machines can reach this server, and its traffic is not encrypted: put a proxy "
            "with HTTPS in front, or set a certificate."
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        # Reuses addresses where that is safe; on Windows it would share a port that is in use.
        return socket.create_server((host.strip("[]"), port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise InputError(
            f"The server can't listen on {host}:{port}: {os.strerror(error.errno or 0)}. Choose a "
            "free port as `port`, or an address of this machine as `host`."
        ) from error
