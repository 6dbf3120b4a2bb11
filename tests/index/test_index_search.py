"""What a search in a local index answers: exactly what a plain one would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index_helpers import DIM, HASH, SMALL, assert_same_hits, changed, make, people

from vireid.index import Filters, create_index, open_index
from vireid.index.local.index import LocalIndex
from vireid.index.local.projection import ProjectionOptions
from vireid.types import InputError, Modality

FILTERS = [
    None,
    Filters(camids=(2,)),
    Filters(camids=(1, 5, 77)),
    Filters(modality=Modality.INFRARED),
    Filters(time_from=400.0),
    Filters(time_to=900.0),
    Filters(time_from=100.0, time_to=1500.0, camids=(2, 3), modality=Modality.VISIBLE),
    Filters(pids=(3, 4, 9)),
    Filters(pids=(-1,)),
    Filters(pids=(999,)),
]


@pytest.fixture(scope="module")
def gallery():
    return people(400)


@pytest.fixture(scope="module")
def index(gallery, tmp_path_factory: pytest.TempPathFactory):
    with make(tmp_path_factory.mktemp("search") / "index") as index:
        index.add(gallery)
        yield index


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("count", [1, 3, 4, 11])  # one by one, in tiles
def test_hits_are_those_of_a_plain_search(index, gallery, filters, count) -> None:
    queries = people(count, first=9000).embedding * 3.0  # only the direction counts
    assert_same_hits(index, gallery, queries, 7, filters)


def test_a_top_beyond_the_entries_gives_all(index, gallery) -> None:
    assert_same_hits(index, gallery, people(1, first=9000).embedding, 1000)


def test_large_sets_are_split_among_threads(tmp_path: Path) -> None:
    gallery = people(9000)
    with make(tmp_path / "index") as index:
        index.add(gallery)
        for count in (2, 9):
            assert_same_hits(index, gallery, people(count, first=50_000).embedding, 15)


def test_equal_similarities_come_in_order_of_row_id(tmp_path: Path) -> None:
    gallery = people(30)
    gallery = changed(gallery, vectors={"embedding": np.tile(gallery.embedding[:1], (30, 1))})
    with make(tmp_path / "index") as index:
        index.add(gallery)
        (hits,) = index.search(gallery.embedding[0], top=30)
        assert [hit.row_id for hit in hits] == sorted(hit.row_id for hit in hits)


def test_vectors_and_entries_of_a_hit(index, gallery) -> None:
    hits = index.search(gallery.embedding[17], top=3)[0][::-1]
    ids = [hit.row_id for hit in hits]
    rows = [gallery.paths.index(hit.path) for hit in hits]
    np.testing.assert_array_equal(
        index.vectors_of(ids), gallery.embedding[rows].astype(np.float16).astype(np.float32)
    )
    assert [entry.path for entry in index.entries(ids)] == [hit.path for hit in hits]
    assert index.vectors_of([]).shape == (0, DIM)


@pytest.mark.parametrize("call", ["entries", "vectors_of"])
def test_an_entry_that_does_not_exist(index, call) -> None:
    with pytest.raises(InputError, match="no entry 12345"):
        getattr(index, call)([1, 12345])


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    with make(tmp_path / "index") as index:
        assert index.search(np.ones((2, DIM)), filters=Filters(camids=(1,))) == [[], []]
        assert index.search(np.ones((40, DIM))) == [[]] * 40
        assert index.verify() == [] and len(index) == 0
        assert index.info().time_range is None
        assert index.vectors_of([]).shape == (0, DIM)
        index.compact()


@pytest.mark.parametrize(
    ("vectors", "top", "words"),
    [
        (np.ones(DIM + 1), 5, "expects"),
        (np.zeros(DIM), 5, "direction"),
        (np.full(DIM, np.nan), 5, "direction"),
        (np.ones(DIM), 0, "at least 1"),
        (np.ones((2, 2, DIM)), 5, "shape"),
    ],
)
def test_unusable_queries_are_refused(index, vectors, top, words) -> None:
    with pytest.raises(InputError, match=words):
        index.search(vectors, top=top)


@pytest.mark.parametrize(
    "fields",
    [{"camids": ()}, {"pids": ()}, {"time_from": 5.0, "time_to": 4.0}, {"time_to": float("nan")}],
)
def test_unusable_filters_are_refused(fields) -> None:
    with pytest.raises(InputError):
        Filters(**fields)


def test_info_counts(index, gallery) -> None:
    info = index.info()
    assert info.count == 400 == len(index) and info.removed == 0
    assert sum(info.cameras.values()) == 400 and info.cameras[1] == (gallery.camids == 1).sum()
    assert info.modalities == {"visible": 268, "infrared": 132}
    assert info.num_pids == 39
    assert info.time_range == (10.0, np.nanmax(gallery.times))
    assert (info.backend, info.mode, info.weights_hash, info.dim) == ("local", "exact", HASH, DIM)
    assert info.preprocessing == {"size": [288, 144], "tta": None}
    assert info.size_on_disk > 400 * DIM * 2


# -- projection


def test_projected_search_finds_what_the_exact_one_finds(tmp_path: Path) -> None:
    gallery = people(3000)
    with make(tmp_path / "index", options=SMALL) as index:
        index.add(gallery)
        info = index.info()
        assert info.mode.startswith("projected to 16 axes")  # random vectors need all of them
        assert info.details["measured_recall_at_20"] >= 0.99
        queries = people(40, first=90_000).embedding
        assert_same_hits(index, gallery, queries, 5, exact=True)
        assert_same_hits(index, gallery, queries, 5, Filters(pids=(3,)), exact=None)
        for filters in (None, Filters(camids=(1, 2, 3))):
            fast = index.search(queries, top=20, filters=filters, exact=False)
            slow = index.search(queries, top=20, filters=filters, exact=True)
            shared = [len({h.path for h in a} & {h.path for h in b}) for a, b in zip(fast, slow)]
            assert np.mean(shared) >= 19.8
            assert all(a[0].path == b[0].path for a, b in zip(fast, slow))


def test_few_axes_are_enough_where_people_lie_in_few(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    flat = random.standard_normal((2000, 4)) @ random.standard_normal((4, DIM))
    flat += 0.01 * random.standard_normal(flat.shape)
    flat = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)
    gallery = changed(people(2000), vectors={"embedding": flat})
    with make(tmp_path / "index", options=SMALL) as index:
        index.add(gallery)
        assert index.info().details["projected_dim"] < DIM


def test_rows_added_after_the_projection_are_found(tmp_path: Path) -> None:
    whole = people(1300)
    with make(tmp_path / "index", options=SMALL) as index:
        index.add(_part(whole, 0, 1000))
        first = index.info().details
        index.add(_part(whole, 1000, 1300))  # fewer than would start it anew
        assert index.info().details["measured_at_count"] == first["measured_at_count"] == 1000
        (hits,) = index.search(whole.embedding[1234], top=1, exact=False)
        assert hits[0].path == whole.paths[1234]
        assert index.verify() == []
        index.add(people(800, first=1300))
        assert index.info().details["measured_at_count"] == 2100


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing", "foreign"])
def test_a_damaged_projection_costs_time_but_no_answer(tmp_path: Path, damage: str) -> None:
    gallery = people(500)
    with make(tmp_path / "index", options=SMALL) as index:
        index.add(gallery)
    (codes,) = (tmp_path / "index").glob("codes-*")
    (axes,) = (tmp_path / "index").glob("projection-*")
    if damage == "cut":
        codes.write_bytes(codes.read_bytes()[:100])
    elif damage == "garbage":
        axes.write_bytes(b"PK not really")
    elif damage == "missing":
        axes.unlink()
    else:
        codes.write_bytes(bytes(reversed(codes.read_bytes())))
    with LocalIndex.open(tmp_path / "index", options=SMALL) as reader:
        assert_same_hits(reader, gallery, people(3, first=9000).embedding, 5)
        assert "compact" in reader.info().mode
        (problem,) = reader.verify()
        assert "compact" in problem
    with LocalIndex.open(tmp_path / "index", write=True, options=SMALL) as writer:
        writer.compact()
        assert writer.verify() == []
        assert writer.info().mode.startswith("projected")


def test_entries_are_added_even_if_their_codes_cannot_be_written(tmp_path: Path, caplog) -> None:
    gallery = people(500)
    with make(tmp_path / "index", options=SMALL) as index:
        (tmp_path / "index" / "codes-0001.i8").mkdir()  # in the way
        assert index.add(gallery).added == 500
        assert "All entries are safe" in caplog.text
        assert_same_hits(index, gallery, people(2, first=9000).embedding, 5)
        (tmp_path / "index" / "codes-0001.i8").rmdir()
        index.compact()
        assert index.info().mode.startswith("projected")


def test_one_wrong_code_is_found_by_verify(tmp_path: Path) -> None:
    with make(tmp_path / "index", options=SMALL) as index:
        index.add(people(500))
        (codes,) = (tmp_path / "index").glob("codes-*")
        data = bytearray(codes.read_bytes())
        data[len(data) // 2 + 3] ^= 0x40
        codes.write_bytes(data)
        assert len(index.verify()) == 1


def test_projection_options_are_the_callers(tmp_path: Path) -> None:
    options = ProjectionOptions(exact_bytes=10**12)
    with make(tmp_path / "index", options=options) as index:
        index.add(people(500))
        assert index.info().mode == "exact"


# -- which backend


def test_create_and_open_choose_the_backend(tmp_path: Path) -> None:
    with create_index(tmp_path / "gallery", weights_hash=HASH, dim=DIM, image_roots=["a"]) as index:
        assert isinstance(index, LocalIndex)
        assert index.image_roots == (str(Path("a").absolute()),)
    with open_index(str(tmp_path / "gallery")) as index:
        assert isinstance(index, LocalIndex)
        assert index.image_roots == (str(Path("a").absolute()),)


@pytest.mark.parametrize(
    "fields", [{"weights_hash": "", "dim": 4}, {"weights_hash": "a", "dim": 0}]
)
def test_an_index_needs_a_hash_and_a_dimension(tmp_path: Path, fields) -> None:
    with pytest.raises(InputError):
        create_index(tmp_path / "gallery", **fields)


def _part(embeddings, start: int, stop: int):
    rows = slice(start, stop)
    names = ("pids", "camids", "modality", "times")
    return changed(
        embeddings,
        vectors={"embedding": embeddings.embedding[rows]},
        paths=embeddings.paths[rows],
        **{name: getattr(embeddings, name)[rows] for name in names},
    )
