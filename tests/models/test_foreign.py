"""Files of weights as people have them: wrapped, prefixed, with settings beside the tensors."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vireid.methods.published import read_published
from vireid.models.foreign import kind_of, load_foreign, misfits, named_tensors
from vireid.types import InputError
from vireid.weights import read_weights

NET = {"classifier.weight": torch.zeros(3, 2048), "bottleneck.weight": torch.ones(2048)}


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "module.module.", "_orig_mod.module."])
@pytest.mark.parametrize(
    "ways",
    [
        (),
        ("net",),
        ("state_dict",),
        ("model",),
        ("model", "state_dict"),
        ("net", "net", "model"),
        ("model_state_dict",),
    ],
)
def test_wrappers_and_prefixes(prefix: str, ways: tuple[str, ...], tmp_path: Path) -> None:
    content: Any = {prefix + name: value for name, value in NET.items()}
    for key in reversed(ways):
        content = {key: content, "epoch": 3, "optimizer": {"state": {}}, "best": True}
    found = read_published(saved(tmp_path / "x.pth", content))
    assert found.net.keys() == NET.keys() and found.num_pids == 3
    assert found.epoch == (3 if ways and ways[0] else -1)


def test_a_module_around_the_published_network() -> None:
    """Lightning saves the network as a part of its own module."""
    inner = {"classifier.weight": torch.zeros(3, 4), "base_resnet.base.conv1.weight": torch.ones(1)}
    content = {"state_dict": {f"model.{name}": value for name, value in inner.items()}}
    assert named_tensors(content).keys() == inner.keys() and kind_of(content) == "published"
    ours = {"model.stem_visible.a": torch.zeros(1), "model.neck.b": torch.zeros(1)}
    assert named_tensors(ours).keys() == ours.keys()


def test_what_holds_tensors_goes_before_what_does_not() -> None:
    content = {"net": {"depth": 50}, "model": "resnet50", "state_dict": NET}
    assert named_tensors(content).keys() == NET.keys()
    endless: dict[str, Any] = {}
    endless["net"] = endless
    assert named_tensors(endless) == {}
    odd = {"a": torch.zeros(1).to_sparse(), "b": torch.zeros(1, device="meta")}
    assert named_tensors(odd) == {}
    for nothing in ([1], None, {"net": 3}, {1: torch.ones(2)}, torch.ones(2)):
        assert kind_of(nothing) == "nothing"


@pytest.mark.parametrize(
    ("epoch", "number"),
    [
        (12, 12), (12.0, 12), ("12", 12), (torch.tensor(12), 12), (np.int64(12), 12), (0, 0),
        ("best", -1), ("", -1), (None, -1), (-3, -1), (float("nan"), -1), (float("inf"), -1),
        (torch.tensor([1, 2]), -1), ([12], -1), ({"epoch": 1}, -1), (10**400, -1), (b"\xff", -1),
    ],
)  # fmt: skip
def test_epochs_as_people_store_them(epoch: Any, number: int, tmp_path: Path) -> None:
    assert read_published(saved(tmp_path / "x.t", {"net": NET, "epoch": epoch})).epoch == number


class EasyDict(dict):
    """As the package easydict has it: a dictionary that is also its attributes."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__.update(values)


@pytest.fixture
def easydict(monkeypatch: pytest.MonkeyPatch) -> type:
    module = types.ModuleType("easydict")
    module.EasyDict = EasyDict  # type: ignore[attr-defined]
    monkeypatch.setattr(EasyDict, "__module__", "easydict")
    monkeypatch.setitem(sys.modules, "easydict", module)
    return EasyDict


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_beside_the_tensors_are_left_out(
    easydict: type, zipped: bool, tmp_path: Path
) -> None:
    settings = {
        "args": argparse.Namespace(lr=0.1, method="adp", inner=argparse.Namespace(gpu="0")),
        "simple": types.SimpleNamespace(lr=0.1),
        "cfg": easydict(lr=0.1, depth=50),
        "root": pathlib.PurePosixPath("/data/sysu"),
        "where": Path("runs"),
    }
    path = saved(tmp_path / "x.t", {"net": NET, **settings}, _use_new_zipfile_serialization=zipped)
    del sys.modules["easydict"]  # whoever opens the file need not have it
    content = load_foreign(path)
    for name in settings:
        assert isinstance(content[name], dict) and not hasattr(content[name], "_get_kwargs"), name
    assert content["args"] == {} == content["root"]
    assert read_published(path).net.keys() == NET.keys()
    assert "easydict" not in sys.modules


class _Malice:
    """On unpickling, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


def test_settings_may_hold_no_code(tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = saved(tmp_path / "x.t", {"net": NET, "args": argparse.Namespace(x=_Malice(made))})
    with pytest.raises(InputError, match=r"was refused: it needs the Python object \w+\.mkdir"):
        load_foreign(path)
    assert not made.exists()


def test_the_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    wrong = saved(tmp_path / "torch.safetensors", {"net": NET})
    assert kind_of(load_foreign(wrong)) == "other"
    save_file(NET, tmp_path / "safe.t")
    assert load_foreign(tmp_path / "safe.t").keys() == NET.keys()


def test_long_lists_are_cut() -> None:
    own = {f"layer{i}.weight": (2, 3) for i in range(300)}
    given = {f"other{i}": torch.zeros(1) for i in range(300)} | {"layer0.weight": torch.zeros(3, 2)}
    assert misfits(own, given) == (
        "299 missing (layer1.weight, layer2.weight, layer3.weight …); "
        "300 unknown (other0, other1, other2 …); "
        "1 of another shape (layer0.weight (3, 2) instead of (2, 3))"
    )
    assert len(misfits({"x" * 70_000: (1,)}, {"y" * 70_000: torch.zeros(1)})) < 400
    assert misfits({"a": (1,)}, {"a": torch.zeros(1)}) == ""


def test_a_damaged_archive_given_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"")
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x00"))
    assert zipfile.is_zipfile(path)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_weights(path)


def test_a_compressed_checkpoint_is_measured_first(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"")
        archive.getinfo("net/data.pkl").file_size = 3 * 2**30
    with pytest.raises(InputError, match=r"compressed, and unpacks to 3\.0 GiB"):
        load_foreign(path)
