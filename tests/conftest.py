"""Fake data sets that every room's tests may read.

The folders below are made once a run and shared: tests read them and may let caches be written
into them, but a test that changes files makes its own with `fakes.make_…(tmp_path)`.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import server_kit

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share few cores
if not any(Path("/dev").glob("nvidia[0-9]*")):  # our kernels then run in Triton's interpreter
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported, by PyTorch
sys.path.insert(0, str(Path(__file__).parent))

import fakes

gc.disable()  # until all is imported

GOLDEN = Path(__file__).parent / "golden"


def pytest_collection_finish() -> None:
    """What the tests import stays, so Python's collector need not look through it each time, which
    takes a tenth of the suite."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is written to the home of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("VIREID_DATA", None)


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's curves take as long to draw as a small run to train; those who look are marked."""
    if request.node.get_closest_marker("curves") is None:
        monkeypatch.setattr("vireid.training.journal.training_curves", lambda runs: None)


@pytest.fixture(scope="session")
def sysu_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYSU-MM01: 6 training, 2 validation, 4 test identities, 2 images in each of 6 cameras."""
    return fakes.make_sysu(tmp_path_factory.mktemp("sysu"))


@pytest.fixture(scope="session")
def regdb_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RegDB: 8 identities with 3 + 3 images, ten trials."""
    return fakes.make_regdb(tmp_path_factory.mktemp("regdb"))


@pytest.fixture(scope="session")
def llcm_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLCM: 4 training and 4 test identities."""
    return fakes.make_llcm(tmp_path_factory.mktemp("llcm"))


@pytest.fixture(scope="session")
def folder_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own images of 10 identities; camera pattern r'c(\\d+)_'."""
    return fakes.make_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Numbers computed by running the published code."""
    return GOLDEN


@pytest.fixture(scope="session")
def sysu_official() -> Path:
    """The folder of SYSU-MM01's own split and permutation files; they may not be shipped."""
    folder = os.environ.get("VIREID_SYSU_OFFICIAL")
    if not folder or not (Path(folder) / "rand_perm_cam.mat").is_file():
        pytest.skip("VIREID_SYSU_OFFICIAL names no folder with SYSU-MM01's rand_perm_cam.mat")
    return Path(folder)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> server_kit.World:
    """People on disk, a network, an index of them; tests only read it."""
    import server_kit

    return server_kit.make_world(tmp_path_factory.mktemp("world"))
