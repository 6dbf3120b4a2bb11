"""Imports point one way, and the command line starts without PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
ORDER = [
    "types", "files", "cores", "console", "config", "data", "synthetic", "models", "losses",
    "methods", "checkpoint", "engine", "trainer", "embed", "evaluation", "search", "bench",
    "commands", "cli",
]  # fmt: skip
FORBIDDEN = {"embed": {"trainer"}, "evaluation": {"trainer", "engine"},
             "search": {"trainer", "engine"}}  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "vireid" else [
                f"vireid.{alias.name}" for alias in node.names]  # fmt: skip
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), "relative import"
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("vireid.")}
    return rooms - {"__version__"}


FILES = sorted(p for p in SOURCE.rglob("*.py") if room_of(p) not in {"__init__", "__main__"})


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_upwards(path: Path) -> None:
    room = room_of(path)
    assert room in ORDER, f"{room} has no place in the order; give it one here"
    for other in imported_rooms(path) - {room}:
        assert other in ORDER, f"{path} imports vireid.{other}, which has no place in the order"
        assert ORDER.index(other) < ORDER.index(room), f"{path} imports vireid.{other} from below"
        assert other not in FORBIDDEN.get(room, set()), f"{path} must not import vireid.{other}"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nsys.argv = ['vireid', '--help']\n"
        "from vireid.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'matplotlib' not in sys.modules and 'faiss' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "synthesize" in done.stdout
