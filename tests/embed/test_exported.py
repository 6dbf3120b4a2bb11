"""Exported networks give the Embedder's vectors, at any batch size, and are read back by name."""

from __future__ import annotations

import json
from pathlib import Path

import command_kit
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from vireid.embed import Embedder, OnnxEmbedder, export, load
from vireid.embed.exported import OneModality
from vireid.methods import Sizes, build_method
from vireid.models.families import FAMILIES
from vireid.models.options import ModelOptions
from vireid.types import InputError, Modality

SIZE = (96, 48)
METHODS = ("base", "agw", "mcl", "ddag", "caj", "dns", "deen", "rle", "halo")


def embedder(
    method: str = "base", arch: str = "test_resnet", size: tuple[int, int] = SIZE
) -> Embedder:
    torch.manual_seed(0)
    options = ModelOptions(arch=arch, pretrained="none")
    built = build_method(method, options, Sizes(num_pids=3, num_cameras=4), None)
    return Embedder(built, {"size": list(size)}, device="cpu")


def images(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), np.uint8)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1)


def check(program: torch.export.ExportedProgram, own: Embedder, modality: Modality) -> None:
    for count in (1, 7):
        batch = images(count, own.size)
        wanted = own.embed(batch, modality)
        with torch.no_grad():
            found = program.module()(torch.from_numpy(batch))
        for name, vectors in zip(own.test_embeddings, found):
            assert cosines(wanted.vectors[name], vectors.numpy()).min() >= 0.99999, (name, count)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_exports_with_a_free_batch(method: str) -> None:
    own = embedder(method)
    network = OneModality(own.method, Modality.VISIBLE).eval()
    example = (torch.zeros((2, *SIZE, 3), dtype=torch.uint8),)
    free = ({0: torch.export.Dim("batch")},)
    check(torch.export.export(network, example, dynamic_shapes=free), own, Modality.VISIBLE)


@pytest.mark.long
@pytest.mark.parametrize("arch", [family.archs[0] for family in FAMILIES])
def test_every_family_exports_to_onnx(arch: str, tmp_path: Path) -> None:
    side = 224 if "swin" in arch or "dinov2" in arch else 96
    own = embedder(arch=arch, size=(side, side // 2))
    export(own, tmp_path)
    for modality in Modality:
        read = load(tmp_path)
        for count in (1, 7, 64):
            batch = images(count, own.size)
            wanted, found = own.embed(batch, modality), read.embed(batch, modality)
            for name, vectors in wanted.vectors.items():
                assert cosines(vectors, found.vectors[name]).min() >= 0.99999, name


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Path]:
    own = embedder("mcl")
    folder = tmp_path_factory.mktemp("exported")
    files = export(own, folder, licence="CC0-1.0")
    assert [file.name for file in files] == ["visible.onnx", "infrared.onnx"]
    return own, folder


def test_onnx_gives_the_embedders_vectors(exported: tuple[Embedder, Path], tmp_path: Path) -> None:
    own, folder = exported
    read = load(folder)
    assert isinstance(read, OnnxEmbedder)
    for modality in Modality:
        for count in (1, 7, 64):
            batch = images(count)
            wanted, found = own.embed(batch, modality), read.embed(batch, modality)
            assert found.weights_hash == wanted.weights_hash
            assert found.preprocessing == wanted.preprocessing
            for name, vectors in wanted.vectors.items():
                assert cosines(vectors, found.vectors[name]).min() >= 0.99999, (name, count)
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, image in zip(files, images(2)):
        Image.fromarray(image).save(file)
    wanted, found = own.embed(files, "visible"), read.embed(files, "visible")
    assert cosines(wanted.pooled, found.pooled).min() >= 0.99999
    flipped = (
        own.embed(images(3), "visible", tta="flip"),
        read.embed(images(3), "visible", tta="flip"),
    )
    assert cosines(flipped[0].pooled, flipped[1].pooled).min() >= 0.99999


def test_the_two_modalities_are_two_networks(exported: tuple[Embedder, Path]) -> None:
    own, folder = exported
    one = load(folder / "infrared.onnx")
    vectors = one.embed(images(3), "infrared")
    assert cosines(vectors.pooled, own.embed(images(3), "infrared").pooled).min() >= 0.99999
    with pytest.raises(InputError, match="network of infrared images; visible ones were given"):
        one.embed(images(3), "visible")


def test_the_file_says_what_it_is(exported: tuple[Embedder, Path]) -> None:
    own, folder = exported
    model = onnx.load(folder / "visible.onnx")
    facts = json.loads({p.key: p.value for p in model.metadata_props}["vireid"])
    assert facts["weights_hash"] == own.weights_hash and facts["licence"] == "CC0-1.0"
    assert facts["size"] == list(SIZE) and facts["modality"] == "visible"
    assert [o.name for o in model.graph.output] == list(own.test_embeddings)


@pytest.mark.parametrize(
    "fault", ["cut", "text", "foreign", "outputs", "sizes", "nested", "absent"]
)
def test_files_that_are_no_network_of_ours(
    fault: str, exported: tuple[Embedder, Path], tmp_path: Path
) -> None:
    path = tmp_path / "x.onnx"
    content = (exported[1] / "visible.onnx").read_bytes()
    if fault == "cut":
        path.write_bytes(content[:-1000])
    elif fault == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif fault in {"foreign", "outputs", "sizes", "nested"}:
        model = onnx.load_model_from_string(content)
        facts = json.loads(model.metadata_props[0].value)
        changes = {"outputs": {"embeddings": ["pooled"]}, "sizes": {"mean": ["x"]}}
        changed = None if fault == "foreign" else {**facts, **changes.get(fault, {})}
        text = "[" * 100_000 if fault == "nested" else json.dumps(changed)
        onnx.helper.set_model_props(model, {"vireid": text})
        path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"x\.onnx'"):
        load(path)


def test_a_network_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:  # root, whom tests may run as, may read all
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (tmp_path / "x.onnx").touch()
    with pytest.raises(InputError, match=r"x\.onnx' can't be read: Permission denied\."):
        OnnxEmbedder(tmp_path / "x.onnx")


@pytest.mark.long
def test_from_the_command_to_the_embeddings(tmp_path: Path, capsys) -> None:
    from PIL import Image

    from vireid.embed import load_embeddings

    own = embedder("base")
    own.save(tmp_path / "weights.safetensors")
    run = command_kit.run
    weights, out = tmp_path / "weights.safetensors", tmp_path / "networks"
    assert run("export-weights", weights, "--format", "onnx", "--out", out) == 0
    assert run("export-weights", weights, "--format", "torch", "--out", out) == 0
    next_step = f"torch.export.load('{out / 'visible.pt2'}').module()(images)"
    assert next_step in command_kit.said(capsys)
    assert run("export-weights", weights, "--format", "torch", "--out", out) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "night").mkdir()
    for number, image in enumerate(images(2)):
        Image.fromarray(image).save(tmp_path / "night" / f"{number}.png")
    words = ("embed", "--images", tmp_path / "night", "--modality", "infrared", "--workers", 1)
    for name, source in (("onnx", out), ("own", weights)):
        assert run(*words, "--weights", source, "--out", tmp_path / f"{name}.safetensors") == 0
    found, wanted = (load_embeddings(tmp_path / f"{name}.safetensors") for name in ("onnx", "own"))
    assert found.weights_hash == wanted.weights_hash
    assert cosines(*(e.pooled.astype(np.float32) for e in (found, wanted))).min() > 0.9999
    program = torch.export.load(out / "infrared.pt2")
    with torch.no_grad():
        vectors = program.module()(torch.from_numpy(images(2)))
    assert len(vectors) == 2 and vectors[0].shape == (2, own.method.model.dim)
