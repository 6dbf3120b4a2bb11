"""Parsers of what users write never crash on junk: a result or a sentence, nothing else."""

from __future__ import annotations

import contextlib
import re

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vireid.data.folder import load as load_folder
from vireid.data.listing import check_labels, read_ids, read_list
from vireid.data.llcm import camera_of
from vireid.data.table import read_table
from vireid.types import InputError

THOUSAND = settings(
    max_examples=1000,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.sampled_from(
    [
        "path",
        "pid",
        "modality",
        "camid",
        "split",
        "role",
        "time",
        "a.png",
        "visible",
        "ir",
        "1",
        "0",
        "-1",
        "train",
        "test",
        "query",
        "nan",
        "1e999",
        "٣",
        "²",
        "\\",
        "/",
        "..",
        ",",
        ";",
        " ",
        "\n",
        "\r",
        '"',
        "'",
        "\t",
        "\0",
        "\ufeff",
        "ü",
        "🙂",
        "9" * 40,
        "2026-05-01",
        "x" * 300,
    ]
)
JUNK = st.one_of(
    st.lists(WORDS, max_size=12).map(lambda words: "".join(words).encode()),
    st.binary(max_size=40),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
TABLES = st.one_of(
    JUNK,
    st.lists(st.lists(WORDS, min_size=3, max_size=4), max_size=3).map(
        lambda rows: "\n".join(
            ["path,pid,modality,camid,time"[: 17 + 6 * (len(rows) % 3)], *map(",".join, rows)]
        ).encode()
    ),
)
only_sentences = contextlib.suppress(InputError)


@THOUSAND
@given(TABLES)
@example(b"path,pid,modality\na.png,1,v\n")
def test_tables(tmp_path, junk):
    path = tmp_path / "samples.csv"
    path.write_bytes(junk)
    with only_sentences:
        read_table(path)
    assert [p.name for p in tmp_path.iterdir()] == ["samples.csv"]


@THOUSAND
@given(JUNK)
def test_identity_files(tmp_path, junk):
    path = tmp_path / "test_id.txt"
    path.write_bytes(junk)
    with only_sentences:
        assert all(isinstance(pid, int) and pid >= 0 for pid in read_ids(path, "list"))


@THOUSAND
@given(JUNK)
@example(b"a/1/b.bmp 999999999\n")
def test_lists(tmp_path, junk):
    path = tmp_path / "train_visible_1.txt"
    path.write_bytes(junk)
    with only_sentences:
        images = read_list(path, "list")
        assert images and not any(image.path.startswith("/") for image in images)
        check_labels(images, "list")


@THOUSAND
@given(st.one_of(st.text(max_size=20), st.sampled_from([r"(\d+)", "c(.)", "(a|)*", "(?P<x>\\d)"])))
def test_camera_patterns(folder_root, pattern):
    with only_sentences:
        load_folder(folder_root, camera_pattern=pattern)


@THOUSAND
@given(st.text(max_size=30))
def test_camera_numbers(path):
    with only_sentences:
        assert re.fullmatch(r"\d+", str(camera_of(path)))


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))


@settings(THOUSAND, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["visible", "IR", "other"]), NAMES, NAMES), max_size=6))
def test_folders_of_any_names(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("junk")
    for top, person, file in names:
        with contextlib.suppress(OSError):  # a name that this file system has not
            (root / top / person).mkdir(parents=True, exist_ok=True)
            (root / top / person / f"{file}.jpg").write_bytes(b"")
    with only_sentences:
        load_folder(root)
