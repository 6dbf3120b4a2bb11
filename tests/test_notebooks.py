"""The notebooks' cells, run in order, on small people and a small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import server_kit
import torch

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NETWORK = {
    "arch": "test_resnet", "pretrained": "none", "size": (64, 32), "pids_per_batch": 2,
    "images_per_pid": 1, "steps_per_epoch": 2, "device": "cpu",
}  # fmt: skip
MAGIC = "%%writefile "


def cells(name: str) -> list[dict[str, Any]]:
    found = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def execute(name: str, small: dict[str, Any]) -> dict[str, Any]:
    """Run all code cells, as Jupyter does; after those tagged as parameters come `small`."""
    space: dict[str, Any] = {"__name__": "__main__"}
    parameters = 0
    for number, cell in enumerate(cells(name)):
        text = "".join(cell["source"])
        if text.startswith(MAGIC):
            first, _, rest = text.partition("\n")
            Path(first.removeprefix(MAGIC)).write_text(rest)
            continue
        exec(compile(text, f"{name}, cell {number}", "exec"), space)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(small) == set(space) - {"__name__", "__builtins__"}, "all and no others"
            space |= small
            parameters += 1
    assert parameters == 1
    return space


@pytest.fixture(autouse=True)
def _in_a_folder_with_people(
    sysu_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("people").symlink_to(sysu_root)  # a notebook makes them only where there are none


def test_train_and_look() -> None:
    found = execute("train_and_look", {"IDENTITIES": 0, "EPOCHS": 1, "NETWORK": NETWORK})
    assert found["sheet"].getcolors(2**16) is not None and len(found["rows"]) == 6
    assert found["report"].protocol.scope == "all"
    assert all(path.stat().st_size > 10_000 for path in found["figures"].values())


def test_search(tmp_path: Path) -> None:
    server_kit.make_embedder(tmp_path / "tiny.safetensors")
    found = execute("search", {"IDENTITIES": 0, "WEIGHTS": str(tmp_path / "tiny.safetensors")})
    assert len(found["hits"]) == 8 and {hit.camid for hit in found["hits"]} <= {1, 2}
    assert Path("hits.jpg").is_file()


def test_own_method() -> None:
    found = execute("own_method", {"IDENTITIES": 0, "EPOCHS": 1, "NETWORK": NETWORK})
    losses = [found["read_log"](f"runs/{name}/log.jsonl")[-1]["losses"] for name in
              ("with", "without")]  # fmt: skip
    assert losses[0]["gap"] > 0 == losses[1]["gap"]
    assert len(found["reports"]) == 2


def test_notebooks_are_kept_without_outputs_and_linked() -> None:
    files = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert [file.stem for file in files] == ["own_method", "search", "train_and_look"]
    start = (NOTEBOOKS.parent / "docs" / "start.md").read_text(encoding="utf-8")
    for file in files:
        for cell in cells(file.stem):
            assert cell["outputs"] == [] and cell["execution_count"] is None
        assert f"notebooks/{file.name}" in start
