"""The raw and the re-ranked numbers of reports: which report has which, and each model once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vireid.evaluation.report import Report
from vireid.evaluation.tables import Numbers
from vireid.evaluation.unlike import differences, differing_searches

RERANKED = ", re-ranked"  # behind the name of a test embedding


def numbers_of(report: Report, embedding: str) -> Numbers | None:
    """Those of a test embedding, perhaps with `RERANKED` behind it; None where there are none."""
    table = report.reranked if embedding.endswith(RERANKED) else report.raw
    return table.get(embedding.removesuffix(RERANKED))


def raw_alone(report: Report) -> Report:
    """The same as it would be without re-ranking."""
    return replace(report, reranked={}, protocol=replace(report.protocol, reranking="none"))


def raw_once(reports: Sequence[Report]) -> list[Report]:
    """Reports with their raw numbers alone. A model that was tested with re-ranking and without
    has the same raw numbers twice, of which the first are kept."""
    kept: list[Report] = []
    for report in reports:
        if not any(same_but_reranking(report, other) for other in kept):
            kept.append(report)
    return [raw_alone(report) for report in kept]


def same_but_reranking(one: Report, other: Report) -> bool:
    """Whether two reports are of one model in one search, with another re-ranking."""
    a, b = one.protocol, other.protocol
    if a.reranking == b.reranking:
        return False
    if (a.seed, a.split, a.weights_hash) != (b.seed, b.split, b.weights_hash):
        return False
    if a.weights_hash is None and one.raw != other.raw:  # averages, and networks of elsewhere
        return False
    one, other = raw_alone(one), raw_alone(other)
    return not differing_searches([one, other]) and not differences(one, other)
