"""Images in, ranked entries out, with a real (untrained, small) network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vireid.embed.embedder import Embedder
from vireid.evaluation import rerank
from vireid.index import Filters, Searcher, create_index
from vireid.index.searcher import combine
from vireid.methods import Sizes, build_method
from vireid.models.options import ModelOptions
from vireid.types import InputError, Modality


def tiny(seed: int, size: tuple[int, int] = (48, 24)) -> Embedder:
    import torch

    torch.manual_seed(seed)
    options = ModelOptions(arch="resnet18", pretrained="none")
    method = build_method("base", options, Sizes(num_pids=4, num_cameras=2))
    return Embedder(method, device="cpu", size=size)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return tiny(0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = []
    for n in range(30):
        coarse = random.integers(0, 255, (6, 3, 3), dtype=np.uint8)
        paths.append(folder / f"{n:02d}.png")
        Image.fromarray(coarse).resize((24, 48)).save(paths[-1])
    return paths


@pytest.fixture(scope="module", params=[None, "flip", "flip-mean"])
def searcher(request, embedder, files, tmp_path_factory: pytest.TempPathFactory):
    gallery = embedder.embed(
        [str(path) for path in files],
        Modality.VISIBLE,
        tta=request.param,
        camids=np.arange(30) % 2 + 1,
    )
    with create_index(
        tmp_path_factory.mktemp("index") / "index",
        weights_hash=embedder.weights_hash,
        dim=gallery.embedding.shape[1],
    ) as index:
        index.add(gallery)
        yield Searcher(index, embedder)


def test_an_indexed_image_finds_itself(searcher, files) -> None:
    answers = searcher.search_images([str(files[3]), files[8]], "visible", top=5)
    assert [hits[0].path for hits in answers] == [str(files[3]), str(files[8])]
    assert all(hits[0].similarity > 0.999 for hits in answers)  # as embedded: flipped or not
    assert all(len(hits) == 5 for hits in answers)


def test_embeddings_are_searched_with_the_vectors_that_the_index_holds(
    embedder, files, tmp_path: Path
) -> None:
    found = embedder.embed(files, "visible")
    about = {"weights_hash": embedder.weights_hash, "dim": found.pooled.shape[1]}
    about["preprocessing"] = found.preprocessing
    with create_index(tmp_path / "index", embedding="pooled", **about) as index:
        index.add(found)
        by_hand = index.search(found.pooled, top=7)
        assert index.search(found, top=7) == by_hand
        assert index.search(found.embedding, top=7) != by_hand  # the mistake it is to prevent
        for wrong, words in (
            (tiny(1).embed(files[:2], "visible"), "Vectors of different weights"),
            (embedder.embed(files[:2], "visible", tta="flip"), "tta: 'flip' here"),
            (dataclasses.replace(found, vectors={"embedding": found.embedding}), "hold embedding"),
        ):
            with pytest.raises(InputError, match=words):
                index.search(wrong)


def test_queries_have_length_1(searcher, files) -> None:
    vectors = searcher.embed(files[:3], "infrared")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_arrays_filters_and_the_other_sensor(searcher, files) -> None:
    images = np.stack([np.array(Image.open(path)) for path in files[:2]])
    answers = searcher.search_images(images, Modality.INFRARED, filters=Filters(camids=(2,)))
    assert len(answers) == 2
    assert all(hit.camid == 2 for hits in answers for hit in hits) and len(answers[0]) == 15


def test_reranking_orders_the_candidates_as_the_evaluation_does(searcher, files) -> None:
    queries = searcher.embed(files[:3], Modality.INFRARED)
    plain = searcher.search_vectors(queries, top=30)
    ranked = searcher.search_vectors(queries, top=10, rerank=True)
    for query, before, after in zip(queries, plain, ranked):
        gallery = searcher.index.vectors_of([hit.row_id for hit in before])
        order = np.argsort(rerank(query[None], gallery, k1=20, k2=6)[0], kind="stable")
        assert [hit.path for hit in after] == [before[n].path for n in order[:10]]
        assert set(after) <= set(before)


def test_reranking_few_candidates(searcher, files) -> None:
    (hits,) = searcher.search_images(
        [files[0]], "visible", filters=Filters(camids=(9,)), rerank=True
    )
    assert hits == []


def test_other_weights_are_refused(searcher) -> None:
    with pytest.raises(InputError, match="different weights"):
        Searcher(searcher.index, tiny(1))


def test_another_size_is_refused(searcher) -> None:
    with pytest.raises(InputError, match="48 x 24"):
        Searcher(searcher.index, tiny(0, size=(32, 16)))


def test_an_image_that_cannot_be_read(searcher, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(InputError):
        searcher.search_images([tmp_path / "broken.jpg"], "visible")


def test_an_embedding_that_the_weights_do_not_give(embedder, tmp_path: Path) -> None:
    about = {"weights_hash": embedder.weights_hash, "dim": 512, "embedding": "part"}
    with create_index(tmp_path / "index", **about) as index:
        searcher = Searcher(index, embedder)
        with pytest.raises(InputError, match="'part'"):
            searcher.embed(np.zeros((1, 48, 24, 3), np.uint8), "visible")


def test_gallery_and_query_columns_reach_the_hits(searcher, embedder, files) -> None:
    hits = searcher.search_images([files[4]], "visible", top=1)[0]
    assert dataclasses.asdict(hits[0])["camid"] == 1
    assert hits[0].modality is Modality.VISIBLE and hits[0].pid == -1 and hits[0].time is None


def test_boxes_and_several_images_of_one_person(searcher, files, tmp_path: Path) -> None:
    frame = Image.new("RGB", (200, 100), "gray")
    frame.paste(Image.open(files[4]), (120, 30))
    frame.save(tmp_path / "frame.png")
    boxes = [(120, 30, 24, 48), None]
    images = [tmp_path / "frame.png", files[5]]
    first, second = searcher.search_images(images, "visible", boxes=boxes, top=1)
    assert [Path(hit.path) for (hit,) in (first, second)] == [files[4], files[5]]
    assert first[0].similarity > 0.999
    pixels = np.stack([np.asarray(frame)] * 2)  # arrays have boxes, too
    part, whole = searcher.embed(pixels, "visible", boxes=boxes)
    assert np.allclose(part, searcher.embed(files[4:5], "visible")[0], atol=1e-5)
    assert whole @ part < 0.999
    with pytest.raises(InputError, match=r"frame\.png' is 0,0,300,50 and reaches beyond"):
        searcher.embed(images, "visible", boxes=[(0, 0, 300, 50), None])

    # Several images of one person are one query: the mean of their vectors.
    vectors = searcher.embed(files[:3], "visible")
    one = combine(vectors)
    assert np.allclose(one, vectors.mean(0) / np.linalg.norm(vectors.mean(0)), atol=1e-6)
    (hits,) = searcher.search_images(files[:3], "visible", one_person=True, top=30)
    gallery = searcher.embed(files, "visible")
    found = {Path(hit.path): hit.similarity for hit in hits}
    assert [found[file] for file in files] == pytest.approx(list(gallery @ one), abs=2e-3)
