"""Faults to plant in the package, one at a time, each of which the fuzzer has to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """One change of one file.

    Attributes:
        target: what finds it.
        file: in the package.
        before, after: its text, which is there once, and what replaces it.
    """

    target: str
    file: str
    before: str
    after: str


FAULTS = [
    Fault("emb_values", "types.py", "np.isin(self.modality, list(Modality))", "self.modality > -9"),
    Fault("embeddings", "embed/storage.py", "fits = fits and (name", "fits &= (name"),
    Fault("embeddings", "embed/storage.py", "convert(_About, about, where)", "about"),
    Fault("index_sql", "index/local/catalog.py", " AND modality IN (0, 1)", ""),
    Fault("index_sql", "index/local/catalog.py", "convert(_MoreFacts, facts, what)", "pass"),
    Fault("index_sql", "index/local/catalog.py", "AND {sign}slot < ?", "OR ?"),
    Fault("index_bytes", "index/local/projection.py", "array.shape != shape or", ""),
    Fault("checkpoint", "training/checkpoint.py", "    convert(State, state, where)\n", ""),
    Fault("checkpoint", "training/checkpoint.py", "if seen > most:", "if seen < 0:"),
    Fault("weights", "weights.py", "convert(_MoreFacts, facts, where)", "facts"),
    Fault("report", "evaluation/report.py", "        _check_tables(report, where)\n", ""),
    Fault("npy", "data/arrays.py", "tokenize.TokenError, ", ""),
    Fault("config", "files.py", "(ValueError, RecursionError) as error", "ValueError as error"),
    Fault("config", "training/defaults.py",
          'code_of(of_file or "mcl", None, what="method", where=where)',
          'of_file or "mcl"'),
    Fault("decoded", "data/content.py", "if check == _check_of(kept):", "if len(kept) == 64:"),
    Fault("decoded", "data/pixels.py", "fits = fits and images.flags.c_contiguous", "pass"),
    Fault("parts", "embed/job.py", "                self._forget_damaged()\n", ""),
    Fault("parts", "embed/job.py", "    said = {name: value for", "    return 1  # {n: v for"),
    Fault("csv_embed", "data/table.py", r"(\d{1,9})(?:", r"(\d+)(?:"),
]  # fmt: skip


class Patch(NamedTuple):
    """One attribute of a module that is replaced, which takes no process of its own.

    Attributes:
        target: what finds it.
        where: "module.attribute" in the package.
        instead: what replaces it.
        kind: how the finding begins.
    """

    target: str
    where: str
    instead: Any
    kind: str


def _unchecked(hint: Any, item: Any, where: str) -> Any:
    return item


def _by_two_bytes(content: bytes) -> str:
    return "utf-16-le" if content[1] == 0 else "utf-8-sig"


def _wait_until_unique(rows: Sequence[Any]) -> None:
    while len({PurePosixPath(row.cells["path"]) for row in rows}) < len(rows):
        pass


PATCHES = [
    # an exception that isn't caught
    Patch("npy", "data.arrays._DAMAGED", (OSError,), "ValueError"),
    Patch("report", "data.arrays._DAMAGED", (OSError,), "BadZipFile"),
    # a check of length or of values that is gone
    Patch("csv_embed", "types.shown", lambda value, limit=0: repr(value), "LONG MESSAGE"),
    Patch("csv_embed", "data.table.parse_time", float, "ValueError"),
    Patch("csv_embed", "embed.sources.read_number", lambda row, _: int(row.cells["camid"]),
          "ValueError"),
    Patch("embeddings", "embed.storage.convert", _unchecked, ""),
    Patch("onnx", "embed.onnx_embedder.convert", _unchecked, ""),
    Patch("sweep", "sweep.convert", _unchecked, ""),
    Patch("report", "evaluation.report._check_tables", lambda report, where: None, ""),
    # an index without a look
    Patch("txt_embed", "data.listing._encoding", _by_two_bytes, "IndexError"),
    # a loop without end
    Patch("txt_embed", "embed.sources.check_once", _wait_until_unique, "HANG"),
    # memory as the file says
    Patch("mat", "data.matlab._MOST", 2**40, "MEMORY"),
]  # fmt: skip
