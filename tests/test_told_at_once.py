"""Several wrong things are told at once, each once, through every door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_kit import refused, run
from fakes import make_sysu_tree
from hub_kit import Hub, serving
from huggingface_hub import constants
from safetensors.torch import save_file

import vireid
from vireid.models import shipped_weights
from vireid.models.hub import fetch
from vireid.server.app import serve
from vireid.sweep import read_sweep
from vireid.training.defaults import train_options
from vireid.types import InputError


def test_all_wrong_names_are_told_at_once(tmp_path: Path, capsys) -> None:
    """Of method, data set and network, wherever they are given; and of each command's own."""
    three = ("There is no method 'mlc'. Did you mean 'mcl'?",
             "There is no data set 'syzu'. Did you mean 'sysu'?",
             "timm has no network 'restnet50'. Did you mean 'resnet50'?")  # fmt: skip
    names = {"method": "mlc", "dataset": "syzu", "arch": "restnet50"}
    flags = ("--method", "mlc", "--dataset", "syzu", "--arch", "restnet50")
    config = {"method": "mlc", "dataset": "syzu", "model": {"arch": "restnet50"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "sweep.json").write_text(json.dumps({"base": names}))
    with pytest.raises(InputError) as found:
        train_options(**names)
    for message in (
        refused(capsys, "train", *flags),
        refused(capsys, "train", "--config", tmp_path / "config.json"),
        refused(capsys, "sweep", tmp_path / "sweep.json"),
        str(found.value),
    ):
        assert [message.count(sentence) for sentence in three] == [1, 1, 1], message
    words = ("--recipe", "worst", "--optim", "sdg", "--augment", "more", "--device", "cpu")
    message = refused(capsys, "train", *words)
    for word in ("no recipe 'worst'", "--optim is 'sdg'", "no augmentation 'more'"):
        assert message.count(word) == 1
    message = refused(capsys, "train", "--sampler", "x", "--callback", "y")
    assert "--sampler is 'x'" in message and "--callback is 'y'" in message
    message = refused(capsys, "bench", *flags[:2], *flags[4:], "--steps", 0, "--gpu", 99)
    for word in (three[0], three[2], "--steps is 0", "There is no GPU 99"):
        assert message.count(word) == 1


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("method", "mlc", "no method 'mlc'"),
        ("recipe", "wurst", "no recipe 'wurst'"),
        ("dataset", "syzu", "no data set 'syzu'"),
    ],
)
def test_a_wrong_name_hides_no_other_value(
    name: str, word: str, said: str, tmp_path: Path, capsys
) -> None:
    wrong = {"lr": -1.0, "keep": 0, "hidden": 0}
    flags = [text for option, value in wrong.items() for text in (f"--{option}", value)]
    (tmp_path / "sweep.json").write_text(json.dumps({"base": wrong | {name: word}}))
    recipe = {"lr": -1.0} | ({"name": word} if name == "recipe" else {})
    config = {"recipe": recipe, "keep": 0} | ({} if name == "recipe" else {name: word})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as found:
        train_options(None, **wrong, **{name: word})
    told = [
        str(found.value),
        refused(capsys, "train", f"--{name}", word, *flags),
        refused(capsys, "sweep", tmp_path / "sweep.json"),
        refused(capsys, "train", "--config", tmp_path / "config.json") + " hidden is 0",
    ]
    for message in told:
        for fault in (said, "lr is -1.0", "keep is 0", "hidden is 0"):
            assert message.replace("`", "").count(fault) == 1, message


def test_a_flag_that_an_unknown_method_may_have_is_not_refused(capsys) -> None:
    words = ("train", "--method", "hallo", "--lr", -1, "--circle-weight", 1)
    assert "flag" not in refused(capsys, *words)
    assert "Did you mean --circle-weight?" in refused(capsys, *words, "--circle-wieght", 1)
    with pytest.raises(InputError) as found:
        train_options(method="hallo", circle_weight=1, hiden=3)
    assert "no option 'hiden'" in str(found.value) and "circle" not in str(found.value)


def test_what_a_machine_can_not_train_is_told_before_images_are_read(
    tmp_path: Path, capsys
) -> None:
    asked = ("--arch", "restnet50", "--kernels", "own", "--precision", "float16",
             "--pretrained", "no/file.pth")  # fmt: skip
    where = ("--device", "cpu", "--data-root", tmp_path / "nothing", "--run", tmp_path / "run")
    message = refused(capsys, "train", *asked, *where)
    for word in ("timm has no network 'restnet50'", "--kernels own works only where",
                 "--pretrained names the file 'no/file.pth', which does not exist",
                 "Precision float16 needs a CUDA GPU"):  # fmt: skip
        assert message.count(word) == 1, message
    options = train_options(engine="graph", device="cpu", data_root=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="Engine 'graph' needs a CUDA GPU"):
        vireid.train(options, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # nor does a sweep begin with what it can do, to stop at the rest hours later
    rows = {"a": {}, "b": {"kernels": "own", "lr": 0.2}, "c": {"kernels": "own", "arch": "nonet"},
            "d": {"precision": "float16"}, "e": {"engine": "graph", "lr": 0.3},
            "f": {"pretrained": "none.pth"}}  # fmt: skip
    plain = {"seeds": [0, 1], "rows": rows, "test": {"precision": ["auto", "float16"]}}
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    words = ("sweep", tmp_path / "sweep.json", "--out", tmp_path / "runs")
    message = refused(capsys, *words, "--device", "cpu")
    for word in ("here: row 'b', row 'c'. `kernels` own works only where",
                 "here: row 'c'. timm has no network 'nonet'.",
                 "here: row 'd', [test]. Precision float16 needs a CUDA GPU",
                 "here: row 'e'. Engine 'graph' needs a CUDA GPU",
                 "here: row 'f'. `pretrained` names the file 'none.pth'"):  # fmt: skip
        assert message.count(word) == 1, message
    assert not (tmp_path / "runs").exists()
    assert run(*words, "--plan") == 0  # also on a machine without the GPUs that it is for


def test_a_start_or_network_that_can_not_be_is_told_before_images_are_read(
    tmp_path: Path, capsys
) -> None:
    """Whether its header says so, or its tensors; the data aren't even looked for."""
    part = tmp_path / "part.safetensors"
    network = {"arch": "resnet18", "last_stage": 3}
    save_file({"model.conv": torch.zeros(1)}, part,
              metadata={"vireid": json.dumps({"model": network})})  # fmt: skip
    nothing = str(tmp_path / "nothing")
    rows = {"a": {"pretrained": str(part), "last_stage": 4},
            "b": {"pretrained": "synth", "arch": "resnet34"},
            "c": {"pretrained": str(shipped_weights()), "arch": "resnet34"},
            "d": {"pretrained": "none", "arch": "vit_tiny_patch16_224", "last_stride": 2},
            }  # fmt: skip
    said = {"a": "are those of resnet18 up to stage 3; `last_stage` is 4",
            "b": "no weights trained on synthetic people for the network resnet34",
            "c": "do not fit the network resnet34",
            "d": "`last_stride` is 2, but the network vit_tiny"}  # fmt: skip
    for row, values in rows.items():
        with pytest.raises(InputError, match=said[row]):
            vireid.train(train_options(data_root=nothing, device="cpu", **values), tmp_path / "run")
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": rows, "base": {"data_root": nothing}}))
    words = ("sweep", tmp_path / "sweep.json", "--out", tmp_path / "runs", "--device", "cpu")
    message = refused(capsys, *words)
    for row, sentence in said.items():
        assert f"row '{row}'" in message and sentence in message


def test_a_folder_that_is_no_data_set_is_told_before_weights_are_fetched(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every door that does both, and nothing is left behind."""
    hub, runs = Hub(), tmp_path / "runs"
    root = str(make_sysu_tree(tmp_path / "sysu", {f"cam{c}/0001": 1 for c in range(1, 7)}, [1]))
    base = {"data_root": root, "dataset": "regdb"}
    with serving(hub, tmp_path / "cache"):
        for start in ("imagenet", "hf://user/name"):
            for name, said in (("regdb", "is not RegDB"), ("folder", "has no images of people")):
                words = ("train", "--dataset", name, "--data-root", root, "--pretrained", start)
                words += ("--run", runs, "--device", "cpu")
                assert said in refused(capsys, *words)
                options = train_options(dataset=name, data_root=root, pretrained=start)
                with pytest.raises(InputError, match=said):
                    vireid.train(options, runs)
            message = refused(capsys, *words, "--dataset", "regdb", "--trial", "all")
            assert "is not RegDB" in message
            rows = {"a": {"pretrained": start}, "b": {"pretrained": start, "lr": 0.2}}
            (tmp_path / "sweep.json").write_text(json.dumps({"base": base, "rows": rows}))
            words = ("sweep", tmp_path / "sweep.json", "--out", runs, "--device", "cpu")
            message = refused(capsys, *words)
            assert "row 'a', row 'b'. " in message and message.count("is not RegDB") == 1
    assert not hub.asked and not runs.exists()
    # a word that timm doesn't know is told along with the folder; the fetching waits for its turn
    words = ("train", "--dataset", "sysu", "--run", runs, "--device", "cpu")
    message = refused(capsys, *words, "--data-root", tmp_path, "--pretrained", "imagnet")
    assert "Did you mean 'imagenet'?" in message and "is not SYSU-MM01" in message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    fetch.cache_clear()
    message = refused(capsys, *words, "--data-root", root, "--pids-per-batch", 2)
    assert "as --pretrained, or start from nothing: --pretrained none." in message
    assert not (tmp_path / "sysu" / ".vireid").exists() and not runs.exists()


def test_all_that_a_test_can_not_do_is_told_at_once(tmp_path: Path, capsys) -> None:
    (tmp_path / "a file").touch()
    asked = ("--mode", "inside", "--shots", 3, "--draw", "up", "--trial", 2, "--direction", "in")
    places = ("--gpu", 99, "--out", tmp_path / "a file", "--data-root", tmp_path / "nothing")
    resume = tmp_path / "no run"
    message = refused(capsys, "test", "--resume", resume, "--dataset", "sysu", *asked, *places)
    for word in ("no mode 'inside'", "--shots is 3", "no draw 'up'", "--trial is 2", "GPU 99",
                 "no direction 'in'", "There are no weights", "is a file; a folder for the report",
                 "nothing' does not exist"):  # fmt: skip
        assert message.count(word) == 1, word
    words = ("test", "--resume", "synth", "--dataset", "syzu", "--device", "cpu")
    message = refused(capsys, *words, "--precision", "float16")
    assert "no data set 'syzu'" in message and "float16 needs a CUDA GPU" in message


def test_all_that_a_server_can_not_do_is_told_at_once(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("VIREID_TOKEN", raising=False)
    given = ("--index", tmp_path / "no index", "--weights", tmp_path / "no run", "--gpu", 99)
    rest = ("--port", 99999, "--trusted-proxy", "x", "--intensity-range", "bright")
    message = refused(capsys, "serve", *given, *rest, "--host", "0.0.0.0")
    for word in ("There is no index in", "There are no weights", "There is no GPU 99",
                 "--port is 99999", "--trusted-proxy is 'x'", "--intensity-range is 'bright'",
                 "no token is set"):  # fmt: skip
        assert message.count(word) == 1, word
    message = refused(capsys, "serve", *given, "--token", "a=1", "b=2", "--host", "0.0.0.0")
    assert "one of them has no name" in message and "There is no index in" in message
    assert "no token is set" not in message
    with pytest.raises(InputError, match=r"`port` is -1.*no index in.*no GPU 99.*no weights"):
        serve(tmp_path, tmp_path / "no run", port=-1, device="cuda:99")


def test_an_option_in_another_section_is_told_its_own(tmp_path: Path, capsys) -> None:
    """Of a configuration file and of a sweep's; the rest of the file is checked all the same."""
    file = tmp_path / "config.toml"
    file.write_text("""
        lr = 0.1
        epochs = 3
        hidden = 64
        [recipe]
        erase = 0.5
        seed = 1
        momentum = -1
        [model]
        floor = 0.1
        """)
    message = refused(capsys, "train", "--config", file)
    for word in ("'lr', 'epochs' belong under [recipe];", "'hidden' belongs under [method_opt",
                 "'erase' belongs under [recipe.augment];", "'floor' belongs under [recipe.sch",
                 "'seed' belongs at the top, before", "--momentum is -1.0"):  # fmt: skip
        assert message.count(word) == 1, message
    assert "unknown" not in message
    with pytest.raises(InputError, match=r"'lr', 'epochs' belong under \[recipe\]"):
        train_options(file)
    file.write_text('recipe = "scratch"')
    expected = "belongs under [recipe], as name = 'scratch'."
    assert expected in refused(capsys, "train", "--config", file)

    sweep = tmp_path / "sweep.toml"
    sweep.write_text("""
        lr = 0.1
        [recipe.schedule]
        kind = "cosine"
        [base]
        baseline = "a"
        mode = "all"
        [rows]
        erase = 0.5
        [test]
        margin = 0.3
        """)
    message = refused(capsys, "sweep", sweep)
    for word in ("'lr', 'schedule', 'margin' belong under [base];", "'mode' belongs under [",
                 "'baseline' belongs at the top", "'erase' stands under [rows]"):  # fmt: skip
        assert message.count(word) == 1, message
    assert "unknown" not in message and "kind" not in message


def test_options_that_stand_without_sections(tmp_path: Path, capsys) -> None:
    within = {"recipe": {"lr": 0.1, "schedule": {"kind": "peak"}}, "model": {"arch": "resnet18"}}
    expected = (
        "'lr' for 'recipe.lr', 'schedule' for 'recipe.schedule.kind', 'arch' for 'model.arch'"
    )
    with pytest.raises(InputError) as found:
        train_options(**within, lrr=1, momentum=-1)
    for word in (f"without a section here: {expected}.", "'lrr'. Did you", "`momentum` is -1.0"):
        assert str(found.value).count(word) == 1
    for plain, section in (({"base": within}, "[base]"), ({"rows": {"a": within}}, "row 'a'")):
        (tmp_path / "sweep.json").write_text(json.dumps(plain))
        message = refused(capsys, "sweep", tmp_path / "sweep.json")
        assert f"{section}: Options are named without a section here: {expected}." in message


def test_what_the_rows_of_a_sweep_share_is_told_once(tmp_path: Path, capsys) -> None:
    rows = {"a": {"method": "agw", "lr": 0.1, "pad": -1}, "b": {"dataset": "syzu"}, "c": {}}
    plain = {"seeds": [0, -1], "base": {"lr": 0, "lrr": 1, "hiddenn": 2}, "rows": rows,
             "grid": {"momentum": [0.9, -3]}}  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    message = refused(capsys, "sweep", tmp_path / "sweep.json")
    for word in ("[base]: There is no option 'lrr'.", "There is no option 'hiddenn'.",
                 "`lr` is 0.0;", "row 'a': `pad` is -1;", "row 'b': There is no data set 'syzu'.",
                 "[grid]: `momentum` is -3.0;", "seeds: `seed` is -1;"):  # fmt: skip
        assert message.count(word) == 1, message
    assert message.count("row ") == 2
    # code that the user didn't name isn't run to see whose fault it is
    (tmp_path / "my.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    plain["rows"] = {"a": {}, "b": {"method": f"{tmp_path / 'my.py'}:Mine"}}
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    message = refused(capsys, "sweep", tmp_path / "sweep.json")
    assert "[base]: There is no option 'lrr'." in message and "Code is run only" in message
    assert not (tmp_path / "ran").exists()
    # an option that only some rows' methods have is no fault of what they share
    plain = {"base": {"hidden": 64}, "rows": {"a": {"method": "agw"}, "b": {}}}
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    message = refused(capsys, "sweep", tmp_path / "sweep.json")
    assert "row 'a': There is no option 'hidden'." in message and "[base]" not in message


def test_no_section_of_a_sweep_hides_the_faults_of_another(tmp_path: Path, capsys) -> None:
    plain = {"seeds": [0, 0], "base": {"seed": 3}, "rows": {"a": {"momentum": 0.5}, "b": {}},
             "grid": {"momentum": [0.9, -3], "pids_per_batch": [4, 1]}, "baseline": "c",
             "test": [{"mode": "inside"}, {"dataset": "syzu"}]}  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    message = refused(capsys, "sweep", tmp_path / "sweep.json")
    for word in ("seeds is [0, 0];", "[base] has a seed.", "'momentum' is in the grid and in the",
                 "`momentum` is -3.0;", "[grid]: `pids_per_batch` is 1;", "no mode 'inside'",
                 "test 2: There is no data set 'syzu'", "baseline is 'c'; the rows"):  # fmt: skip
        assert message.count(word) == 1, message
    plain = {"grid": {"lr": []}}
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="the grid gives 'lr' no values"):
        read_sweep(tmp_path / "sweep.json")


@pytest.mark.parametrize("methods", [["agw", "mcl"], ["mcl", "agw"]])
@pytest.mark.parametrize("word", ["confusoin", "centres", "identity_center_wieght"])
def test_a_hint_is_of_the_row_whose_method_has_the_option(
    methods: list[str], word: str, tmp_path: Path, capsys
) -> None:
    """Whatever the order of the rows, and with underscores, too."""
    plain = {"base": {word: 1}, "rows": {name: {"method": name} for name in methods}}
    (tmp_path / "sweep.json").write_text(json.dumps(plain))
    message = refused(capsys, "sweep", tmp_path / "sweep.json")
    assert f"[base]: There is no option '{word}'. Did you mean '" in message
    assert "That is an option of" not in message
