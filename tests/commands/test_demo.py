"""demo: the whole job in one command, going on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_kit import refused, run, said

from vireid.commands.demo import DemoSize, run_demo
from vireid.commands.demo_page import _course, _first_place, _time, change_words
from vireid.figures.ranked import Entry
from vireid.testing import reports_of
from vireid.training.journal import read_log


@pytest.mark.long
@pytest.mark.curves
def test_a_small_demo(tmp_path: Path, capsys) -> None:
    size = DemoSize(
        identities=7, test_identities=4, images=1, steps=2, pids_per_batch=2, images_per_pid=1
    )
    numbers = run_demo(tmp_path / "demo", size=size, device="cpu")
    message = said(capsys)
    assert "All people are synthetic." in message and "guessing gives 25.0 %" in message
    assert 0 <= numbers["after_rank1"] <= 1
    assert (tmp_path / "demo" / "demo.html").as_uri() in message.replace(" ", "")
    page = (tmp_path / "demo" / "demo.html").read_text(encoding="utf-8")
    log = read_log(tmp_path / "demo" / "run" / "log.jsonl")
    assert [line["global_step"] for line in log if line["kind"] == "epoch"] == [1, 2]
    seconds = log[-1]["seconds"]
    assert f"after {_time(seconds)} of training." in page
    assert page.count("<section") == 9 and "vireid serve <i>--index</i>" in page
    assert "searched: 16 visible images of 4 people, from cameras 1, 2, 4, 5. " in page
    report = "run/test/sysu-all-1shot-seeded"  # as `vireid test` has it
    for name in ("run/curves.png", f"{report}/ranks.jpg", f"{report}/report.md", "search.jpg",
                 "report-before-training/ranks.jpg"):  # fmt: skip
        assert (tmp_path / "demo" / name).is_file(), name
        if name != "run/curves.png":
            assert name in message.replace(" ", "")
    (found,) = reports_of(tmp_path / "demo" / "run")
    words = ("--kind", "cmc", "--out", tmp_path / "figures", "--device", "cpu")
    assert run("plot", tmp_path / "demo" / "run", *words) == 0
    assert run("test", "--resume", tmp_path / "demo" / "run", *words[-2:]) == 0
    (again,) = reports_of(tmp_path / "demo" / "run")  # the same question
    assert again.raw == found.raw
    (tmp_path / "demo" / "run" / "summary.json").unlink()  # as if it had been stopped
    assert run_demo(tmp_path / "demo", size=size, device="cpu")["after_rank1"] == pytest.approx(
        numbers["after_rank1"]
    )


def test_the_time_of_a_training_is_said_as_it_was() -> None:
    given = (0.3, 1, 58.4, 89, 95, 773.8, 5000, 7300)
    assert [_time(seconds) for seconds in given] == [
        "1 second", "1 second", "58 seconds", "89 seconds", "2 minutes", "13 minutes",
        "83 minutes", "2 hours",
    ]  # fmt: skip


def test_the_learning_rate_is_described_as_it_went() -> None:
    assert _course([1, 2, 3]).startswith("still rises")
    assert (
        _course([1, 3, 3])
        == _course([3, 3, 3])
        == _course([3])
        == ("reaches its full value and stays there")
    )
    assert _course([1, 3, 2]) == "rises first and then falls"
    assert _course([3, 2, 1]) == "falls"


def test_a_folder_with_other_things_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    assert "holds other things" in refused(capsys, "demo", "--out", tmp_path)


def test_a_ranked_list_says_where_the_person_is_among_those_that_count() -> None:
    def place(marks: str) -> str:
        return _first_place([Entry(np.empty(0), 0.5, "", m == "y", m == "s") for m in marks])

    assert place("snsynys") == "found at rank 2" and place("yy") == "found at rank 1"
    assert place("nsns") == "not among the first 2" and place("ss") == "none of these counts"


@pytest.mark.parametrize(("gains", "sure"), [(12 * [1.0], True), (6 * [1.0, -1.0], False)])
def test_what_training_changed_is_said_for_other_people_too(gains: list, sure: bool) -> None:
    before = {"pids": np.arange(12), "matched": np.ones(12), "pooled.rank1": np.zeros(12)}
    after = {**before, "embedding.rank1": np.array(gains)}
    words = change_words(
        *(
            SimpleNamespace(queries=queries, best_embedding=lambda name=name: name)
            for name, queries in (("pooled", before), ("embedding", after))
        )
    )
    if sure:
        assert words == (
            "Training changed Rank-1 by +100.0 points for these people; for other people it would "
            "be between +100.0 and +100.0 (95 %)."
        )
    else:
        assert "by +0.0 points" in words and "this may be chance, as for other people" in words


def test_people_of_another_demo_are_refused(tmp_path: Path, capsys) -> None:
    """Of another seed, and of a version whose demo drew others."""
    marker = tmp_path / "people" / ".vireid-synthetic.json"
    marker.parent.mkdir()
    words = ("demo", "--out", tmp_path, "--seed", 6, "--device", "cpu")
    marker.write_text('{"seed": 5, "cameras": "others"}')
    message = refused(capsys, *words)
    assert "the people of the seed 5; 6 was asked for" in message and "--seed 5" in message
    marker.write_text('{"seed": 6}')
    assert "other people than a demo makes" in refused(capsys, *words)
