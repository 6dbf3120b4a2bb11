"""Type checkers see what every public name is: nothing is `Any`.

Names come from the stubs (`__init__.pyi`), so that a new one is checked by itself. mypy runs once
over a file that uses each name rightly and wrongly. PyTorch and other large libraries are left
out of that run; reading them would take most of a minute.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

SOURCE = Path(__file__).parent.parent / "src"
CACHE = SOURCE.parent / ".mypy_cache" / "public_types"  # a later run takes a third of the time
CONFIG = """
[mypy]
ignore_missing_imports = True
[mypy-torch.*,torchvision.*,timm.*,scipy.*,matplotlib.*,fastapi.*,starlette.*,pydantic.*,rich.*,\
numba.*,llvmlite.*,cv2.*,tyro.*,huggingface_hub.*,uvicorn.*,anyio.*,PIL.*]
follow_imports = skip
[mypy-vireid.*]
ignore_errors = True
"""
RIGHT = """\
similarity = np.zeros((2, 3), dtype=np.float32)
scores: vireid.evaluation.Scores = vireid.score(similarity, [1, 2], [1, 2, 3], rule="regdb")
mean_ap: float = scores.mean_ap
distance: np.ndarray = vireid.rerank(similarity, similarity, k1=5)
embedder: vireid.Embedder = vireid.load("synth", device="cpu")
embeddings: vireid.Embeddings = embedder.embed(["a.jpg"], vireid.Modality.INFRARED)
with vireid.open_index("index") as index: hits = index.search(embeddings.embedding, top=5)
closest: float = hits[0][0].similarity
dataset: vireid.data.Dataset = vireid.load_dataset("sysu", "data/sysu")
loss = vireid.losses.CenterAggregationLoss(4, 8, rho=2.0, centers="frozen")
"""
WRONG = """\
vireid.score(similarity, [1, 2], [1, 2, 3], rule=3)
vireid.rerank(similarity, similarity, k=5)
vireid.load(3)
embedder.embed(["a.jpg"])
mean_inp: str = scores.mean_inp
index.search(embeddings.embedding, top="five")
name: int = hits[0][0].path
vireid.losses.WeightedTripletLoss("rough")
vireid.losses.CenterAggregationLoss(4, "8")
dataset.nonsense
"""


def public_names() -> dict[str, object]:
    """package.name of each name in a stub → what it is."""
    names: dict[str, object] = {}
    for stub in sorted(SOURCE.rglob("__init__.pyi")):
        package = ".".join(stub.parent.relative_to(SOURCE).parts)
        module = importlib.import_module(package)
        for node in ast.parse(stub.read_text("utf-8")).body:
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                name = alias.asname or alias.name
                names[f"{package}.{name}"] = getattr(module, name)
    return names


NAMES = public_names()


def test_every_public_name_has_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = sorted({name.rpartition(".")[0] for name in NAMES})
    lines = [*(f"import {package}" for package in packages), "import numpy as np"]
    lines += ["from collections.abc import Callable", "class Nothing: ...", *RIGHT.splitlines()]
    wrong: set[int] = set()

    def add_wrong(line: str) -> None:
        lines.append(line)
        wrong.add(len(lines))

    for line in WRONG.splitlines():
        add_wrong(line)
    for number, (name, value) in enumerate(NAMES.items()):
        if inspect.isclass(value):
            lines.append(f"def right_{number}(value: {name}) -> None: ...")
        else:
            kind = "Callable[..., object]" if callable(value) else "object"
            lines.append(f"right_{number}: {kind} = {name}")
        add_wrong(f"wrong_{number}: Nothing = {name}")
        if callable(value) and not isinstance(value, enum.EnumMeta):
            add_wrong(f"{name}(Nothing(), Nothing=1)")
    (tmp_path / "uses.py").write_text("\n".join(lines) + "\n")
    (tmp_path / "mypy.ini").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYPYPATH", str(SOURCE))
    flags = ["--config-file", "mypy.ini", "--cache-dir", str(CACHE), "--no-error-summary"]
    out, err, _ = api.run([*flags, "uses.py"])
    assert not err, err
    errors = {int(n) for n in re.findall(r"^uses\.py:(\d+): error", out, re.MULTILINE)}
    assert errors, out
    accepted = [lines[number - 1] for number in sorted(wrong - errors)]
    assert not accepted, f"wrong, but mypy says nothing: {accepted}"
    refused = [line for line in out.splitlines() if int(line.split(":")[1]) not in wrong]
    assert not refused, f"right, but mypy refuses: {refused}"


@pytest.mark.parametrize("name", [n for n, value in NAMES.items() if callable(value)])
def test_parameters_and_results_are_annotated(name: str) -> None:
    value = NAMES[name]
    if inspect.isclass(value):
        functions = [
            member
            for key, member in vars(value).items()
            if inspect.isfunction(member)
            and member.__module__.startswith("vireid.")
            and (not key.startswith("_") or key == "__init__")
        ]
    else:
        functions = [value]
    for function in functions:
        signature = inspect.signature(function)
        bare = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in {"self", "cls"}
        ]
        assert not bare, f"{name}: {function.__qualname__} has parameters without a type: {bare}"
        assert signature.return_annotation is not signature.empty, function.__qualname__
