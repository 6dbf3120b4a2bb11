"""The average of reports that may be averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vireid.evaluation.measures import METRICS
from vireid.evaluation.protocol import PROTOCOL_WORDS, Protocol, choice_words
from vireid.evaluation.report import Report, summary
from vireid.evaluation.tables import Numbers
from vireid.evaluation.unlike import differences, joined
from vireid.runtime.record import Record
from vireid.types import InputError

_NO_RECORD = (
    "These runs kept no record, so nothing but their protocol shows that they were trained alike."
)


def average_reports(reports: Sequence[Report]) -> Report:
    """The average of reports that differ only in the training seed, or only in the split of
    the identities (RegDB: ten splits, ten models, one number): of one protocol, trained with equal
    options, code and data.

    Mean and deviation are those of the reports' means, the deviation that of a sample (n - 1);
    "trials" then holds one value a report. Averages may be averaged again: ten splits each, then
    seeds.

    Raises:
        InputError: the reports differ in anything else (the message names it), two are of the
            same model, or there is only one.
    """
    if len(reports) < 2:
        raise InputError("An average needs at least two reports.")
    for report in reports[1:]:
        _refuse_unlike(reports[0], report)
    over = [name for name in ("seed", "split") if len({_key(r, name) for r in reports}) > 1]
    if len(over) != 1:
        what = "have the same seed and split" if not over else "differ in both seed and split"
        raise InputError(
            f"The reports {what}. An average is taken over training seeds, or over the "
            "splits of a data set: give reports that differ in one of them."
        )
    values = [_key(report, over[0]) for report in reports]
    _refuse_same_model(reports, over[0])
    earlier = reports[0].averaged or {"over": [], "reports": 1, "values": {}}
    return Report(
        protocol=_common_protocol(reports, over[0]),
        raw=_mean([r.raw for r in reports]),
        reranked=_mean([r.reranked for r in reports]),
        curves={
            name: [sum(points) / len(reports) for points in zip(*(r.curves[name] for r in reports))]
            for name in reports[0].curves
            if all(name in r.curves for r in reports)
        },
        chance={
            key: sum(r.chance[key] for r in reports) / len(reports)
            for key in reports[0].chance
            if all(key in r.chance for r in reports)
        },
        averaged={
            "over": [*earlier["over"], over[0]],
            "reports": len(reports) * earlier["reports"],
            "values": {**earlier["values"], over[0]: values},
            "labels": [f"{over[0]} {value}" for value in values],
        },
        record=_common_record(reports),
        notes=tuple(dict.fromkeys(note for r in reports for note in (*r.notes, *_marks(reports)))),
    )


def average_all(reports: Sequence[Report]) -> Report:
    """The average over splits, then over seeds, whichever of them the reports differ in; one
    report stays as it is.

    Raises:
        InputError: as `average_reports`; also seeds of different splits.
    """
    seeds = list(dict.fromkeys(report.protocol.seed for report in reports))
    by_seed = [[r for r in reports if r.protocol.seed == seed] for seed in seeds]
    means = [average_reports(group) if len(group) > 1 else group[0] for group in by_seed]
    return average_reports(means) if len(means) > 1 else means[0]


def _marks(reports: Sequence[Report]) -> list[str]:
    """What a reader must know of an average."""
    records = [report.record for report in reports]
    if None in records:
        return [_NO_RECORD]
    starts = {record.get("start_hash") for record in records if record}
    return ["Each seed has a start of its own."] if len(starts) > 1 else []


def _common_record(reports: Sequence[Report]) -> Record | None:
    """What differs between the models of an average has no single value."""
    records = [report.record for report in reports]
    first = records[0]
    if first is None:
        return None
    common: Any = {
        name: value
        for name, value in first.items()
        if all(record and record.get(name) == value for record in records)
    }
    common["options"] = {
        name: value
        for name, value in first["options"].items()
        if all(record and record["options"].get(name) == value for record in records)
    }
    return common


def _common_protocol(reports: Sequence[Report], over: str) -> Protocol:
    """What differs has no single value; `averaged` lists the values."""
    first = reports[0].protocol
    commits = sorted({r.protocol.commit for r in reports if r.protocol.commit})
    return replace(
        first,
        weights_hash=None,
        epoch_choice=choice_words(first.epoch_choice),
        epoch=first.epoch if len({r.protocol.epoch for r in reports}) == 1 else None,
        commit=", ".join(commits) or None,
        versions=_joined([r.protocol.versions for r in reports]),
        trials=tuple(sorted({t for r in reports for t in r.protocol.trials})),
        other={k: v for k, v in first.other.items()
               if all(r.protocol.other.get(k) == v for r in reports)},
        seed=None if over == "seed" else first.seed,
        split=None if over == "split" else first.split,
    )  # fmt: skip


def _refuse_same_model(reports: Sequence[Report], over: str) -> None:
    """One model counted twice; on two splits it has also seen people it is tested on."""
    for number, report in enumerate(reports):
        for earlier in reports[:number]:
            one, other = _key(earlier, over), _key(report, over)
            weights = earlier.protocol.weights_hash
            if one == other or (weights and weights == report.protocol.weights_hash):
                raise InputError(
                    f"Two of the reports are of the same model "
                    f"({PROTOCOL_WORDS[over]} {one} and {other}"
                    f"{f', weights {weights[:16]}' if weights else ''}). Give each model once."
                )


def _key(report: Report, name: str) -> Any:
    return getattr(report.protocol, name)


def _refuse_unlike(one: Report, other: Report) -> None:
    if found := differences(one, other):
        names = " and ".join(f"'{r.folder}'" if r.folder else "a report" for r in (one, other))
        raise InputError(
            f"{names} can't be averaged: they differ in {joined(found)}. Average reports of "
            "one protocol and one method, trained alike, or compare them without averaging: then "
            "the options that differ are columns."
        )


def _joined(versions: Sequence[dict[str, str]]) -> dict[str, str]:
    """Versions of all models; several of one package side by side."""
    names = dict.fromkeys(name for one in versions for name in one)
    return {
        name: ", ".join(dict.fromkeys(one[name] for one in versions if name in one))
        for name in names
    }


def _mean(tables_: Sequence[dict[str, Numbers]]) -> dict[str, Numbers]:
    return {
        name: {
            metric: summary([table[name][metric]["mean"] for table in tables_], sample=True)
            for metric in METRICS
            if all(metric in table[name] for table in tables_)
        }
        for name in tables_[0]
        if all(name in table for table in tables_)
    }
