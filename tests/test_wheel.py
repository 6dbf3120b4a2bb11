"""The built wheel in an empty environment: what a user who installs it gets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import fakes
import pytest
from command_kit import tiny_config

ROOT = Path(__file__).resolve().parents[1]
DEMO = (
    "from pathlib import Path; from vireid.commands.demo import DemoSize, run_demo; "
    "run_demo(Path('demo'), device='cpu', size=DemoSize(identities=7, test_identities=4, images=1, "
    "steps=2, pids_per_batch=2, images_per_pid=1))"
)
pytestmark = pytest.mark.long  # PyTorch is installed anew


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as an index would hand it on."""
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
        text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        if not name.startswith(("tests/", "benchmarks/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source]
    subprocess.run(pip, check=True)
    (built,) = folder.glob("vireid-*.whl")
    return built


class Environment:
    """An empty virtual environment, and an empty folder to run in."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cwd = folder / "env" / "bin", folder / "work"
        venv.create(folder / "env", with_pip=True)
        self.cwd.mkdir()
        known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.variables = {**known, "OMP_NUM_THREADS": "2"}

    def run(self, program: str, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *map(str, words)], cwd=self.cwd, env=self.variables,
            capture_output=True, text=True,
        )  # fmt: skip

    def install(self, what: str) -> None:
        done = self.run("python", "-m", "pip", "install", "--quiet", what)
        assert done.returncode == 0, done.stderr

    def vireid(self, *words: object) -> str:
        done = self.run("vireid", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: object) -> str:
        done = self.run("vireid", *words)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """With the wheel and what it needs, and no extra."""
    made = Environment(tmp_path_factory.mktemp("empty"))
    made.install(str(wheel))
    yield made
    shutil.rmtree(made.bin.parent)  # gigabytes


def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        described = Parser().parsestr(archive.read(about).decode())
        page = archive.read("vireid/shipped/responsible-use.md").decode()
    for name in ("py.typed", "shipped/mobilenetv2_100.safetensors", "server/static/index.html",
                 "figures/page.css", "__init__.pyi"):  # fmt: skip
        assert f"vireid/{name}" in names, name
    assert page == (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8")
    assert not [name for name in names if not name.startswith(("vireid/", "vireid-"))]
    assert described["Author"] and described["License-Expression"] == "Apache-2.0"
    text = str(described.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "pip install" in text and "vireid train" in text


def test_a_plain_install_trains_and_tests(environment: Environment) -> None:
    assert "synthesize" in environment.vireid("--help")
    assert re.search(
        r"not installed: .*pip install .*\[serve\]", environment.vireid("doctor", "--json")
    )
    people = fakes.make_sysu(environment.cwd / "people")
    config, made = tiny_config(environment.cwd), environment.cwd / "runs" / "tiny"
    environment.vireid(
        "train", "--config", config, "--data-root", people, "--run", "tiny", "--device", "cpu"
    )
    environment.vireid("test", "--resume", made, "--trials", 1, "--device", "cpu")
    assert (made / "test" / "sysu-all-1shot-seeded-1trials" / "report.json").is_file()
    environment.vireid("card", made)


def test_each_extra_is_asked_for_and_works(environment: Environment, wheel: Path) -> None:
    serve = ("serve", "--index", "index", "--weights", "synth", "--device", "cpu")
    commands = {
        "synthetic": (("demo",), ("synthesize", "--out", "made")),
        "serve": (serve,),
        "export": (("export-weights", "synth", "--format", "onnx", "--out", "networks"),),
    }
    for extra, lines in commands.items():
        for words in lines:
            assert re.search(rf"pip install \S+\[{extra}\]", environment.refused(*words)), words
    environment.install(f"{wheel}[serve,synthetic,export]")
    environment.vireid("synthesize", "--out", "made", "--identities", 4, "--images", 1)
    done = environment.run("python", "-c", DEMO)
    assert done.returncode == 0, done.stderr
    assert (environment.cwd / "demo" / "demo.html").is_file()
    environment.vireid("export-weights", "synth", "--format", "onnx", "--out", "networks")
    folder = environment.cwd / "demo"
    words = ("serve", "--index", folder / "index", "--weights", folder / "run", "--port", 8791)
    process = subprocess.Popen(
        [environment.bin / "vireid", *map(str, words), "--device", "cpu"], cwd=environment.cwd,
        env=environment.variables,
    )  # fmt: skip
    try:
        assert "<title>" in _answer("http://127.0.0.1:8791/", process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _answer(url: str, process: subprocess.Popen, seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.read().decode()
        except OSError:
            assert process.poll() is None, "the server has ended"
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
