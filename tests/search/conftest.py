"""Fixtures that several test files of this room share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import server_kit


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> server_kit.World:
    """People on disk, a network, an index of them; tests only read it."""
    import server_kit

    return server_kit.make_world(tmp_path_factory.mktemp("world"))
