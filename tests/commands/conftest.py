"""One trained run that the tests of the commands share and only read."""

from __future__ import annotations

from pathlib import Path

import command_kit
import pytest


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, sysu_root: Path) -> Path:
    """A run of `mcl` on `sysu_root`: two steps, a network of 5 M values, images of 64x32."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert command_kit.train(folder, sysu_root) == 0
    return folder
