"""Indexes and images that move, one image by several spellings, several places of images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import server_kit as kit
from command_kit import refused, run, said

from vireid.embed import embed_files, load_embeddings, save_embeddings
from vireid.index import ImageRoot, add_images, build_index, open_index
from vireid.server.images import GalleryImages
from vireid.types import InputError, Modality

CPU = ("--device", "cpu")


@pytest.fixture
def site(world: kit.World, tmp_path: Path):
    """Makes `tmp_path/NAME/crops` with three images and a working folder beside them."""

    def make(name: str, camid: int = 1) -> Path:
        crops = tmp_path / name / "crops"
        (crops / "deep").mkdir(parents=True)
        for n, place in enumerate(("0001.jpg", "0002.jpg", "deep/0001.jpg"), 1):
            shutil.copy(world.root / f"cam{camid}/000{n}/0000.jpg", crops / place)
        return crops.parent

    return make


@pytest.fixture
def embed(world: kit.World, tmp_path: Path):
    """What `vireid embed` does; gives the file."""

    def run_it(images: str | Path) -> Path:
        out = tmp_path / f"{len(list(tmp_path.glob('*.st')))}.st"
        embed_files(world.embedder, images, out, modality=Modality.VISIBLE, workers=1)
        return out

    return run_it


def shown(index: Path) -> dict[str, bool]:
    """Path of each entry → whether the server's reader opens its image."""
    with open_index(index) as opened:
        images = GalleryImages(opened, max_pixels=10**6)
        (hits,) = opened.search([1.0] * opened.dim, top=100)
        found = {}
        for hit in hits:
            try:
                found[hit.path] = images.jpeg(hit.row_id, "full")[:2] == b"\xff\xd8"
            except InputError:
                found[hit.path] = False
        return found


ALL = {"crops/0001.jpg": True, "crops/0002.jpg": True, "crops/deep/0001.jpg": True}


def test_an_image_is_one_entry_however_its_path_is_spelled(
    site, embed, tmp_path: Path, monkeypatch, capsys
) -> None:
    here = site("a")
    monkeypatch.chdir(here)
    (tmp_path / "link").symlink_to(here / "crops")
    (here / "list.txt").write_text("crops/deep/../0001.jpg\n./crops/0002.jpg\n")
    (here / "table.csv").write_text(f"path\n{here}/crops/0002.jpg\ncrops/deep/0001.jpg\n")
    index = ("--index", tmp_path / "ix")
    assert run("index", "create", *index, "--embeddings", embed("crops")) == 0
    assert "can't show" not in said(capsys)
    spellings = ("./crops/", here / "crops", "../a/crops", tmp_path / "link", "crops/deep",
                 "list.txt", "table.csv", ".")  # fmt: skip
    for images in spellings:
        file = embed(images)
        for change in ("add", "update"):
            assert run("index", change, *index, "--embeddings", file) == 0
            assert "0 images added" in said(capsys), images
    assert shown(tmp_path / "ix") == ALL


def test_another_place_with_the_same_names_needs_a_prefix(
    site, embed, tmp_path: Path, monkeypatch, capsys
) -> None:
    a, b = site("a"), site("b", camid=2)
    for image_root in ((), ("--image-root", "crops")):
        index = tmp_path / f"ix{len(image_root)}"
        monkeypatch.chdir(a)
        flags = ("--index", index, "--embeddings")
        assert run("index", "create", *flags, embed("crops"), *image_root) == 0
        monkeypatch.chdir(b)
        for images in ("crops", b / "crops"):
            file = embed(images)
            for change in ("add", "update"):
                sentence = refused(capsys, "index", change, *flags, file)
                assert "--prefix" in sentence and str(b / "crops") in sentence
                assert "vireid index update" in sentence
        assert shown(index) == ALL
        assert run("index", "add", *flags, file, "--prefix", "b") == 0
        assert "3 images added" in said(capsys)
        assert shown(index) == ALL | {
            "b/0001.jpg": True, "b/0002.jpg": True, "b/deep/0001.jpg": True
        }  # fmt: skip
        assert run("index", "add", *flags, embed("crops")) == 0  # they have their names now
        assert "0 images added" in said(capsys)
        assert "'b/'" in refused(capsys, "index", "add", *flags, embed(a), "--prefix", "b")
    for prefix in ("", "..", "x/y"):
        sentence = refused(capsys, "index", "add", *flags, file, "--prefix", prefix)
        assert "a word without slashes" in sentence


def test_folders_beside_each_other_need_nothing(site, embed, tmp_path: Path, capsys) -> None:
    a = site("a")
    shutil.copytree(a / "crops", a / "more")
    index = ("--index", tmp_path / "ix")
    assert run("index", "create", *index, "--embeddings", embed(a / "crops")) == 0
    said(capsys)
    assert run("index", "add", *index, "--embeddings", embed(a / "more")) == 0
    assert f"The page shows images in '{a / 'more'}' from now on" in said(capsys)
    assert shown(tmp_path / "ix") == ALL | {p.replace("crops", "more"): True for p in ALL}


def test_a_move_takes_one_command(
    site, embed, world: kit.World, tmp_path: Path, monkeypatch, capsys
) -> None:
    a = site("a")
    monkeypatch.chdir(a)
    file = embed("crops")
    assert run("index", "create", "--index", "ix", "--embeddings", file) == 0
    new = tmp_path / "new"
    new.mkdir()
    shutil.move(a / "crops", new / "images")
    shutil.move(a / "ix", new / "ix")
    monkeypatch.chdir(new)
    assert set(shown(new / "ix").values()) == {False}
    refusal = refused(capsys, "index", "update", "--index", "ix", "--image-root", "gone")
    assert "--image-root is 'gone'" in refusal
    assert run("index", "update", "--index", "ix", "--image-root", tmp_path) == 0  # not there
    assert "can't show 3 of 3 images" in said(capsys)
    words = ("--index", "ix", "--weights", world.weights, "--modality", "visible", *CPU)
    assert run("search", *words, "--image", "images/0001.jpg", "--save", "grey.png") == 0
    assert "3 results are grey" in said(capsys)
    with kit.running(replace(world, index=new / "ix")) as server, server.client() as client:
        assert client.get("/api/image/1").status_code == 404
        assert run("index", "update", "--index", "ix", "--image-root", "images") == 0
        assert client.get("/api/image/1").status_code == 200  # also in a server that runs
    assert shown(new / "ix") == ALL
    said(capsys)
    assert run("search", *words, "--image", "images/0001.jpg", "--json", "--save", "r.png") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["hits"][0]["path"] == str(Path("images/0001.jpg"))
    # An embeddings file from before the move: the folder that it names is gone.
    assert run("index", "add", "--index", "ix", "--embeddings", file) == 0
    assert "0 images added" in said(capsys)
    flags = ("--index", "fresh", "--embeddings", file, "--image-root", "images")
    assert run("index", "create", *flags) == 0
    assert "can't show" not in said(capsys)
    assert shown(new / "fresh") == {p.replace("crops", "images"): True for p in ALL}


def test_which_of_several_folders_has_moved(site, embed, tmp_path: Path, capsys) -> None:
    a, b = site("a"), site("b")
    index = ("--index", tmp_path / "ix")
    assert run("index", "create", *index, "--embeddings", embed(a / "crops")) == 0
    add = ("index", "add", *index, "--embeddings", embed(b / "crops"), "--prefix", "b")
    assert run(*add) == 0
    shutil.move(b / "crops", tmp_path / "c")
    move = ("index", "update", *index, "--image-root", tmp_path / "c")
    assert "Say with --prefix which" in refused(capsys, *move)
    assert list(shown(tmp_path / "ix").values()).count(False) == 3
    assert run(*move, "--prefix", "b") == 0
    assert set(shown(tmp_path / "ix").values()) == {True}
    assert "Give --embeddings" in refused(capsys, "index", "update", *index)


def test_images_that_cannot_be_shown_are_told_at_once(site, embed, tmp_path: Path, capsys) -> None:
    a, b = site("a"), site("b")
    file = embed(a / "crops")
    create = ("index", "create", "--embeddings", file, "--index")
    sentence = refused(capsys, *create, tmp_path / "ix", "--image-root", b / "crops" / "deep")
    assert "3 of 3 images are not in" in sentence and not (tmp_path / "ix").exists()
    (a / "crops" / "0002.jpg").unlink()
    (a / "crops" / "0002.jpg").symlink_to(b / "crops" / "0002.jpg")
    assert run(*create, tmp_path / "ix") == 0
    assert "can't show 1 of 3 images" in said(capsys)
    shutil.rmtree(a / "crops")
    assert run(*create, tmp_path / "iy") == 0
    assert "can't show 3 of 3 images" in said(capsys)


def test_python_names_images_as_the_command_does(site, embed, tmp_path: Path) -> None:
    a, b = site("a"), site("b")
    with build_index(tmp_path / "ix", load_embeddings(embed(a / "crops"))) as index:
        assert index.roots == (ImageRoot(str(a / "crops"), "crops"),)
        rows = load_embeddings(embed(b / "crops"))
        with pytest.raises(InputError, match="`prefix`"):
            add_images(index, rows)
        broken = replace(rows, weights_hash="0" * 64)
        with pytest.raises(InputError, match="weights"):
            add_images(index, broken, prefix="b")
        assert len(index.roots) == 1  # all or nothing
        assert add_images(index, rows, prefix="b").added == 3
        unknown = replace(rows, base="", root="", paths=["0001.jpg", "0002.jpg", "deep/0001.jpg"])
        assert add_images(index, unknown, image_roots=[b / "crops"]).skipped == 3
    with pytest.raises(InputError, match="no 'part'"):
        build_index(tmp_path / "iy", rows, which="part")
    wrong = replace(rows, vectors={"embedding": rows.embedding * 3, "pooled": rows.pooled})
    with pytest.raises(InputError, match="length 3"):
        build_index(tmp_path / "iy", wrong, which="embedding")
    assert not (tmp_path / "iy").exists()


def test_files_of_earlier_commits_are_read(site, embed, tmp_path: Path, monkeypatch) -> None:
    a = site("a")
    monkeypatch.chdir(a)
    old = replace(load_embeddings(embed("crops")), base="", root="")
    save_embeddings(tmp_path / "old.st", old)
    flags = ("--embeddings", tmp_path / "old.st", "--image-root", "crops")
    assert run("index", "create", "--index", "ix", *flags) == 0
    assert shown(a / "ix") == ALL
