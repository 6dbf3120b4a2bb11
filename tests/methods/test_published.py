"""Checkpoints of the published code: embeddings equal, tensors come back, no code is run."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from published_kit import golden_net, is_dead

from vireid.methods import Sizes, export_published, import_published, method_class
from vireid.methods.published import _FORMS, _place, read_published
from vireid.models.attention import BatchGraph, PartAttention
from vireid.models.foreign import load_foreign
from vireid.types import InputError

GOLDEN = Path(__file__).parent.parent / "golden"
EXAMPLES = Path(__file__).parents[2] / "examples"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "embeddings.npz"))


@pytest.fixture(scope="module", params=["mcl", "base"])
def published(
    request: pytest.FixtureRequest,
    golden: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    method = request.param
    prefix = f"{method}/statistics/"
    statistics = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    net = golden_net(method, statistics)
    path = tmp_path_factory.mktemp("published") / f"{method}.t"
    extras = {"mAP": np.float64(0.6), "mINP": np.float32(0.5), "cmc": np.linspace(0, 1, 5)}
    torch.save({"net": net, "epoch": 12} | extras, path)
    return method, path


def test_embeddings_and_the_way_back(
    published: tuple[str, Path], golden: dict[str, np.ndarray], tmp_path: Path
) -> None:
    name, path = published
    method = import_published(path).eval()
    assert method.name == name
    assert sum(p.numel() for p in method.parameters()) == pytest.approx(24.35e6, rel=1e-3)
    pixels = torch.tensor(golden["images"]).permute(0, 3, 1, 2).float() / 255
    image = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        for modality, num_visible in (("visible", len(image)), ("infrared", 0)):
            found = method.embed(image, num_visible)
            for ours, theirs in (("pooled", "pool"), ("embedding", "bn")):
                expected = golden[f"{name}/{modality}/{theirs}"]
                assert np.abs(found[ours].numpy() - expected).max() < 1e-4
    out = tmp_path / "back.t"
    export_published(method, out, epoch=12)
    before, after = torch.load(path, weights_only=False)["net"], load_foreign(out)["net"]
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    for key in before:
        assert is_dead(key) or torch.equal(before[key], after[key]), key
    assert out.stat().st_size < 110e6  # dead copies share the memory of live ones
    assert read_published(out).epoch == 12


def test_import_under_another_name(published: tuple[str, Path]) -> None:
    name, path = published
    if name == "base":
        with pytest.raises(InputError, match="no non-local blocks; that is not the method agw"):
            import_published(path, "agw")
    else:
        assert import_published(path, "agw").name == "agw"


def test_ddags_modules_have_their_published_places() -> None:
    """Golden tensors of the published modules, put where the product puts them, give the golden
    outputs."""
    golden = {k: torch.tensor(v) for k, v in np.load(GOLDEN / "ddag.npz").items()}
    theirs = {
        k.replace("part/weights/", "wpa."): v for k, v in golden.items() if "part/weights" in k
    }
    theirs["wpa.bottleneck.num_batches_tracked"] = torch.tensor(0)
    for kind in "Wa":
        for head in range(4):
            theirs[f"attention_{head}.{kind}"] = golden[f"graph/weights/head{head}/{kind}"]
        theirs[f"out_att.{kind}"] = golden[f"graph/weights/out/{kind}"]
    part = PartAttention(48).double().eval()
    graph = BatchGraph(48, 20, heads=4, head_dim=32, dropout=0.0).double()
    form = next(form for form in _FORMS if "ddag" in form.methods)
    for prefix, module in (("part", part), ("graph", graph)):
        for name, tensor in module.state_dict().items():
            place = _place(f"{prefix}.{name}", tuple(tensor.shape), form)
            assert place is not None
            names, shape = place
            found = [theirs[key] for key in names]
            assert {tuple(one.shape) for one in found} == {shape}
            tensor.copy_(torch.stack(found).reshape(tensor.shape))
    with torch.no_grad():
        feature = part(golden["part/map"].double(), golden["part/neck_feature"].double())
        logs = graph(golden["graph/pooled"].double(), golden["graph/pids"])
    for ours, expected in (
        (feature, golden["part/eval/output"]), (logs, golden["graph/log_probabilities"])
    ):  # fmt: skip
        assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "arch", "options"),
    [
        ("base", "resnet18", {}),
        ("ddag", "resnet18", {}),
        ("ddag", "resnet50", {"part": False, "graph": False}),
        ("ddag", "resnet50", {"part": False, "heads": 1, "head_dim": 1}),
        (f"{EXAMPLES / 'combined_method.py'}:Combined", "resnet50", {}),
    ],
)
def test_networks_that_the_published_code_lacks(
    name: str, arch: str, options: dict, tmp_path: Path
) -> None:
    cls = method_class(name)
    method = cls(cls.model_defaults(arch, "none"), Sizes(num_pids=4), cls.Options(**options))
    with pytest.raises(InputError, match="cannot be written as a published checkpoint"):
        export_published(method, tmp_path / "x.t")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.t"
    for content, words in (
        ({"net": {"fc.weight": torch.zeros(2)}}, "not a checkpoint of the published"),
        ([1], "not a checkpoint of the published"),
        (
            {"net": {"classifier.weight": torch.zeros(2, 2), "blocks.0.q": torch.zeros(1)}},
            r"'classifier.weight' has the shape \(2, 2\); \(N, 2048\) was expected",
        ),
        ({"net": {"classifier.weight": torch.tensor(3.0)}}, r"has the shape \(\)"),
        ({"net": {"classifier.weight": torch.zeros(1, 2048)}}, "N at least 2"),
        (
            {"net": {"classifier.weight": torch.zeros(1).expand(10**12, 2048)}},
            "the shape",  # a file of 1 kB may not ask for a network of 8 PB
        ),
        (
            {"classifier.weight": torch.zeros(3, 2048), "NL_2.0.theta.weight": torch.zeros(1)},
            "'NL_2.0.theta.weight' has the shape",
        ),
        (
            {"classifier.weight": torch.zeros(3, 2048), "wpa.x": torch.zeros(1)},
            "'wpa.gate' is missing",
        ),
        ({"model.stem_visible.conv1.weight": torch.zeros(1)}, "weights of vireid already"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=words):
            read_published(path)
    net = {"classifier.weight": torch.zeros(3, 2048), "blocks.0.q": torch.zeros(1)}
    torch.save({"net": net}, path)
    with pytest.raises(InputError, match="not those of the published ResNet-50") as caught:
        import_published(path)
    assert "1 unknown (blocks.0.q)" in str(caught.value)
    assert "bn1.weight" in str(caught.value) and len(str(caught.value)) < 500  # of 320 missing
    with pytest.raises(InputError, match="There is no file"):
        read_published(tmp_path / "absent.t")
    with pytest.raises(InputError, match="is a folder"):
        read_published(tmp_path)


class _Malice:
    """On unpickling, makes a folder."""

    def __init__(self, make: Callable, *arguments: object) -> None:
        self.call = (make, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "was-here", tmp_path / "x.t"
    torch.save({"net": _Malice(os.mkdir, str(target))}, path)
    with pytest.raises(InputError, match=r"was refused: it needs the Python object \w+\.mkdir"):
        load_foreign(path)
    torch.save({"net": _Malice(eval, "1")}, path)
    with pytest.raises(InputError, match=r"was refused: .*eval"):
        load_foreign(path)
    assert not target.exists()


def test_names_of_both_numpy_are_read(tmp_path: Path) -> None:
    """Files of 2021 say numpy.core where NumPy 2 says numpy._core."""
    saved = tmp_path / "saved.t"
    torch.save({"mAP": np.float64(0.25), "cmc": np.arange(3.0), "n": np.int64(3)}, saved)
    for module in (b"numpy.core", b"numpy._core"):
        path = tmp_path / f"{module.decode()}.t"
        with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as copy:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith("data.pkl"):
                    content = re.sub(rb"numpy\._?core", module, content)
                    assert module + b".multiarray" in content
                copy.writestr(name, content)
        read = load_foreign(path)
        assert read["mAP"] == 0.25 and read["n"] == 3
        assert read["cmc"].tolist() == [0.0, 1.0, 2.0]


def test_files_from_before_zip(tmp_path: Path) -> None:
    path = tmp_path / "old.t"
    content = {"net": {"a": torch.arange(3)}, "mAP": np.float32(0.5), "cmc": np.ones(2)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    read = load_foreign(path)
    assert torch.equal(read["net"]["a"], torch.arange(3))
    assert read["mAP"] == 0.5 and read["cmc"].tolist() == [1, 1]


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "x.t"
    torch.save({"a": torch.arange(1000)}, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"not a readable PyTorch file|was refused|is text, not weights"
        ):
            load_foreign(path)
    other = tmp_path / "x.safetensors"
    other.write_bytes(whole[:100])
    with pytest.raises(InputError, match="not readable safetensors"):
        load_foreign(other)
