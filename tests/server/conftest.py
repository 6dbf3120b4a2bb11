"""Fixtures that several test files of this room share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx
    import server_kit


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audit log of `server`."""
    return tmp_path_factory.mktemp("audit") / "log.jsonl"


@pytest.fixture(scope="module")
def server(world: server_kit.World, audit: Path) -> Iterator[server_kit.Running]:
    """A server with small limits, to be attacked; it has to live to the end."""
    import server_kit

    settings = replace(
        server_kit.LOOSE, audit_log=audit, max_upload_bytes=2**20, max_pixels=4_000_000,
        upload_seconds=1.0,
    )  # fmt: skip
    with server_kit.running(world, settings) as found:
        yield found
        assert found.alive()


@pytest.fixture(scope="module")
def client(server: server_kit.Running) -> Iterator[httpx.Client]:
    """A connection to `server`."""
    with server.client() as found:
        yield found
