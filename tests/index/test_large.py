"""What takes long in a large index keeps no search waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from index_helpers import DIM, SMALL, assert_same_hits, fitting, make, people

from vireid.index import Filters
from vireid.index.local import index as local
from vireid.index.local import projection, scan
from vireid.index.local.index import LocalIndex

QUERY = np.ones(DIM, dtype=np.float32)


def paths(index: LocalIndex, **asked: object) -> set[str]:
    return {hit.path for hit in index.search(QUERY, top=1000, **asked)[0]}


@pytest.fixture
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Reading all entries from the start takes until this event is set, as of millions."""
    may_end, read_columns = threading.Event(), local.read_columns

    def read(catalog, head, before):
        if before is None:
            may_end.wait(30)
        return read_columns(catalog, head, before)

    monkeypatch.setattr(local, "read_columns", read)
    return may_end


def test_a_search_does_not_wait_for_a_compaction_elsewhere(
    tmp_path: Path, slow_reading: threading.Event
) -> None:
    slow_reading.set()
    whole = people(300)
    with make(tmp_path / "ix", options=SMALL) as writer:
        writer.add(whole)
        with LocalIndex.open(tmp_path / "ix", options=SMALL) as reader:
            assert len(paths(reader)) == 300
            writer.remove(paths=whole.paths[:50])
            writer.compact()
            slow_reading.clear()
            started = time.perf_counter()
            assert paths(reader) == set(whole.paths[50:])
            # What is removed meanwhile is gone at once, although its vector is still searched.
            writer.remove(paths=whole.paths[50:60])
            assert paths(reader) == set(whole.paths[60:])
            assert time.perf_counter() - started < 2
            slow_reading.set()
            writer.add(people(20, first=900))
            end = time.perf_counter() + 10
            while len(paths(reader)) < 260 and time.perf_counter() < end:
                time.sleep(0.01)
            assert paths(reader) == {*whole.paths[60:], *people(20, first=900).paths}
            assert len(reader) == 260 and reader.verify() == []


def test_a_small_index_is_never_behind(tmp_path: Path) -> None:
    with make(tmp_path / "ix") as writer, LocalIndex.open(tmp_path / "ix") as reader:
        for wave in range(5):
            writer.add(people(30, first=30 * wave))
            writer.remove(paths=people(30, first=30 * wave).paths[:10])
            writer.compact()
            assert len(paths(reader)) == 20 * (wave + 1)


def test_a_compaction_that_fails_in_the_background_is_told(
    tmp_path: Path, slow_reading: threading.Event
) -> None:
    from vireid.types import InputError

    slow_reading.set()
    with make(tmp_path / "ix") as writer, LocalIndex.open(tmp_path / "ix") as reader:
        writer.add(people(30))
        assert len(paths(reader)) == 30
        writer.compact()
        (vectors,) = (tmp_path / "ix").glob("vectors-*")
        vectors.rename(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="is missing"):
            reader.search(QUERY)
        (tmp_path / "elsewhere").rename(vectors)
        assert len(paths(reader)) == 30


def test_a_compaction_has_its_projection_before_it_is_switched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, modes = projection.build, []
    with make(tmp_path / "ix", options=SMALL) as writer:
        writer.add(people(500))
        with LocalIndex.open(tmp_path / "ix", options=SMALL) as reader:

            def look(*arguments: object):
                modes.append(reader.info().mode)
                built = build(*arguments)
                modes.append(reader.info().mode)
                return built

            monkeypatch.setattr(projection, "build", look)
            writer.compact()
            modes.append(reader.info().mode)
    assert len(modes) == 3 and all(mode.startswith("projected") for mode in modes)


def test_a_compaction_whose_projection_fails_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    from vireid.types import InputError

    def fail(*_: object) -> None:
        raise InputError("The disk is full.")

    with make(tmp_path / "ix", options=SMALL) as index:
        index.add(people(500))
        index.remove(paths=people(100).paths)
        before = sorted(path.name for path in (tmp_path / "ix").iterdir())
        monkeypatch.setattr(projection, "build", fail)
        with pytest.raises(InputError, match="full"):
            index.compact()
        assert len(index) == 400 and index.info().removed == 100
        assert sorted(path.name for path in (tmp_path / "ix").iterdir()) == before
        monkeypatch.undo()
        index.compact()
        assert len(index) == 400 and index.info().removed == 0 and index.verify() == []


def test_many_entries_that_a_filter_leaves_are_searched_by_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, scanned, best_exact = people(2000), [], scan.best_exact

    def count(rows: np.ndarray, slots: np.ndarray, *rest: object):
        scanned.append(len(slots))
        return best_exact(rows, slots, *rest)

    monkeypatch.setattr(scan, "best_exact", count)
    with make(tmp_path / "ix", options=SMALL) as index:
        index.add(gallery)
        for filters in (Filters(camids=(1, 3, 5)), Filters(camids=(2,)), Filters(pids=(7,)),
                        Filters(time_from=10.0, time_to=60.0)):  # fmt: skip
            scanned.clear()
            left = int(fitting(gallery, filters).sum())
            assert_same_hits(index, gallery, people(3, first=9000).embedding, 5, filters)
            # SMALL scans 100 vectors exactly, and so 10 of many.
            assert sum(scanned) == (left if left <= 10 else 0), (filters, left)


@pytest.mark.long
def test_a_million_entries(tmp_path: Path) -> None:
    """Opening, the facts, filters and a compaction by another process, in seconds."""
    gallery = people(1_000_000)
    with make(tmp_path / "ix") as index:
        index.add(gallery)
    code = (
        "import sys; from vireid.index import open_index\n"
        "with open_index(sys.argv[1], write=True) as index:\n"
        "    index.remove(paths=['cam1/000000.jpg']); index.compact()"
    )

    def seconds(work) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    with LocalIndex.open(tmp_path / "ix") as reader:
        opening = seconds(lambda: len(reader))
        assert seconds(reader.info) < 2
        plain = min(seconds(lambda: reader.search(QUERY)) for _ in range(5))
        half = Filters(camids=(1, 3, 5))
        reader.search(QUERY, filters=half)
        filtered = min(seconds(lambda: reader.search(QUERY, filters=half)) for _ in range(5))
        assert filtered < 3 * plain
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ix")]) as other:
            took = []
            while other.poll() is None or len(reader.search(QUERY, top=1)) == 0:
                took.append(seconds(lambda: reader.search(QUERY)))
                time.sleep(0.05)
            took += [seconds(lambda: reader.search(QUERY)) for _ in range(20)]
        assert max(took) < max(1.0, opening / 4), (max(took), opening)
