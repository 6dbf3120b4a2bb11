"""Figures: what is drawn where, and the files written."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from evaluation.examples import embeddings_of, sysu_like
from PIL import Image

from vireid.data import ProtocolOptions, trials
from vireid.evaluation import Search, evaluate, search_trials
from vireid.figures import charts, maps, ranked, sheet, style, write_figures
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
    left, top = ranked._MARGIN, ranked._head("")
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
    assert set(dataset.camids[queries].tolist()) == {3, 6}, "and over the cameras"
    _, heading = ranked.ranked_lists(dataset, load, embedding, count=1)
    assert heading.endswith("\nGallery: 48 visible images of 12 people, from cameras 1, 2, 4, 5")
    again = ranked.ranked_results(tmp_path / "ranks.png", dataset, load, pooled,
                                  queries=[int(trial.query[7])])  # fmt: skip
    assert Image.open(again).format == "PNG" and trial.query[7] in read[-11:]
    with pytest.raises(InputError, match="isn't a query"):
        ranked.ranked_results(tmp_path / "x.png", dataset, load, pooled,
                              queries=[int(trial.gallery[0])])  # fmt: skip
    with pytest.raises(InputError, match=r"use \.png, \.jpg or \.pdf"):
        ranked.ranked_results(tmp_path / "x.gif", dataset, load, pooled)
    with pytest.raises(InputError, match="no ranking"):
        ranked.draw_ranked([], "")


def test_curve_and_histogram_are_written(tmp_path: Path) -> None:
    curve = charts.cmc_curve({"pooled": np.linspace(0.2, 1, 20)}, "a title")
    path = style.save_figure(curve, tmp_path / "cmc.png")
    assert Image.open(path).size == (700, 462), "one column of a paper, 200 dots an inch"
    g = np.random.default_rng(0)
    similarity, pids = g.random((9, 12)), g.integers(0, 3, 12)
    histogram = charts.similarity_histogram({"": similarity}, pids[:9], pids)
    path = style.save_figure(histogram, tmp_path / "similarity.jpg")
    assert Image.open(path).format == "JPEG"
    assert style.save_figure(curve, tmp_path / "cmc.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(InputError, match=r"use \.png, \.jpg, \.svg, \.pdf"):
        style.save_figure(curve, tmp_path / "cmc.gif")
    names = [file.name for file in sorted(tmp_path.iterdir())]
    assert names == ["cmc.pdf", "cmc.png", "similarity.jpg"]


def test_overlap_is_the_shared_area() -> None:
    g = np.random.default_rng(0)
    low, high = g.random(400), 2 + g.random(300)
    assert charts.overlap(low, high) == 0
    assert charts.overlap(low, low) == pytest.approx(1)
    wide = np.linspace(0, 1, 64_001)
    assert charts.overlap(wide, wide + 0.5) == pytest.approx(0.5, abs=0.02)
    grid, *densities = charts.smoothed(low, wide)
    assert np.sum(densities, axis=1) * (grid[1] - grid[0]) == pytest.approx([1, 1], abs=0.001)
    with pytest.raises(InputError, match="same and of different"):
        charts.overlap(low, np.array([]))


def test_overlap_of_two_normals_is_known_and_of_few_alike_is_near_1() -> None:
    g = np.random.default_rng(0)
    for distance in (0.0, 1.0, 2.0, 3.0):
        found = [
            charts.overlap(g.normal(0, 0.1, 64), g.normal(0.1 * distance, 0.1, 192))
            for _ in range(40)
        ]
        expected = 2 * NormalDist().cdf(-distance / 2)
        least, most = (0.85, 1.0) if distance == 0 else (expected - 0.03, expected + 0.03)
        assert least <= np.mean(found) <= most, (distance, np.mean(found))


def test_the_overlap_is_the_area_under_both_lines_drawn() -> None:
    g = np.random.default_rng(1)
    pids, gallery = np.arange(8), np.arange(24) % 8
    same = pids[:, None] == gallery
    similarity = g.normal(0, 0.1, same.shape) + 0.2 * same
    (axes,) = charts.similarity_histogram({"": similarity}, pids, gallery).axes
    (grid, other), (_, own) = (line.get_data() for line in axes.lines)
    shared = np.minimum(other, own).sum() * (grid[1] - grid[0])
    assert axes.get_title() == f"{100 * shared:.0f} % overlap"
    assert 0.2 < shared < 0.5


def test_what_is_not_all_is_not_written_as_all() -> None:
    given = (1.0, 0.9996, 0.99996, 0.98, 0.0, 0.0004, 0.00001)
    assert [style.percent(value) for value in given] == [
        "100.0", "99.96", "over 99.99", "98.0", "0.0", "0.04", "under 0.01",
    ]  # fmt: skip
    assert style.percent(0.996, 0) == "99.6" and style.percent(0.6, 0) == "60"


def test_a_curve_fills_its_axis() -> None:
    high = charts.cmc_curve({"a": [0.9, 0.95, 0.9996], "b": [0.92, 0.96, 1.0]}).axes[0]
    low, top = high.get_ylim()
    assert 85 < low < 90 and 100 < top < 102
    assert list(high.get_xticks()) == [1]
    low, top = charts.cmc_curve({"a": [0.0, 0.5, 1.0]}).axes[0].get_ylim()
    assert -3 < low < 0 and 100 < top < 107


def test_histograms_of_start_and_trained_share_their_axis() -> None:
    pids = np.array([0, 1])
    trained, start = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.full((2, 2), 0.25)
    figure = charts.similarity_histogram({"start": start, "trained": trained}, pids, pids)
    before, after = figure.axes
    assert before.get_title() == "start: 100 % overlap"
    assert after.get_title() == "trained: 0 % overlap"
    assert before.get_xlim() == after.get_xlim()


def test_training_curves_of_one_run_and_of_several() -> None:
    line = {"kind": "epoch", "epoch": 0, "losses": {"a": 1.0, "b": 2.0}, "lr": 0.1,
            "metrics": {"mAP": 0.5, "rank1": 0.25}}  # fmt: skip
    one = charts.training_curves({"run": [line, {"kind": "step"}]})
    assert one is not None
    assert [entry.get_label() for entry in one.axes[0].lines] == ["a", "b"]
    assert all(tick == round(tick) for tick in one.axes[0].get_xticks())
    assert [entry.get_label() for entry in one.axes[2].lines] == ["mAP", "rank1"]
    narrow = charts.training_curves({"run": [line]}, columns=1)
    assert narrow is not None
    assert len({panel.get_subplotspec().colspan.start for panel in narrow.axes}) == 1
    two = charts.training_curves({"first": [line], "second": [line], "unfinished": []})
    assert two is not None
    assert [entry.get_label() for entry in two.axes[0].lines] == ["first", "second"]
    assert two.axes[0].lines[0].get_ydata().tolist() == [3.0]
    assert two.axes[2].lines[0].get_ydata().tolist() == [50.0]
    assert charts.training_curves({"run": [{"kind": "step"}]}) is None


def test_camera_pairs_stand_in_their_squares() -> None:
    rows = [
        {"query_camid": 3, "gallery_camid": 1, "rank1": 0.5, "mean_ap": 0.1},
        {"query_camid": 6, "gallery_camid": 2, "rank1": 0.25, "mean_ap": 0.2},
        {"query_camid": 3, "gallery_camid": 2, "rank1": None, "mean_ap": None},
    ]
    axes = charts.camera_pairs(rows).axes[0]
    assert [text.get_text() for text in axes.texts] == ["50", "–", "–", "25"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["3", "6"]
    with pytest.raises(InputError, match="not known"):
        charts.camera_pairs([])


def test_a_map_shows_each_image_once_in_its_persons_colour() -> None:
    pids, modality = np.repeat([7, 9], 4), np.tile([0, 1], 4)
    figure = charts.embedding_map(np.arange(16.0).reshape(8, 2), pids, modality)
    clouds = [c for c in figure.axes[0].collections if len(c.get_offsets())]
    assert sum(len(cloud.get_offsets()) for cloud in clouds) == 8
    colours = {tuple(cloud.get_facecolor()[0][:3]) for cloud in clouds}
    assert len(colours) == 2
    boxes = [text.get_bbox_patch() for text in figure.axes[0].texts]
    assert {tuple(box.get_facecolor()[:3]) for box in boxes if box} == colours
    assert not figure.axes[0].axison, "axes of a t-SNE map mean nothing"
    with pytest.raises(InputError, match="21 identities"):
        charts.embedding_map(np.zeros((21, 2)), np.arange(21), np.zeros(21))


def test_a_label_stands_beside_its_own_persons_points() -> None:
    g = np.random.default_rng(0)
    # Two clouds of a person far from each other: the middle between them is nobody's.
    middles = np.array([[0, 0], [9, 9], [0, 9], [9, 0]])
    points = np.concatenate([middle + g.normal(0, 0.3, (5, 2)) for middle in middles])
    pids = np.repeat([1, 1, 2, 2], 5)
    drawn = charts.embedding_map(points, pids, np.tile([0, 1], 10)).axes[0].texts
    places = np.array([text.xyann for text in drawn])
    for text, place in zip(drawn, places):
        nearest = np.linalg.norm(points - place, axis=1)
        assert pids[nearest.argmin()] == int(text.get_text())
        assert 0.2 < nearest.min() < 1.0, "beside a point, and on none"
    crowd = charts.embedding_map(np.repeat(points[:5], 4, 0), np.arange(20), np.zeros(20, int))
    spots = np.array([text.xyann for text in crowd.axes[0].texts])
    apart = np.abs(spots[:, None] - spots) / np.ptp(points[:5], axis=0)
    covered = (apart < (0.03, 0.02)).all(2).sum() - len(spots)
    assert covered == 0, "labels in a crowd don't cover each other"


def test_an_image_where_no_place_adds_is_said_to_have_none() -> None:
    image = np.full((20, 10, 3), 200, np.uint8)
    found = np.zeros((2, 4, 2))
    found[0, 1, 1] = 1
    row = maps.ActivationRow(image, [image] * 2, found, ["0.9 same", "0.1 other"])
    figure = maps.activation_maps([row])
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["query", "0.9 same", "0.1 other\nno place adds"]
    assert "Dark all over" in figure.get_supxlabel() and "Bright" in figure.get_supxlabel()
    lit = maps.overlay(image, found[0]).sum(2)
    assert np.unravel_index(lit.argmax(), lit.shape)[0] in range(5, 10) and lit[0, 0] < 280
    only = maps.activation_maps([row._replace(images=[image], maps=found[:1])])
    assert "Dark" not in only.get_supxlabel()


def test_the_gap_is_written_beside_its_bar() -> None:
    axes = charts.modality_gap({"start": 0.995, "trained": 0.6}).axes[0]
    assert [text.get_text() for text in axes.texts][:2] == ["99.5", "60.0"]


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
    assert all(Image.open(path).size[0] > 450 for path in paths)


def test_curves_show_the_epoch_that_was_kept() -> None:
    lines = [
        {"kind": "epoch", "epoch": epoch, "losses": {"identity": 1.0}, "lr": 0.1,
         "metrics": {"embedding_mean_ap": ap}, "best": best}
        for epoch, ap, best in ((0, 0.2, True), (1, 0.6, True), (2, 0.4, False))
    ]  # fmt: skip
    drawn = charts.training_curves({"run": lines})
    assert drawn is not None
    panel = drawn.axes[2]
    (mark,) = [line for line in panel.lines if line.get_label() == "weights kept: epoch 2"]
    assert list(mark.get_xdata()) == [2, 2]
    drawn = charts.training_curves({"run": [{**line, "best": False} for line in lines]})
    assert drawn is not None and len(drawn.axes[2].lines) == 1


def test_a_batch_has_a_line_for_each_person_and_a_block_for_each_view(tmp_path: Path) -> None:
    """Also where a sampler of the user's own takes somebody for one sensor alone."""
    persons = ["ann", "bob"] * 2 + ["bob", "bob"]  # two views of ann and bob, bob at night
    shades = torch.tensor([20, 40, 60, 80, 100, 120])
    path = sheet.draw_batch(
        (shades / 255)[:, None, None, None].expand(6, 3, 64, 32),
        tmp_path / "batch.png",
        rows=[sheet.BatchRow(person, "", "erased") for person in persons],
        num_visible=4,
        visible_views=2,
        statistics=((0.0,) * 3, (1.0,) * 3),
    )
    drawn = np.asarray(Image.open(path))[..., 0].astype(int)
    lines = [sheet._HEAD + number * (3 * 64 + sheet._FOOT) + 2 for number in range(2)]
    for y, shown in zip(lines, ([0, 2], [1, 3, 4, 5])):
        found = list(dict.fromkeys(value for value in drawn[y].tolist() if value < 200))
        assert found == shades[shown].tolist(), "three times as large, in order"
