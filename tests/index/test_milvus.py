"""The Milvus backend, on Milvus Lite: in a file, and through its server on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_helpers import (
    DIM,
    HASH,
    PREPROCESSING,
    assert_same_hits,
    changed,
    contents,
    make,
    people,
)

from vireid.extras import how_to_install
from vireid.index import Filters, ImageRoot, build_index, create_index, open_index
from vireid.index.backends import scheme_of
from vireid.index.milvus.client import parse_url
from vireid.index.milvus.rows import expression, row_id_of
from vireid.types import InputError, Modality


def _missing() -> str:
    for package in ("pymilvus", "milvus_lite"):
        try:
            __import__(package)
        except ImportError as error:
            return f"{package} can't be imported ({error}); {how_to_install('milvus')}"
    return ""


needs_milvus = pytest.mark.skipif(bool(_missing()), reason=_missing() or "installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Milvus Lite's own server on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--host", "127.0.0.1"]
    data = tmp_path_factory.mktemp("milvus")
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data-dir", str(data)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                pytest.skip("this version of Milvus Lite has no server")
            time.sleep(0.1)
        yield f"milvus://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return str(tmp_path / "people.db")
    return f"{request.getfixturevalue('server')}/people_{os.urandom(4).hex()}"


def create(url: str, **options):
    return create_index(
        url, **{"weights_hash": HASH, "dim": DIM, "preprocessing": PREPROCESSING, **options}
    )


@needs_milvus
def test_the_same_commands_give_the_same_hits_as_a_folder(url: str, tmp_path: Path) -> None:
    gallery = people(300)
    queries = people(5, first=9000).embedding
    with make(tmp_path / "folder") as local, create(url, image_roots=["crops"]) as index:
        for one in (local, index):
            assert one.add(gallery).added == 300
            again = one.add(people(310, seed=1))
            assert (again.added, again.skipped, again.count) == (10, 300, 310)
            one.remove(paths=people(310).paths[300:])
        for filters in (
            None,
            Filters(camids=(1, 5), time_to=1500.0),
            Filters(modality=Modality.INFRARED, time_from=100.0),
            Filters(pids=(3, 4)),
        ):
            assert_same_hits(local, gallery, queries, 7, filters)
            # A server with float16 vectors rounds the query too.
            atol = 2e-4 if index.info().details["vectors"] == "float16" else 2e-6
            assert_same_hits(index, gallery, queries, 7, filters, atol=atol)
        newer = people(20, first=290, seed=3)
        for one in (local, index):
            result = one.update(newer)
            assert (result.added, result.replaced, result.count) == (10, 10, 310)
            assert one.count() == 310
            assert one.count(older_than=500.0, paths=gallery.paths) > 0
            old = one.count(older_than=500.0)
            assert one.remove(older_than=500.0) == old == np.nansum(gallery.times < 500.0)
            assert one.remove(filters=Filters(camids=(2,)), paths=gallery.paths[:100]) > 0
            assert one.verify() == []
        assert contents(index, 400) == contents(local, 400)
        ours, theirs = index.info(), local.info()
        for name in ("count", "cameras", "modalities", "num_pids", "time_range", "preprocessing",
                     "weights_hash", "embedding", "dim", "mode"):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.image_roots == (str(Path("crops").absolute()),)
        assert ours.strangers.entries == theirs.strangers.entries == 300
        for kind, tail in theirs.strangers.tails.items():
            assert ours.strangers.tails[kind].pairs == tail.pairs
            np.testing.assert_allclose(
                ours.strangers.tails[kind].similarities, tail.similarities, atol=1e-3
            )
        index.compact()
    with open_index(url) as reader:
        assert len(reader) == ours.count and reader.info().strangers == ours.strangers
        (hits,) = reader.search(newer.embedding[15], top=2)
        assert hits[0].path == newer.paths[15] and hits[0].row_id == row_id_of(newer.paths[15])
        np.testing.assert_allclose(
            reader.vectors_of([hits[0].row_id])[0], newer.embedding[15], atol=1e-3
        )
        assert reader.entries([hits[0].row_id])[0].path == newer.paths[15]
        with pytest.raises(InputError, match="no entry"):
            reader.entries([5])


@needs_milvus
def test_image_roots_can_be_changed_and_a_failed_index_leaves_nothing(
    url: str, tmp_path: Path
) -> None:
    roots = (ImageRoot(str(tmp_path), "day"), ImageRoot("/else", "night"))
    with create(url) as index:
        assert index.roots == ()
        index.set_roots(roots)
        index.set_camera_names({3: "North gate"})
        assert index.roots == roots
    with open_index(url) as reader:
        assert reader.roots == roots and reader.camera_names == {3: "North gate"}
        with pytest.raises(InputError, match="write=True"):
            reader.set_roots(())
        with pytest.raises(InputError, match="write=True"):
            reader.set_camera_names({})
    with open_index(url, write=True) as index:
        index.discard()
    wrong = changed(people(5), vectors={"embedding": people(5).embedding * 2})
    with pytest.raises(InputError, match="length 2"):
        build_index(url, wrong)
    with pytest.raises(InputError, match="There is no"):
        open_index(url)


@needs_milvus
def test_what_a_collection_refuses(url: str) -> None:
    with create(url) as index:
        index.add(people(5))
        some = people(5, first=10)
        for wrong, words in (
            (changed(some, weights_hash="cd" * 32), "weights cdcd"),
            (people(5, first=10, dim=DIM + 1), "17 dimensions"),
            (changed(some, preprocessing={"tta": "flip"}), "preprocessed differently"),
            (changed(some, vectors={"embedding": some.embedding * 2}), "length 2"),
            (changed(some, paths=[*some.paths[:4], "x" * 5000]), "4096 bytes"),
        ):
            with pytest.raises(InputError, match=words):
                index.add(wrong)
        assert len(index) == 5
        with pytest.raises(InputError, match="direction"):
            index.search(np.zeros(DIM))
        with pytest.raises(InputError, match="what to remove"):
            index.remove()
    with pytest.raises(InputError, match="already"):
        create(url)
    with open_index(url) as reader, pytest.raises(InputError, match="write=True"):
        reader.add(people(1))
    with pytest.raises(InputError, match="closed"):
        reader.search(np.ones(DIM))


@needs_milvus
def test_another_index_type(server: str) -> None:
    gallery = people(400)
    with create(f"{server}/graph?index=hnsw") as index:
        index.add(gallery)
        assert index.search(gallery.embedding[7])[0][0].path == gallery.paths[7]
        assert "HNSW" in index.info().mode
        with pytest.raises(InputError, match="FLAT"):
            index.search(gallery.embedding[7], exact=True)
    with open_index(f"{server}/graph") as index:
        assert index.search(gallery.embedding[9])[0][0].path == gallery.paths[9]


@needs_milvus
def test_what_is_not_there(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no collection 'nobody'"):
        open_index(f"{server}/nobody")
    with pytest.raises(InputError, match="no Milvus Lite index"):
        open_index(tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()
    with pytest.raises(InputError, match="index type 'LSH'"):
        create(f"{server}/x?index=lsh")


@needs_milvus
def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match=r"Milvus at 'milvus://127\.0\.0\.1"):
            open_index(f"milvus://me:secret@127.0.0.1:{free.getsockname()[1]}/people")


@needs_milvus
def test_a_foreign_collection_is_left_alone(server: str) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(server.replace("milvus", "http"))
    client.create_collection("foreign", dimension=4)
    client.close()
    with pytest.raises(InputError, match="not made by vireid"):
        open_index(f"{server}/foreign", write=True)


def test_addresses() -> None:
    address = parse_url("milvus://me:pa%24s@db.example:1234/people?index=DiskANN&shards=8&tls=1")
    assert (address.uri, address.collection) == ("https://db.example:1234", "people")
    assert (address.user, address.password, address.index, address.shards) == (
        "me",
        "pa$s",
        "DISKANN",
        8,
    )
    assert "me" not in address.public.replace("people", "").replace("example", "")
    assert parse_url("milvus://[::1]/a").uri == "http://[::1]:19530"
    for wrong in ("milvus://", "milvus://host", "milvus://host/a b", "milvus://host:x/a",
                  "milvus://host/a?colour=red", "milvus://host/a?shards=many", "milvus://[::1/a",
                  "milvus://h\x1b[2J]/a"):  # fmt: skip
        with pytest.raises(InputError, match="was expected"):
            parse_url(wrong)
    assert [scheme_of(url) for url in ("milvus://h/x", "a/b.db", "a/b")] == [
        "milvus",
        "milvus",
        "folder",
    ]


def test_filters_as_expressions() -> None:
    filters = Filters(camids=(1, 2), pids=(7,), modality=Modality.INFRARED, time_to=9.0)
    assert expression(filters) == (
        "camid in [1, 2] and pid in [7] and modality == 1 and time <= 9.0 and time > -5e+17"
    )
    assert expression(Filters()) == ""


def test_without_pymilvus_the_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pymilvus'] = None\n"
        "from vireid.index import open_index\n"
        "from vireid.types import InputError\n"
        "try:\n    open_index('milvus://localhost/x')\n"
        "except InputError as error:\n    sys.stdout.write(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert how_to_install("milvus") in done.stdout
