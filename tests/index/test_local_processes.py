"""Several processes and one index: locks, readers beside a writer, killed writers, full disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_helpers import DIM, SMALL, apply, changed, contents, make, people, script

from vireid.files import NoPermission
from vireid.index import open_index
from vireid.index.local.index import LocalIndex
from vireid.types import InputError

CHILD = Path(__file__).parents[1] / "index_child.py"


def start(*words: object, **options: object) -> subprocess.Popen:
    command = [sys.executable, str(CHILD), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def kill_and_look(folder: Path, seed: int) -> str:
    """Kill a writer somewhere; returns what it was doing, as far as one can tell."""
    chance = random.Random(seed)
    child = start("script", folder)
    acknowledged = 0
    try:
        assert child.stdout.readline() == "made\n"
        for _ in range(chance.randrange(60)):
            acknowledged += bool(child.stdout.readline())
        time.sleep(chance.random() * 0.03)
        child.send_signal(signal.SIGKILL)
        acknowledged += len(child.stdout.readlines())
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    changes = script()
    state: dict[str, int] = {}
    for _ in range(acknowledged):
        state = apply(state, *next(changes))
    in_flight, what = next(changes)
    legal = [state, apply(state, in_flight, what)]
    with LocalIndex.open(folder, options=SMALL) as reader:
        found = contents(reader, len(state) + 100)
        assert found in legal, f"killed in {in_flight} after {acknowledged} changes"
        assert reader.verify() == []
    with LocalIndex.open(folder, write=True, options=SMALL) as writer:
        assert contents(writer, len(found)) == found and writer.verify() == []
        extra = people(9, first=500_000)
        writer.add(extra)
        assert writer.search(extra.embedding[4])[0][0].path == extra.paths[4]
        writer.compact()
        assert contents(writer, len(found) + 9).items() >= found.items()
        assert writer.verify() == []
    return in_flight


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_leaves_a_whole_index(tmp_path: Path, seed: int) -> None:
    kill_and_look(tmp_path / "index", seed)


@pytest.mark.long
def test_fifty_killed_writers_leave_whole_indexes(tmp_path: Path) -> None:
    doing = [kill_and_look(tmp_path / f"index{seed}", seed) for seed in range(100, 150)]
    assert {"add", "compact"} <= set(doing)


def test_readers_see_whole_states_only(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    with make(folder, options=SMALL) as index:
        index.add(changed(people(60), pids=np.zeros(60, dtype=np.int64)))
    reader = LocalIndex.open(folder, options=SMALL)
    waves: list[int] = []
    problems: list[str] = []

    def look() -> None:
        while child.poll() is None:
            (hits,) = reader.search(np.ones(DIM), top=60)
            seen = {hit.pid for hit in hits}
            if len(seen) != 1 or len(hits) != 60:
                problems.append(f"{len(hits)} hits of waves {sorted(seen)}")
            waves.append(max(seen))

    child = start("repaint", folder, 25)
    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.stdout.read() == "done\n"
    child.stdout.close()
    assert child.wait() == 0
    assert problems == []
    assert len(set(waves)) > 5, "the reader never looked while there were changes"
    assert {hit.pid for hit in reader.search(np.ones(DIM))[0]} == {25}
    reader.close()


def test_the_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    make(tmp_path / "index").close()
    child = start("hold", tmp_path / "index", stdin=subprocess.PIPE)
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"written by process {child.pid} on .* one writer"):
            LocalIndex.open(tmp_path / "index", write=True)
        with LocalIndex.open(tmp_path / "index") as reader:
            assert len(reader) == 0
        child.kill()
        child.wait()
        LocalIndex.open(tmp_path / "index", write=True).close()  # the dead hold nothing
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_a_second_writer_in_the_same_process(tmp_path: Path) -> None:
    with (
        make(tmp_path / "index"),
        pytest.raises(InputError, match=f"process {os.getpid()} "),
    ):
        LocalIndex.open(tmp_path / "index", write=True)
    LocalIndex.open(tmp_path / "index", write=True).close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach (pytest's own and a private $TMPDIR can't be)."""
    folder = Path(
        tempfile.mkdtemp(prefix="vireid-test-", dir="/tmp" if os.name == "posix" else None)
    )
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_can_be_searched(open_folder: Path) -> None:
    folder = open_folder / "index"
    with make(folder) as index:
        index.add(people(50))
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    child = start("read_only", folder, cwd="/")
    try:
        assert child.stdout.read() == "50 0 False\n"
    finally:
        child.stdout.close()
        child.wait()
        folder.chmod(0o755)


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    with make(tmp_path / "index") as index:
        index.add(people(100))
    for limit in (10_000, 200_000):
        child = start("full_disk", tmp_path / "index", limit)
        message, *counts = child.stdout.read().splitlines()
        child.stdout.close()
        assert child.wait() == 0
        assert "could not be written" in message and "ree some space" in message
        with LocalIndex.open(tmp_path / "index", write=True) as index:
            assert counts == ["100 0", "110 0"]
            index.remove(paths=people(10, first=1000).paths)


def test_many_threads_get_the_answers_of_one(tmp_path: Path) -> None:
    gallery = people(4000)
    with make(tmp_path / "index") as index:
        index.add(gallery)
        queries = people(64, first=90_000).embedding
        wanted = [index.search(query, top=5)[0] for query in queries]
        answers: list = [None] * len(queries)

        def work(start: int) -> None:
            for n in range(start, len(queries), 8):
                answers[n] = index.search(queries[n], top=5)[0]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == wanted


def test_a_catalog_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library says only that it can't open it."""

    def refuse(path: Path, *args: object) -> None:  # root, whom tests may run as, may read all
        raise PermissionError(13, "Permission denied", str(path))

    def connect(*args: object, **options: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    (tmp_path / "index.sqlite").touch()
    monkeypatch.setattr("sqlite3.connect", connect)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(NoPermission, match=r"index\.sqlite' can't be used: Permission denied\."):
        open_index(tmp_path)
