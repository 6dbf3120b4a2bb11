"""The parsers that the targets try: how much of each the seeds reach, and what they can't."""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import vireid

PACKAGE = Path(vireid.__file__).parent

# File of the package → its functions and classes that read what a user gave; "" stands for all.
PARSERS: dict[str, str] = {
    "config.py": "_checked _check_limits check_sections from_plain plain_values convert "
    "_convert_dict _inside _is_name overlay read_plain",
    "data/arrays.py": "",
    "data/content.py": "data_hash",
    "data/decoding.py": "_read _instead open_image to_rgb _orientation _depth _to_8_bits "
    "_smallest_and_largest _called",
    "data/labels.py": "",
    "data/listing.py": "read_text _encoding read_ids check_path read_list check_labels check_exist "
    "_is_file",
    "data/llcm.py": "load _training camera_of",
    "data/matlab.py": "",
    "data/permutation.py": "",
    "data/published.py": "load _read",
    "data/pixels.py": "_open _checked PixelStore.check",
    "data/protocol.py": "read_marker",
    "data/regdb.py": "load",
    "data/sysu_mm01.py": "load",
    "data/table.py": "",
    "embed/job.py": "_Job._open_folder _Job._read _Job._read_mark _Job._forget_damaged",
    "embed/loading.py": "load",
    "embed/onnx_embedder.py": "OnnxEmbedder.__init__ _OnnxForward _open",
    "embed/sources.py": "read_source _read_rows _read_list _add_from_names",
    "embed/storage.py": "load_embeddings _read_about _shapes _paths VectorFile.sums_of",
    "evaluation/report.py": "Report.from_plain Report.load _read_queries _check_tables",
    "files.py": "read_json parse_json _whole _finite",
    "index/cameras.py": "read_camera_names read_stored",
    "index/checks.py": "rows_of in_blocks check_embeddings _check_preprocessing "
    "check_paths check_lengths",
    "index/local/catalog.py": "check_is_index Catalog._connect Catalog._check_tables "
    "Catalog._readable Catalog._read Catalog.facts Catalog.head Catalog.columns Catalog.tombstones "
    "Catalog.invalid Catalog.entries Catalog.problems Catalog.drop_unusable",
    "index/local/lock.py": "_holder",
    "index/local/projection.py": "load _read codes_agree",
    "index/local/store.py": "map_vectors _check_size checksums_of",
    "index/strangers.py": "Strangers.read",
    "methods/published.py": "read_published parse_published _free _whole_number _places _place",
    "models/foreign.py": "",
    "models/recognise.py": "",
    "models/whereabouts.py": "is_exported find_weights",
    "models/pretrained.py": "_from_file _matched_in_order",
    "models/shipped.py": "network_of network_of_start",
    "own_code.py": "code_of same_code",
    "runtime/checkpoints.py": "position list_checkpoints",
    "server/settings.py": "_token_lines",
    "server/uploads.py": "",
    "sweep.py": "read_sweep runs_of _rows _with_code _job",
    "sweep_file.py": "",
    "sweep_tests.py": "SweepTest.of read_tests _read_test _check_asked _check_kept",
    "sweep_run.py": "_tested",
    "synthetic/parameters.py": "claim",
    "testing/run.py": "_run_config",
    "training/checkpoint.py": "_check_plain load_latest load_checkpoint _is_whole "
    "describe_run _identities _describe_options _describe_checkpoint _count",
    "training/journal.py": "read_log",
    "training/record.py": "read other_code other_course refuse_other_code",
    "training/run_state.py": "unpack trained_identities compare_options",
    "types.py": "Modality.parse Embeddings.__post_init__ Embeddings.check_values parse_pid "
    "parse_time _date_in _as_seconds is_missing",
    "weights.py": "read_weights _read_facts identities_before "
    "load_weights build_from load_strictly mismatch _check_fit",
}

# What opens a file by itself, as it is written in the source.
READS = re.compile(
    r"open|.*[Pp]ath\.open|(.*\.)?(read_(text|bytes|json|plain|rows|arrays|ids|list)|parse_json|"
    r"map_array|safe_open|load_file|memmap|open_memmap|fromfile|fdopen|ZipFile)|"
    r"(np|numpy|torch|json|pickle|tomllib)\.loads?|os\.open|Image\.open|sqlite3\.connect"
)
_WRITES = "only writes to it"
_OURS = "comes with the package"
_CONFIG = "a run's config.json, by the readers that the target `config` tries"
_IMAGES = "images, by the decoder that the target `imagefile` tries"
_PIPES = "what its own processes say"
# Modules that read files and whose parsers aren't in `PARSERS` → why.
OTHERS: dict[str, str] = {
    "card.py": _OURS,
    "commands/data.py": _CONFIG,
    "commands/demo.py": _CONFIG,
    "commands/demo_page.py": _CONFIG,
    "commands/train_run.py": _CONFIG,
    "commands/train_trials.py": "a folder's trials.json, which the target `config` tries",
    "cores.py": "the system's limits",
    "data/decode_pool.py": _PIPES,
    "data/decode_worker.py": _PIPES,
    "embed/ring.py": "a file without a name, for as long as the process lives",
    "figures/page.py": _OURS,
    "index/milvus/client.py": "what a database keeps, checked as the facts of a folder are",
    "runtime/jobs.py": _PIPES,
    "runtime/provenance.py": _OURS,
    "runtime/record.py": "Python files of a user's own, which are run anyway",
    "server/audit.py": _WRITES,
    "server/endpoints.py": _OURS,
    "server/images.py": _IMAGES,
    "standby.py": _PIPES,
    "extras.py": "what pip noted of this package",
    "synthetic/jit.py": _OURS,
    "synthetic/other_cameras.py": "the writer's own images and marker",
    "synthetic/people/body.py": _OURS,
    "synthetic/v1.py": _OURS,
    "synthetic/writer.py": "whether an image ends as it should; else it is drawn again",
    "training/defaults.py": _CONFIG,
    "training/run.py": _CONFIG,
    "training/start.py": _CONFIG,
    "training/tensorboard.py": "figures that the run has drawn",
}

_RIGHTS = "a file that may not be read: root, whom tests may run as, may read all"
_NEWER = "PyTorch's own reader knows bytes by now and doesn't ask ours"
_OPTION = "by an option beside the file, not by the file"
_PYTHON = "by arrays in Python; a file's are checked where it is read"
_OTHER = "by a run of other options, or on another machine"
# What no file reaches: file → a line, with the lines indented below it → why.
BEYOND: dict[str, dict[str, str]] = {
    "config.py": {
        "if isinstance(hint, type) and issubclass(hint, Enum):": _OPTION,
        "if hint is Path and isinstance(item, str):": _OPTION,
        "if not isinstance(hint, type):": _OPTION,
    },
    "data/content.py": {"if dataset.root.exists():": "by a data set of one's own without a folder"},
    "data/matlab.py": {"except OSError as error:": _RIGHTS},
    "embed/onnx_embedder.py": {"except OSError as error:": _RIGHTS},
    "own_code.py": {"if given is not None and same_code(stated, given):": _OPTION},
    "index/local/catalog.py": {
        "if write or os.access(path.parent, os.W_OK):": _RIGHTS,
        "if log.exists() and log.stat().st_size:": _RIGHTS,
        'return sqlite3.connect(f"{name}?immutable=1", **options)': _RIGHTS,
    },
    "models/foreign.py": {'def _encode(text: str, encoding: str = "latin1") -> bytes:': _NEWER},
    "synthetic/parameters.py": {
        "if out.exists() and not out.is_dir():": _OPTION,
        "if out.exists() and any(out.iterdir()):": "by a folder of someone else's, not by the file",
    },
    "training/record.py": {'for name, code in now["code"].items():': _OTHER},
    "training/run_state.py": {
        "if step.average:": _OTHER,
        "if progress.step:": _OTHER,
        'if world.device.type == "cuda" and own["device_random"] is not None:': _OTHER,
    },
    "types.py": {
        "if column.shape != (n,):": _PYTHON,
        "if not self.vectors:": _PYTHON,
        "if array.ndim != 2 or len(array) != n:": _PYTHON,
        'if column.dtype.kind not in ("f" if name == "time" else "iu"):': _PYTHON,
    },
    "weights.py": {
        "if method is not None and name in METHODS and resolve_method(method) != name:": _OPTION,
        "if is_shipped(source):": _OPTION,
        "if on_hub(source):": _OPTION,
    },
}


def readers() -> set[str]:
    """Files of the package that open a file, and not only to write it."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not READS.fullmatch(ast.unparse(node.func)):
                continue
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if not any(str(mode)[:1] in "wax" and len(str(mode)) <= 3 for mode in modes):
                found.add(path.relative_to(PACKAGE).as_posix())
    return found


class Reach(NamedTuple):
    """How much of a parser was reached.

    Attributes:
        points: its lines, and the ways that its branches may go.
        reached: how many of them.
        left: the others, as "file.py:12: text" or "file.py:12 → 15: text".
        beyond: those of `left` that `BEYOND` explains.
    """

    points: int
    reached: int
    left: tuple[str, ...]
    beyond: tuple[str, ...]


def measure() -> Any:
    """A stopped `coverage.Coverage` of the parsers; `start` and `stop` it around inputs."""
    import coverage

    files = [str(PACKAGE / file) for file in PARSERS]
    return coverage.Coverage(branch=True, include=files, data_file=None, config_file=False)


def reach(measured: Any) -> dict[str, Reach]:
    """File → how much of its parsers the inputs have reached so far."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(out), morfs=[str(PACKAGE / file) for file in PARSERS])
        plain = json.loads(out.read_text())["files"]
    by_file = {Path(name).resolve().as_posix(): found for name, found in plain.items()}
    return {
        file: _reach(file, wanted.split(), by_file[(PACKAGE / file).resolve().as_posix()])
        for file, wanted in PARSERS.items()
    }


def _reach(file: str, wanted: list[str], found: Mapping[str, Any]) -> Reach:
    lines = (PACKAGE / file).read_text(encoding="utf-8").splitlines()
    points, missing = 0, []
    names = {name for name in found["functions"] if name}
    for own in wanted:
        assert any(_within(name, own) for name in names), f"{file} has no function '{own}'"
    for name in sorted(names):
        if wanted and not any(_within(name, own) for own in wanted):
            continue
        one = found["functions"][name]
        points += one["summary"]["num_statements"] + one["summary"]["num_branches"]
        missing += [(line, None) for line in one["missing_lines"]]
        missing += [tuple(way) for way in one["missing_branches"]]
    left = {_named(file, lines, *way): way[0] for way in missing}
    known = BEYOND.get(file, {})
    beyond = tuple(name for name, line in left.items() if _blocks(lines, line) & known.keys())
    return Reach(points, points - len(missing), tuple(left), beyond)


def _blocks(lines: list[str], number: int) -> set[str]:
    """A line, and those that begin the blocks around it."""
    found, indent = set(), len(lines[number - 1]) + 1
    for line in reversed(lines[:number]):
        own = len(line) - len(line.lstrip())
        if line.strip() and own < indent:
            found.add(line.strip())
            indent = own
    return found


def _within(name: str, own: str) -> bool:
    return name == own or name.startswith(f"{own}.")


def _named(file: str, lines: list[str], line: int, to: int | None) -> str:
    way = "" if to is None else f" → {'its end' if to < 0 else to}"
    return f"{file}:{line}{way}: {lines[line - 1].strip()}"


def rows(seeds: Mapping[str, Reach], all_inputs: Mapping[str, Reach]) -> list[dict[str, Any]]:
    """A table's rows: what the seeds alone reach of each parser, and what mutations add."""

    def row(name: str, files: Iterable[str]) -> dict[str, Any]:
        files = list(files)
        return {
            "parser": name,
            "lines and branches": sum(seeds[file].points for file in files),
            "by the seeds": sum(seeds[file].reached for file in files),
            "with mutations": sum(all_inputs[file].reached for file in files),
            "can't be": sum(len(seeds[file].beyond) for file in files),
            "left": sum(len(seeds[file].left) - len(seeds[file].beyond) for file in files),
        }

    return [*(row(file, [file]) for file in seeds), row("all", seeds)]
