"""From weights and images to vectors and files."""

from __future__ import annotations

import copy
import dataclasses
import errno
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import forks
import numpy as np
import pytest
import torch
from PIL import Image
from training_kit import SIZE, tiny_data

import vireid.embed.forward as forward_module
import vireid.embed.job as job
import vireid.embed.storage as storage
import vireid.embed.vector_writer as vector_writer
from vireid import weights
from vireid.cli import main
from vireid.data import decode, normalise
from vireid.data.augment import MEAN, STD
from vireid.data.decode_pool import DecodePool
from vireid.data.listing import walk
from vireid.embed import Embedder, embed_files, load, load_embeddings, save_embeddings
from vireid.embed.forward import Forward
from vireid.embed.ring import shared_pixels
from vireid.embed.sources import read_source
from vireid.embed.storage import VectorFile
from vireid.embed.vector_writer import VectorWriter
from vireid.methods import Sizes, build_method, method_class
from vireid.types import Embeddings, InputError, Modality


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.set_num_threads(1)
    torch.manual_seed(2)
    usual = {"input_mean": MEAN, "input_std": STD}
    model = method_class("mcl").model_defaults("test_resnet", "none", **usual)
    method = build_method("mcl", model, Sizes(num_pids=6, num_cameras=6))
    return Embedder(method, {"size": list(SIZE)}, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy JPEG files of three cameras, in two folders, larger than the network's input."""
    root = tmp_path_factory.mktemp("crops")
    _, store = tiny_data()
    for i in range(70):
        path = root / f"c{i % 3}" / f"{i:04d}_c{i % 3}_t{1000 + i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(store.images[i]).resize((48, 96)).save(path, quality=95)
    (root / ".hidden.jpg").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    return root


def expected(embedder: Embedder, images: np.ndarray, visible: bool) -> np.ndarray:
    with torch.no_grad():
        image = normalise(torch.from_numpy(images))
        return embedder.method.embed(image, len(image) if visible else 0)["embedding"].numpy()


def test_arrays_and_the_modality_that_chooses_the_stem(embedder: Embedder) -> None:
    _, store = tiny_data()
    images = store.images[:5]
    for modality, visible in (("visible", True), (Modality.INFRARED, False)):
        found = embedder.embed(images, modality)
        np.testing.assert_allclose(found.embedding, expected(embedder, images, visible), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found.pooled, axis=1), 1, atol=1e-5)
    mixed = embedder.embed(images, ["v", "i", "v", "i", "i"])
    assert mixed.modality.tolist() == [0, 1, 0, 1, 1]
    alone = embedder.embed(images[1:2], "infrared")
    np.testing.assert_allclose(mixed.embedding[1], alone.embedding[0], atol=1e-5)
    assert mixed.weights_hash == embedder.weights_hash and mixed.pids.tolist() == [-1] * 5


def test_batches_do_not_matter(embedder: Embedder) -> None:
    dataset, store = tiny_data()
    rows = np.arange(len(dataset))[::-1].copy()
    found = [embedder.embed_store(store, dataset, rows, batch_size=n) for n in (7, 32)]
    np.testing.assert_allclose(found[0].embedding, found[1].embedding, atol=1e-5)
    assert found[0].paths[0] == dataset.samples[-1].path
    assert np.array_equal(found[0].pids, dataset.pids[rows])
    assert np.array_equal(found[0].camids, dataset.camids[rows])
    assert np.isnan(found[0].times).all()


def test_flip_is_named_and_symmetric(embedder: Embedder) -> None:
    _, store = tiny_data()
    plain = embedder.embed(store.images[:4], "visible", tta="flip")
    mirrored = embedder.embed(store.images[:4, :, ::-1].copy(), "visible", tta="flip")
    np.testing.assert_allclose(plain.embedding, mirrored.embedding, atol=1e-5)
    assert plain.preprocessing["tta"] == "flip"
    assert embedder.embed(store.images[:1], "visible").preprocessing == embedder.preprocessing
    with pytest.raises(InputError, match="`tta` is 'rotate'"):
        embedder.embed(store.images[:1], "visible", tta="rotate")


@pytest.mark.parametrize(("tta", "mean"), [("flip", False), ("flip-mean", True)])
def test_flips_are_the_sum_or_the_mean_at_length_1(
    embedder: Embedder, tta: str, mean: bool
) -> None:
    images = tiny_data()[1].images[:4]
    one, other = (embedder.embed(side, "infrared") for side in (images, images[:, :, ::-1].copy()))
    for name, found in embedder.embed(images, "infrared", tta=tta).vectors.items():
        expected = one.vectors[name] + other.vectors[name]
        if mean:
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        assert (np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-5).all() == mean


def test_files_equal_the_published_preprocessing(embedder: Embedder, folder: Path) -> None:
    files = sorted(folder.rglob("[0-9]*.jpg"))[:6]
    found = embedder.embed(files, "visible")
    images = np.stack([decode(file, SIZE) for file in files])
    np.testing.assert_allclose(found.embedding, expected(embedder, images, True), atol=1e-6)
    raw = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    np.testing.assert_allclose(embedder.embed(raw, "visible").embedding, found.embedding, atol=1e-6)
    assert list(found.paths) == [str(file) for file in files]


def test_what_cannot_be_embedded(embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(N, H, W, 3\) of uint8"):
        embedder.embed(np.zeros((2, 4, 4, 3)), "visible")
    with pytest.raises(InputError, match="modality is 'purple'"):
        embedder.embed(np.zeros((1, *SIZE, 3), np.uint8), "purple")
    with pytest.raises(InputError, match="2 modalities were given for 1 images"):
        embedder.embed(np.zeros((1, *SIZE, 3), np.uint8), ["v", "i"])
    with pytest.raises(InputError, match="There is no image"):
        embedder.embed([tmp_path / "absent.jpg"], "visible")
    with pytest.raises(InputError, match="no image to embed"):
        embedder.embed([], "visible")
    dataset, store = tiny_data()
    store.valid[3] = False
    with pytest.raises(InputError, match="1 of the images to embed can't be decoded"):
        embedder.embed_store(store, dataset, np.arange(6))
    changed = dataclasses.replace(store, unchecked={5: 1})
    embedder.embed_store(changed, dataset, np.arange(4, 5))
    with pytest.raises(InputError, match="are damaged: 1 image has changed"):
        embedder.embed_store(changed, dataset, np.arange(4, 6))


def test_weights_saved_and_loaded(embedder: Embedder, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    embedder.save(path)
    again = load(path, device="cpu")
    _, store = tiny_data()
    assert again.size == SIZE and again.weights_hash == embedder.weights_hash
    assert np.array_equal(
        again.embed(store.images[:3], "v").pooled, embedder.embed(store.images[:3], "v").pooled
    )
    assert weights.read_weights(path)[1]["method"] == "mcl"


def test_float16_is_much_nearer_to_float32_than_bfloat16(embedder: Embedder) -> None:
    images = np.random.default_rng(1).integers(0, 255, (8, *embedder.size, 3), np.uint8)
    image = normalise(torch.from_numpy(images))
    away = {}
    with torch.inference_mode():
        exact = embedder.method.embed(image, 8)["embedding"]
        for dtype in (torch.float16, torch.bfloat16):
            with torch.autocast("cpu", dtype=dtype):
                found = embedder.method.embed(image, 8)["embedding"]
            away[dtype] = float((found - exact).norm())
    assert 0 < 4 * away[torch.float16] < away[torch.bfloat16]


def test_a_batch_beyond_the_number_format_is_computed_again(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, *embedder.size, 3), np.uint8)
    exact = embedder.embed(images, "visible")
    coarse = Embedder(embedder.method, embedder.metadata, device="cpu", precision="bfloat16")
    ran = coarse.forward

    def overflowing(*words):
        return {name: value * float("inf") for name, value in ran(*words).items()}

    monkeypatch.setattr(coarse, "forward", overflowing)
    overflowing.expect = ran.expect
    found = coarse.embed(images, "visible")
    for name, values in exact.vectors.items():
        np.testing.assert_allclose(found.vectors[name], values, atol=1e-6)
    assert " ".join(capsys.readouterr().err.split()).count("exceed the range of bfloat16") == 1


def test_weights_that_diverged(embedder: Embedder) -> None:
    broken = Embedder(copy.deepcopy(embedder.method), embedder.metadata, device="cpu")
    with torch.no_grad():
        next(broken.method.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="aren't finite numbers, even in float32"):
        broken.embed(np.zeros((1, *embedder.size, 3), np.uint8), "visible")


class Tape:
    """What a CUDA graph does, on a CPU: fills the tensors that `run` returned once more."""

    def __init__(self, run: Callable[[], dict[str, torch.Tensor]]) -> None:
        self.run, self.vectors, self.replayed = run, run(), 0

    def replay(self) -> None:
        self.replayed += 1
        for name, value in self.run().items():
            self.vectors[name].copy_(value)


def test_a_recorded_pass_gives_each_batch_its_own_vectors(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tapes: list[Tape] = []

    def capture(run, device):
        tapes.append(Tape(run))
        return tapes[-1], tapes[-1].vectors

    monkeypatch.setattr(forward_module, "capture", capture)
    monkeypatch.setattr(forward_module, "warm_up", lambda run, device: run())
    forward = Forward(embedder.method, embedder.forward.precision, compiled=True)
    forward._replays = True  # as `expect` sets it on a GPU
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randint(0, 255, (count, *SIZE, 3), generator=generator, dtype=torch.uint8), *how)
        for count, *how in [(4, 0, False), (4, 1, False), (4, 0, True), (3, 1, True), (3, 1, False)]
    ]
    with torch.inference_mode():
        found = [forward(*batch) for batch in batches]
        for batch, vectors in zip(batches, found, strict=True):
            for name, value in embedder.forward(*batch).items():
                torch.testing.assert_close(vectors[name], value)
    assert len(tapes) == 3  # one for a modality; another size of batch begins anew
    assert [tape.replayed for tape in tapes] == [3, 1, 3]


@pytest.mark.parametrize("fails", ["compiled", "recorded as one CUDA graph"])
def test_a_method_that_cannot_be_recorded_is_run_nevertheless(
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: str,
) -> None:
    def fail(*words):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(forward_module, "capture", fail)
    monkeypatch.setattr(forward_module, "warm_up", lambda run, device: run())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    forward = Forward(embedder.method, embedder.forward.precision, compiled=True)
    forward._replays = True
    if fails == "compiled":
        forward._network = fail
    image = torch.randint(0, 255, (4, *SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(forward(image, 0), embedder.forward(image, 0))
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"Method 'mcl' can't be {fails} (RuntimeError: operation") == 1
    assert "more" not in said


def test_vectors_leave_the_device_as_float16(embedder: Embedder) -> None:
    images = np.random.default_rng(3).integers(0, 255, (9, *embedder.size, 3), np.uint8)
    batches = [(images[:6], 0), (images[6:], 1)]
    exact, half = (
        list(embedder.stream(iter(batches), tta=None, batch_size=6, total=9, dtype=dtype))
        for dtype in ("float32", "float16")
    )
    for one, other in zip(exact, half, strict=True):
        for name, values in one.items():
            assert values.dtype == np.float32 and other[name].dtype == np.float16
            assert np.array_equal(values.astype(np.float16), other[name])


def test_embeddings_file_round_trip(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    whole = Embeddings(
        vectors={n: generator.standard_normal((3, 4)).astype(np.float16) for n in ("b", "a")},
        paths=["x/ü.jpg", "", "line\nbreak \udcff.png"],
        pids=np.array([1, -1, 3]),
        camids=np.array([2, 2, -1]),
        modality=np.array([0, 1, 1]),
        times=np.array([1.5, np.nan, 2e9]),
        weights_hash="f" * 64,
        preprocessing={"size": [288, 144]},
    )
    path = tmp_path / "folder" / "e.safetensors"
    save_embeddings(path, whole)
    found = load_embeddings(path)
    assert found.paths == whole.paths and list(found.vectors) == ["b", "a"]
    assert all(np.array_equal(found.vectors[n], whole.vectors[n]) for n in "ab")
    assert np.array_equal(found.times, whole.times, equal_nan=True)
    assert found.preprocessing == whole.preprocessing and found.weights_hash == "f" * 64
    content = path.read_bytes()
    for _ in range(8):
        save_embeddings(path, whole)
        assert path.read_bytes() == content
    path.write_bytes(content[:-5])
    with pytest.raises(InputError, match="not a whole embeddings file"):
        load_embeddings(path)
    with pytest.raises(InputError, match="There is no embeddings file"):
        load_embeddings(tmp_path / "absent")


def test_a_folder_becomes_a_file_by_processes(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.safetensors"
    found = embed_files(
        embedder,
        folder,
        out,
        modality=Modality.INFRARED,
        dtype="float32",
        camera_pattern=r"_c(?P<camid>\d)_t(?P<time>\d+)",
        workers=2,
    )
    assert found.count == 70 and not found.broken and found.resumed == 0
    whole = load_embeddings(out)
    files = sorted(folder.rglob("[0-9]*.jpg"))
    assert list(whole.paths) == [str(file) for file in files]
    assert np.array_equal(whole.vectors["embedding"], embedder.embed(files, "i").embedding)
    assert whole.camids.tolist() == [int(file.parent.name[1:]) for file in files]
    assert whole.times.min() == 1000
    assert not list(tmp_path.glob("*.parts"))


def test_a_stopped_job_goes_on(
    embedder: Embedder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PART", 2)
    bad = tmp_path / "crops"
    bad.mkdir()
    for file in folder.rglob("[0-9]*.jpg"):
        (bad / file.name).write_bytes(file.read_bytes())
    last = sorted(bad.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:200])
    out = tmp_path / "all.safetensors"
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 1}
    with pytest.raises(InputError, match=rf"{last.name}.*start the same command again"):
        embed_files(embedder, bad, out, **words)
    done = len(list((tmp_path / "all.safetensors.parts").glob("part-*")))
    assert done == 4  # of five parts of sixteen images
    found = embed_files(embedder, bad, out, skip_broken=True, **words)
    assert found.resumed == 64 and found.count == 69 and found.broken == [str(last)]
    assert len(load_embeddings(out)) == 69
    last.write_bytes((folder / "c0" / "0000_c0_t1000.jpg").read_bytes())
    assert embed_files(embedder, bad, out, **words).count == 70


def embed_in_parts_of_one(words: list[str]) -> None:
    """`vireid WORDS…`, which makes a mark after each image."""
    job.PART = 1
    main(words)


def test_a_job_killed_twice_writes_the_same_file(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    weights, whole, killed = tmp_path / "w.safetensors", tmp_path / "whole", tmp_path / "killed"
    embedder.save(weights)
    log = tmp_path / "log"

    def start(out: Path) -> BaseProcess:
        words = ("embed", "--weights", weights, "--images", folder, "--modality", "visible",
                 "--batch-size", 1, "--skip-broken", "--device", "cpu", "--out", out)  # fmt: skip
        return forks.start(log, embed_in_parts_of_one, [*map(str, words)])

    def ended(process: BaseProcess) -> bool:
        process.join(300)
        return process.exitcode == 0

    assert ended(start(whole)), log.read_text()
    done = 0
    for _ in range(2):
        process = start(killed)
        while len(parts := list(tmp_path.glob("killed.parts/part-*.json"))) < done + 5:
            assert process.is_alive(), log.read_text()
            time.sleep(0.002)
        process.kill()
        process.join()
        done = len(parts)
    assert not killed.exists()
    assert ended(start(killed)), log.read_text()
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("killed.parts*"))


def embed_without_a_name(weights: Path, folder: Path, out: Path) -> None:
    """Write part after part, each of one batch, and never mark what they are parts of."""
    job.PART = 1
    job._Job._identity = lambda self: time.sleep(600)
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 1}
    embed_files(load(weights, "cpu"), folder, out, **words)


def test_a_job_killed_before_it_has_a_name(
    embedder: Embedder, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = tmp_path / "w.safetensors", tmp_path / "killed"
    embedder.save(weights)
    process = forks.start(tmp_path / "log", embed_without_a_name, weights, folder, out)
    parts = tmp_path / "killed.parts"
    try:
        while not (parts / "embeddings.safetensors").exists():
            assert process.is_alive(), (tmp_path / "log").read_text()
            time.sleep(0.01)
        time.sleep(0.5)  # several parts are written, none is marked
        assert not list(parts.glob("*.json"))
    finally:
        process.kill()
        process.join()
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 1}
    assert embed_files(embedder, folder, out, **words).resumed == 0
    assert not capsys.readouterr().err and not parts.exists()
    embed_files(embedder, folder, tmp_path / "whole", **words)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_folder_of_somebody_else_stays(embedder: Embedder, folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "all.parts"
    parts.mkdir()
    (parts / "embeddings.safetensors").write_bytes(b"precious")
    with pytest.raises(InputError, match="wasn't created by `vireid embed`"):
        embed_files(embedder, folder, tmp_path / "all", modality=Modality.VISIBLE)
    assert [file.name for file in parts.iterdir()] == ["embeddings.safetensors"]
    (parts / "embeddings.safetensors").unlink()
    assert embed_files(embedder, folder, tmp_path / "all", modality=Modality.VISIBLE).count == 70


def test_parts_of_another_job_are_thrown_away(
    embedder: Embedder,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "PART", 1)
    words = {"modality": Modality.VISIBLE, "batch_size": 8}
    with monkeypatch.context() as patch, pytest.raises(InputError, match="stopped"):
        patch.setattr(job._Job, "_finish", stop)
        embed_files(embedder, folder, tmp_path / "all", **words)
    # All parts are there, so no process was to start; then all of them are to be made again.
    found = embed_files(embedder, folder, tmp_path / "all", dtype="float32", workers=2, **words)
    assert found.resumed == 0 and load_embeddings(tmp_path / "all").embedding.dtype == np.float32
    assert "parts of another job" in " ".join(capsys.readouterr().err.split())


def stop(*words: object) -> None:
    raise InputError("stopped")


@pytest.mark.parametrize(
    "text",
    ["{}", '{"broken": [], "sum": 1}', '{"broken": [99999]}', '{"broken": "x"}', "[[", "\xff"],
)
def test_a_mark_that_was_changed(
    text: str, embedder: Embedder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"modality": Modality.VISIBLE, "batch_size": 8}
    with monkeypatch.context() as patch, pytest.raises(InputError, match="stopped"):
        patch.setattr(job._Job, "_finish", stop)
        embed_files(embedder, folder, tmp_path / "all", **words)
    (mark, *_) = (tmp_path / "all.parts").glob("part-*.json")
    mark.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"part-0.*json"):
        embed_files(embedder, folder, tmp_path / "all", **words)
    assert not (tmp_path / "all").exists()


def test_parts_that_are_not_as_they_were_written_are_embedded_again(
    embedder: Embedder,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A value changed, the last row and all behind it cut off, the header gone, a mark of an
    earlier version: the file is the same."""
    monkeypatch.setattr(job, "PART", 1)
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 1}
    out, parts = tmp_path / "all", tmp_path / "all.parts"
    with monkeypatch.context() as patch, pytest.raises(InputError, match="stopped"):
        patch.setattr(job._Job, "_finish", stop)
        embed_files(embedder, folder, out, **words)
    result = parts / "embeddings.safetensors"
    whole = bytearray(result.read_bytes())
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    starts = {name: header[f"vectors.{name}"]["data_offsets"] for name in ("embedding", "pooled")}
    cut = whole[: 8 + length + starts["pooled"][1] - 5]
    cut[8 + length + starts["embedding"][0] + 3] ^= 1
    cut[:9] = b"damaged!!"
    result.write_bytes(cut)
    (parts / "part-000002.json").write_text('{"broken": []}')
    found = embed_files(embedder, folder, out, **words)
    assert found.resumed == 70 - 8 - 8 - 6  # the first, the third and the last part
    assert "3 of 9 parts" in " ".join(capsys.readouterr().err.split())
    assert out.read_bytes() == whole


def test_a_part_is_marked_after_the_name_and_its_rows(
    embedder: Embedder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PART", 2)
    events: list[str] = []
    put, sync, write = VectorFile.write, VectorFile.sync, job.write_json

    def noted(ran, name, *, first=lambda: None):
        def run(*words):
            first()
            found = ran(*words)
            events.append(name or Path(words[0]).name)
            return found

        return run

    monkeypatch.setattr(VectorFile, "write", noted(put, "put"))
    monkeypatch.setattr(VectorFile, "sync", noted(sync, "sync"))
    monkeypatch.setattr(job, "write_json", noted(write, ""))
    late = noted(job._Job._identity, "identity", first=lambda: time.sleep(1))
    monkeypatch.setattr(job._Job, "_identity", late)
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 1}
    embed_files(embedder, folder, tmp_path / "all", **words)
    assert "put" in events[: events.index("identity")]  # embedding didn't wait for the name
    said = [event for event in events if event != "put"]
    marks = [f"part-{number:06d}.json" for number in range(5)]
    assert said == ["identity", "job.json", *itertools.chain(*(("sync", mark) for mark in marks))]
    for number, mark in enumerate(marks):  # nine batches, two a part
        rows = [n for n, event in enumerate(events) if event == "put"][: 2 * number + 2]
        synced = [n for n, event in enumerate(events) if event == "sync"][number]
        assert rows[-1] < synced < events.index(mark)


@pytest.mark.parametrize("what", ["rows", "sync", "mark", "name"])
def test_a_full_disk_ends_the_job_with_a_sentence(
    what: str, embedder: Embedder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PART", 1)
    words = {"modality": Modality.VISIBLE, "batch_size": 8, "workers": 2}
    calls = itertools.count()
    place, name, from_call = {
        "rows": (storage, "_write_whole", 13),  # seven for all but the vectors, then two a part
        "sync": (storage.os, "fsync", 5),  # two for the name, one and two a part: the second's
        "mark": (job, "write_json", 3),
        "name": (job, "write_json", 0),
    }[what]
    ran = getattr(place, name)

    def full(*given):
        if next(calls) == from_call:  # once only, as the system tells of lost rows
            raise OSError(errno.ENOSPC, "No space left on device")
        return ran(*given)

    def full_in_words(*given):
        with storage.writing(given[0]):
            full(*given)

    out, before = tmp_path / "all", threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full_in_words if place is job else full)
        with pytest.raises(InputError, match="could not be written: No space left"):
            embed_files(embedder, folder, out, **words)
    assert threading.active_count() <= before
    parts = sorted(file.name for file in (tmp_path / "all.parts").glob("part-*.json"))
    # After the error nothing was said to be on the disk.
    assert parts == [f"part-{n:06d}.json" for n in range(len(parts))] and len(parts) < 9
    found = embed_files(embedder, folder, out, **words)
    assert found.count == 70 and found.resumed == sum(8 for _ in parts)
    embed_files(embedder, folder, tmp_path / "whole", **words)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_few_batches_wait_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_writer, "WAITING", 2)
    written = threading.Semaphore(0)

    class Slow:
        def write(self, rows: np.ndarray, vectors: object) -> None:
            time.sleep(0.02)
            written.release()

        def take_sums(self) -> dict[str, int]:
            return {"embedding": 10}

        def sync(self) -> None:
            pass

        def close(self) -> None:
            pass

    marked: list[dict[str, int]] = []
    with VectorWriter(lambda widths: Slow()) as writer:  # type: ignore[arg-type,return-value]
        for number in range(10):
            writer.write(np.arange(1), {"embedding": np.zeros((1, 4))})
            assert number < 2 or written.acquire(timeout=0)
        writer.end_part(marked.append)
        writer.finish()
        assert marked == [{"embedding": 10}]


def test_decoding_processes_start_and_end_with_the_pool(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("vireid.embed.ring._fast_folder", lambda *words: None)
    files = sorted(folder.rglob("[0-9]*.jpg"))[:20]
    with shared_pixels(20, SIZE) as (pixels, handle), DecodePool(pixels, 2, handle) as pool:
        assert not list(tmp_path.iterdir())  # nothing that a kill could leave behind
        processes = list(pool._processes)
        assert [process.poll() for process in processes] == [None, None]
        files[3] = folder / "absent.jpg"
        found = [one for future in pool.submit(range(20), files) for one in future.result()]
        assert [row for row, _ in found] == [3] and "absent.jpg" in found[0][1]
        assert np.array_equal(pool.pixels[7], decode(files[7], SIZE))
        for process in processes:
            process.kill()
        with pytest.raises(InputError, match="ended with code -9 near"):
            pool.submit(range(1), files[:1])[0].result()
    pool.close()
    started: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def second_fails(*words, **options):
        if started:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(start(*words, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", second_fails)
    with (
        shared_pixels(20, SIZE) as (pixels, handle),
        pytest.raises(InputError, match="3 processes that decode images could not be started"),
    ):
        DecodePool(pixels, 3, handle)
    assert started[0].returncode is not None and not list(tmp_path.iterdir())


def test_lists_and_tables(folder: Path, tmp_path: Path) -> None:
    names = [str(file) for file in sorted(folder.rglob("[0-9]*.jpg"))[:3]]
    table = tmp_path / "t.csv"
    rows = [f"{names[0]},7,1,visible,2026-01-31T08:00:00+00:00", f"{names[1]},,,ir,12.5"]
    table.write_text("path,pid,camid,modality,time\n" + "\n".join(rows))
    found = read_source(table)
    assert found.pids.tolist() == [7, -1] and found.modality.tolist() == [0, 1]
    assert found.times.tolist() == [1769846400.0, 12.5]
    listed = tmp_path / "l.txt"
    listed.write_text("\n".join(names) + "\n\n")
    assert read_source(listed, modality=Modality.VISIBLE).paths == names
    with pytest.raises(InputError, match=r"modality of .* is unknown"):
        read_source(listed)
    listed.write_text("# vireid\n\nA library\n")
    with pytest.raises(InputError, match="' is no list of images: its first line, '# vireid', nam"):
        read_source(listed, modality=Modality.VISIBLE)
    (tmp_path / "0001").touch()  # a name without an ending
    listed.write_text("0001\n")
    assert read_source(listed, modality=Modality.VISIBLE).paths == ["0001"]
    (tmp_path / "one.JPG").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match="' is one image; a folder of images, a text file"):
        read_source(tmp_path / "one.JPG", modality=Modality.VISIBLE)
    with pytest.raises(InputError, match="There is no"):
        read_source(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a file; a folder was expected"):
        walk(listed)
    with pytest.raises(InputError, match=r"names no image \(.jpg, .png, .tif …\)\.$"):
        read_source(tmp_path / "empty", modality=Modality.VISIBLE)
    table.write_text("file,pid\na.jpg,1\n")
    with pytest.raises(InputError, match="lacks the column path"):
        read_source(table, modality=Modality.VISIBLE)
    table.write_text("path,camid\na.jpg,one\n")
    with pytest.raises(InputError, match=r"Line 2 of .*: the camid is 'one'"):
        read_source(table, modality=Modality.VISIBLE)
    with pytest.raises(InputError, match="not a regular expression"):
        read_source(listed, modality=Modality.VISIBLE, camera_pattern="(")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There are no weights"):
        load(tmp_path / "synth2", device="cpu")


def test_a_file_of_vectors_is_whole_whoever_opens_it_when(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    whole = Embeddings(
        vectors={n: generator.standard_normal((9, 4)).astype(np.float16) for n in ("b", "a")},
        paths=[f"{n}.jpg" for n in range(9)],
        pids=np.arange(9),
        camids=np.arange(9),
        modality=np.zeros(9, np.int64),
        times=np.arange(9.0),
        weights_hash="e" * 64,
    )
    save_embeddings(tmp_path / "saved", whole)
    path = tmp_path / "vectors"
    for rows in ([8], [0, 1, 4, 5], [2, 3, 6, 7]):
        file = VectorFile(path, whole)  # as another rank, or the next start, would
        file.write(np.array(rows), {name: v[rows] for name, v in whole.vectors.items()})
        file.close()
    assert path.read_bytes() == (tmp_path / "saved").read_bytes()


def test_long_names_of_broken_files_cannot_fill_the_pipes() -> None:
    """Both ways at once: tasks of 64 KiB, and answers that name each file."""
    files = [f"/{number}" + "/long" * 900 for number in range(128)]
    with shared_pixels(128, SIZE) as (pixels, handle), DecodePool(pixels, 2, handle) as pool:
        found = [future.result(60) for future in pool.submit(range(128), files)]
    assert [row for part in found for row, _ in part] == list(range(128))


def test_a_name_of_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    for name in ("o.npy", "O.CSV"):
        with pytest.raises(InputError, match=rf"`out` is '.*{name}'.*[oO]\.safetensors"):
            storage.check_out(tmp_path / name)
    storage.check_out(tmp_path / "o.safetensors")
    storage.check_out(tmp_path / "o")
    text = tmp_path / "text"
    text.write_text("hello\n")
    with pytest.raises(InputError, match="doesn't begin as one"):
        load_embeddings(text)
