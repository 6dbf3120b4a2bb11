"""A plain install trains and tests; every optional part says by name how it is had."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from vireid.extras import EXTRAS, how_to_install, installed, require
from vireid.types import InputError

ROOT = Path(__file__).parents[1]
NOT_OURS = {"all", "dev", "docs"}  # nothing of the package asks for these


def test_the_extras_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) - NOT_OURS == set(EXTRAS)
    assert extras["all"] == [f"vireid[{','.join(EXTRAS)}]"]


def test_a_missing_extra_is_an_input_and_an_import_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    assert not installed("milvus")
    for kind in (InputError, ImportError):
        with pytest.raises(kind, match=r"pymilvus.*pip install .*\[milvus\]"):
            require("milvus")


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (None, "'vireid[plot]'"),  # from an index
        ({"url": "file:///x/a%20b", "dir_info": {"editable": True}}, "-e '/x/a b[plot]'"),
        ({"url": "file:///x/v.whl", "archive_info": {}}, "'/x/v.whl[plot]'"),
        ({"url": "https://h/v.git", "vcs_info": {"vcs": "git"}},
         "'vireid[plot] @ git+https://h/v.git'"),
    ],
)  # fmt: skip
def test_an_extra_comes_from_where_the_package_came(
    origin: dict | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = origin and json.dumps(origin)
    found = SimpleNamespace(read_text=lambda name: text)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: found)
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    assert how_to_install("plot") == f"pip install {said}"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert how_to_install("plot") == f"{sys.executable} -m pip install {said}"


HIDDEN = """
import importlib.abc, json, sys

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = set(json.loads(sys.argv.pop(1)))
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in HIDDEN else real(name, *rest)
sys.meta_path.insert(0, Hide())
from vireid.cli import main
main(sys.argv[1:])
"""


def plain_install(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command where no extra is installed."""
    needs = ("starlette", "pydantic", "anyio", "h11", "grpc")
    hidden = [*(m for extra in EXTRAS.values() for m in extra.modules), *needs]
    line = [sys.executable, "-c", HIDDEN, json.dumps(hidden), *words]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("synthetic", "synthesize --out people"),
        ("synthetic", "demo"),
        ("serve", "serve --index index --weights synth"),
        ("milvus", "index info --index milvus://localhost:1/x"),
    ],
)
def test_a_plain_install_says_what_to_install(extra: str, words: str, tmp_path: Path) -> None:
    done = plain_install(*words.split(), cwd=tmp_path)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2 and "Traceback" not in said, done.stderr
    assert how_to_install(extra) in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["--help", "train --help", "serve --help", "doctor --json"])
def test_help_and_doctor_need_no_extra(words: str, tmp_path: Path) -> None:
    done = plain_install(*words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if words == "doctor --json":
        parts = json.loads(done.stdout)["Parts"]
        assert sum(text.startswith("not installed: ") for text in parts.values()) == len(EXTRAS)


def test_every_import_of_an_extra_is_in_its_room() -> None:
    """What an extra brings is imported only below the package that asks for it."""
    rooms = {"cv2": "synthetic", "fastapi": "server", "uvicorn": "server", "starlette": "server",
             "pydantic": "server", "anyio": "server", "h11": "server", "pymilvus": "index/milvus",
             "grpc": "index/milvus", "python_multipart": "server"}  # fmt: skip
    source = ROOT / "src" / "vireid"
    for path in source.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and len(words) > 1:
                room = rooms.get(words[1].split(".")[0])
                place = path.relative_to(source).as_posix()
                assert room is None or place.startswith(room), f"{place}: {line.strip()}"
    assert importlib.util.find_spec("vireid") is not None
