"""Every recipe of README and docs runs, to its last promise: an image comes back, and the right
person is first."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import command_kit
import fakes
import pytest
from PIL import Image
from recipe_kit import ROOT, SHELL, mentions, play, recipes, serving, words_of

from vireid.commands import COMMANDS, INDEX_COMMANDS, load
from vireid.commands.flags import Flags
from vireid.types import InputError

ALL = recipes()
IMAGES = Path(__file__).parent / "recipes"  # synthetic people; night/000N.jpg is day/000N.jpg
METHOD = "examples/my_method.py"
COMBINED = "examples/combined_method.py"
PLAYED = {  # by the tests below, in this order within one working folder
    "search": ["README.md 1", "README.md 2", "search.md 1", "search.md 2", "search.md 3",
               "search.md 4", "search.md 5", "search.md 6", "server.md 1", "server.md 2",
               "server.md 3", "responsible-use.md 1", "responsible-use.md 2",
               "responsible-use.md 3", "methods.md 1"],
    "train": ["start.md 1", "data.md 1", "methods.md 12", "methods.md 13", "synth.md 1",
              "CONTRIBUTING.md 1"],
}  # fmt: skip
ELSEWHERE = {
    "augmentation.md 1": "tests/training trains with each augmentation",
    **{
        f"methods.md {n}": "tests/methods/test_later_recipes.py and test_contract.py"
        for n in range(2, 11)
    },
    "methods.md 11": "tests/methods/test_parts_combine.py",
    "README.md 3": "these are the suite itself and tests/commands/test_demo.py",
    "engine.md 1": "tests/runtime/test_ranks.py and tests/training start several processes",
    "deploy.md 1": "tests/embed/test_exported.py",
    "deploy.md 3": "tests/commands/test_report.py and tests/models/test_hub.py",
    "deploy.md 2": "tests/embed/test_exported.py reads the same metadata and vectors",
    "start.md 2": "tests/commands/test_demo.py and test_plot.py do the same in seconds",
    "experiments.md 1": "tests/commands/test_sweep.py",
    "experiments.md 2": "tests/commands/test_report.py",
    "synth.md 2": "tests/synthetic compares parts of v1 with the checksums; all takes minutes",
}


def test_every_recipe_is_played() -> None:
    named = [name for names in PLAYED.values() for name in names]
    assert sorted([*named, *ELSEWHERE]) == sorted(ALL)


LINES = [
    (name, line) for name, recipe in ALL.items() if not recipe.is_python for line in recipe.lines
]


def check_flags(name: str, target: str, words: list[str]) -> None:
    flags = Flags(f"vireid {name}", load(target), words)
    flags._check()
    flags.problems.tell()


@pytest.mark.parametrize(("name", "line"), LINES)
def test_every_command_has_such_flags(name: str, line: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "my_dataset.py", tmp_path / "my.py")
    (tmp_path / "mine.json").write_text("{}")
    own = {file: f"{ROOT}/{file}" for file in (METHOD, COMBINED)}
    mine = {"my.py:MY_SET": "my.py:HALLWAY", **own}
    words = words_of(line, mine)
    if words[0] == "torchrun":
        words = words[words.index("vireid") :]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
    elif words[0] not in SHELL:
        assert words[0] == "vireid"
        table, name, rest = COMMANDS, words[1], words[2:]
        if name == "index":
            table, name, rest = INDEX_COMMANDS, rest[0], rest[1:]
        check_flags(name, table[name], rest)


@pytest.mark.parametrize(("page", "line"), mentions())
def test_every_command_in_a_sentence_has_such_flags(page: str, line: str) -> None:
    line = re.sub(r"[\w/]*my_method\.py", f"{ROOT}/{METHOD}", line.split(" #")[0])
    words = words_of(line.replace("my.py:MY_SET", "folder"))  # any set: the flags count here
    table, name, rest = COMMANDS, words[1], words[2:]
    if name == "index":
        table, name, rest = INDEX_COMMANDS, rest[0], rest[1:]
    try:
        check_flags(name, table[name], rest)
    except InputError as error:  # it stands for any run, or leaves out what is needed
        left_out = (" needs --", "'RUN' is not a run", "was given nothing to work on")
        assert any(words in str(error) for words in left_out), error


# ---- searching, with the network in the package


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A working folder with images of six people by day and by night."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(IMAGES, tmp_path, dirs_exist_ok=True)
    return tmp_path


def is_shown(client, row_id: str) -> bool:
    answer = client.get(f"/api/image/{row_id}", params={"size": "full"})
    return answer.status_code == 200 and answer.content[:2] == b"\xff\xd8"


def best_of(client, file: str, **fields: str) -> dict:
    """The first hit of a search on the page, whose image comes back."""
    page = client.get("/")
    assert page.status_code == 200 and "<title>vireid" in page.text
    form = {"modality": "infrared", **fields}
    answer = client.post("/api/search", files={"image": Path(file).read_bytes()}, data=form)
    assert answer.status_code == 200, answer.text
    hits = answer.json()["hits"]
    assert all(is_shown(client, hit["row_id"]) for hit in hits)
    return hits[0]


def serve_line(name: str) -> list[str]:
    """The words after `vireid` of a recipe's command that serves, on any free port."""
    (line,) = [line for line in ALL[name].lines if line.startswith("vireid serve")]
    return [*words_of(line)[1:], "--port", "0", "--device", "cpu"]


def test_folders_of_my_own_crops(place: Path, monkeypatch, capsys) -> None:
    recipe = ALL["README.md 1"]
    *before, last = recipe.text.strip().split("\n")
    assert last.startswith("vireid serve")
    text = "\n".join(before).replace("--top 20", "--top 20 --json")
    play(type(recipe)(recipe.name, False, text))
    shown = capsys.readouterr()
    hits = json.loads(shown.out)[0]["hits"]
    assert hits[0]["path"] == str(Path("day/0001.jpg")) and len(hits) == 6
    assert all(Path(hit["path"]).is_file() for hit in hits) and "Warning" not in shown.err
    start = partial(command_kit.run, *serve_line("README.md 1"))
    with serving(start) as served, served.client() as client:
        assert best_of(client, "night/0001.jpg")["name"] == "0001.jpg"
    names: dict = {}
    exec(ALL["README.md 2"].text, names)
    assert names["hits"][0].path == "day/0001.jpg"


def test_search_and_server_pages(place: Path, monkeypatch, capsys) -> None:
    (place / "day").rename("crops")
    shutil.copy("night/0001.jpg", "night.jpg")
    more = ("--weights", "synth", "--modality", "visible", "--device", "cpu", "--workers", "1")
    shutil.copytree("crops", "tomorrow")
    table = "path,camid,time\n" + "".join(
        f"tomorrow/000{n}.jpg,{n % 2 + 1},2026-05-0{n}\n" for n in range(1, 7)
    )
    (place / "tomorrow.csv").write_text(table)
    embed = ("embed", "--images", "tomorrow.csv", "--out", "tomorrow.safetensors", *more)
    assert command_kit.run(*embed) == 0
    play(ALL["search.md 1"], instead={"RUN": "synth"})
    first = capsys.readouterr().out.split("0.9")[0]
    assert "crops/0001.jpg" in first or "tomorrow/0001.jpg" in first
    with Image.open("night.jpg") as night:
        frame = Image.new("RGB", (800, 600), "grey")
        frame.paste(night.resize((96, 210)), (412, 160))
        frame.save("frame.png")
    for copy in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy("night.jpg", copy)
    names: dict = {}
    for name in ("search.md 2", "search.md 4", "search.md 6"):
        exec(ALL[name].text.replace("runs/mcl", "synth"), names)
        (best, *_) = names["hits"][0] if name == "search.md 6" else names["hits"]
        assert Path(best.path).name == "0001.jpg"
    capsys.readouterr()
    play(ALL["search.md 3"], instead={"RUN": "synth"})
    assert capsys.readouterr().out.count("/0001.jpg") >= 2
    Path("cameras.csv").write_text("camid,name\n1,North door\n")
    play(ALL["search.md 5"])

    with serving(lambda: command_kit.run(*serve_line("server.md 1"))) as served:
        with served.client() as client:
            assert best_of(client, "night.jpg")["name"] == "0001.jpg"
        (line,) = ALL["server.md 2"].lines
        line = line.replace("http://127.0.0.1:8000", served.url)
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=60)
        assert json.loads(done.stdout)["hits"][0]["name"] == "0001.jpg"


def test_serving_for_others_and_removing(place: Path, monkeypatch, capsys) -> None:
    table = "path,camid,time\n" + "".join(
        f"day/000{n}.jpg,{n % 2 + 1},{'2026' if n > 4 else '2199'}-05-01\n" for n in range(1, 7)
    )
    (place / "day.csv").write_text(table)
    more = ("--modality", "visible", "--device", "cpu", "--workers", "1")
    assert command_kit.run("embed", "--images", "day.csv", "--out", "day.st", *more) == 0
    assert command_kit.run("index", "create", "--index", "INDEX", "--embeddings", "day.st") == 0
    capsys.readouterr()
    play(ALL["responsible-use.md 1"])
    assert "2 images removed" in capsys.readouterr().err

    recipe = ALL["responsible-use.md 2"]
    lines = [line for line in recipe.text.split("\n") if not line.startswith("vireid serve")]
    play(type(recipe)(recipe.name, False, "\n".join(lines)))
    users = dict(line.split() for line in Path("tokens").read_text().splitlines())
    assert list(users) == ["jane", "joe"] and Path("tokens").stat().st_mode & 0o077 == 0
    for name in ("responsible-use.md 2", "server.md 3"):
        words = [word if word != "people" else "INDEX" for word in serve_line(name)]
        with (
            serving(partial(command_kit.run, *words)) as served,
            served.client(users["joe"]) as client,
        ):
            assert client.get("/api/info").json()["user"] == "joe"
            assert best_of(client, "night/0001.jpg", reason="case 1")["name"] == "0001.jpg"
            host = {"host": "search.example.org"}
            allowed = client.get("/api/info", headers=host).status_code
            assert allowed == (200 if name == "server.md 3" else 421)

    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    make = ("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
            "-keyout server.key -out server.pem")  # fmt: skip
    subprocess.run(make.split(), check=True, capture_output=True)
    from vireid.server import app

    monkeypatch.setattr(app, "serve", partial(app.serve, port=0, device="cpu"))
    start = partial(play, ALL["responsible-use.md 3"])
    with serving(start) as served, served.client(users["jane"]) as client:
        assert served.url.startswith("https://")
        assert best_of(client, "night/0001.jpg", reason="case 1")["name"] == "0001.jpg"


def test_options_from_a_file(place: Path, capsys) -> None:
    play(ALL["methods.md 1"], more={"train": ["--print-config"]})
    first, second = capsys.readouterr().out.strip().split("\n}\n{")
    assert '"momentum": 0.95' in first and '"hidden": 64' in first
    assert json.loads(f"{first}\n}}") == json.loads(f"{{{second}")


# ---- training, with tiny networks


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> dict[str, list]:
    """Words that make a training one of seconds, and data sets where $VIREID_DATA says."""
    monkeypatch.chdir(tmp_path)
    fakes.make_sysu(tmp_path / "data" / "sysu")
    fakes.make_regdb(tmp_path / "data" / "regdb", identities=16)  # ten splits that differ
    monkeypatch.setenv("VIREID_DATA", str(tmp_path / "data"))
    config = {"size": [64, 32], "steps_per_epoch": 1,
              "recipe": {"epochs": 1, "pids_per_batch": 2, "images_per_pid": 1}}  # fmt: skip
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    words = ["--config", "tiny.json", "--pretrained", "none", "--recipe", "clean"]
    return {"train": [*words, "--device", "cpu"], "test": ["--device", "cpu"]}


@pytest.mark.long
def test_a_data_set_from_training_to_tables(tiny: dict, tmp_path: Path) -> None:
    name = "sysu-mcl-resnet50-clean-seed0"  # as it would be called if nothing else was small
    first = "--dataset sysu --method mcl"
    more = {**tiny, "train": [*tiny["train"], "--arch", "resnet18"]}  # eleven runs on the disk
    play(ALL["start.md 1"], instead={"--gpu 0": "", first: f"{first} --run {name}"}, more=more)
    assert {file.suffix for file in tmp_path.glob("tables*")} >= {".md", ".csv", ".tex"} or (
        tmp_path / "tables"
    ).is_dir()


@pytest.mark.long
def test_my_own_data_set_and_method(tiny: dict, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "my_dataset.py", "my.py")
    for camid in (1, 2, 3, 4):
        for pid in range(1, 9):
            for n in range(2):
                file = tmp_path / f"FOLDER/cam{camid}/{pid:04d}/{n}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                fakes.image(pid, camid > 2, camid * 10 + n, (64, 32)).save(file)
    Path("FOLDER/test.txt").write_text("6 7 8")
    instead = {"my.py:MY_SET": "my.py:HALLWAY", "RUN": "runs/own", "my-scope": "front"}
    play(
        ALL["data.md 1"], instead=instead, more={**tiny, "train": [*tiny["train"], "--run", "own"]}
    )
    play(ALL["methods.md 13"], instead={METHOD: f"{ROOT}/{METHOD}"}, more=tiny)
    shutil.move("data/sysu", "people")
    numbers = {"600": "8", "80": "3", "--images 6": "--images 1", "--out people": "--out made"}
    play(
        ALL["synth.md 1"], instead={**numbers, "--data-root people": "--data-root made"}, more=tiny
    )
    assert command_kit.run("train", "--data-root", "people", *tiny["train"], "--run", "x",
                           "--method", "mcl") == 0  # fmt: skip
    export = ("--format", "published", "--out", "sysu_mcl_best.t")
    assert command_kit.run("export-weights", "runs/x", *export) == 0
    play(ALL["methods.md 12"], instead={"RUN": "runs/x"})


@pytest.mark.long
def test_people_of_a_new_version(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    instead = {"version=2": "version=1", "gilet": "coat", "[:8]": "[:1]"}
    play(ALL["CONTRIBUTING.md 1"], instead=instead)
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000
