"""One table, one time and one identity have one answer through every door that reads them."""

from __future__ import annotations

import ast
import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import fakes
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vireid.data import load_dataset
from vireid.data.inspect import inspect
from vireid.embed.sources import read_source
from vireid.index import Filters
from vireid.server import api
from vireid.types import LAST_MOMENT, InputError, Modality, parse_pid, parse_time

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = ("v1.png", "i1.png", "v2.png", "i2.png")
Known = dict[str, tuple[int, int, int, float]]  # path → pid, camid, modality, time

# Module that reads such a thing → what a user does with it, in the tests below.
DOORS = {
    "read_rows": {
        "data/table.py": "dataset", "embed/sources.py": "embed", "data/pixels.py": "own",
        "index/cameras.py": "--camera-names, in tests/index/test_output.py",
    },
    "parse_time": {
        "data/table.py": "both tables", "index/entries.py": "filters, retention",
        "server/api.py": "form and JSON", "commands/search.py": "--time-from, --time-to",
    },
    "parse_pid": {
        "data/table.py": "both tables", "data/folder.py": "folders", "server/api.py": "form, JSON",
        "commands/search.py": "--pids", "commands/index.py": "--pids",
    },
    "is_missing": {"data/table.py": "both tables", "types.py": "parse_pid"},
}  # fmt: skip


@cache
def modules() -> dict[str, ast.Module]:
    paths = SOURCE.rglob("*.py")
    return {p.relative_to(SOURCE).as_posix(): ast.parse(p.read_text("utf-8")) for p in paths}


@pytest.mark.parametrize("reader", DOORS)
def test_every_module_that_reads_is_tried(reader: str) -> None:
    found = set()
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == reader:
                found.add(module)
    assert found == DOORS[reader].keys()


# ---- tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    for number, name in enumerate(NAMES):
        fakes.save(root / name, number, False, 0, (8, 4))
    return root


def by_embed(table: Path) -> Known:
    found = read_source(table)
    columns = (found.pids, found.camids, found.modality, found.times)
    return dict(zip(found.paths, zip(*(column.tolist() for column in columns))))


def by_dataset(table: Path) -> Known:
    return {
        s.path: (s.pid, s.camid, int(s.modality), math.nan if s.time is None else s.time)
        for s in load_dataset("folder", table).samples
    }


def by_info(table: Path) -> Known:
    inspect("folder", table, pixels=False)
    return by_dataset(table)


TABLES: tuple[Callable[[Path], Known], ...] = (by_embed, by_dataset, by_info)
HEAD = "path,pid,modality,camid,time"
ROWS = (
    "v1.png,7,visible,1,2026-05-01T22:15:00", "i1.png,7,infrared,2,2026-05-01 22:15",
    "v2.png,12,RGB,1,1777673700", "i2.png,12,thermal,2,2026-05-02T06:15:00+08:00",
)  # fmt: skip
MOMENT = 1777673700.0
PLAIN = {"v1.png": (7, 1, 0, MOMENT), "i1.png": (7, 2, 1, MOMENT), "v2.png": (12, 1, 0, MOMENT),
         "i2.png": (12, 2, 1, MOMENT)}  # fmt: skip


def text(head: str = HEAD, change: Callable[[str], str] = str, end: str = "\n") -> str:
    return end.join([head, *map(change, ROWS), ""])


def ids(form: Callable[[str], str]) -> str:
    """The table with its identities written in another form."""

    def change(row: str) -> str:
        path, pid, rest = row.split(",", 2)
        return f"{path},{form(pid)},{rest}"

    return text(change=change)


FORMS: dict[str, bytes] = {
    "plain": text().encode(),
    "capitals": text("Path,PID,Modality,CamID,TIME").encode(),
    "spaces": text(
        " path , pid , modality, camid ,time ", lambda r: r.replace(",", " , ")
    ).encode(),
    "7.0": ids("{}.0".format).encode(),
    "007": ids("{:>05}".format).encode(),
    "semicolons": text().replace(",", ";").encode(),
    "tabs": text().replace(",", "\t").encode(),
    "Excel's separator": ("sep=;\n" + text().replace(",", ";")).encode(),
    "quotes": text().replace(",", '","').replace("\n", '"\n"').join(['"', ""])[:-1].encode(),
    "BOM": text(end="\r\n").encode("utf-8-sig"),
    "UTF-16": text(end="\r\n").encode("utf-16"),
    "UTF-16 big-endian": ("\ufeff" + text()).encode("utf-16-be"),
    "UTF-16 without BOM": text().encode("utf-16-le"),
    "CR": text(end="\r").encode(),
    "pandas": text("," + HEAD, lambda row: f"{len(row)},{row}").encode(),
    "other columns": text(HEAD + ",note", lambda row: row + ",ok").encode(),
    "blank lines": text().replace("\n", "\n\n").encode(),
}


@pytest.mark.parametrize("door", TABLES)
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_table(folder: Path, door: Callable, form: str) -> None:
    (folder / "t.csv").write_bytes(FORMS[form])
    assert door(folder / "t.csv") == PLAIN


@pytest.mark.parametrize("ending", ["tsv", "txt", "tab"])
def test_a_table_is_known_by_its_first_line(folder: Path, ending: str) -> None:
    table = folder / f"t.{ending}"
    table.write_text(text().replace(",", "\t"))
    assert by_embed(table) == by_dataset(table) == PLAIN


@pytest.mark.parametrize("door", TABLES)
def test_names_and_long_numbers(folder: Path, door: Callable) -> None:
    names = {"7": "Ann", "12": "Jürgen"}
    (folder / "t.csv").write_text(ids(names.__getitem__), "utf-8")
    found = door(folder / "t.csv")
    assert found["v1.png"][0] == found["i1.png"][0] == parse_pid("Ann")
    assert found["v2.png"][0] == parse_pid("Ju\u0308rgen")  # as a Mac's folder is called
    (folder / "t.csv").write_text(ids(lambda pid: f"100000000000000000{pid:>02}"))
    found = door(folder / "t.csv")
    assert found["v1.png"][0] == parse_pid("10000000000000000007") == found["i1.png"][0]
    assert found["v1.png"][0] != found["v2.png"][0]
    (folder / "t.csv").write_text(ids(lambda pid: pid if pid == "7" else "bo"))
    assert door(folder / "t.csv")["v1.png"] == PLAIN["v1.png"]  # a number beside names stays one


@pytest.mark.parametrize("word", ["", "nan", "NaN", "NA", "None", "null", "<NA>", "-1", "-1.0"])
def test_unknown_cameras_and_times(folder: Path, word: str) -> None:
    rows = [",".join([*row.split(",")[:3], word, word]) for row in ROWS]
    (folder / "t.csv").write_text("\n".join([HEAD, *rows]))
    for door in TABLES:
        assert {(one[1], math.isnan(one[3])) for one in door(folder / "t.csv").values()} == {
            (-1, True)
        }


REFUSED = {
    "has 3 values": ("v1.png,7,visible", HEAD),
    "has 6 values": ("v1.png,7,visible,1,,more", HEAD),
    "looks like milliseconds": ("v1.png,7,visible,1,1777673700000", HEAD),
    "looks like microseconds": ("v1.png,7,visible,1,1777673700000000", HEAD),
    "looks like nanoseconds": ("v1.png,7,visible,1,1777673700000000000", HEAD),
    "Write a date as 2026-05-01": ("v1.png,7,visible,1,20260501", HEAD),
    "The time is '2026/05/01 22:15'": ("v1.png,7,visible,1,2026/05/01 22:15", HEAD),
    "The time is '1_777'": ("v1.png,7,visible,1,1_777", HEAD),
    "the camid is 'cam1'": ("v1.png,7,visible,cam1,", HEAD),
    "the camid is '1.5'": ("v1.png,7,visible,1.5,", HEAD),
    "has been rounded": ("v1.png,1.2E+19,visible,1,", HEAD),
    "modality is 'blue'": ("v1.png,7,blue,1,", HEAD),
    "has no path": (",7,visible,1,", HEAD),
    "again .first in line 2": ("./i1.png,7,visible,1,", HEAD),
    "has the column pid twice": ("v1.png,7,visible,1,7", "path,pid,modality,camid,PID"),
}


@pytest.mark.parametrize("door", TABLES)
@pytest.mark.parametrize("message", REFUSED)
def test_tables_that_every_door_refuses(folder: Path, door: Callable, message: str) -> None:
    row, head = REFUSED[message]
    (folder / "t.csv").write_text("\n".join([head, ROWS[1], row]))
    where = "" if "twice" in message else "Line 3 of .*"
    with pytest.raises(InputError, match=f"{where}{message}"):
        door(folder / "t.csv")


def test_the_modality_that_is_given(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("path\nv1.png\ni1.png\n")
    for sensor in Modality:
        assert read_source(table, modality=sensor).modality.tolist() == [sensor, sensor]
    with pytest.raises(InputError, match=r"Line 2 of .* modality of 'v1.png' is unknown"):
        read_source(table)
    table.write_text("path;Modality\nv1.png;\ni1.png;IR\n")  # it fills what is missing …
    assert read_source(table, modality=Modality.INFRARED).modality.tolist() == [1, 1]
    with pytest.raises(InputError, match=r"Line 3 .* 'IR', but `modality` is visible"):
        read_source(table, modality=Modality.VISIBLE)  # … and never overrules
    for head in ("path,sensor", "path\tSpectrum"):
        table.write_text(f"{head}\nv1.png,visible\ni1.png,nir\n".replace(",", head[4]))
        with pytest.raises(InputError, match=r"column '(sensor|spectrum)' .* Name it modality"):
            read_source(table, modality=Modality.VISIBLE)


def test_images_of_nobody_are_left_out_and_counted(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path, identities=3, images=1)
    (root / "visible" / "person01").rename(root / "visible" / "-1")
    (root / "infrared" / "person01").rename(root / "infrared" / "-1")
    dataset = load_dataset("folder", root)
    assert -1 not in dataset.pids and len(dataset) == 8
    assert any("4 images of nobody (identity -1) left out" in note for note in dataset.notes)


def dialects() -> st.SearchStrategy[Callable[[list[list[str]]], bytes]]:
    def writer(separator: str, encoding: str, end: str, quoting: int) -> Callable:
        def write(rows: list[list[str]]) -> bytes:
            out = io.StringIO()
            csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerows(
                rows
            )
            return out.getvalue().encode(encoding)

        return write

    return st.builds(
        writer, st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    )  # fmt: skip


PID = st.one_of(
    st.integers(0, 10**25).map(str),
    st.integers(0, 10**6).map("{}.0".format),
    st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=6),
)


@FEW
@given(dialects(), st.permutations(["path", "pid", "modality", "camid"]), st.lists(PID, min_size=4,
       max_size=4), st.integers(0, 10**9 - 1))  # fmt: skip
def test_any_dialect_is_one_table(folder: Path, write, columns, pids, camid) -> None:
    cells = [
        {"path": name, "pid": pid, "modality": "iv"[name[0] == "v"], "camid": str(camid)}
        for name, pid in zip(NAMES, pids)
    ]
    rows = [[f" {name.title()}" for name in columns], *([row[c] for c in columns] for row in cells)]
    (folder / "t.csv").write_bytes(write(rows))
    try:
        expected = {
            row["path"]: (parse_pid(row["pid"]), camid, int(row["modality"] == "i"))
            for row in cells
        }
    except InputError as error:
        with pytest.raises(InputError, match="rounded"):
            by_embed(folder / "t.csv")
        assert "rounded" in str(error)
        return
    assert {p: k[:3] for p, k in by_embed(folder / "t.csv").items()} == expected
    if -1 not in {known[0] for known in expected.values()}:
        assert {p: k[:3] for p, k in by_dataset(folder / "t.csv").items()} == expected


# ---- identities


@FEW
@given(st.integers(0, 10**18 - 1), st.integers(0, 4))
def test_forms_of_one_number(number: int, zeros: int) -> None:
    forms = (
        number,
        str(number),
        "0" * zeros + str(number),
        f"{number}.{'0' * zeros}",
        f" {number} ",
    )
    assert {parse_pid(form) for form in forms} == {number}


@FEW
@given(st.lists(st.text(max_size=12), min_size=2, max_size=20, unique=True))
def test_identities_are_numbers_that_fit_everywhere(texts: list[str]) -> None:
    for one in texts:
        try:
            pid = parse_pid(one)
        except InputError as error:
            assert "rounded" in str(error)
        else:
            assert pid == parse_pid(f" {one}\t") and -1 <= pid < 2**63
            assert pid < 10**18


def test_names_are_told_apart() -> None:
    names = [f"person {number}" for number in range(20_000)] + [f"9{n:020}" for n in range(20_000)]
    numbers = {parse_pid(name) for name in names}
    assert len(numbers) == len(names) and min(numbers) >= 10**15 and max(numbers) < 2**53
    assert parse_pid("ann") == 8548904042328997  # the same on every machine, for ever


# ---- times


def by_filter(moment: object) -> float:
    return Filters(time_from=moment).time_from  # type: ignore[arg-type, return-value]


def by_form(moment: object) -> float:
    return api.read_time("time_from", str(moment))  # type: ignore[return-value]


def by_json(moment: object) -> float:
    body = api.RowSearch(row_id="1", time_to=moment)  # type: ignore[arg-type]
    return body.filters().time_to  # type: ignore[union-attr, return-value]


def by_retention(moment: object) -> float:
    from vireid.index.entries import check_time

    check_time("`older_than`", moment)  # type: ignore[arg-type]
    return float(moment)  # type: ignore[arg-type]


def by_flag(moment: object) -> float:
    from vireid.commands.search import _time

    return _time("--time-from", str(moment))  # type: ignore[return-value]


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Callable[[object], float]]:
    (tmp_path / "v1.png").touch()
    table = tmp_path / "t.csv"

    def read(moment: object) -> float:
        table.write_text(f"path,modality,time\nv1.png,visible,{moment}\n")
        return read_source(table).times[0]

    yield read


MOMENTS = (by_filter, by_form, by_json, by_retention, by_flag)


@FEW
@given(st.floats(0, LAST_MOMENT, exclude_max=True), st.integers(0, 3))
def test_seconds_through_every_door(cell: Callable, moment: float, factor: int) -> None:
    """Seconds are seconds everywhere; milliseconds and the like are refused everywhere."""
    given_time = moment * 1000**factor
    assume(not re.fullmatch(r"\d{4,8}\.0|\d{5}\.\d*", str(given_time)))  # as text perhaps a date
    for read in (*MOMENTS, cell):
        if given_time < LAST_MOMENT:
            assert read(given_time) == given_time
        else:
            with pytest.raises(InputError, match="not between 1970 and 2200"):
                read(given_time)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026", "2026-01-01"),
        ("2026.0", "2026-01-01"),  # as pandas writes a column of years with an empty cell
        ("1999", "1999-01-01"),
        ("202603", "2026-03-01"),
        ("20260301", "2026-03-01"),
        ("20260301.0", "2026-03-01"),
        ("01032026", "2026-MM-DD"),
        ("12312026", "2026-MM-DD"),
        ("202603011805", "2026-03-01 18:05:00"),
        ("20260301180509", "2026-03-01 18:05:09"),
        ("20260301180509123", "2026-03-01 18:05:09"),
        ("46082", "2026-03-01 00:00:00"),  # a spreadsheet's days
        ("46082.75", "2026-03-01 18:00:00"),
    ],
)
def test_numbers_that_may_be_dates_are_refused_at_every_door(cell, text: str, date: str) -> None:
    """Read as seconds they are a moment in 1970, which no filter and no retention means."""
    doors: list[tuple[Callable[[object], float], object]]
    doors = [(read, text) for read in (parse_time, by_form, by_json, by_flag, cell)]
    if text.isdigit():
        doors += [(read, int(text.lstrip("0"))) for read in MOMENTS if text[0] != "0"]
    for read, value in doors:
        with pytest.raises(InputError, match=f"may be a date .*Write a date as {date}"):
            read(value)
    assert "MM" in date or parse_time(date) > 9e8
    with pytest.raises(InputError) as caught:
        parse_time(text)
    if meant := re.search(r"those seconds as ([\d :-]+)\.$", str(caught.value)):
        assert parse_time(meant[1]) == pytest.approx(float(text), abs=1)
    else:
        assert float(text) >= LAST_MOMENT


def test_a_float_is_seconds() -> None:
    """What one door has read, the next one doesn't doubt."""
    for moment in (2026.0, 46082.75, parse_time("1970-01-01 00:33:46")):
        assert parse_time(moment) == by_filter(moment) == by_json(moment) == moment


@FEW
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)),
    st.one_of(st.none(), st.integers(-14 * 60, 14 * 60)),
    st.sampled_from("T "),
)
def test_dates_through_every_door(cell, moment: datetime, minutes: int | None, between) -> None:
    """Without a zone a date is UTC, whatever the machine's is."""
    zone = UTC if minutes is None else timezone(timedelta(minutes=minutes))
    expected = moment.replace(tzinfo=zone).timestamp()
    written = (moment if minutes is None else moment.replace(tzinfo=zone)).isoformat(between)
    for read in (parse_time, by_form, by_json, by_flag, cell):
        assert read(written) == expected


def test_retention_never_removes_by_milliseconds(tmp_path: Path) -> None:
    from vireid.index import create_index
    from vireid.types import Embeddings

    n, vectors = 4, np.eye(4, dtype=np.float32)
    known = Embeddings(
        vectors={"embedding": vectors}, paths=[f"{i}.jpg" for i in range(n)], pids=np.arange(n),
        camids=np.arange(n), modality=np.zeros(n, np.int64), times=MOMENT + np.arange(n),
        weights_hash="w",
    )  # fmt: skip
    with create_index(tmp_path / "ix", weights_hash="w", dim=4) as index:
        index.add(known)
        for wrong in (MOMENT * 1000, -5.0, math.inf, 2026):
            for what in (index.count, index.remove):
                with pytest.raises(InputError, match="`older_than`"):
                    what(older_than=wrong)
            with pytest.raises(InputError, match="time_to"):
                index.search(vectors[:1], filters=replace(Filters(), time_to=wrong))
        assert index.remove(older_than=MOMENT + 2) == 2 and len(index) == 2


def test_columns_of_other_names_are_not_passed_over_in_silence(folder: Path) -> None:
    rows = [f"{n},{name},{n // 2},{'ir' if n % 2 else 'rgb'},1,5\n" for n, name in enumerate(NAMES)]
    table = folder / "t.csv"
    table.write_text("index,path,pid,modality,Camera,timestamp\n" + "".join(rows))
    sentence = "columns of other names ('camera', 'timestamp') than are read (path, pid,"
    for notes in (read_source(table).notes, load_dataset("folder", table).notes):
        assert sentence in " ".join(notes)
