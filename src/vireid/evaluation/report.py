"""A report: numbers that cannot be read without what they are numbers of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.config import from_plain, to_plain
from vireid.files import read_json, write_json, write_text
from vireid.types import InputError

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "vireid-report-1"
RANKS = (1, 5, 10, 20)
METRICS = (*(f"rank{k}" for k in RANKS), "mean_ap", "mean_inp")
HEADS = {
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "mean_ap": "mAP",
    "mean_inp": "mINP",
}

# metric → {"mean", "std", "trials"}; fractions
Numbers = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a number is a number of. None stands for "not stated".

    Attributes:
        dataset: sysu, regdb, llcm or folder.
        synthetic: whether its people are synthetic; `synthetic_set`: seed, preset and sizes
            that such a set was made with.
        part: test, or val for validation identities.
        rule: which gallery images are skipped and what ranks count; see docs/protocols.md.
        scope, shots, draw, direction, variant: see `vireid.data.ProtocolOptions`; shots and
            draw are None where the whole gallery is searched.
        trials: numbers of the gallery draws.
        split: RegDB's trial, which divides identities into training and testing.
        embeddings: names of the test embeddings.
        metric: how two embeddings are compared.
        tta: test-time augmentation, "none" or its name.
        preprocessing: size and normalisation of the images.
        reranking: the re-ranking whose numbers stand beside the raw ones, or "none".
        method, arch, trained_on, epoch, epoch_choice, seed, weights_hash, precision, commit: of
            the network; `epoch_choice` says how the epoch was chosen.
        versions: of what computed the numbers.
        other: whatever else the caller stated.
    """

    dataset: str
    synthetic: bool | None = None
    synthetic_set: dict[str, Any] | None = None
    part: str = "test"
    rule: str
    scope: str = "all"
    shots: int | None = 1
    draw: str | None = "seeded"
    direction: str = "infrared_to_visible"
    variant: str = "standard"
    trials: tuple[int, ...]
    split: int | None = None
    embeddings: tuple[str, ...]
    metric: str = "cosine similarity"
    tta: str = "none"
    preprocessing: dict[str, Any] = field(default_factory=dict)
    reranking: str = "none"
    method: str | None = None
    arch: str | None = None
    trained_on: str | None = None
    epoch: int | None = None
    epoch_choice: str | None = None
    seed: int | None = None
    weights_hash: str | None = None
    precision: str | None = None
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def search(self) -> str:
        """The search in words: "all-search, single-shot, seeded draw, infrared to visible"."""
        words = []
        if self.dataset == "sysu":
            words.append(f"{self.scope}-search")
        if self.split is not None:
            words.append(f"split {self.split}")
        if self.shots is None:
            words.append("whole gallery")
        else:
            words.append("single-shot" if self.shots == 1 else f"{self.shots} shots")
            own = " (vireid's own)" if self.shots > 1 and self.draw == "seeded" else ""
            words.append(f"{self.draw} draw{own}")
        words.append(self.direction.replace("_", " "))
        if self.variant != "standard":
            words.append(f"variant {self.variant}")
        if self.part != "test":
            words.append(f"{self.part} identities")
        return ", ".join(words)


@dataclass(kw_only=True)
class Report:
    """The result of `vireid.evaluation.evaluate`. Numbers are fractions.

    Attributes:
        protocol: what was measured, on what, how.
        raw: test embedding → metric → {"mean", "std", "trials"}; "std" is the population's
            deviation over the trials. Metrics: rank1, rank5, rank10, rank20, mean_ap, mean_inp.
        reranked: the same after k-reciprocal re-ranking; empty if it wasn't asked for.
        confidence: test embedding → metric → [low, high], 95 % by bootstrap over identities.
        camera_pairs: test embedding → rows {"query_camid", "gallery_camid", "queries", "rank1",
            "mean_ap"}: queries of one camera against the gallery images of one camera.
        curves: test embedding → the CMC curve's first twenty points.
        counts: one number a trial: "queries" (that count), "without_match", "gallery",
            "identities" (of the queries).
        chance: "rank1" and "mean_ap" expected of a random order.
        averaged: for an average, {"over": ["seed"], "reports": n, ...}; else None.
        notes: sentences for the reader.
        folder: where the report was written or read, or None.
    """

    protocol: Protocol
    raw: dict[str, Numbers]
    reranked: dict[str, Numbers] = field(default_factory=dict)
    confidence: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    camera_pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    averaged: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = field(default=None, compare=False)

    def best(self) -> Numbers:
        """The raw numbers of the test embedding with the highest mean Rank-1."""
        return max(self.raw.values(), key=lambda numbers: numbers["rank1"]["mean"])

    def to_plain(self) -> dict[str, Any]:
        """JSON values: "protocol", one entry for each test embedding, and the rest."""
        return {
            "format": FORMAT,
            "protocol": to_plain(self.protocol),
            **self.raw,
            "reranked": self.reranked,
            "chance": self.chance,
            "confidence": self.confidence,
            "counts": self.counts,
            "camera_pairs": self.camera_pairs,
            "curves": self.curves,
            "averaged": self.averaged,
            "notes": list(self.notes),
        }

    @classmethod
    def from_plain(cls, plain: Any, where: str = "The report") -> Report:
        """The inverse of `to_plain`.

        Raises:
            InputError: not a report, or one with missing or unknown entries.
        """
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise InputError(
                f"{where} is not a report of this program (its 'format' is "
                f"{plain.get('format') if isinstance(plain, dict) else None!r}, expected "
                f"'{FORMAT}'). Name a report.json that `vireid test` wrote."
            )
        protocol = from_plain(Protocol, plain.get("protocol"), f"{where}: protocol")
        raw = {}
        for name in protocol.embeddings:
            raw[name] = _numbers(plain.get(name), f"{where}: {name}")
        reranked = {
            name: _numbers(numbers, f"{where}: reranked.{name}")
            for name, numbers in plain.get("reranked", {}).items()
        }
        rest: dict[str, Any] = {
            key: plain.get(key) or {}
            for key in ("chance", "confidence", "counts", "camera_pairs", "curves")
        }
        return cls(
            protocol=protocol,
            raw=raw,
            reranked=reranked,
            averaged=plain.get("averaged"),
            notes=tuple(plain.get("notes", ())),
            **rest,
        )

    def write(self, folder: str | Path) -> Report:
        """Write report.json and report.md into `folder`, which `self.folder` names from then on."""
        from vireid.evaluation.tables import report_markdown

        folder = Path(folder)
        write_text(folder / "report.md", report_markdown(self))
        write_json(folder / "report.json", self.to_plain())
        self.folder = folder
        return self

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report.json.

        Raises:
            InputError: the file is missing or is no report.
        """
        path = Path(path)
        return replace(cls.from_plain(read_json(path), f"'{path}'"), folder=path.parent)

    def to_table(self) -> Table:
        """The numbers in percent, for `vireid.console.console.print`."""
        from vireid.console import table
        from vireid.evaluation.tables import TERMINAL, terminal_rows, title

        return table(
            f"{title(self)}: {self.protocol.search()} (percent)",
            ["", *(HEADS[metric] for metric in TERMINAL)],
            terminal_rows(self),
        )


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean and population deviation of the trials, beside the trials."""
    array = np.asarray(values, np.float64)
    return {"mean": float(array.mean()), "std": float(array.std()), "trials": array.tolist()}


def _numbers(plain: Any, where: str) -> Numbers:
    if not isinstance(plain, dict):
        raise InputError(f"{where} is missing; an object with {', '.join(METRICS)} was expected.")
    for metric in METRICS:
        entry = plain.get(metric)
        if not isinstance(entry, dict) or not {"mean", "std", "trials"} <= set(entry):
            raise InputError(f"{where}.{metric} lacks mean, std or trials.")
    return plain
