"""sweep: rows and seeds from a file, taken up again, merged with what is there."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import command_kit
import fakes
import numpy as np
import pytest
from command_kit import refused, run, said, tiny_config
from evaluation.examples import embeddings_of, sysu_like
from safetensors.numpy import save_file

from vireid.commands.report import load_reports
from vireid.data import ProtocolOptions
from vireid.evaluation import evaluate
from vireid.runtime.jobs import Standby, Stopped, call
from vireid.sweep import merge, read_sweep, runs_of
from vireid.sweep_run import check_here, run_sweep
from vireid.types import InputError


def write(folder: Path, **plain: Any) -> Path:
    path = folder / "ablation.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.fixture
def sysu_known(sysu_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SYSU-MM01 is found without being named."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sysu").symlink_to(sysu_root)
    monkeypatch.setenv("VIREID_DATA", str(tmp_path / "data"))


def test_a_row_has_one_network(tmp_path: Path) -> None:
    """Whatever the starts of its seeds are."""
    start = tmp_path / "start-{seed}.safetensors"
    for seed, stage in enumerate((3, 4)):
        header = {"vireid": json.dumps({"model": {"arch": "resnet18", "last_stage": stage}})}
        save_file({"x": np.zeros(1)}, str(start).replace("{seed}", str(seed)), header)
    base: dict[str, Any] = {"pretrained": str(start), "data_root": str(tmp_path)}
    file = write(tmp_path, seeds=[0, 1], base=base, rows={"one": {}})
    with pytest.raises(InputError, match="'one' would have different networks: resnet18 up to s"):
        read_sweep(file)
    jobs = read_sweep(write(tmp_path, seeds=[0, 1], base={**base, "last_stage": 3})).jobs
    assert {(job.options.model.arch, job.options.model.last_stage) for job in jobs} == {
        ("resnet18", 3)
    }


def test_rows_times_grid_times_seeds(tmp_path: Path) -> None:
    (tmp_path / "ablation.toml").write_text(
        """
        seeds = [0, 1]
        baseline = "full, lr 0.1"
        [base]
        method = "mcl"
        pretrained = "starts/start-{seed}.safetensors"
        [rows.full]
        [rows."no confusion"]
        confusion = false
        [grid]
        lr = [0.1, 0.05]
        [test]
        mode = ["all", "indoor"]
        rerank = true
        """
    )
    found = read_sweep(tmp_path / "ablation.toml")
    assert found.rows == ["full, lr 0.1", "full, lr 0.05", "no confusion, lr 0.1",
                          "no confusion, lr 0.05"]  # fmt: skip
    assert [job.options.seed for job in found.jobs] == [0] * 4 + [1] * 4  # whole seeds first
    names = [job.folder for job in found.jobs]
    assert len(set(names)) == 8 and names[0].parent == Path("runs/ablation")
    assert names[3].name == "sysu-mcl-resnet50-clean-from-start-0-no-confusion-lr0.05-seed0"
    assert found.jobs[4].options.model.pretrained == "starts/start-1.safetensors"
    tests = [["--figure-queries", "0", "--mode", mode, "--rerank"] for mode in ("all", "indoor")]
    assert [test.words for test in found.tests] == tests
    several = read_sweep(write(tmp_path, test=[{"mode": ["all", "indoor"], "rerank": True}, {}]))
    assert [test.words for test in several.tests] == [*tests, ["--figure-queries", "0"]]


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"row": {}}, "unknown key 'row'. Did you mean 'rows'?"),
        (
            {"base": {"lrr": 1, "epocs": 2}},
            "no option 'lrr'. Did you mean 'lr'? There is no option 'epocs'.",
        ),
        ({"seeds": [1, 1]}, "at least one was expected, each once"),
        ({"seeds": "0"}, "a list was expected"),
        ({"rows": {"a": {}, "b": {"lr": 0.1}}}, "the rows 'a' and 'b' are the same run"),
        (
            {"rows": {"a": {"confuson": False}}},
            "row 'a': There is no option 'confuson'. Did you mean 'confusion'",
        ),
        ({"rows": {"a": {}}, "baseline": "b"}, "baseline is 'b'; the rows are 'a'"),
        ({"rows": {"a": {"lr": 1}}, "grid": {"lr": [1]}}, "'lr' is in the grid and in the row"),
        ({"base": {"method": "/tmp/my.py:Mine"}}, r"names the code /tmp/my.py:Mine. Code is run"),
        ({"base": {"max_steps": "many"}}, "max_steps"),
        ({"base": {"seed": 1}}, "\\[base\\] has a seed. Give seeds as `seeds`"),
    ],
)
def test_a_file_that_is_no_sweep(tmp_path: Path, plain: dict, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        read_sweep(write(tmp_path, **plain))


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (
            {"test": {"mode": ["all", "inside"]}},
            "test of row 'base': There is no mode 'inside'. Valid: all, indoor. (The data set is "
            "SYSU-MM01.)",
        ),
        (
            {"test": {"mode": "indoor"}, "rows": {"a": {}, "b": {"dataset": "regdb"}}},
            "test of row 'b': There is no mode 'indoor'. Valid: all. (The data set is RegDB.)",
        ),
        (
            {"test": [{}, {"modes": "all"}]},
            "test 2: There is no option 'modes'. Did you mean 'mode'? Valid: dataset, data_root,",
        ),
        ({"test": {"figure-queries": 1}}, "Did you mean 'figure_queries'"),
        ({"test": {"trials": 0}}, "test: `trials` is 0; it must be at least 1."),
        ({"test": {"shots": 3}}, "`shots` is 3"),
        ({"test": {"direction": "up"}}, "There is no direction 'up'."),
        ({"test": {"junk": "0000"}}, "`junk` is '0000'; a list was expected"),
        ({"test": {"sensor_cameras": True}}, "SYSU-MM01 does not use one"),
        ({"test": {"trial": 2}}, "SYSU-MM01 has one split only"),
        ({"test": {"part": "val"}}, "trained on the validation identities too"),
        (
            {"test": {"epoch": 7}, "base": {"epochs": 10}},
            "`epoch` is 7, but a run of 10 epochs keeps its last 2 checkpoints only. Give it `keep`"
            " 4.",
        ),
        (
            {"test": {"epoch": 5}, "base": {"epochs": 6, "checkpoint_every": 2}},
            "`epoch` is 5, but the run has 6 epochs and writes a checkpoint every 2 and after the",
        ),
        ({"test": {"dataset": "/tmp/my.py:Mine"}}, "names the code /tmp/my.py:Mine. Code is run"),
        ({"test": {"out": "here"}}, "test: the sweep itself gives 'out'. Leave it out."),
        ({"base": {"dataset": "regdb", "trial": "all"}}, "A sweep's run has one split"),
        ({"base": {"max-steps": 5}}, "There is no option 'max-steps'. Did you mean 'max_steps'"),
    ],
)
def test_what_no_test_could_do_is_said_before_the_training(
    tmp_path: Path, plain: dict, words: str
) -> None:
    file = write(tmp_path, **plain)
    with pytest.raises(InputError, match=re.escape(words)) as refusal:
        read_sweep(file)
    assert str(refusal.value).startswith(str(file))


def test_what_can_be_tested_is_not_refused(tmp_path: Path) -> None:
    def words(base: dict[str, Any], test: dict[str, Any]) -> list[str]:
        (found,) = read_sweep(write(tmp_path, base=base, test=test)).tests
        return found.words[2:]

    test: dict[str, Any] = {"part": "val", "epoch": 3, "trial": 2, "rerank": False, "shots": None}
    base: dict[str, Any] = {"select": "val", "dataset": "regdb", "trial": 2, "epochs": 4}
    assert words(base, test) == ["--part", "val", "--epoch", "3", "--trial", "2"]
    test = {"junk": ["0000", "x"], "sensor_cameras": True}
    assert words({"dataset": "folder"}, test) == ["--junk", "0000", "x", "--sensor-cameras"]
    test = {"dataset": "llcm", "data_root": str(tmp_path)}
    assert words({"trial": 1}, test) == ["--dataset", "llcm", "--data-root", str(tmp_path)]


def test_a_file_of_another_kind(tmp_path: Path, capsys) -> None:
    (tmp_path / "my_loss.py").write_text("import torch\n")
    message = refused(capsys, "sweep", tmp_path / "my_loss.py")
    assert "A TOML file, whose name ends in .toml, or a JSON file was expected." in message


def test_a_sweep_takes_no_file_and_no_runs_folder(tmp_path: Path, capsys) -> None:
    file, run_folder = write(tmp_path), tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "config.json").write_text("{}")
    assert "is a file; a folder for the sweep's runs" in refused(
        capsys, "sweep", file, "--out", file
    )
    assert "is a run's folder" in refused(capsys, "sweep", file, "--out", run_folder)
    assert [path.name for path in run_folder.iterdir()] == ["config.json"]


def test_data_of_tests_are_looked_at_before_the_training(
    tmp_path: Path, regdb_root: Path, sysu_root: Path, capsys
) -> None:
    """As thoroughly as `vireid test` does, of the runs' own data set and of others."""
    base = {"config": str(tiny_config(tmp_path)), "data_root": str(sysu_root), "method": "base"}
    rows = {"a": {}, "b": {"lr": 0.5}}
    alike = fakes.make_sysu(tmp_path / "alike", train=2, val=1, test=2, images=1)
    nobody = fakes.make_sysu(tmp_path / "nobody", train=2, val=1, test=1, images=1)
    fakes.write_ids(nobody / "exp" / "test_id.txt", [9])
    one = fakes.make_folder(tmp_path / "one", images=1)
    own, cameras = {"dataset": "sysu"}, {"camera_pattern": "c(1|2|3|4)_"}
    for image in one.glob("*/*/*.png"):
        image.rename(image.with_name("c1_0.png"))
    for test, words in (
        ({"dataset": "llcm", "data_root": str(tmp_path / "no")}, "[test]. The folder"),
        ({"dataset": "llcm", "data_root": str(regdb_root)}, "[test]. The training list"),
        ({"dataset": "regdb", "data_root": str(sysu_root)}, f"[test]. '{sysu_root}' is not RegDB"),
        ({"data_root": str(regdb_root)}, f"[test]. '{regdb_root}' is not SYSU-MM01"),
        ({**own, "data_root": str(nobody)}, "[test]. The part 'test' of"),
        ({"draw": "official"}, "[test]. The official gallery draw needs"),
        ({**own, "data_root": str(alike)}, "[test]. These weights were trained on 2 identities"),
        ({"dataset": "folder", "data_root": str(one), **cameras}, "[test]. None of the"),
        ([{}, {**own, "data_root": str(nobody)}], "test 2. The part 'test' of"),
    ):
        file = write(tmp_path, base=base, rows=rows, test=test)
        with pytest.raises(InputError, match=re.escape(f"Not possible here: {words}")) as refusal:
            run_sweep(read_sweep(file, tmp_path / "out"), [None])
        assert str(refusal.value).count("Not possible") == 1
    message = refused(capsys, "sweep", file, "--out", tmp_path / "out", "--device", "cpu")
    assert "Not possible here: test 2. The part 'test' of" in message
    assert not (tmp_path / "out").exists()
    rows["b"] = {"dataset": "regdb", "data_root": str(regdb_root)}
    file = write(tmp_path, base=base, rows=rows, test={**own, "data_root": str(alike)})
    message = refused(capsys, "sweep", file, "--out", tmp_path / "out", "--device", "cpu")
    assert "Not possible here: [test] of row 'a'. These weights were" in message
    file = write(tmp_path, base=base, test={"dataset": "regdb", "data_root": str(regdb_root)})
    check_here(read_sweep(file, tmp_path / "out"), [None])


def test_what_the_data_of_a_row_refuse_is_said_before_the_first_run(
    tmp_path: Path, sysu_root: Path, capsys
) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", images=1)
    (root / "exp" / "val_id.txt").unlink()
    base = {"config": str(tiny_config(tmp_path)), "data_root": str(root), "method": "base"}
    rows = {"a": {}, "large": {"pids_per_batch": 70}, "val": {"select": "val"}}
    file = write(tmp_path, base=base, rows=rows)
    message = refused(capsys, "sweep", file, "--out", tmp_path / "out", "--device", "cpu")
    assert "row 'large'. A batch needs 70 identities, but the training data have 6." in message
    assert f"row 'val'. '{root}' has no validation identities" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("sysu_known")
def test_what_was_made_is_said_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def call(
        command: list[str], log: Path, device: int | None, stop: threading.Event, _: Standby
    ) -> None:
        log.parent.mkdir(exist_ok=True)
        log.write_text("epoch 1/2\nWarning: far too few steps.\n")
        if command[4] == "train":  # at the first one the user presses Ctrl-C
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(60)
            raise Stopped

    monkeypatch.setattr("vireid.sweep_run.call", call)
    file = write(tmp_path, seeds=[0, 1], rows={"a": {}, "b": {"lr": 0.5}}, baseline="a")
    out = tmp_path / "out"
    assert run("sweep", file, "--out", out, "--device", "cpu") == 130
    shown = said(capsys)
    assert "begins: a, seed 0 (1 of 4)" in shown and shown.count("begins") == 1
    assert "missing: a, seed 0: stopped missing" in shown
    assert shown.count("stopped; it goes on with the next call") == 1
    assert shown.count("a, seed 0: Warning: far too few steps.") == 1
    assert "missing: b, seed 0; a, seed 1; b, seed 1: interrupted before its turn" in shown
    assert shown.count("b, seed 1") == 1 and "no time" not in shown
    assert "(sweep.json)" in shown and not (out / "paper.md").exists()
    assert "Next: the same command goes on with what is missing." in shown

    # one row is trained: its runs are tested whatever the deadline, for the others there's no time
    monkeypatch.setattr("vireid.sweep.Job.trained", lambda job: job.row == "b")
    monkeypatch.setattr("vireid.sweep_run.file_hash", lambda path: "0" * 64)
    sweep, lines = read_sweep(file, out), list[str]()
    for _ in range(2):
        run_sweep(sweep, [None], deadline=1, estimate=10, tell=lines.append)
    assert [job.state for job in sweep.jobs] == ["no time was left", "done"] * 2
    assert sum("begins: b, seed 1 (4 of 4)" in line for line in lines) == 1  # then it is there
    assert not any("a, seed" in line for line in lines)
    stop = threading.Event()
    stop.set()  # as by a deadline or Ctrl-C: what is complete is so all the same
    run_sweep(sweep, [None], stop=stop, tell=lines.append)
    assert [job.state for job in sweep.jobs] == ["interrupted before its turn", "done"] * 2
    assert sweep.table() == "" and sweep.written == ()


@pytest.mark.usefixtures("sysu_known")
@pytest.mark.parametrize(("number", "code"), [(None, 1), (signal.SIGTERM, 143)])
def test_the_exit_code_tells_a_deadline_from_a_signal(
    number: int | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def call(_: list[str], log: Path, device: int | None, stop: threading.Event, *more: object):
        if number is None:
            stop.set()  # as `run_all` does at a deadline
        else:
            os.kill(os.getpid(), number)
        assert stop.wait(60)
        raise Stopped

    monkeypatch.setattr("vireid.sweep_run.call", call)
    words = ("sweep", write(tmp_path), "--out", tmp_path / "out", "--device", "cpu")
    assert run(*words) == code
    shown = said(capsys)
    assert "Next: the same command goes on with what is missing." in shown
    assert ("vireid: interrupted." in shown) == (number is not None)


@pytest.mark.usefixtures("sysu_known")
def test_what_has_to_be_corrected_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def call(*_: object) -> None:
        raise RuntimeError("ended with code 2: no images")

    monkeypatch.setattr("vireid.sweep_run.call", call)
    out = tmp_path / "out"
    assert run("sweep", write(tmp_path), "--out", out, "--device", "cpu") == 1
    shown = said(capsys)
    assert shown.count("no images") == 1 and "missing: base, seed 0: failed" in shown
    assert "Next: correct what failed" in shown and "logs); then the same command" in shown


@pytest.mark.usefixtures("sysu_known")
def test_tables_that_come_later_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_tables(*_: object) -> None:
        raise InputError("No partner.")

    monkeypatch.setattr("vireid.sweep_run.call", lambda *_: None)
    monkeypatch.setattr("vireid.sweep_run.file_hash", lambda path: "0" * 64)
    monkeypatch.setattr("vireid.sweep.Sweep._write_tables", write_tables)
    lines: list[str] = []
    run_sweep(read_sweep(write(tmp_path, seeds=[0, 1]), tmp_path), [None], tell=lines.append)
    assert [line for line in lines if line.startswith("note")] == [
        "note: some tables wait for more runs. So far: No partner.",
        "note: the runs are kept, but some tables are left out: No partner.",
    ]


@pytest.mark.usefixtures("sysu_known")
def test_tables_hold_the_sweeps_own_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that a user made besides, nor those of a [test] that was taken out of the file."""
    dataset = sysu_like(people=4, images=1)
    rows = np.arange(len(dataset.samples))

    @functools.cache
    def evaluated(scope: str, rerank: bool) -> Any:
        options = ProtocolOptions(num_trials=1, scope=scope)
        return evaluate(dataset, options, embeddings_of(dataset, rows), rows, rerank=rerank)

    def test_of(folder: Path, scope: str, rerank: bool = False, name: str | None = None) -> None:
        report, method = evaluated(scope, rerank), "agw" if "agw" in folder.name else "mcl"
        protocol = dataclasses.replace(report.protocol, method=method, seed=0, weights_hash=method)
        dataclasses.replace(report, protocol=protocol).write(folder / "test" / (name or scope))

    def call(command: list[str], *_: object) -> None:
        folder = Path(command[command.index("--resume" if "--resume" in command else "--run") + 1])
        if command[4] == "train":
            folder.mkdir(parents=True)
            (folder / "summary.json").write_text("{}")
            (folder / "weights.safetensors").write_bytes(str(folder).encode())
        else:
            test_of(folder, command[command.index("--mode") + 1])

    monkeypatch.setattr("vireid.sweep_run.call", call)
    out, lines = tmp_path / "out", list[str]()
    plain = {"rows": {"mcl": {}, "agw": {"method": "agw"}}, "baseline": "agw"}

    def tables(mode: str | list[str]) -> list[str]:
        sweep = read_sweep(write(tmp_path, **plain, test={"mode": mode}), out)
        run_sweep(sweep, [None], tell=lines.append)
        assert {job.state for job in sweep.jobs} == {"done"}
        return [(out / name).read_text() for name in ("paper.md", "compare.md")]

    expected = tables("all")
    assert "| mcl |" in expected[0] and "## mcl minus agw: all-search" in expected[1]
    run_folder = next(out.glob("*mcl*seed0"))
    test_of(run_folder, "all", rerank=True, name="reranked")
    test_of(run_folder, "indoor")
    assert tables("all") == expected
    assert "indoor: Rank-1" in tables(["all", "indoor"])[0]  # the sweep's own now
    assert tables("all") == expected
    test_of(run_folder, "all")  # by hand, the same again
    assert tables("all") == expected
    assert not [line for line in lines if line.startswith("note")]
    for file in (out / "tested").iterdir():  # as earlier versions wrote it
        ((weights, done),) = json.loads(file.read_text()).items()
        file.write_text(json.dumps({weights: [one["test"] for one in done]}))
    lines.clear()
    paper, compared = tables("all")  # whose reports those are isn't known
    assert "indoor" in paper and compared.count("## mcl minus agw") == 2
    assert not any("begins" in line for line in lines)


def test_a_sweeps_folder_stands_for_its_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    """Also after a move, and for runs that were taken from elsewhere."""
    monkeypatch.chdir(tmp_path)
    inside, elsewhere = Path("moved/a"), tmp_path / "earlier" / "b"
    for place in (inside, elsewhere):
        place.mkdir(parents=True)
    state = [{"row": "a", "run": "runs/was/a", "state": "done", "seconds": 1},
             {"row": "b", "run": str(elsewhere), "state": "done"},
             {"row": "c", "run": "runs/was/c", "state": "no time was left"}]  # fmt: skip
    (tmp_path / "moved" / "sweep.json").write_text(json.dumps(state))
    assert runs_of(Path("moved")) == [inside, elsewhere]
    assert runs_of(tmp_path) == []
    dataset = sysu_like()
    rows = np.arange(len(dataset.samples))
    for number, place in enumerate((inside, elsewhere)):
        context = {"method": "mcl" if place == inside else "agw", "seed": number}
        evaluate(
            dataset, ProtocolOptions(num_trials=1), embeddings_of(dataset, rows), rows,
            context=context,
        ).write(place / "test" / "all")  # fmt: skip
    assert [one.protocol.seed for one in load_reports([Path("moved")])] == [0, 1]
    assert "is named twice" in refused(capsys, "report", "moved", elsewhere)
    message = refused(capsys, "compare", elsewhere, "--with", "moved")
    assert "'moved' is a sweep of 2 rows" in message and "are moved/a for 'a'" in message
    assert "the other rows are 'b'" in message
    shutil.rmtree(elsewhere)
    assert "isn't there. Go to the folder" in refused(capsys, "report", "moved")


def test_a_command_that_ends_well_though_it_is_told_to_stop(tmp_path: Path) -> None:
    shell = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    log, stop = tmp_path / "log", threading.Event()

    def tell() -> None:
        while not log.exists() or b"ready" not in log.read_bytes():
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=tell).start()
    call(["sh", "-c", shell], log, None, stop)
    with pytest.raises(Stopped):  # and nothing more is begun
        call(["sh", "-c", "echo again"], log, None, stop)
    assert log.read_text() == "ready\n"


def test_the_next_command_stands_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, stop = tmp_path / "log", threading.Event()
    command = ["sh", "-c", 'echo "plain $0 $CUDA_VISIBLE_DEVICES"']
    stands_by = (
        'read -r line || exit; echo "$line $CUDA_VISIBLE_DEVICES"; test -z "${line##*good*}"'
    )
    ready = ["sh", "-c", f"exec >> {log}; {stands_by}"]
    with contextlib.closing(Standby(command, ready, calls=7)) as standby:

        def one(word: str, device: int) -> str:
            begin = log.stat().st_size if log.exists() else 0
            call([*command, word], log, device, stop, standby)
            return log.read_bytes()[begin:].decode()

        def waiting(device: int) -> subprocess.Popen[bytes]:
            (found,) = [one.process for one in standby._waiting if one.device == device]
            return found

        assert one("good", 3) == "plain good 3\n"  # the first is started as ever
        assert one("good", 3) == f'[["good"], "{log}"] 3\n'
        assert one("good", 1) == "plain good 1\n" and waiting(1) is not waiting(3)
        with pytest.raises(RuntimeError, match=r"ended with code 1: \[\[.bad.\]"):
            one("bad", 1)
        (dead := waiting(1)).kill()
        dead.wait()
        assert one("good", 1) == "plain good 1\n"
        old = waiting(1)
        monkeypatch.setattr("vireid.runtime.jobs._code", lambda: ("changed meanwhile", {}))
        assert one("good", 1) == "plain good 1\n" and old.returncode == -9
        left = waiting(3)
        assert one("good", 1)  # the last of seven: no more of them are started
        assert [one.device for one in standby._waiting] == [3]
    assert left.returncode == -9 and standby.take([*command, "good"], log, 3) is None


def test_a_process_becomes_the_command_that_it_is_told(tmp_path: Path) -> None:
    """It ends quietly if there is none, and leaves it to the command to tell what is broken."""
    code = "import vireid.standby as s; s.NEEDED = ('no_such_module',); s.wait()"
    log = tmp_path / "log"
    log.write_text("before\n")
    for words, status in ((["--version"], 0), (["trian"], 2), (None, 0)):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            input="" if words is None else json.dumps([words, str(log)]) + "\n",
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    before, version, complaint = log.read_text().split("\n", 2)
    assert before == "before" and version.startswith("vireid ")
    assert "There is no command 'vireid trian'. Did you mean" in " ".join(complaint.split())


@pytest.mark.long
def test_a_table_fills_and_is_taken_up_again(
    trained: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    base = {"config": str(tiny_config(tmp_path)), "data_root": str(sysu_root)}
    earlier = Path(shutil.copytree(trained, tmp_path / "earlier" / "trained"))
    file = write(
        tmp_path, base=base, rows={"full": {}, "no confusion": {"confusion": False}},
        test={"trials": 2}, baseline="full",
    )  # fmt: skip
    out = tmp_path / "out"
    words = ("sweep", file, "--out", out, "--device", "cpu", "--merge", earlier.parent)
    assert run(*words, "--deadline", 0.001) == 1  # the earlier run is there, the other isn't
    shown = capsys.readouterr()
    assert "1 of 2 runs are taken from elsewhere" in shown.err
    unfinished = ("no time was left", "stopped; it goes on with the next call")
    assert any(f"no confusion, seed 0: {words}" in shown.err for words in unfinished)
    assert "the same command goes on" in shown.err

    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert "| full |" in shown and "| no confusion |" in shown and "n = 1" in shown
    state = {one["row"]: one for one in json.loads((out / "sweep.json").read_text())}
    assert Path(state["full"]["run"]) == earlier and state["full"]["state"] == "done"
    assert "-no-confusion-" in Path(state["no confusion"]["run"]).name
    assert "They differ in `confusion` (no and yes)." in (out / "compare.md").read_text()

    logs = {path: path.stat().st_size for path in (out / "logs").iterdir()}
    assert run(*words) == 0  # nothing is made again
    assert {path: path.stat().st_size for path in (out / "logs").iterdir()} == logs


def test_what_is_merged_has_the_same_options_data_and_start(
    trained: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    base = {"config": str(tiny_config(tmp_path)), "data_root": str(sysu_root)}
    for rows, count in (({"a": {}}, 1), ({"a": {}, "b": {"lr": 0.5}}, 1)):
        found = read_sweep(write(tmp_path, base=base, rows=rows), tmp_path / "out")
        assert merge(found, [trained.parent]) == count
        assert found.jobs[0].folder == trained
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    kept = json.loads((other / "record.json").read_text())
    for change in ({"data_hash": "0" * 64}, {"changes": ["torch was 1"]}):
        (other / "record.json").write_text(json.dumps(kept | change))
        assert merge(read_sweep(write(tmp_path, base=base), tmp_path / "out"), [other]) == 0
    with pytest.raises(InputError, match="holds no run with a record"):
        merge(found, [tmp_path / "starts"])
    assert "`jobs`" not in refused(capsys, "sweep", tmp_path / "ablation.json", "--jobs", 0)


def test_a_run_that_fails_is_told_and_the_others_go_on(tmp_path: Path, capsys):
    root = fakes.make_sysu(tmp_path / "sysu", images=1)
    (root / "cam1" / "0001" / "0001.jpg").write_bytes(b"no image")
    base = {"config": str(tiny_config(tmp_path)), "data_root": str(root)}
    assert command_kit.run("sweep", write(tmp_path, base=base), "--out", tmp_path / "out",
                           "--device", "cpu") == 1  # fmt: skip
    message = " ".join(capsys.readouterr().err.split())
    assert "failed: `-m vireid train` ended with code 2" in message and "0001.jpg" in message


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards: benchmarks add to it
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_what_a_sweep_leaves_behind_is_kept(
    benchmarks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: Path,
    sysu_root: Path,
) -> None:  # fmt: skip
    """benchmarks/methods.py reads of a run what its result says; the hash of its options is the
    one that was planned for its row."""
    import methods

    monkeypatch.setenv("OUT", str(tmp_path))
    file, cross = tmp_path / "one.json", tmp_path / "cross"
    config = {"config": str(tiny_config(tmp_path))}
    file.write_text(json.dumps({"base": config, "rows": {"full": {}, "other": {"lr": 1}}}))
    (cross / "regdb").mkdir(parents=True)
    words = [str(file), "--data", str(sysu_root), "--work", str(tmp_path), "--cross", str(cross)]
    args = methods.arguments([*words, "--rows", "full"])
    sweep = methods.composed(args)
    assert [job.row for job in sweep.jobs] == ["full"]
    assert [test.words[2:] for test in sweep.tests] == [[]]
    others = [["--dataset", "regdb", "--data-root", str(cross / "regdb")]]
    assert [test.words[2:] for test in methods.others(cross)] == others
    runs = methods.runs_of(sweep, args)
    run_folder = Path(shutil.copytree(trained, tmp_path / "run"))
    assert run("test", "--resume", run_folder, "--trials", 2, "--figure-queries", 0) == 0
    job = dataclasses.replace(sweep.jobs[0], folder=run_folder, state="done")
    facts, options, queries = methods.kept_of(job, runs)
    runs.add("full", 0, facts, options, queries)
    assert facts["config_hash"] == runs.rows["full"] and facts["start_hash"] == "none"
    assert methods.main([*words, "--rows", "nobody"]) == 2

    def fails(job: Any) -> None:
        raise KeyError("of its result")

    sweep = dataclasses.replace(sweep, jobs=[job], tests=[])
    run_sweep(sweep, [None], after=fails, tables=False)  # others would go on
    assert job.state == "failed afterwards: KeyError: 'of its result'"


def test_a_candidate_for_the_package_embeds_as_it_was_trained(
    benchmarks: None, tmp_path: Path, trained: Path, sysu_root: Path
) -> None:
    """In half precision, without its classifier."""
    import train_synth_weights as candidates

    from vireid import load

    file = write(tmp_path, base={"config": str(tiny_config(tmp_path)), "data_root": str(sysu_root)})
    (job,) = read_sweep(file).jobs
    candidates.ship(dataclasses.replace(job, folder=trained), tmp_path / "half.safetensors")
    run_file, half = trained / "weights.safetensors", tmp_path / "half.safetensors"
    assert half.stat().st_size < 0.6 * run_file.stat().st_size
    first = next(path for path in sorted(sysu_root.glob("cam1/*/*.jpg")))
    before, after = (
        load(path, device="cpu").embed([first], "visible") for path in (run_file, half)
    )
    for name, vectors in before.vectors.items():
        np.testing.assert_allclose(after.vectors[name], vectors, atol=5e-3)


def test_networks_are_judged_on_people_of_every_set_and_timed_in_turns(
    benchmarks: None,
    tmp_path: Path,
    trained: Path,
    sysu_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import train_synth_weights as candidates

    kept: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(candidates, "TIMED", 2)
    monkeypatch.setattr(
        candidates, "make_unseen", lambda *_: {"near-infrared": ("sysu", sysu_root)}
    )
    monkeypatch.setattr(candidates, "write", lambda rows, *_: kept.append([*rows]))
    files = [str(trained / "weights.safetensors"), str(tmp_path / "copy.safetensors")]
    shutil.copy(*files)
    assert candidates.main(["--work", str(tmp_path), "--judge", *files]) == 0
    one, other = kept[-1]
    assert (one["row"], other["row"]) == ("weights", "copy")
    assert one["near-infrared"] == other["near-infrared"] and one["fits"]
    assert one["ms an image"] > 0 < other["ms an image"]


@pytest.mark.parametrize("row", ["lite2", "nobody"])
def test_a_candidate_is_refused_before_its_people_are_made(
    benchmarks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str
) -> None:
    import train_synth_weights

    with pytest.raises(SystemExit):
        train_synth_weights.main(["--work", str(tmp_path / "w"), "--rows", row])
    told = {"lite2": "weights of lite2 are not given", "nobody": "no candidate nobody; there are"}
    assert told[row] in capsys.readouterr().err and not (tmp_path / "w").exists()


OWN = """
import torch
from dataclasses import dataclass
from vireid.config import option
from vireid.methods.baseline import Baseline
from vireid.methods.options import MethodOptions

@dataclass(frozen=True, kw_only=True)
class SpreadOptions(MethodOptions):
    margin: float = option(0.3, at_least=0)
    spread_weight: float = option(0.5, at_least=0)

class Spread(Baseline):
    Options = SpreadOptions

    def terms(self, output, batch):
        loss = super().terms(output, batch)
        assert len(batch.pid_label) == 8 and batch.num_visible == 4
        loss["spread"] = self.options.spread_weight * output.pooled.var(0).WHAT()
        return loss
"""


def own_sweep(folder: Path, what: str, data: Path | None = None, **row: Any) -> tuple[object, ...]:
    (folder / "my.py").write_text(OWN.replace("WHAT", what))
    code = f"{folder / 'my.py'}:Spread"
    config = tiny_config(folder, recipe={
        "name": "scratch", "pids_per_batch": 2, "images_per_pid": 2, "epochs": 1,
    })  # fmt: skip
    base = {"config": str(config), "data_root": str(data or folder)}
    file = write(folder, base=base, rows={"own": {"method": code, **row}, "agw": {"method": "agw"}})
    return ("sweep", file, "--device", "cpu", "--out", folder / "out", "--code", code)


def test_own_methods_are_tried_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, *own_sweep(tmp_path, "maen"))
    assert (
        "Not possible here: row 'own'. Method 'spread' fails on a batch of 8 images (line 19 of"
        in message
    )
    assert not (tmp_path / "out").exists()


def test_hints_know_the_options_of_each_rows_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, *own_sweep(tmp_path, "mean", spred_weight=1))
    assert "row 'own': There is no option 'spred_weight'. Did you mean 'spread_weight'?" in message
    words = own_sweep(tmp_path, "mean")
    file = Path(str(words[1]))
    plain = json.loads(file.read_text())
    plain["base"] |= {"method": plain["rows"]["own"].pop("method"), "spred_weight": 1}
    file.write_text(json.dumps(plain))
    message = refused(capsys, *words)
    assert "[base]: There is no option 'spred_weight'. Did you mean 'spread_weight'?" in message


def test_an_option_of_another_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, base={"hidden": 64}, rows={"a": {"method": "agw"}, "m": {}})
    message = refused(capsys, "sweep", file, "--plan")
    assert message.endswith(
        "row 'a': There is no option 'hidden'. That is an option of mcl; the method here is 'agw'."
    )


@pytest.mark.parametrize("option", ["arch", "augment", "sampler", "callback"])
def test_no_code_is_run_that_only_the_file_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "bad.py").write_text("raise SystemExit(0)")
    name = f"{tmp_path / 'bad.py'}:Mine"
    words = own_sweep(tmp_path, "mean", **{option: [name] if option == "callback" else name})
    assert f"names the code {name}. Code is run only where you name it" in refused(capsys, *words)


def test_a_good_method_passes(tmp_path: Path, sysu_root: Path) -> None:
    words = own_sweep(tmp_path, "mean", sysu_root)
    check_here(read_sweep(Path(str(words[1])), tmp_path / "out", (str(words[-1]),)), [None])


def test_a_plan_warns_of_what_the_sweep_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends well: it may be for another machine."""
    rows = {"own": {"kernels": "own", "engine": "graph"}, "start": {"pretrained": "gone.pth"}}
    file = write(tmp_path, base={"method": "agw", "dataset": "sysu"}, rows=rows)
    assert run("sweep", file, "--device", "cpu", "--plan") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    told = " ".join(shown.err.split())
    assert "Warning: Not possible here: row 'own'. Engine 'graph' needs a CUDA GPU" in told
    assert "row 'start'. " in told and "gone.pth" in told
    assert told.removeprefix("Warning: ") in refused(capsys, "sweep", file, "--device", "cpu")


def test_a_run_that_was_trained_for_longer_is_no_row_any_more(
    tmp_path: Path, sysu_root: Path
) -> None:
    """The other rows have fewer epochs; and a file that isn't one of ours is left to others."""
    words = own_sweep(tmp_path, "mean", sysu_root)
    sweep = read_sweep(Path(str(words[1])), tmp_path / "out", (str(words[-1]),))
    job = sweep.jobs[0]
    job.folder.mkdir(parents=True)
    epochs = job.options.recipe.epochs
    for plain, refused_so in (
        ({"recipe": {"epochs": epochs + 3}}, True), ({"recipe": {"epochs": epochs}}, False),
        ([], False),
    ):  # fmt: skip
        (job.folder / "config.json").write_text(json.dumps(plain))
        if refused_so:
            with pytest.raises(InputError, match=f"is one of {epochs + 3} epochs now; this sweep"):
                check_here(sweep, [None])
        else:
            check_here(sweep, [None])
