"""Changes to a local index: what they do, what they refuse, what is left on the disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_helpers import (
    DIM,
    PREPROCESSING,
    SMALL,
    apply,
    assert_same_hits,
    changed,
    contents,
    make,
    people,
    plain_search,
)

from vireid.index.entries import Filters
from vireid.index.local.index import LocalIndex
from vireid.types import InputError


@pytest.fixture
def index(tmp_path: Path):
    with make(tmp_path / "index") as index:
        yield index


def test_add_skips_what_is_there(index) -> None:
    first = index.add(people(30))
    assert (first.added, first.skipped, first.count) == (30, 0, 30)
    again = index.add(people(40, seed=1))
    assert (again.added, again.skipped, again.replaced, again.count) == (10, 30, 0, 40)
    assert_same_hits(index, people(30), people(30).embedding[:2], 1)  # the first vectors stayed


def test_add_nothing(index) -> None:
    assert index.add(people(0)).count == 0


def test_update_replaces_and_keeps_the_row_id(index) -> None:
    index.add(people(30))
    before = {hit.path: hit.row_id for hit in index.search(np.ones(DIM), top=30)[0]}
    newer = people(40, seed=1)
    newer = changed(newer, pids=newer.pids * 0 + 7)
    result = index.update(newer)
    assert (result.added, result.replaced, result.skipped, result.count) == (10, 30, 0, 40)
    assert_same_hits(index, newer, newer.embedding[:3], 40)
    after = {hit.path: hit.row_id for hit in index.search(np.ones(DIM), top=40)[0]}
    assert before.items() <= after.items()
    assert index.info().removed == 30


def test_remove_by_path_age_and_filter(index) -> None:
    gallery = people(60)
    index.add(gallery)
    assert index.remove(paths=[gallery.paths[3], "unknown"]) == 1
    old = (gallery.times < 200.0).sum()
    assert index.remove(older_than=200.0) == old
    assert index.remove(older_than=200.0) == 0
    left = len(index)
    cameras = index.info().cameras
    assert index.remove(filters=Filters(camids=(2,)), paths=gallery.paths) == cameras[2]
    assert index.remove(filters=Filters(camids=(5,)), older_than=400.0) < cameras[5]
    assert 2 not in index.info().cameras and len(index) < left
    assert index.verify() == []


def test_row_ids_are_not_used_twice(index) -> None:
    index.add(people(5))
    (hits,) = index.search(np.ones(DIM), top=5)
    index.remove(paths=people(5).paths)
    index.add(people(5))
    (later,) = index.search(np.ones(DIM), top=5)
    assert not {h.row_id for h in hits} & {h.row_id for h in later}


def test_compact_takes_removed_vectors_off_the_disk(index, tmp_path: Path) -> None:
    gallery = people(500)
    index.add(gallery)
    secret = gallery.embedding[5].astype("<f2").tobytes()
    kept = {h.path: h.row_id for h in index.search(np.ones(DIM), top=500)[0]}
    index.remove(paths=gallery.paths[:300])
    assert index.info().removed == 300
    index.compact()
    assert index.info().removed == 0 and index.verify() == []
    after = {h.path: h.row_id for h in index.search(np.ones(DIM), top=500)[0]}
    assert after == {path: kept[path] for path in gallery.paths[300:]}
    index.close()
    for path in (tmp_path / "index").iterdir():
        data = path.read_bytes()
        assert secret not in data and gallery.paths[5].encode() not in data, path
    assert len(list((tmp_path / "index").glob("vectors-*"))) == 1


@pytest.mark.parametrize("write", [False, True])
def test_a_closed_index_says_so(tmp_path: Path, write: bool) -> None:
    make(tmp_path / "index").close()
    index = LocalIndex.open(tmp_path / "index", write=write)
    index.close()
    index.close()
    for call in (index.info, index.verify, lambda: index.search(np.ones(DIM)), lambda: len(index)):
        with pytest.raises(InputError, match="closed"):
            call()


def test_a_reader_may_not_write(index, tmp_path: Path) -> None:
    with LocalIndex.open(tmp_path / "index") as reader:
        for call in (
            lambda: reader.add(people(1)),
            lambda: reader.update(people(1)),
            lambda: reader.remove(older_than=1.0),
            reader.compact,
        ):
            with pytest.raises(InputError, match="write=True"):
                call()


def test_a_reader_sees_what_was_acknowledged(index, tmp_path: Path) -> None:
    gallery = people(50)
    with LocalIndex.open(tmp_path / "index") as reader:
        assert len(reader) == 0
        index.add(gallery)
        assert_same_hits(reader, gallery, gallery.embedding[:2], 10)
        index.remove(paths=gallery.paths[:10])
        assert len(reader) == 40
        index.compact()
        assert len(reader) == 40 and reader.verify() == []
        index.update(people(50, seed=2))
        assert_same_hits(reader, people(50, seed=2), gallery.embedding[:2], 50)


# -- refusals


def refused(index, embeddings, words: str, **options) -> None:
    before = len(index)
    for call in (index.add, index.update):
        with pytest.raises(InputError, match=words):
            call(embeddings, **options)
    assert len(index) == before and index.verify() == []


def test_vectors_that_do_not_belong_are_refused(index) -> None:
    index.add(people(10))
    some = people(5, first=100)
    refused(index, changed(some, weights_hash="cd" * 32), "weights cdcdcdcdcdcd")
    refused(index, people(5, first=100, dim=DIM + 1), "17 dimensions")
    refused(index, changed(some, preprocessing={**PREPROCESSING, "tta": "flip"}), "tta: 'flip'")
    refused(index, some, "'pooled' was asked for", which="pooled")
    refused(index, changed(some, vectors={"pooled": some.embedding}), "hold pooled")
    assert index.add(some, which="embedding").added == 5


def test_broken_vectors_and_paths_are_refused(index) -> None:
    index.add(people(10))
    some = people(5, first=100)
    for value, words in ((np.nan, "finite"), (np.inf, "finite"), (9.0, "length 9")):
        vectors = some.embedding.copy()
        vectors[3] = 0
        vectors[3, 2] = value
        refused(index, changed(some, vectors={"embedding": vectors}), words)
    refused(index, changed(some, vectors={"embedding": some.embedding * 0}), "length 0")
    refused(index, changed(some, paths=[*some.paths[:4], ""]), "no path")
    refused(index, changed(some, paths=[*some.paths[:4], some.paths[0]]), "more than once")
    refused(index, changed(some, paths=[*some.paths[:4], "caf\udce9.jpg"]), "UTF-8")


def test_a_wrong_row_late_in_a_large_add_leaves_nothing(index, tmp_path: Path) -> None:
    index.add(people(10))
    many = people(20_000, first=100)
    many.embedding[19_990] = 0
    refused(index, many, "length 0")
    (vectors,) = (tmp_path / "index").glob("vectors-*")
    assert vectors.stat().st_size == 10 * DIM * 2


def test_remove_needs_something_to_go_by(index) -> None:
    for options in ({}, {"filters": Filters()}, {"older_than": float("nan")}):
        with pytest.raises(InputError):
            index.remove(**options)


def test_create_refuses_a_folder_in_use(tmp_path: Path, index) -> None:
    with pytest.raises(InputError, match="an index in"):
        make(tmp_path / "index")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("dear")
    with pytest.raises(InputError, match=r"diary\.txt"):
        make(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="can't be made"):
        make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("write", [False, True])
def test_open_refuses_what_is_no_index(tmp_path: Path, write: bool) -> None:
    with pytest.raises(InputError, match="no index"):
        LocalIndex.open(tmp_path / "nothing", write=write)
    with pytest.raises(InputError, match="no index"):
        LocalIndex.open(tmp_path, write=write)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "index.sqlite").write_bytes(b"SQLite no more" * 1000)
    with pytest.raises(InputError, match="can't be read"):
        LocalIndex.open(tmp_path, write=write)


def test_an_index_of_another_format_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "index").close()
    connection = sqlite3.connect(tmp_path / "index" / "index.sqlite")
    connection.execute("UPDATE about SET value = '99' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="format 99"):
        LocalIndex.open(tmp_path / "index")


# -- damage


def damage(folder: Path, offset: int) -> None:
    (path,) = folder.glob("vectors-*")
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_verify_names_a_vector_with_one_wrong_bit(index, tmp_path: Path) -> None:
    gallery = people(20)
    index.add(gallery)
    damage(tmp_path / "index", 7 * DIM * 2 + 5)
    (problem,) = index.verify()
    assert gallery.paths[7] in problem
    with pytest.raises(InputError, match="damaged"):
        index.compact()
    assert len(index) == 20
    index.update(gallery)
    assert index.verify() == []
    index.compact()


def test_verify_counts_many_damaged_vectors(index, tmp_path: Path) -> None:
    index.add(people(20))
    for row in range(20):
        damage(tmp_path / "index", row * DIM * 2)
    problems = index.verify()
    assert len(problems) == 6 and problems[-1].startswith("15 more")


@pytest.mark.parametrize("how", ["cut", "missing"])
def test_lost_vectors_are_said_and_never_overwritten(tmp_path: Path, how: str) -> None:
    with make(tmp_path / "index") as index:
        index.add(people(20))
    (path,) = (tmp_path / "index").glob("vectors-*")
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    words = "estore it from a copy"
    with LocalIndex.open(tmp_path / "index", write=True) as index:
        (problem,) = index.verify()
        assert words in problem
        for call in (lambda: index.search(np.ones(DIM)), lambda: index.add(people(5, first=50))):
            with pytest.raises(InputError, match=words):
                call()


def test_the_tail_of_an_unfinished_add_is_not_there(tmp_path: Path) -> None:
    gallery = people(20)
    with make(tmp_path / "index") as index:
        index.add(gallery)
    (path,) = (tmp_path / "index").glob("vectors-*")
    with open(path, "ab") as file:
        file.write(b"\x01\x02" * DIM * 3 + b"\x03")
    (tmp_path / "index" / "vectors-0009.f16").write_bytes(b"half a compaction")
    (tmp_path / "index" / "codes-0004.i8").write_bytes(b"half a projection")
    with LocalIndex.open(tmp_path / "index") as reader:
        assert len(reader) == 20 and reader.verify() == []
    with LocalIndex.open(tmp_path / "index", write=True) as writer:
        writer.add(people(5, first=20))
        assert_same_hits(writer, people(25, first=0), gallery.embedding[:1], 1)
        assert writer.verify() == []
    names = {path.name for path in (tmp_path / "index").iterdir()}
    assert names == {"index.sqlite", "vectors-0001.f16", "writer.lock"}


# -- any sequence of changes

STEP = st.tuples(
    st.sampled_from(["add", "update", "remove", "compact", "reopen"]),
    st.integers(0, 150),
    st.integers(0, 60),
    st.integers(0, 5),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=12))
def test_any_sequence_of_changes_equals_a_dictionary(tmp_path_factory, steps) -> None:
    folder = tmp_path_factory.mktemp("sequence") / "index"
    index = make(folder, options=SMALL)
    pids: dict[str, int] = {}
    vectors: dict[str, np.ndarray] = {}
    with LocalIndex.open(folder, options=SMALL) as reader:
        for change, first, count, seed in steps:
            batch = people(count, first=first, seed=seed)
            batch = changed(batch, pids=batch.pids * 0 + seed)
            if change == "compact":
                index.compact()
            elif change == "reopen":
                index.close()
                index = LocalIndex.open(folder, write=True, options=SMALL)
            elif change == "remove":
                index.remove(paths=batch.paths)
                vectors = {p: v for p, v in vectors.items() if p not in set(batch.paths)}
            else:
                getattr(index, change)(batch)
                rows = dict(zip(batch.paths, batch.embedding))
                vectors = rows | vectors if change == "add" else vectors | rows
            pids = apply(pids, change, batch.paths if change == "remove" else batch)
            for one in (index, reader):
                assert contents(one, len(pids)) == pids
            assert len(index) == len(pids)
        assert index.verify() == [] and reader.verify() == []
        if vectors:
            paths = sorted(vectors)
            whole = changed(
                people(len(paths)),
                paths=paths,
                vectors={"embedding": np.stack([vectors[path] for path in paths])},
            )
            query = people(1, first=7777).embedding
            true = plain_search(whole, query[0], len(paths))
            found = reader.search(query, top=5, exact=True)[0]
            assert [hit.path for hit in found] == [path for path, _ in true[:5]]
            # The projected search may miss a neighbour, but knows nobody who isn't there.
            found = reader.search(query, top=5, exact=False)[0]
            assert len(found) == min(5, len(paths))
            for hit in found:
                assert hit.similarity == pytest.approx(dict(true)[hit.path], abs=2e-6)
            assert len({hit.path for hit in found} & {path for path, _ in true[:5]}) >= 0.5 * len(
                found
            )
    index.close()
