"""Nothing in a file has code run: only the user names a method's or a data set's file."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from command_kit import TINY, refused, run, said, tiny_config
from safetensors import safe_open
from safetensors.torch import save_file

import vireid
from vireid.config import to_plain
from vireid.embed import load_embeddings, save_embeddings
from vireid.evaluation import Report
from vireid.index import create_index
from vireid.own_code import UnnamedCode
from vireid.testing import TestOptions
from vireid.training import load_epoch, train_options
from vireid.training.checkpoint import load_checkpoint, save_checkpoint
from vireid.training.options import TrainOptions
from vireid.types import Embeddings, InputError
from vireid.weights import facts_hash, load_weights, read_weights

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_method.py"


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[str]:
    """A method and data set whose file leaves a trace where it is run."""
    file, trace = tmp_path / "evil.py", tmp_path / "code was run"
    file.write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\n")
    yield f"{file}:M"
    assert not trace.exists()


def with_facts(weights: Path, target: Path, **changes: Any) -> Path:
    """A copy of a weights file with other facts, and a hash of them that fits."""
    tensors, facts = read_weights(weights)
    facts |= changes
    facts["facts_hash"] = facts_hash(facts)
    save_file(tensors, target, {"vireid": json.dumps(facts)})
    return target


def poisoned(value: Any, evil: str) -> Any:
    """A JSON value with `evil` in the place of every text."""
    if isinstance(value, dict):
        return {key: poisoned(inner, evil) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, evil) for inner in value]
    return evil if isinstance(value, str) else value


def places(value: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every text in a JSON value."""
    if isinstance(value, str):
        yield way
    elif isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, *way, key)


@pytest.fixture
def bad_run(trained: Path, tmp_path: Path, evil: str) -> Path:
    """A run whose configuration, checkpoint and weights name `evil` as their method."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"method": evil}))
    with_facts(trained / "weights.safetensors", folder / "weights.safetensors", method=evil)
    (checkpoint,) = (folder / "checkpoints").glob("*.pt")
    state = load_checkpoint(checkpoint)
    state["config"] = state["config"] | {"method": evil}
    checkpoint.unlink()
    save_checkpoint(folder / "checkpoints", state, epoch=1)
    return folder


@pytest.fixture
def doors(
    trained: Path, bad_run: Path, sysu_root: Path, tmp_path: Path
) -> dict[str, tuple[object, ...]]:
    """Every command that opens weights, a checkpoint or a configuration, on `bad_run`."""
    image = next(sysu_root.rglob("*.jpg"))
    embedder = vireid.load(trained, device="cpu")
    make_index(tmp_path / "index", embedder.embed([image], "visible"))
    search = ("--index", tmp_path / "index", "--weights", bad_run, "--device", "cpu")
    (checkpoint,) = (bad_run / "checkpoints").glob("*.pt")
    weights = bad_run / "weights.safetensors"
    return {
        "embed": ("embed", "--weights", weights, "--images", image.parent, "--modality", "visible",
                  "--out", tmp_path / "out", "--device", "cpu"),
        "search": ("search", *search, "--image", image, "--modality", "visible"),
        "serve": ("serve", *search, "--port", 0),
        "test a run": ("test", "--resume", bad_run, "--device", "cpu"),
        "test weights": ("test", "--resume", weights, "--device", "cpu", "--data-root", sysu_root),
        "test an epoch": ("test", "--resume", bad_run, "--epoch", 1, "--device", "cpu"),
        "export-weights": ("export-weights", bad_run, "--out", tmp_path / "out"),
        "import-weights": ("import-weights", checkpoint, "--out", tmp_path / "out"),
        "resume": ("train", "--resume", bad_run, "--device", "cpu", "--epochs", 2),
        "config": ("train", "--config", bad_run / "config.json", "--device", "cpu"),
    }  # fmt: skip


def make_index(folder: Path, embeddings: Embeddings) -> None:
    about = {"weights_hash": embeddings.weights_hash, "dim": embeddings.embedding.shape[1]}
    with create_index(folder, **about) as index:
        index.add(embeddings)


def test_every_command_asks_for_the_method(doors: dict, evil: str, capsys) -> None:
    for name, words in doors.items():
        message = refused(capsys, *words)
        assert "needs the method 'M', which was in the Python file" in message, name
        asked, command = message.split(" Then: ")
        assert "Code is run only where you name it yourself" in asked, name
        assert command == f"vireid {' '.join(map(str, words))} --method {evil}", name


def test_commands_that_need_no_method(
    bad_run: Path, sysu_root: Path, tmp_path: Path, evil: str, capsys
) -> None:
    assert run("info", bad_run) == run("info", bad_run / "weights.safetensors") == 0
    weights = bad_run / "weights.safetensors"
    plain = tiny_config(tmp_path, model=TINY["model"] | {"pretrained": str(weights)})
    words = ("--config", plain, "--data-root", sysu_root, "--device", "cpu")
    assert run("train", *words, "--run", tmp_path / "started") == 0, said(capsys)


def test_python_asks_too(bad_run: Path, evil: str) -> None:
    weights = bad_run / "weights.safetensors"
    config = json.loads((bad_run / "config.json").read_text())
    calls: list[Callable[[], object]] = [
        lambda: vireid.load(weights, device="cpu"),
        lambda: vireid.load(bad_run, device="cpu"),
        lambda: load_weights(weights),
        lambda: load_epoch(bad_run, 1, device="cpu"),
        lambda: vireid.evaluate(bad_run, device="cpu"),
        lambda: train_options(bad_run / "config.json"),
        lambda: train_options(bad_run / "config.json", arch="resnet18"),
        lambda: TrainOptions.read(config, "config.json"),
        lambda: TrainOptions.read(config | {"method": "mcl", "dataset": evil}, "config.json"),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(UnnamedCode, match=r"needs the (method|data set) 'M'") as caught:
            call()
        assert caught.value.name == evil, number
    with pytest.raises(InputError):
        vireid.import_published(weights)


def test_a_data_set_is_asked_for(
    trained: Path, sysu_root: Path, tmp_path: Path, evil: str, capsys
) -> None:
    weights = with_facts(trained / "weights.safetensors", tmp_path / "w.safetensors", dataset=evil)
    words = ("test", "--resume", weights, "--device", "cpu", "--data-root", sysu_root)
    message = refused(capsys, *words)
    assert "needs the data set 'M'" in message and message.endswith(f" --dataset {evil}")
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dataset": evil}))
    message = refused(capsys, "train", "--resume", folder, "--device", "cpu")
    assert "needs the data set 'M'" in message and message.endswith(f" --dataset {evil}")


def test_a_start_names_no_network(trained: Path, tmp_path: Path, evil: str, capsys) -> None:
    """Although a run takes over the network of the weights that it starts from."""
    weights = trained / "weights.safetensors"
    model = read_weights(weights)[1]["model"] | {"arch": evil, "last_stage": 3}
    bad = with_facts(weights, tmp_path / "w.safetensors", model=model)
    asked = "needs the network 'M', which was in the Python file"
    words = ("train", "--pretrained", bad, "--print-config")
    message = refused(capsys, *words)
    assert asked in message and message.endswith(f"{' '.join(map(str, words))} --arch {evil}")
    with pytest.raises(UnnamedCode, match=asked):
        train_options(pretrained=str(bad), method="agw")
    sweep = tmp_path / "sweep.json"
    sweep.write_text(json.dumps({"rows": {"a": {"pretrained": str(bad)}}}))
    assert asked in refused(capsys, "sweep", sweep, "--plan")
    mine = train_options(pretrained=str(bad), arch="mine/evil.py:M").model
    assert (mine.arch, mine.last_stage) == ("mine/evil.py:M", 3)


@pytest.mark.long
def test_no_text_of_a_weights_file_names_code(trained: Path, tmp_path: Path, evil: str) -> None:
    weights = trained / "weights.safetensors"
    facts = read_weights(weights)[1]
    ways = [way for way in places(facts) if way[-1] not in ("weights_hash", "facts_hash")]
    ways = [way for way in ways if way[0] != "record"]  # all of its texts at once, below
    quick = TestOptions(figure_queries=0, num_trials=1)
    assert ("method",) in ways and ("model", "arch") in ways and len(ways) > 10
    for key, *rest in ways:
        changed = json.loads(json.dumps(facts[key]))
        node = changed
        for inner in rest[:-1]:
            node = node[inner]
        if rest:
            node[rest[-1]] = evil
        bad = with_facts(weights, tmp_path / "w.safetensors", **{key: changed if rest else evil})
        try:
            vireid.load(bad, device="cpu")
            vireid.evaluate(bad, quick, device="cpu", out=tmp_path / "report")
        except InputError:
            continue
    record = poisoned(facts["record"], evil)
    bad = with_facts(weights, tmp_path / "w.safetensors", record=record)
    (report,) = vireid.evaluate(bad, quick, device="cpu", out=tmp_path / "of_record")
    assert report.record is not None and report.record["options"]["method"] == evil


def test_other_files_name_no_code(
    trained: Path, sysu_root: Path, tmp_path: Path, evil: str, capsys
):
    embedder = vireid.load(trained, device="cpu")
    found = embedder.embed(sorted(sysu_root.rglob("*.jpg"))[:3], "visible")
    path = tmp_path / "e.safetensors"
    save_embeddings(path, found)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["vireid"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept = {"kind": about["kind"], "order": about["order"]}
    save_file(tensors, path, {"vireid": json.dumps({**poisoned(about, evil), **kept})})
    assert load_embeddings(path).weights_hash == evil
    assert run("index", "create", "--index", tmp_path / "index", "--embeddings", path) == 2
    assert run("test", "--resume", trained, "--device", "cpu", "--figure-queries", 0) == 0
    report = next(trained.glob("test/*/report.json"))
    plain = json.loads(report.read_text())
    names = plain["protocol"]["embeddings"]
    kept = {"format": plain["format"], **{name: plain[name] for name in names}}
    protocol = poisoned(plain["protocol"], evil) | {"embeddings": names}
    out = tmp_path / "report.json"
    out.write_text(json.dumps({**poisoned(plain, evil), **kept, "protocol": protocol}))
    Report.load(out).write(tmp_path / "again")
    assert run("report", out, report) == 0


def test_processes_of_ours_take_no_module_from_the_working_folder() -> None:
    """A folder of images may hold a json.py, which `python -m` would prefer to Python's own."""
    source, started = Path(vireid.__file__).parent, []
    for path in source.rglob("*.py"):
        started += re.findall(r"\[sys\.executable, (.*?),", path.read_text("utf-8"))
    assert started == ['"-P"'] * len(started) and len(started) >= 2


def test_pickles_run_nothing(bad_run: Path, tmp_path: Path, capsys) -> None:
    """Neither in a run's checkpoint nor in a file that starts a network."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "code was run",)

    (checkpoint,) = (bad_run / "checkpoints").glob("*.pt")
    checkpoint.unlink()
    state = {"format": 2, "method": Evil()}
    torch.save(state, checkpoint)
    import hashlib

    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    checkpoint.with_name(f"{checkpoint.name}.sha256").write_text(f"{digest}  {checkpoint.name}\n")
    with pytest.raises(InputError, match="was refused: it needs the Python object"):
        load_checkpoint(checkpoint)
    assert run("import-weights", checkpoint, "--out", tmp_path / "out") == 2
    np.save(tmp_path / "objects.npy", np.array([Evil()], object), allow_pickle=True)
    from vireid.data.arrays import map_array

    with pytest.raises(InputError, match="not a readable NumPy array: it holds Python objects"):
        map_array(tmp_path / "objects.npy")
    assert not (tmp_path / "code was run").exists()


def test_changed_facts_are_noticed(trained: Path, tmp_path: Path) -> None:
    """Whatever is changed in the header, and that it is there at all."""
    tensors, facts = read_weights(trained)
    target = tmp_path / "w.safetensors"
    for name, value in facts.items():
        for changed in ({**facts, name: 7 if value != 7 else 8},
                        {key: inner for key, inner in facts.items() if key != name}):  # fmt: skip
            save_file(tensors, target, {"vireid": json.dumps(changed)})
            with pytest.raises(InputError, match=r"damaged|has the format"):
                read_weights(target)
    save_file(tensors, target, {"vireid": json.dumps(facts | {"more": 1})})
    with pytest.raises(InputError, match="damaged or was changed"):
        read_weights(target)
    assert to_plain(facts)["facts_hash"] == facts_hash(facts)


def test_ones_own_method_through_every_door(
    sysu_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Its file may have moved; its class's name counts. Options of the run are kept."""
    first, moved = tmp_path / "a" / "my.py", tmp_path / "b" / "my.py"
    for file in (first, moved):
        file.parent.mkdir()
        shutil.copy(EXAMPLE, file)
    one, image = tmp_path / "one", next(sysu_root.rglob("*.jpg"))
    config = tiny_config(tmp_path)
    data = ("--data-root", sysu_root, "--device", "cpu")
    assert run("train", "--config", config, *data, "--run", one, "--method", f"{first}:MyMethod",
               "--hetero-weight", 0.5) == 0  # fmt: skip
    assert f"vireid test --resume {one} --method {first}:MyMethod" in said(capsys)
    first.unlink()
    mine = ("--method", f"{moved}:MyMethod")
    assert run("train", "--resume", one, "--epochs", 2, "--device", "cpu", *mine) == 0
    assert json.loads((one / "config.json").read_text())["method_options"]["hetero_weight"] == 0.5
    file = tmp_path / "e.safetensors"
    assert run("embed", "--weights", one, "--images", image.parent, "--modality", "visible",
               "--out", file, "--device", "cpu", *mine) == 0  # fmt: skip
    make_index(tmp_path / "index", load_embeddings(file))
    assert run("search", "--index", tmp_path / "index", "--weights", one, "--image", image,
               "--modality", "visible", "--device", "cpu", "--json", *mine) == 0  # fmt: skip
    embedder = vireid.load(one, "cpu", method=mine[1])
    assert type(embedder.method).__name__ == "MyMethod"
    checkpoint = max((one / "checkpoints").glob("*.pt"))
    assert run("import-weights", checkpoint, "--out", tmp_path / "w.safetensors", *mine) == 0
    assert run("export-weights", one, *mine, "--out", tmp_path / "w.t") in (0, 2)
    moved.write_text(moved.read_text() + "\n\nclass Other(MyMethod):\n    pass\n")
    with pytest.raises(UnnamedCode, match=r"'MyMethod'.*; '.*:Other' was given"):
        vireid.load(one, "cpu", method=f"{moved}:Other")


def test_a_method_that_contradicts_the_weights(trained: Path) -> None:
    assert vireid.load(trained, "cpu", method="MCL").method.name == "mcl"
    with pytest.raises(InputError, match="are of the method 'mcl'; 'agw' was given"):
        vireid.load(trained, "cpu", method="agw")


def test_weights_that_start_from_themselves(trained: Path, tmp_path: Path, capsys) -> None:
    """A file that names itself as what it was trained from is followed once."""
    root = fakes.make_sysu(tmp_path / "people")
    (root / ".vireid-synthetic.json").write_text('{"seed": 1}')
    target = tmp_path / "w.safetensors"
    model = {**read_weights(trained)[1]["model"], "pretrained": str(target)}
    with_facts(trained / "weights.safetensors", target, model=model)
    words = ("--data-root", root, "--device", "cpu", "--figure-queries", 0, "--trials", 1)
    assert run("test", "--resume", target, *words) == 0, said(capsys)
