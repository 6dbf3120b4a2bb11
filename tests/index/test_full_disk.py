"""A full disk: each change of an index is whole or absent, and said in a sentence. The system's
limit on the size of files makes every write fail as a full disk would."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_kit import run, said
from index_helpers import changed, contents, people

from vireid.embed import save_embeddings
from vireid.index import build_index, open_index

resource = pytest.importorskip("resource", reason="Windows has no such limit")


@contextmanager
def full(size: int) -> Iterator[None]:
    """No file can be written beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 400 entries, and embeddings to change it with."""
    folder = tmp_path_factory.mktemp("files")
    build_index(folder / "ix", people(400)).close()
    save_embeddings(folder / "more.st", people(400, first=400))
    other = people(400, seed=1)
    save_embeddings(folder / "other.st", changed(other, pids=other.pids + 1000))
    return folder


def state(index: Path) -> dict[str, int]:
    with open_index(index) as opened:
        assert opened.verify() == []
        return contents(opened, 1000)


CHANGES = {
    "add": ("--embeddings", "more.st"),
    "update": ("--embeddings", "other.st"),
    "remove": ("--cameras", 1, 2, 3, "--yes"),
    "compact": (),
}
SIZES = (0, 4096, 20_000, 40_000, 90_000)  # the index's vectors have 12,800 bytes


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_whole_or_absent(files: Path, tmp_path: Path, change: str, capsys) -> None:
    before = state(files / "ix")
    words = [files / word if str(word).endswith(".st") else word for word in CHANGES[change]]
    shutil.copytree(files / "ix", tmp_path / "whole")
    assert run("index", change, "--index", tmp_path / "whole", *words) == 0
    after = state(tmp_path / "whole")
    codes = []
    for size in SIZES:
        index = Path(shutil.copytree(files / "ix", tmp_path / str(size)))
        said(capsys)
        with full(size):
            code = run("index", change, "--index", index, *words)
        sentence = said(capsys)
        assert code in (0, 2) and "Traceback" not in sentence
        assert state(index) == (before if code else after)
        if code:
            assert "unchanged" in sentence and "free some space" in sentence.lower(), sentence
        assert run("index", change, "--index", index, *words) == 0  # and the next time it works
        assert state(index) == after
        codes.append(code)
    assert codes[0] == 2
    assert codes == sorted(codes, reverse=True), "it failed with more room than it needs"


@pytest.mark.parametrize("size", SIZES)
def test_a_failed_create_leaves_nothing(files: Path, tmp_path: Path, size: int, capsys) -> None:
    place = tmp_path / "new"
    words = ("index", "create", "--index", place, "--embeddings", files / "more.st")
    with full(size):
        code = run(*words)
    sentence = said(capsys)
    if code:
        assert code == 2 and "free some space" in sentence.lower() and not place.exists()
        assert run(*words) == 0
    assert len(state(place)) == 400
    assert size or code == 2


def test_the_lock_holds_without_a_word(files: Path, tmp_path: Path, capsys) -> None:
    from vireid.index.local.lock import WriterLock

    index = Path(shutil.copytree(files / "ix", tmp_path / "ix"))
    with full(0):
        lock = WriterLock(index)
    assert run("index", "compact", "--index", index) == 2
    assert "is being written by another process" in said(capsys)
    with full(0):
        lock.release()
    assert run("index", "compact", "--index", index) == 0


def test_no_room_for_one_more_file(files: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """As where a disk has no inode left: not even an empty file can be made."""

    def no_room(*words: object, **more: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    words = ("index", "create", "--index", tmp_path / "new", "--embeddings", files / "more.st")
    monkeypatch.setattr("sqlite3.connect", no_room)
    assert run(*words) == 2
    assert "could not be made: unable to open database file" in said(capsys)
    assert not (tmp_path / "new").exists()


def test_figures_that_find_no_room(files: Path, tmp_path: Path, capsys) -> None:
    """A figure that can't be drawn of these data is left out; one that can't be written isn't."""
    with full(0):
        assert run("plot", files / "more.st", "--out", tmp_path / "figures") == 2
    sentence = said(capsys)
    assert "could not be written" in sentence and "No figure similarity" not in sentence
