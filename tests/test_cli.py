"""The command line: help, exit codes, words in any case, sentences for wrong ones."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
from command_kit import refused, run

from vireid import cli
from vireid.cli import begin
from vireid.commands import COMMANDS, INDEX_COMMANDS, load
from vireid.commands.common import suggest
from vireid.commands.flags import Flags
from vireid.config import Options, meanings
from vireid.console import say
from vireid.data import Variant, facts_of, registry
from vireid.files import atomic_write, nearest_there
from vireid.types import InputError

ALL = [(name,) for name in COMMANDS if name != "index"] + [("index", n) for n in INDEX_COMMANDS]


def undocumented(options: Options) -> list[str]:
    """Fields without a docstring, in nested options too."""
    texts, missing = meanings(type(options)), []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        missing += undocumented(value) if isinstance(value, Options) else []
        missing += [] if texts.get(field.name) else [field.name]
    return missing


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_explains_every_flag(words: tuple[str, ...], capsys) -> None:
    target = INDEX_COMMANDS[words[1]] if len(words) > 1 else COMMANDS[words[0]]
    assert run(*words, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: vireid {' '.join(words)}")
    command = Flags("vireid", load(target), [])
    for name, parameter in inspect.signature(load(target)).parameters.items():
        if name in command.defaults:  # options, each explained under its field
            unexplained = undocumented(command.defaults[name])
            assert not unexplained, f"{target} does not explain {unexplained}"
        else:
            assert f"{name}:" in (load(target).__doc__ or ""), f"{target} doesn't explain {name}"
            if parameter.kind is parameter.KEYWORD_ONLY:
                assert f"--{name.rstrip('_').replace('_', '-')}" in shown
    assert "{" not in shown and "(default: )" not in shown and "\x1b" not in shown


def test_a_value_that_is_missing_is_asked_for_in_a_sentence(capsys) -> None:
    for words, sentence in (
        (("train", "--size", "96x48"), "Missing value for argument '--size'. Expected 2 values."),
        (("train", "--epochs"), "Missing value for argument '--epochs'. Expected 1 value."),
        (("info", "one", "two"), "on 1 name, and 2 were given: 'one', 'two'."),
    ):
        said = refused(capsys, *words)
        assert sentence in said and f"`vireid {words[0]} --help` explains its flags." in said


@dataclasses.dataclass(frozen=True)
class Talking(Options):
    """Options that say something once they are read."""

    title: ClassVar[str] = "talking"
    number: int = 1
    """A number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.number != 1:
            sys.stderr.write("said\n")


def test_what_options_say_is_kept(capsys) -> None:
    """Flags are read with both streams caught, as the library that reads them prints itself."""

    def command(*, options: Talking) -> int:
        """Do it."""
        return options.number

    command.__annotations__["options"] = Talking
    assert Flags("vireid do", command, ["--number", "2"]).call() == 2
    assert capsys.readouterr().err == "said\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_ended_leaves_nothing_half_written(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def doctor() -> None:
        """Write, and be ended meanwhile."""
        with atomic_write(tmp_path / "file"):
            os.kill(os.getpid(), number)
            time.sleep(60)

    monkeypatch.setattr("vireid.cli.load", lambda target: doctor)
    before = signal.getsignal(signal.SIGTERM)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        assert run("doctor") == code
    finally:
        signal.signal(signal.SIGINT, ours)
    assert "vireid: interrupted." in capsys.readouterr().err
    assert not list(tmp_path.iterdir()) and signal.getsignal(signal.SIGTERM) is before


def test_a_place_without_permission_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    closed, stat = str(tmp_path / "closed"), os.stat

    def refuse(path, **options):  # root, whom tests may run as, may look into all
        if os.fspath(path).startswith(f"{closed}/"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    (tmp_path / "closed").mkdir()
    told = refused(capsys, "info", f"{closed}/run")
    assert f"'{closed}/run' can't be used: Permission denied." in told
    assert nearest_there(Path(closed, "runs", "mcl-0")) == Path(closed)


def test_a_mistyped_path_is_answered_by_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("runs/mcl-0/config.json", "people/index.sqlite", "set/cam1/0001/0001.jpg",
                 "ablation.toml", "start.safetensors", "night.onnx", "my_method.py"):  # fmt: skip
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    run, index = ("runs/mcl-O", "runs/mcl-0"), ("peoples", "people")
    start, data, code = ("strat.safetensors", "start.safetensors"), ("sett", "set"), "my_metod.py:M"
    image = ("set/cam1/0001/001.jpg", "set/cam1/0001/0001.jpg")
    search = ("search", "--modality", "visible", "--index")
    for (typed, meant), words in [
        (run, ("train", "--resume")),
        (run, ("test", "--resume")),
        (run, ("test", "--epoch", 3, "--resume")),
        (run, ("info",)),
        (run, ("report",)),
        (run, ("plot", "--out", "out")),
        (run, ("export-weights",)),
        (run, ("sweep", "ablation.toml", "--merge")),
        (index, ("index", "info", "--index")),
        (index, (*search, "people", "--weights", "synth", "--image", "night.onnx", "--index")),
        (image, (*search, "people", "--weights", "synth", "--image")),
        (start, (*search, "people", "--image", "night.onnx", "--weights")),
        (start, ("index", "create", "--index", "new", "--embeddings")),
        (start, ("import-weights",)),
        (data, ("train", "--run", "new", "--dataset", "sysu", "--data-root")),
        (data, ("prepare", "--dataset", "folder", "--data-root")),
        (data, ("embed", "--weights", "synth", "--modality", "visible", "--out", "o", "--images")),
        (("ablaton.toml", "ablation.toml"), ("sweep",)),
        (("ablaton.toml", "ablation.toml"), ("train", "--config")),
        (("nigth.onnx", "night.onnx"), ("test", "--resume")),
        ((code, "my_method.py"), ("train", "--method")),
        ((code, "my_method.py"), ("train", "--data-root", "set", "--dataset")),
    ]:
        message = refused(capsys, *words, typed)
        assert re.search(rf" Did you mean '([^']*/)?{re.escape(meant)}'\?", message), words


def test_what_to_run_next_can_be_typed(capsys, monkeypatch, tmp_path: Path) -> None:
    """`make demo` activates no environment, so that a shell wouldn't find the command."""
    program = tmp_path / ".venv" / "bin" / "vireid"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    for argument, path, typed in (
        (str(program), "/nowhere", ".venv/bin/vireid"),
        (str(program), str(program.parent), "vireid"),
        ("/usr/bin/pytest", "/nowhere", "vireid"),
        ("/no/such/vireid", "/nowhere", "vireid"),
    ):
        monkeypatch.setattr(sys, "argv", [argument])
        monkeypatch.setenv("PATH", path)
        suggest("vireid test --resume vireid   (`vireid report` compares)")
        want = f"Next: {typed} test --resume vireid   (`{typed} report` compares)"
        assert want in capsys.readouterr().err
        say("vireid reads it; `vireid report` compares")  # as errors and notes are printed
        assert f"vireid reads it; `{typed} report` compares\n" == capsys.readouterr().err


def test_the_contract_of_other_scripts() -> None:
    """Flags that scripts outside this repository use; see the README for what they mean."""
    wanted = {
        "synthesize": "layout out identities test-identities images seed workers",
        "prepare": "dataset data-root npy camids",
        "train": "dataset data-root method arch lr optim epochs seed trial recipe pretrained gpu "
        "device run model-path resume select refit",
        "test": "resume dataset data-root mode shots draw direction trial gpu",
        "embed": "weights images modality out",
        "index create": "index embeddings image-root",
        "index add": "index embeddings",
        "index remove": "index",
        "index info": "index",
        "index verify": "index",
        "search": "index weights image modality top json",
        "serve": "index weights port",
        "report": "reports",
        "info": "target",
        "bench": "json",
        "doctor": "",
        "import-weights": "file",
        "export-weights": "run format",
        "demo": "",
    }
    for words, flags in wanted.items():
        name = words.split()
        target = INDEX_COMMANDS[name[1]] if len(name) > 1 else COMMANDS[name[0]]
        command = Flags("vireid", load(target), [])
        valid = {*command.names, *inspect.signature(load(target)).parameters}
        assert {f.replace("-", "_") for f in flags.split()} <= valid, words


def test_the_kernels_that_are_timed_are_chosen_as_in_training(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise InputError("The timing begins.")

    monkeypatch.setattr("vireid.bench.machine.random_data", begin)
    assert "begins" in refused(capsys, "bench", "--kernels", "EAGER", "--device", "cpu")
    assert "Valid: auto, own, mixed" in refused(capsys, "bench", "--kernels", "theirs")
    message = refused(capsys, "bench", "--kernels", "own", "--device", "cpu", "--arch", "convnext")
    assert "--kernels own works only where the step is captured" in message
    assert "timm has no network 'convnext'." in message
    message = refused(capsys, "bench", "--device", "cpu", "--arch", "convnext_atto")
    assert "needs a ResNet. Choose one, or --no-published." in message


def test_help_needs_no_torch() -> None:
    """In a process of its own, since this one has torch; so every `--help` is quick."""
    code = (
        "import sys\n"
        "from vireid.cli import main\n"
        f"for words in {[list(words) for words in ALL]}:\n"
        "    try: main([*words, '--help'])\n"
        "    except SystemExit as end: assert not end.code, words\n"
        "assert not {'torch', 'timm', 'cv2', 'numba', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rare_flags_are_shown_when_asked_for(capsys) -> None:
    assert run("train", "--help") == 0
    short = capsys.readouterr().out
    assert "--lr" in short and " method ─" in short and "options options" not in short
    assert run("train", "--help-all") == 0
    whole = capsys.readouterr().out
    for flag in ("--milestones", "--erase-area", "--log-every", "--weight-decay"):
        assert flag in whole and flag not in short
    assert "--discriminator-lr" in short
    assert run("train", "--method", "ddag", "--help") == 0
    assert "--graph-weight" in capsys.readouterr().out


def test_help_speaks_of_flags_and_shows_the_default_of_switches(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column of frames
    assert run("train", "--help-all") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert re.search(r"--deterministic [A-Z][^(]*\(default: off\)", shown)
    assert re.search(r"--confusion, --no-confusion [A-Z][^(]*\(default: on\)", shown)
    assert re.search(r"--size N N [A-Z][^(]*\(default: 288 144\)", shown)
    assert "where --channel left it alone" in shown  # the docstring names the field


def test_data_sets_and_methods_are_named_from_their_tables(monkeypatch, capsys) -> None:
    """Also one that the texts have never heard of."""
    night = dataclasses.replace(
        facts_of("regdb"), name="nightgate", title="Nightgate", splits=3, shots=(1, 4),
        scopes={"all": None, "night": (1,)}, directions=("visible_to_infrared",),
        variants={"mirrored": Variant(direction="visible_to_infrared", note="")},
    )  # fmt: skip
    monkeypatch.setattr(registry, "_registered", {"nightgate": night})
    splits = "1 to 10 (RegDB), 1 to 3 (Nightgate)"
    methods = "base, agw, ddag, mcl, caj, dns, deen, rle, halo or"
    wanted = {
        "train": ("llcm, folder (own data), nightgate or path/", splits, methods),
        "prepare": ("nightgate or path/",),
        "info": ("nightgate or path/", splits),
        "test": (
            "nightgate or path/", splits, "all, indoor (SYSU-MM01), night (Nightgate)",
            "1, 10 (SYSU-MM01), 4 (Nightgate)", "seeded, official (SYSU-MM01)",
            "infrared-to-visible (SYSU-MM01, own data), both (RegDB, LLCM), "
            "visible-to-infrared (Nightgate)", "standard, legacy-deen (LLCM), mirrored (Nightgate)",
        ),
    }  # fmt: skip
    for command, texts in wanted.items():
        assert run(command, "--help") == 0
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for text in texts:
            assert text in shown, (command, text)


def test_overview_and_version(capsys) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert run() == 2 and run("index") == 2 and run("index", "--help") == 0
    capsys.readouterr()
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("vireid ")


def test_unknown_words_name_the_nearest(capsys) -> None:
    assert "Did you mean 'train'?" in refused(capsys, "trian")
    assert "Did you mean 'create'?" in refused(capsys, "index", "creat")
    for words in (("--metod", "mcl"), ("--metod=mcl",), ("--METHOD", "mcl")):
        message = refused(capsys, "train", *words)
        flag = words[0].partition("=")[0]
        assert f"`vireid train` has no flag '{flag}'. Did you mean '--method'?" in message
    message = refused(capsys, "train", "--metod", "mcl", "--lrr=1", "--workers", 3, "--metod=mcl")
    no = "`vireid train` has no flag"
    answer = "Images are decoded once, by `vireid prepare` or the first run; leave it out."
    assert message.removeprefix("vireid: ") == (
        f"{no} '--metod'. Did you mean '--method'? {no} '--lrr'. Did you mean '--lr'? "
        f"{no} '--workers'. {answer} `vireid train --help-all` explains all its flags."
    )
    for words, whole in (
        (("info", "--data-root", "my set", "--trial", "2"), "info 'my set' --trial 2"),
        (["info", "--target=set"], "info set"),
        (("import-weights", "--weights", "x.t"), "import-weights x.t"),
        (("report", "--resume", "runs/a"), "report runs/a"),
    ):
        assert f"without one. Write `vireid {whole}`." in refused(capsys, *words)
    assert "'--data-root'" in refused(capsys, "test", "--resume", "x", "--data_rot", "y")
    assert "'--no-confusion'" in refused(capsys, "train", "--no-confusio")
    assert "explains" in refused(capsys, "index", "create", "--zzz", "y")


def test_a_flag_that_is_needed(capsys) -> None:
    assert "`vireid test` needs --resume, not given here." in refused(capsys, "test")
    assert "needs --images and --out, not" in refused(capsys, "embed", "--modality", "visible")
    assert run("test", "-h") == 0


@pytest.mark.parametrize(
    ("flag", "word", "expected"),
    [("--lr", "fast", "a number"), ("--epochs", "2.5", "a whole number")],
)
def test_a_value_of_another_kind(flag: str, word: str, expected: str, capsys) -> None:
    message = f"{flag}: '{word}' was given, {expected} was expected."
    assert message in refused(capsys, "train", flag, word)
    assert message in refused(capsys, "train", f"{flag}={word}")


def test_a_word_without_its_flag(capsys) -> None:
    message = refused(capsys, "test", "runs/a b")
    assert "needs --resume, not given here. Did you mean --resume 'runs/a b'?" in message
    assert "takes flags only, and 'people' is none." in refused(capsys, "train", "people")
    assert "`vireid info` was given nothing to work on" in refused(capsys, "info")
    message = refused(capsys, "info", "my", "people", "--json")
    assert "2 were given: 'my', 'people'." in message and ": 'my people'." in message


def test_more_words_than_are_taken(tmp_path: Path, monkeypatch, capsys) -> None:
    """As a shell makes of runs/*: how many are taken, and which were given."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    message = refused(capsys, "info", "a", "--json", "b")
    assert "on 1 name, and 2 were given: 'a', 'b'. Name one at a time. `vireid info" in message
    (tmp_path / "a b").mkdir()
    assert "quotation marks: 'a b'." in refused(capsys, "info", "a", "b")
    for words, expected in (
        (("test", "--resume", "a", "b"), "--resume takes 1 value, and 2 were given: 'a', 'b'."),
        (("search", "--index", "a", "--modality=ir", "b"), "--modality takes 1 value, and 2 were"),
        (("train", "--size", 1, 2, 3), "--size takes 2 values, and 3 were given: '1', '2', '3'."),
        (("train", "--input-mean", 0, 0, 0, 0), "--input-mean takes 3 values, and 4 were given"),
        (("report", "a", "--average", "b"), "--average takes no value, and was given 'b'."),
        (("train", "--lr", -1, "-.5e-3"), "--lr takes 1 value, and 2 were given"),
    ):  # fmt: skip
        assert expected in refused(capsys, *words)


def test_a_path_to_nothing(tmp_path: Path, capsys) -> None:
    nothing = tmp_path / "nothing"
    for words in (("info", nothing), ("report", nothing), ("plot", nothing, "--out", tmp_path)):
        message = refused(capsys, *words)
        assert f"There is no folder or file '{nothing}'. Give " in message


def test_a_message_names_the_flag_where_the_field_has_another_name(capsys) -> None:
    message = refused(capsys, "test", "--resume", "x", "--trials", 0)
    assert "--trials is 0; it must be at least 1." in message


def test_a_reader_that_goes_away(sysu_root: Path) -> None:
    """`vireid info DATA | head -1` ends quietly."""
    command = f"{sys.executable} -m vireid info '{sysu_root}' | head -1; echo ${{PIPESTATUS}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0" and "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_doctor_answers_in_json(capsys) -> None:
    assert run("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert "PyTorch" in facts["This machine"]
    assert run("doctor") == 0
    assert "PyTorch" in capsys.readouterr().out


def test_threads_that_wait_sleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where they spin, commands that run beside each other take each other's cores."""
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        begin()
        assert os.environ["OMP_WAIT_POLICY"] == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_that_code_in_c_answers_otherwise_is_one(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(words: list[str]) -> int:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise InputError("The weights are damaged.") from None
        return 0

    monkeypatch.setattr(cli, "_dispatch", lost)
    with pytest.raises(SystemExit) as end:
        cli.main(["info"])
    assert end.value.code == code and "damaged" not in capsys.readouterr().err
