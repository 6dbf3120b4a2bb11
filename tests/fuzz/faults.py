"""Faults to plant in the package, one at a time, each of which the fuzzer has to find."""

from __future__ import annotations

from typing import NamedTuple


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
          'code_of(method_of_file or "mcl", None, what="method", where=where)',
          'method_of_file or "mcl"'),
    Fault("csv_embed", "data/table.py", r"(\d{1,9})(?:", r"(\d+)(?:"),
]  # fmt: skip
