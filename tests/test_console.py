"""Progress where there is no terminal (lines, as often as the clock says), and counts in words."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from vireid import console


@pytest.mark.parametrize(
    ("total", "told"), [(4000, ["1,000", "2,000"]), (2500, ["1,000", "2,000", "2,500"]), (900, [])]
)
@pytest.mark.parametrize("shown", [True, False])
def test_lines_of_progress_without_a_terminal(
    shown: bool,
    total: int,
    told: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one is of the end, of what is long enough for any."""
    monkeypatch.setattr(console, "LINE_EVERY", 10.0)
    now = 100.0
    with console.progress("img", shown=shown) as bar:
        bar.get_time = lambda: now
        task = bar.add_task("embedding", total=total)
        for now in range(101, 101 + min(25, total // 100)):  # noqa: B007 - the clock reads it
            bar.advance(task, 100)
    lines = capsys.readouterr().err.splitlines()
    if not shown:
        assert not lines
        return
    pattern = rf"embedding: ([\d,]+) of {total:,} img, \d+ img/s(, 0:00:\d\d left)?$"
    found = [re.match(pattern, line) for line in lines]
    assert [match[1] for match in found] == told
    assert [match[2] is None for match in found] == [text == f"{total:,}" for text in told]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("forced", [False, True])
def test_a_table_is_wrapped_for_a_terminal_alone(
    forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    if forced:  # colours, as in the log of a CI service
        monkeypatch.setenv("FORCE_COLOR", "1")
    path = "runs/" + "a long name/" * 30
    shown = console.table(f"Reports of {path}", ["run", "note"], [[path, path[5:]]])
    facts = console.facts_table("Run", {"folder": path})
    for printer in (console.results, console.console):
        fresh = type(printer)(file=io.StringIO(), soft_wrap=True)  # the environment is read once
        for table in (shown, facts):
            fresh.print(table)
        lines = re.sub("\x1b.*?m", "", fresh.file.getvalue()).splitlines()
        assert [line.count(path) for line in lines if path in line] == [1, 1, 1]
        assert any(path[5:] in line.replace(path, "") for line in lines)
        fresh.file = _Terminal()
        fresh.print(facts)
        assert path not in fresh.file.getvalue()


def test_counts_in_words() -> None:
    counts = [console.count_text(count, "step", "steps") for count in (0, 1, 2, 12345)]
    assert counts == ["0 steps", "1 step", "2 steps", "12,345 steps"]


def test_unknown_words_are_refused_all_at_once() -> None:
    valid = ["lr", "epochs"]
    told = console.unknown("There is no ", ["Epoch", "x"], valid, again="Nor is there ")
    assert told == (
        "There is no 'Epoch'. Did you mean 'epochs'? Nor is there 'x'. Valid: lr, epochs."
    )
    told = console.unknown("No ", range(100), [f"name {n}" for n in range(100)])
    assert (
        told.startswith("No '0'. No '1'.")
        and "'9'" not in told.partition("91 more are unknown.")[0]
    )


def test_a_mistyped_path_is_answered_by_the_nearest_one(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mcl-0"
    run.mkdir(parents=True)
    (run / "weights.safetensors").touch()
    (run.parent / "mcl-00").touch()
    (tmp_path / ".runs").mkdir()

    def meant(path: str, *fits) -> str:
        return console.path_meant(tmp_path / path, *fits).removeprefix(" Did you mean ")

    for mistyped in ("runs/mcl_0", "run/mcl-0", "RUNS/MCL-0", "rnus/mlc-0/"):
        assert meant(mistyped, Path.is_dir) == f"'{run}'?", mistyped
    assert meant("run/mcl0/wieghts.safetensors") == f"'{run / 'weights.safetensors'}'?"
    assert meant("runs/mcl-", Path.is_file) == f"'{run}0'?"  # of the kind, though not the nearest
    for other in ("runs/mcl-0", "runs", "runs/agw", "else/mcl-0", "runs/mcl-00/x", "", "nul\0l/x"):
        assert meant(other) == "", other

    (tmp_path / "NOTICE.md").touch()
    for path, its in (("nofile.toml", ""), ("notic.md", "NOTICE.md"), ("notice.txt", "NOTICE.md")):
        assert meant(path) == (its and f"'{tmp_path / its}'?"), path

    (tmp_path / "0047.jpg").touch()
    for path, its in (("9.jpg", ""), ("47.jpg", "0047.jpg"), ("0047.jpeg", "0047.jpg")):
        assert meant(path) == (its and f"'{tmp_path / its}'?"), path

    def closed(path: Path) -> bool:  # as of a run in a folder without permission
        if path == run:
            raise PermissionError(13, "Permission denied", str(path))
        return True

    assert meant("runs/mcl_0", closed) == f"'{run}0'?"
    assert meant("run/mcl_0", lambda path: closed(run)) == ""


def test_a_folder_is_answered_by_what_it_holds(tmp_path: Path) -> None:
    assert console.inside_meant(tmp_path / "absent", Path.is_dir) == ""
    assert console.inside_meant(tmp_path, Path.is_dir) == ""
    (tmp_path / ".cache").mkdir()
    (tmp_path / "one").mkdir()
    assert console.inside_meant(tmp_path, Path.is_dir) == f" Did you mean '{tmp_path / 'one'}'?"
    (tmp_path / "two").mkdir()
    expected = f" Did you mean one in it, such as '{tmp_path / 'one'}'?"
    assert console.inside_meant(tmp_path, Path.is_dir) == expected


def test_a_folder_is_answered_by_what_it_lies_in(tmp_path: Path) -> None:
    inner = tmp_path / "run" / "test" / "sysu"
    inner.mkdir(parents=True)
    (tmp_path / "run" / "config.json").touch()

    def is_run(folder: Path) -> bool:
        return (folder / "config.json").is_file()

    for part in (inner, inner.parent):
        expected = f" Did you mean '{tmp_path / 'run'}', which it lies in?"
        assert console.folder_meant(part, is_run) == expected
    assert console.folder_meant(inner / "deep", is_run) == ""
