"""embed, index, search, serve: from folders of images to the person."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import command_kit
import pytest
from command_kit import refused, run, said
from PIL import Image

CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, trained: Path, sysu_root: Path) -> Path:
    """A folder with `day.safetensors`, embeddings of three visible cameras by a CSV table."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["path,pid,camid,modality,time"]
    for camid, moment in ((1, "2026-01-01T08:00"), (2, "2026-02-01T08:00"), (4, "")):
        for path in sorted((sysu_root / f"cam{camid}").glob("*/*.jpg")):
            lines.append(f"{path},{int(path.parent.name)},{camid},visible,{moment}")
    (folder / "day.csv").write_text("\n".join(lines) + "\n")
    words = ("--images", folder / "day.csv", "--weights", trained, "--workers", 1, *CPU)
    assert run("embed", *words, "--out", folder / "day.safetensors") == 0
    return folder


@pytest.fixture(scope="module")
def index(people: Path) -> Path:
    """An index of them that tests only read."""
    words = ("--index", people / "index", "--embeddings", people / "day.safetensors")
    assert run("index", "create", *words) == 0
    return people / "index"


def test_embed_folders_and_lists(trained: Path, sysu_root: Path, tmp_path: Path, capsys) -> None:
    out, night = tmp_path / "night.safetensors", sysu_root / "cam3"
    words = ("--weights", trained / "weights.safetensors", "--workers", 1, *CPU)
    pattern = ("--camera-pattern", r"cam(\d+)", "--dtype", "FP32", "--tta", "Flip")
    flags = ("--images", night, "--modality", "INFRARED", "--out", out)
    assert run("embed", *words, *flags, *pattern) == 0
    message = said(capsys)
    assert "24 embeddings" in message and "img/s" in message and "vireid index create" in message
    paths = tmp_path / "list.txt"
    paths.write_text("\n".join(str(path) for path in sorted(night.glob("*/*.jpg"))[:3]))
    assert run("embed", *words, "--images", paths, "--modality", "infrared", "--out", out) == 0
    assert "3 embeddings" in said(capsys)

    one = ("embed", *words, "--out", tmp_path / "x.safetensors", "--images")
    assert "Set --modality" in refused(capsys, *one, night)
    assert "must be 'visible' or 'infrared'" in refused(capsys, *one, night, "--modality", "blue")
    assert "There is no" in refused(capsys, *one, tmp_path / "no", "--modality", "visible")
    (tmp_path / "empty").mkdir()
    assert "no image" in refused(capsys, *one, tmp_path / "empty", "--modality", "visible")
    assert "at least 1" in refused(capsys, *one, night, "--batch-size", 0)
    assert "Valid: float16, float32." in refused(capsys, *one, night, "--dtype", "int8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(next(night.glob("*/*.jpg")).read_bytes()[:300])
    broken = (*one, tmp_path / "broken", "--modality", "infrared")
    assert "a.jpg" in refused(capsys, *broken)
    assert not (tmp_path / "x.safetensors").exists()


def test_an_index_changes(people: Path, tmp_path: Path, capsys) -> None:
    place, day = tmp_path / "index", ("--embeddings", people / "day.safetensors")
    at = ("--index", place)
    assert "There is no index" in refused(capsys, "index", "add", *at, *day)
    assert run("index", "create", *at, *day) == 0
    assert "72 images" in said(capsys)
    assert "already" in refused(capsys, "index", "create", *at, *day)
    assert run("index", "add", *at, *day) == 0
    assert "0 images added" in said(capsys)
    assert run("index", "update", *at, *day) == 0
    assert "72 replaced" in said(capsys)
    assert "Say what to remove" in refused(capsys, "index", "remove", *at)
    assert "such as 30d" in refused(capsys, "index", "remove", *at, "--older-than", "30x")
    assert run("index", "remove", *at, "--older-than", "1d", "--cameras", 1, "--yes") == 0
    assert "24 images removed" in said(capsys)
    assert run("index", "compact", *at) == 0 and run("index", "verify", *at) == 0
    assert "is intact" in said(capsys)
    assert run("index", "info", *at, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["count"] == 48 and facts["cameras"] == {"2": 24, "4": 24}
    assert run("index", "info", *at) == 0
    assert "exact" in capsys.readouterr().out


def test_embeddings_of_other_preparation_are_refused(
    people: Path, index: Path, trained: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "flip.safetensors"
    words = ("--images", people / "day.csv", "--weights", trained, "--workers", 1, *CPU)
    assert run("embed", *words, "--out", out, "--tta", "flip") == 0
    assert "tta" in refused(capsys, "index", "add", "--index", index, "--embeddings", out)
    weights = trained / "weights.safetensors"
    assert "not an embeddings file" in refused(
        capsys, "index", "add", "--index", index, "--embeddings", weights
    )


def test_search_for_scripts(index: Path, trained: Path, sysu_root: Path, capsys) -> None:
    query = sysu_root / "cam3" / "0001" / "0001.jpg"
    words = ("--index", index, "--weights", trained, "--image", query, "--modality", "Infrared")
    capsys.readouterr()
    assert run("search", *words, "--top", 5, "--json", *CPU) == 0
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer[0]["query"] == str(query)
    hits = answer[0]["hits"]
    assert len(hits) == 5 and {"path", "similarity", "camid"} <= set(hits[0])
    similarities = [hit["similarity"] for hit in hits]
    assert similarities == sorted(similarities, reverse=True)
    filters = ("--cameras", 2, 4, "--time-from", "2026-01-15", "--pids", 1, 2)
    assert run("search", *words, "--json", *filters, "--gallery-modality", "visible", *CPU) == 0
    found = json.loads(capsys.readouterr().out)[0]["hits"]
    assert {(hit["camid"], hit["pid"]) for hit in found} == {(2, 1), (2, 2)}


def test_search_for_people(
    index: Path, trained: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    night = sysu_root / "cam3" / "0001"
    words = ("--index", index, "--weights", trained, "--modality", "infrared", *CPU)
    assert run("search", *words, "--image", night / "0001.jpg", "--rerank", "--top", 3) == 0
    assert "Most similar to" in capsys.readouterr().out
    files = ("--csv", tmp_path / "hits.csv", "--save", tmp_path / "ranks.png")
    assert run("search", *words, "--images", night, "--top", 2, *files) == 0
    assert len((tmp_path / "hits.csv").read_text().splitlines()) == 1 + 2 * 2
    with Image.open(tmp_path / "ranks.png") as image:
        assert image.height > 400  # two queries, one below the other
    capsys.readouterr()
    assert run("search", *words, "--image", night / "0001.jpg", "--cameras", 9) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and "Nothing found" in shown.err


def test_what_cannot_be_searched(index: Path, trained: Path, sysu_root: Path, capsys) -> None:
    query = ("--image", sysu_root / "cam3" / "0001" / "0001.jpg")
    words = ("search", "--index", index, "--weights", trained, *CPU)
    infrared = ("--modality", "infrared")
    assert "Give either --image" in refused(capsys, *words, *infrared)
    assert "There is no image" in refused(capsys, *words, *infrared, "--image", "nope.jpg")
    assert f"'{sysu_root}' is a folder." in refused(capsys, *words, *infrared, "--image", sysu_root)
    assert "can't be read" in refused(capsys, *words, *infrared, "--image", trained / "config.json")
    assert "at least 1" in refused(capsys, *words, *query, *infrared, "--top", 0)
    assert "--time-to: The time is 'soon'" in refused(
        capsys, *words, *query, *infrared, "--time-to", "soon"
    )
    assert "--modality" in refused(capsys, *words, *query)
    assert "There is no index" in refused(
        capsys, "search", "--index", trained / "no", "--weights", trained, *query, *infrared
    )
    csv = ("--csv", trained / "config.json" / "hits.csv")
    assert "is a file" in refused(capsys, *words, *query, *infrared, *csv)
    wrong = ("--image", "nope.jpg", "--modality", "blue", "--top", 0, *csv)
    message = refused(capsys, "search", "--index", trained / "no", "--weights", "nowhere", *wrong)
    for one in ("image 'nope.jpg'", "is a file", "at least 1", "is 'blue'", "no index", "no wei"):
        assert one in message  # all at once


def test_weights_of_another_training_are_refused(
    index: Path, trained: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    assert command_kit.train(tmp_path / "other", sysu_root, "--seed", 9) == 0
    query = ("--image", sysu_root / "cam3" / "0001" / "0001.jpg", "--modality", "infrared")
    message = refused(
        capsys, "search", "--index", index, "--weights", tmp_path / "other", *query, *CPU
    )
    assert "weights" in message


def test_serve_starts_and_ends_at_ctrl_c(index: Path, trained: Path) -> None:
    """A process of its own: the server lives in the main thread and ends by a signal."""
    command = [sys.executable, "-m", "vireid", "serve", "--index", str(index)]
    words = ["--weights", str(trained), "--port", "0", *CPU]
    server = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    try:
        message = server.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", message)
        assert address, message + server.communicate()[1]
        with urllib.request.urlopen(f"{address[0]}/api/info", timeout=60) as answer:
            facts = json.load(answer)
        assert facts["count"] == 72
        server.send_signal(signal.SIGINT)
        message += server.communicate(timeout=30)[1]
    finally:
        server.kill()
    assert server.returncode == 0 and "Traceback" not in message, message


@pytest.fixture
def served(monkeypatch) -> list[dict]:
    """What `vireid serve` would start with, whatever the index."""
    calls: list[dict] = []

    def serve(*_: object, **words: object) -> None:
        calls.append(words)

    monkeypatch.setattr("vireid.index.backends.check_index", lambda index: None)
    monkeypatch.setattr("vireid.server.app.serve", serve)
    monkeypatch.delenv("VIREID_TOKEN", raising=False)
    return calls


def test_serve_takes_its_settings_from_flags(served: list[dict], tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who may search\njane  janes-own-token\n\njoe\tjoes=own=token\n")
    words = ("serve", "--index", "ix", *CPU, "--host", "0.0.0.0", "--port", 8123)
    more = ("--token-file", file, "--allowed-host", "Search.Example.org", "find.local",
            "--trusted-proxy", "10.0.0.0/8", "::1", "--audit-log", tmp_path / "log",
            "--reason-required")  # fmt: skip
    assert run(*words, *more, "--token", "ann=anns-own-token") == 0
    settings = served[0]["settings"]
    assert settings.tokens == {
        "ann": "anns-own-token", "jane": "janes-own-token", "joe": "joes=own=token"
    }  # fmt: skip
    assert settings.allowed_hosts == ("search.example.org", "find.local")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.audit_log == tmp_path / "log" and settings.require_reason
    assert (served[0]["host"], served[0]["port"]) == ("0.0.0.0", 8123)
    for one in ("just-a-token", "base64+like/token=="):
        assert run(*words, "--token", one) == 0
        assert served[-1]["settings"].tokens == {"token": one}


def test_serve_takes_a_token_from_the_environment(served: list[dict], monkeypatch) -> None:
    monkeypatch.setenv("VIREID_TOKEN", "from-the-environment")
    assert run("serve", "--index", "ix", *CPU, "--trusted-proxy", "10.0.0.7") == 0
    assert served[0]["settings"].tokens == {"token": "from-the-environment"}


def test_tokens_that_are_refused(served: list[dict], tmp_path: Path, capsys) -> None:
    words = ("serve", "--index", "ix", *CPU)
    file = tmp_path / "tokens"
    for content, words_of_it in (
        ("jane\n", "Line 1 of the --token-file"),
        ("jane secret-token-1 more\n", "Line 1"),
        ("jane secret-token-1\nja/ne secret-token-2\n", "Line 2"),
        ("jane secret-token-1\njane secret-token-2\n", "same name"),
        ("jane secret-token-1\njoe secret-token-1\n", "same token"),
        ("jane short\n", "at least 8"),
        ("# nobody yet\n\n", "names no user"),
    ):
        file.write_text(content)
        sentence = refused(capsys, *words, "--token-file", file)
        assert words_of_it in sentence and "secret-token" not in sentence
    assert "can't be read" in refused(capsys, *words, "--token-file", tmp_path / "none")
    sentence = refused(capsys, *words, "--token", "jane=long-enough-1", "long-enough-2")
    assert "NAME=TOKEN" in sentence and "long-enough" not in sentence
    twice = ("--token", "jane=long-enough-1", "--token", "joe=long-enough-2")
    assert "--token was given twice" in refused(capsys, *words, *twice)
    proxy = ("--trusted-proxy", "proxy.local")
    assert "--trusted-proxy is 'proxy.local'" in refused(capsys, *words, *proxy)
    assert "no token is set" in refused(capsys, *words, "--trusted-proxy", "10.0.0.7")
    assert served == []


def test_serve_refuses(index: Path, trained: Path, capsys) -> None:
    words = ("serve", "--index", index, "--weights", trained, *CPU)
    assert "no token is set" in refused(capsys, *words, "--host", "0.0.0.0")
    assert "between 0 and 65535" in refused(capsys, *words, "--port", 99999)
