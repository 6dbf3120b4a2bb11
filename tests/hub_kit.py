"""A hub on this machine: what Hugging Face's own client asks, answered from a dictionary."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from vireid.models.hub import fetch

Repository = dict[str, dict[str, bytes]]  # revision → name of a file → its bytes


class Hub:
    """Repositories, and what was asked of them ("GET /user/name/resolve/main/FILE")."""

    def __init__(self, **repositories: Repository) -> None:
        self.repositories: dict[str, Repository] = repositories
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        user, _, rest = path.lstrip("/").partition("/")
        name, _, rest = rest.partition("/resolve/")
        revision, _, file = rest.rpartition("/")
        repository = self.repositories.get(f"{user}/{name}")
        if repository is None:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        files = repository.get(revision)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        if file not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        etag = hashlib.sha256(files[file]).hexdigest()
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}, files[file]


@contextmanager
def serving(hub: Hub, cache: Path) -> Iterator[None]:
    """The client asks `hub` and keeps what it gets in `cache`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            code, headers, content = hub.answer(self.path)
            hub.asked.append(f"{self.command} {self.path}")
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", url)
        form = "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + form)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        fetch.cache_clear()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            fetch.cache_clear()
