"""Figures: what is drawn where, and the files written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation.examples import embeddings_of, sysu_like
from PIL import Image

from vireid.data import ProtocolOptions, trials
from vireid.evaluation import Search, evaluate, search_trials
from vireid.figures import charts, ranked, style, write_figures
from vireid.types import InputError


def colour(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_frames_say_what_an_image_is() -> None:
    image = np.full((20, 10, 3), 200, np.uint8)
    entries = [
        ranked.Entry(image, 0.9, "1", matches=True),
        ranked.Entry(image, 0.8, "2", matches=False),
        ranked.Entry(image, 0.7, "1", matches=True, skipped=True),
    ]
    drawn = ranked.draw_ranked([ranked.RankedList(image, "1", "", entries)], "")
    height, width = ranked._TILE
    left, top = ranked._MARGIN, ranked._HEAD
    step = width + ranked._GAP
    bottom = top + height + 1  # in the frame under the image
    assert drawn.getpixel((left + 5, bottom)) == colour(style.BLUE)
    for position, expected in enumerate((style.GREEN, style.RED, style.GREY), 1):
        x = left + position * step + 2 * ranked._GAP + 5
        assert drawn.getpixel((x, bottom)) == colour(expected)
    middle = top + height // 2
    assert drawn.getpixel((left + 5, middle)) == (200, 200, 200)
    assert min(drawn.getpixel((x, middle))) > 200, "a skipped image is pale"


def test_ranked_results_of_a_trial(tmp_path: Path) -> None:
    dataset = sysu_like()
    trial = trials(dataset, ProtocolOptions())[0]
    rows = np.arange(len(dataset.samples))
    embeddings = embeddings_of(dataset, rows)
    read = []

    def load(row: int) -> np.ndarray:
        read.append(row)
        return np.full((288, 144, 3), row % 255, np.uint8)

    pooled, embedding = search_trials(dataset, [trial], embeddings, rows)
    path = ranked.ranked_results(tmp_path / "ranks.jpg", dataset, load, embedding, count=3, top=5)
    assert Image.open(path).format == "JPEG"
    assert len(read) == 3 * 6
    queries = [row for row in read if dataset.modality[row] == 1]
    assert len(set(dataset.pids[queries].tolist())) == 3, "spread over the people"
    again = ranked.ranked_results(tmp_path / "ranks.png", dataset, load, pooled,
                                  queries=[int(trial.query[7])])  # fmt: skip
    assert Image.open(again).format == "PNG" and trial.query[7] in read[-11:]
    with pytest.raises(InputError, match="isn't a query"):
        ranked.ranked_results(tmp_path / "x.png", dataset, load, pooled,
                              queries=[int(trial.gallery[0])])  # fmt: skip
    with pytest.raises(InputError, match=r"use \.png or \.jpg"):
        ranked.ranked_results(tmp_path / "x.gif", dataset, load, pooled)
    with pytest.raises(InputError, match="no ranking"):
        ranked.draw_ranked([], "")


def test_curve_and_histogram_are_written(tmp_path: Path) -> None:
    path = charts.cmc_curve(tmp_path / "cmc.png", {"pooled": np.linspace(0.2, 1, 20)}, "a title")
    assert Image.open(path).size == (832, 546)
    g = np.random.default_rng(0)
    similarity, pids = g.random((9, 12)), g.integers(0, 3, 12)
    path = charts.similarity_histogram(tmp_path / "similarity.jpg", similarity, pids[:9], pids)
    assert Image.open(path).format == "JPEG"
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["cmc.png", "similarity.jpg"]


def test_three_figures_beside_a_report(tmp_path: Path) -> None:
    dataset, options = sysu_like(), ProtocolOptions(num_trials=1)
    rows = np.arange(len(dataset.samples))
    embeddings = embeddings_of(dataset, rows)
    kept: list[Search] = []
    report = evaluate(dataset, options, embeddings, rows, keep=kept.append)
    assert len(kept) == 1 and kept[0].scores.at(1) == report.best()["rank1"]["mean"]
    image = np.zeros((20, 10, 3), np.uint8)
    paths = write_figures(tmp_path, report, dataset, lambda row: image, kept[0])
    assert [path.name for path in paths] == ["ranks.jpg", "cmc.png", "similarity.png"]
    assert all(Image.open(path).size[0] > 500 for path in paths)


def test_curves_show_the_epoch_that_was_kept(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: drawn.append(figure))
    lines = [
        {"kind": "epoch", "epoch": epoch, "losses": {"identity": 1.0}, "lr": 0.1,
         "metrics": {"embedding_mean_ap": ap}, "best": best}
        for epoch, ap, best in ((0, 0.2, True), (1, 0.6, True), (2, 0.4, False))
    ]  # fmt: skip
    charts.training_curves(tmp_path / "curves.png", lines)
    panel = drawn[0].axes[2]
    (mark,) = [line for line in panel.lines if line.get_label() == "weights kept: epoch 2"]
    assert list(mark.get_xdata()) == [2, 2]
    charts.training_curves(tmp_path / "curves.png", [{**line, "best": False} for line in lines])
    assert len(drawn[1].axes[2].lines) == 1
