"""Figures of runs and embeddings files: which are drawn, of what, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_kit import refused, run, said
from PIL import Image

from vireid.embed import load_embeddings, save_embeddings
from vireid.plotting import KINDS, plot
from vireid.training.start import rebuild_start
from vireid.types import InputError

QUICK = ("--device", "cpu")


def test_every_figure_of_a_run(trained: Path, tmp_path: Path, capsys) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    assert run("test", "--resume", copy, "--trials", 1, "--figure-queries", 0, *QUICK) == 0
    out = tmp_path / "figures"
    words = ("plot", copy, "--out", out, "--people", 3, "--queries", 2, *QUICK)
    assert run(*words, "--format", "png", "pdf") == 0
    names = {path.name for path in out.iterdir()}
    kinds = set(KINDS) - {"ranked", "gap"}  # four people are too few for a probe
    assert {f"{kind}.png" for kind in kinds} | {f"{kind}.pdf" for kind in kinds} <= names, said(
        capsys
    )
    words = said(capsys)
    assert "No figure gap: A probe" in words
    for which in ("trained", "starting"):
        assert words.count(f"images with the {which} network of run ...") == 1
    assert {f"ranked-{name}.png" for name in ("best", "worst", "random")} <= names
    for path in out.glob("*.png"):
        with Image.open(path) as image:
            width, most = image.size[0], np.asarray(image.convert("L")).std()
        assert most > 5, path
        # A sheet of ranked lists is as wide as its legend, which names only what it shows.
        assert width >= 1184 if path.name.startswith("ranked-") else width in (700, 1432), path


def test_the_start_is_the_network_before_its_first_step(trained: Path, tmp_path: Path) -> None:
    one, other = rebuild_start(trained), rebuild_start(trained)
    assert one.weights_hash == other.weights_hash
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    config = json.loads((copy / "config.json").read_text())
    config["seed"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    assert rebuild_start(copy).weights_hash != one.weights_hash
    record = json.loads((copy / "record.json").read_text())
    record["start_hash"] = "0" * 64
    (copy / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"started from other weights than 'none'.*Put the file"):
        rebuild_start(copy)
    config["model"] |= {"arch": "mobilenetv2_100", "pretrained": "synth"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"than 'synth'.*Use the version of vireid"):
        rebuild_start(copy)
    (copy / "record.json").unlink()
    with pytest.raises(InputError, match="keeps no hash of its start"):
        rebuild_start(copy)


def test_all_figures_are_of_the_same_embedding(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {name: [] for name in ("pooled", "embedding")}
    curves = {name: [0.5] for name in plain}
    report = SimpleNamespace(
        raw=plain, camera_pairs=plain, curves=curves, protocol=SimpleNamespace(scope="all")
    )
    monkeypatch.setattr("vireid.testing.reports_of", lambda run: [report])
    headings = []
    monkeypatch.setattr(
        "vireid.figures.camera_pairs", lambda rows, metric, heading, **_: headings.append(heading)
    )
    monkeypatch.setattr("vireid.figures.save_figure", lambda figure, path: path)
    for name in (None, "pooled"):
        plot([trained], tmp_path, kinds=["cameras"], embedding=name)
    assert headings == [f"{trained.name}, embedding", f"{trained.name}, pooled"]
    for kind in ("cameras", "cmc"):
        with pytest.raises(InputError, match=r"no embedding 'part'\. Choose one of: pooled, emb"):
            plot([trained], tmp_path, kinds=[kind], embedding="part")


def test_embeddings_of_two_files_are_one_source(trained: Path, tmp_path: Path, capsys) -> None:
    from dataclasses import replace

    from vireid.embed import load

    embedder = load(trained, "cpu")
    g = np.random.default_rng(0)
    files = []
    for kind in ("visible", "infrared"):
        images = g.integers(0, 256, (12, *embedder.size, 3), np.uint8)
        found = embedder.embed(
            images, kind, pids=np.arange(12) // 2, paths=[f"{kind}{n}" for n in range(12)]
        )
        files.append(tmp_path / f"{kind}.safetensors")
        save_embeddings(files[-1], found)
    written = plot(files, tmp_path / "out", people=4)
    assert [path.name for path in written] == ["similarity.png", "map.png", "gap.png"]
    message = refused(capsys, "plot", files[0], "--out", tmp_path / "x", "--kind", "gap")
    assert "images of one modality only" in message
    message = refused(capsys, "plot", *files, "--out", tmp_path / "x", "--kind", "ranked")
    assert "ranked needs a run" in message and "similarity, map, gap" in message
    message = refused(capsys, "plot", *files, "--out", tmp_path / "x", "--kind", "pie")
    assert "Valid: similarity, map" in message
    unknown = replace(load_embeddings(files[1]), pids=np.full(12, -1))
    save_embeddings(files[1], unknown)
    nobody = replace(load_embeddings(files[0]), pids=np.full(12, -1))
    save_embeddings(files[0], nobody)
    assert "says nothing of who" in refused(capsys, "plot", *files, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_is_neither_run_nor_embeddings(tmp_path: Path, capsys) -> None:
    assert "Name at least one run" in refused(capsys, "plot")
    assert "is not a run's folder" in refused(capsys, "plot", tmp_path)
    assert "There is no" in refused(capsys, "plot", tmp_path / "nothing.safetensors")
