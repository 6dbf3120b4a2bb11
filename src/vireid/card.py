"""A model card: what weights are, what they reach and what they must not be used for, as the hub
shows it. Everything in it is from the weights' header and the reports on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import to_plain
from vireid.data.identities import TrainedOn, trained_on
from vireid.data.registry import label_of, title_of
from vireid.evaluation.measures import METRICS
from vireid.evaluation.protocol import value_words
from vireid.evaluation.report import (
    Report,
    caption_of,
    data_title,
    record_section,
    report_rows,
)
from vireid.evaluation.tables import counted, markdown
from vireid.models.hub import is_shipped
from vireid.models.whereabouts import on_disk
from vireid.runtime.checkpoints import epochs_so_far
from vireid.runtime.record import record_of
from vireid.testing import reports_of, run_of
from vireid.weights import NO_LICENCE, licence_of, read_weights

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_MARK = "<!-- vireid card, SHA-256 of all above: "
_MUST_NOT = "What it must not be used for"  # a heading of docs/responsible-use.md
# Those of the hub's identifiers that weights commonly have; for others there is a name of its own.
_LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-4.0", "cc0-1.0", "gpl-2.0", "gpl-3.0", "isc", "lgpl-3.0", "mit", "mpl-2.0",
    "openrail", "unlicense", "wtfpl", "zlib",
)  # fmt: skip
_STARTS = {
    "imagenet": "weights trained on ImageNet",
    "synth": "the weights in the package (ImageNet, then synthetic people)",
    "none": "random weights",
    "a file": "a file of weights",
}


def model_card(weights: str | Path, *, licence: str | None = None, name: str | None = None) -> str:
    """The README.md of a model on the hub, with its YAML front matter. Its last line, a comment,
    is a hash of the rest, by which `is_untouched` knows it again.

    Args:
        weights: a run's folder, a weights file, "synth", or "hf://USER/NAME".
        licence: of the weights, as an SPDX identifier (default: that none is stated).
        name: of the model (default: the run's, the file's or the repository's).

    Raises:
        InputError: weights or reports that can't be read.
    """
    _, facts = read_weights(weights)
    run = run_of(weights)
    name = name or run.absolute().name
    stated, licence = licence, licence_of(weights, licence)
    reports = [r for r in reports_of(run) if r.protocol.weights_hash == facts["weights_hash"]]
    known = trained_on(facts)
    lines = [
        "---",
        _front(name, licence, facts, known, reports).to_yaml(),
        "---",
        "",
        f"# {name}",
        "",
        *_lead(facts, known),
        *_must_not(),
        *_numbers(reports),
        *_training(facts, known, epochs_so_far(run)),
        *record_section(record_of(facts)),
        *_licence(licence, known, packaged=is_shipped(weights) and not stated),
        *_use(weights, facts),
    ]
    text = "\n".join(lines).rstrip() + "\n\n"
    return f"{text}{_MARK}{_hash(text.encode())} -->\n"


def is_untouched(path: Path) -> bool:
    """Whether a file is a model card of ours that nobody changed since."""
    try:
        text, mark, rest = path.read_bytes().rpartition(_MARK.encode())
    except OSError:
        return False
    return bool(mark) and rest == f"{_hash(text)} -->\n".encode()


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _front(
    name: str,
    licence: str,
    facts: Mapping[str, Any],
    known: Sequence[TrainedOn],
    reports: Sequence[Report],
) -> ModelCardData:
    """The card's front matter, which the hub reads."""
    from huggingface_hub import ModelCardData

    short = licence.lower().replace(" ", "-")
    identifier = short if short in _LICENCES else "other"
    if licence == NO_LICENCE:
        identifier = "unknown"
    tags = [
        "person-re-identification", "visible-infrared", "cross-modality", "image-retrieval",
        label_of(facts["method"]), _network(facts),
    ]  # fmt: skip
    brief = [key for key, metric in METRICS.items() if metric.in_brief]
    return ModelCardData(
        license=identifier,
        license_name=short if identifier == "other" else None,
        library_name="vireid",
        pipeline_tag="image-feature-extraction",
        tags=[*tags, *(["synthetic"] if _synthetic(facts, known) else [])],
        model_name=name if reports else None,
        metrics=brief if reports else None,
        eval_results=[result for report in reports for result in _results(report)] or None,
    )


def _results(report: Report) -> list[EvalResult]:
    """The numbers of a report as the hub's model index has them, each with its protocol."""
    from huggingface_hub import EvalResult

    protocol = report.protocol
    tables = {name: (numbers, "none") for name, numbers in report.raw.items()}
    tables |= {
        f"{name}, re-ranked": (numbers, protocol.reranking)
        for name, numbers in report.reranked.items()
    }
    kept = ("rule", "scope", "shots", "draw", "direction", "variant", "trials", "split", "tta",
            "data_hash", "synthetic")  # fmt: skip
    plain = to_plain(protocol)
    return [
        EvalResult(
            task_type="image-feature-extraction",
            task_name="visible-infrared person re-identification",
            dataset_type=label_of(protocol.dataset),
            dataset_name=data_title(protocol),
            dataset_config=protocol.search(),
            dataset_split=protocol.part,
            dataset_args={key: plain[key] for key in kept},
            metric_type=metric,
            metric_name=f"{METRICS[metric].head}, {name}",
            metric_value=float(METRICS[metric].text(entry["mean"])),
            metric_args={"embedding": name.split(",")[0], "reranking": reranking},
        )
        for name, (numbers, reranking) in tables.items()
        for metric, entry in numbers.items()
    ]


def _lead(facts: Mapping[str, Any], known: Sequence[TrainedOn]) -> list[str]:
    lines = [
        f"A network for visible-infrared person re-identification: the method "
        f"`{label_of(facts['method'])}` on `{_network(facts)}`, of the Python package vireid. It "
        "makes vectors of images of people, so that somebody seen in infrared is found among "
        "visible images, and the other way round.",
        "",
    ]
    if _synthetic(facts, known):
        # ImageNet has people in it; what a file was trained on is not known here.
        unseen = " and has seen no real person" if _start(facts) == "none" else ""
        lines += [f"**It was trained on synthetic people{unseen}.**", ""]
    return lines


def _must_not() -> list[str]:
    """A section of docs/responsible-use.md, word for word."""
    page = (Path(str(files("vireid"))) / "shipped" / "responsible-use.md").read_text("utf-8")
    words = page.partition(f"\n## {_MUST_NOT}\n")[2].partition("\n## ")[0].strip()
    assert words, f"the page has no section '{_MUST_NOT}'"
    return [f"## {_MUST_NOT}", "", words, ""]


def _numbers(reports: Sequence[Report]) -> list[str]:
    lines = ["## Numbers", ""]
    if not reports:
        return [*lines, "None: there is no report of a test of these weights.", ""]
    for report in reports:
        protocol = report.protocol
        lines += [f"### {data_title(protocol)}", "", f"{protocol.search()}."]
        if protocol.synthetic:
            lines.append("**All people are synthetic**; compare with numbers on the same set only.")
        if words := counted(report.counts):
            lines.append(words)
        facts = {
            "rule": protocol.rule,
            "test-time augmentation": protocol.tta,
            "data's hash": (protocol.data_hash or "not stated")[:16],
            "number format": protocol.precision,
            "versions": protocol.versions,
        }
        known = "; ".join(f"{name}: {value_words(value)}" for name, value in facts.items())
        lines += ["", caption_of(report), "", markdown(*report_rows(report)), f"{known}.", ""]
    return lines


def _start(facts: Mapping[str, Any]) -> str | None:
    """What the training began with, as a run's record says it; the weights in the package, which
    keep no record, say it themselves."""
    start = (record_of(facts) or {}).get("start") or facts.get("first_weights")
    return None if start is None else str(start)


def _training(
    facts: Mapping[str, Any], known: Sequence[TrainedOn], so_far: str | None
) -> list[str]:
    """`so_far`: of a run that isn't finished."""
    record = record_of(facts) or {}
    start = _start(facts)
    hashed = f", hash {start_hash[:16]}" if (start_hash := record.get("start_hash")) else ""
    data = [_data(one) for one in known]
    rows = {
        "Data": data[0] if data else _other_data(facts),
        "Split": facts.get("trial") if data else None,
        "Before that": "; ".join(data[1:]) or None,
        "Start": None if start is None else f"{_STARTS.get(start, start)}{hashed}",
        "Method in training": facts.get("trained_as"),
        "Recipe": facts.get("recipe"),
        "Epoch": facts.get("epoch"),
        "Unfinished": so_far and f"the run has trained {so_far}",
        "Epoch chosen by": facts.get("chosen"),
        "Seed": facts.get("seed"),
        "Images": "{} x {} pixels, height x width".format(*facts["size"]),
        "Commit of vireid": record.get("commit", facts.get("commit")),
        "Hash of the weights": facts["weights_hash"],
    }
    table = [
        (name, "not stated" if value is None else str(value))
        for name, value in rows.items()
        if value is not None or name not in ("Split", "Before that", "Unfinished")
    ]
    return ["## Training", "", markdown(["What", "Value"], table, words=2)]


def _data(one: TrainedOn) -> str:
    title = title_of(label_of(one.dataset))
    people = f"{len(one.pids):,} identities, {one.images:,} images"
    if one.synthetic is None:
        return f"{title}: {people} (data's hash {one.data_hash[:16]})"
    return f"synthetic people in the layout of {title}: {people} ({value_words(one.synthetic)})"


def _other_data(facts: Mapping[str, Any]) -> str | None:
    """The data of weights that name no identities: the shipped ones, or of an earlier version."""
    sets = facts.get("trained_on", {})
    if sets:
        return "; ".join(
            f"synthetic people, {key}: {value_words(one)}" for key, one in sets.items()
        )
    dataset = facts.get("dataset")
    return title_of(label_of(dataset)) if dataset else None


def _synthetic(facts: Mapping[str, Any], known: Sequence[TrainedOn]) -> bool:
    """Whether all people that were trained on are known to be synthetic."""
    if known:
        return all(one.synthetic is not None for one in known)
    return bool(facts.get("trained_on") or facts.get("synthetic"))


def _network(facts: Mapping[str, Any]) -> str:
    record = record_of(facts) or {}
    return record.get("architecture") or label_of(facts["model"]["arch"])


def _licence(licence: str, known: Sequence[TrainedOn], *, packaged: bool) -> list[str]:
    if licence == NO_LICENCE:
        words = (
            "Not stated. Until whoever made these weights states a licence, nobody else is allowed "
            "to use or to pass them on."
        )
    else:
        words = (
            f"{licence}, as the package vireid. Its NOTICE.md says under which licence its first "
            "weights are."
            if packaged
            else f"{licence}, as stated by whoever made this card."
        )
    if any(one.synthetic is None for one in known):
        words += " The terms of the data that they were trained on apply besides."
    return ["## Licence", "", words, ""]


def _use(weights: str | Path, facts: Mapping[str, Any]) -> list[str]:
    source = weights if not on_disk(weights) else "hf://USER/NAME"
    own = {"method": facts["method"], "arch": facts["model"]["arch"]}
    needed = "".join(
        f', {what}="{Path(name.rsplit(":", 1)[0]).name}:{label_of(name)}"'
        for what, name in own.items()
        if ".py:" in name
    )
    lines = [
        "## Use",
        "",
        "```python",
        "import vireid",
        "",
        f'embedder = vireid.load("{source}"{needed})',
        'found = embedder.embed(["night/0001.jpg"], "infrared")',
        "```",
        "",
    ]
    if needed:
        lines += ["It needs code that isn't part of vireid, which its user has to name.", ""]
    return lines
