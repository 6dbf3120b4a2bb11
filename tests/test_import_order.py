"""Imports point one way, no two modules import each other, and help needs no PyTorch."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vireid.commands import COMMANDS, INDEX_COMMANDS
from vireid.standby import NEEDED

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
# A room imports only from rooms before it. docs/architecture.md says what each is for.
ORDER = [
    "version", "types", "problems", "console", "files", "config", "own_code", "extras", "cores",
    "locks", "data", "synthetic", "losses", "models", "methods", "weights", "runtime", "evaluation",
    "figures", "embed", "index", "server", "training", "testing", "card", "plotting",
    "sweep_file", "sweep_tests", "sweep", "sweep_run", "bench", "commands", "cli", "standby",
]  # fmt: skip
# Within the synthetic room, modules import only from those of earlier steps.
SYNTHETIC = [
    {"jit", "versions", "preset"}, {"noise"}, {"places"}, {"people"}, {"pictures"}, {"layouts"},
    {"parameters", "sheet"}, {"writer"}, {"v1", "other_cameras"},
]  # fmt: skip
# Others, such as matplotlib and numba, take up to a second: they are imported where they are used.
FIRST_STEP = {"torch", "timm", "numpy", "PIL", "rich", "safetensors"}
NEVER_TRAINING = {"embed", "evaluation", "index", "server", "figures"}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(p for p in SOURCE.rglob("*.py") if module_of(p) not in {"", "__main__"})
MODULES = {module_of(path): path for path in FILES}


def exports(package: str) -> dict[str, str]:
    """Public name of a package → the module that its stub takes it from."""
    stub = SOURCE / Path(*package.split(".")) / "__init__.pyi"
    if not stub.is_file():
        return {}
    nodes = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    before = f"{package}." if package else ""
    return {alias.name: f"{before}{node.module}" for node in nodes for alias in node.names}


def imported_modules(path: Path, *, at_top: bool = False) -> set[str]:
    """Modules of ours that a file imports, at its top, within functions or for types only; or only
    those that are imported along with it."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("vireid.") for a in node.names if a.name != "vireid"
                      and a.name.startswith("vireid.")}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            if node.module and node.module.split(".")[0] == "vireid":
                package = node.module.removeprefix("vireid").removeprefix(".")
                for alias in node.names:
                    inner = f"{package}.{alias.name}".removeprefix(".")
                    name = inner if inner in MODULES else exports(package).get(alias.name, package)
                    found.add(name)
    return found - {""}


def libraries(path: Path) -> set[str]:
    """Libraries of others that are imported along with a file."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    names = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"vireid"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_upwards(name: str) -> None:
    room = name.split(".")[0]
    assert room in ORDER, f"{room} has no place in the order; give it one here"
    for other in imported_modules(MODULES[name]):
        target = other.split(".")[0]
        assert target in ORDER, f"{name} imports vireid.{other}, which has no place in the order"
        assert ORDER.index(target) <= ORDER.index(room), f"{name} imports vireid.{other} from below"
        assert not (room in NEVER_TRAINING and target == "training"), f"{name} imports {other}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("synthetic.")])
def test_the_synthetic_room_builds_up(name: str) -> None:
    def step(module: str) -> int:
        return next(i for i, part in enumerate(SYNTHETIC) if module.split(".")[1] in part)

    for other in imported_modules(MODULES[name]):
        if other.startswith("synthetic."):
            assert step(other) <= step(name), f"{name} imports {other} from below"


def test_no_two_modules_import_each_other() -> None:
    graph = {name: imported_modules(path) & MODULES.keys() for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name] - {name}):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def imported_along(*names: str) -> tuple[set[str], dict[str, str]]:
    """Modules of ours that are imported with some, and each library with one that imports it."""
    waiting, loaded = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in loaded:
            loaded.add(name)
            waiting += imported_modules(MODULES[name], at_top=True) & MODULES.keys()
    return loaded, {library: name for name in loaded for library in libraries(MODULES[name])}


def test_the_first_step_waits_for_no_needless_library() -> None:
    loaded, found = imported_along("commands.train_run", "training.run", "bench.workload")
    assert {"training.step", "models.backbone", "figures.sheet"} <= loaded
    assert found.keys() == FIRST_STEP, f"differ: {found}"


def test_a_sweep_is_read_without_pytorch() -> None:
    loaded, found = imported_along(
        "commands.sweep", "sweep", "sweep_run", "training.naming", "training.defaults",
        "testing.searches", "data.registry", "data.protocol",
    )  # fmt: skip
    assert {"training.record", "runtime.jobs"} <= loaded
    assert not {"torch", "timm"} & found.keys(), f"imported by: {found}"


def test_a_process_that_stands_by_has_imported_a_run() -> None:
    ours = [name.removeprefix("vireid.") for name in NEEDED if name.startswith("vireid.")]
    loaded, found = imported_along(*ours)
    assert {"training.step", "models.backbone", "embed.embedder", "evaluation.metrics"} <= loaded
    assert {"tyro", *FIRST_STEP} <= found.keys() and "matplotlib.figure" in NEEDED


# Command → words after it that name a place which isn't there or holds something else, in the
# folder {}, which has a text file, a sweep and nothing else.
WRONG_PLACES = {
    "info": [["{}/no"]],
    "prepare": [["--dataset", "sysu", "--data-root", "{}/no"]],
    "train": [
        ["--data-root", "{}/no", "--pretrained", "none"],
        ["--data-root", "{}", "--pretrained", "{}/no.pth"],
        ["--data-root", "{}", "--pretrained", "none", "--method", "{}/no.py:Mine"],
        ["--data-root", "{}", "--pretrained", "none", "--run", "{}/text"],
        ["--config", "{}/no.json"],
        ["--resume", "{}/no"],
        ["--resume", "{}"],
    ],
    "test": [
        ["--resume", "{}/no"],
        ["--resume", "{}"],
        ["--resume", "{}/text"],
        ["--resume", "{}/no", "--epoch", "3"],
        ["--resume", "synth", "--data-root", "{}/no"],
    ],
    "sweep": [["{}/no.toml"], ["{}/sweep.toml", "--merge", "{}/no"]],
    "report": [["{}/no"], ["{}"]],
    "compare": [["{}/no", "--with", "{}"]],
    "plot": [["{}/no"], ["{}"], ["{}/text"]],
    "embed": [
        ["--images", "{}/no", "--out", "{}/o", "--modality", "visible"],
        ["--images", "{}", "--out", "{}/o", "--modality", "visible", "--weights", "{}/text"],
    ],
    "search": [
        ["--index", "{}/no", "--image", "{}/text", "--modality", "visible"],
        ["--index", "{}", "--image", "{}/no", "--modality", "visible", "--weights", "{}"],
    ],
    "serve": [["--index", "{}/no"], ["--index", "{}", "--weights", "{}/no"]],
    "import-weights": [["{}/no"], ["{}"]],
    "export-weights": [["{}/no"], ["{}"], ["{}/text"]],
    "card": [["{}/no"], ["{}"]],
    "index create": [["--index", "{}/i", "--embeddings", "{}/no"]],
    "index add": [["--index", "{}/no", "--embeddings", "{}/no"]],
    "index update": [["--index", "{}/no", "--embeddings", "{}/no"]],
    "index remove": [["--index", "{}/no", "--paths", "a"]],
    "index info": [["--index", "{}"]],
    "index verify": [["--index", "{}"]],
    "index compact": [["--index", "{}"]],
}


def test_a_wrong_place_is_refused_without_pytorch(tmp_path: Path) -> None:
    named = {*COMMANDS, *(f"index {name}" for name in INDEX_COMMANDS)} - WRONG_PLACES.keys()
    assert named == {"demo", "synthesize", "bench", "doctor", "index"}, "say which places it takes"
    (tmp_path / "text").write_text("text")
    (tmp_path / "sweep.toml").touch()
    calls = [
        [*command.split(), *(word.replace("{}", str(tmp_path)) for word in words)]
        for command, several in WRONG_PLACES.items()
        for words in several
    ]
    code = (
        "import json, sys\nfrom vireid.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    try:\n        main(words)\n"
        "    except SystemExit as end:\n        assert end.code == 2, (words, end.code)\n"
        "    loaded = {'torch', 'timm', 'matplotlib', 'fastapi'} & sys.modules.keys()\n"
        "    assert not loaded, (words, loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(calls)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_page_names_every_room_in_order() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == ORDER
    rooms = {name.split(".")[0] for name in MODULES}
    assert rooms == set(ORDER), f"differ: {sorted(rooms ^ set(ORDER))}"


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
