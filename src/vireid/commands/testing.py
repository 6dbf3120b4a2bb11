"""From the flags of `vireid test` to reports: weights, data, protocols, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import (
    TRIALS,
    check_folder,
    precision_name,
    tell_broken,
)
from vireid.console import choose, say
from vireid.data.facts import DIRECTIONS, DatasetFacts, Direction
from vireid.data.registry import (
    DEFAULT_DATASET,
    check_trial,
    facts_of,
    label_of,
    load_dataset,
    resolve_dataset,
)
from vireid.files import read_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, ProtocolOptions
    from vireid.embed import Embedder
    from vireid.evaluation import Report

DIRECTION_ALIASES: dict[str, str] = {
    "i2v": DIRECTIONS[0], "t2v": DIRECTIONS[0], "v2i": DIRECTIONS[1], "v2t": DIRECTIONS[1],
    "thermal-to-visible": DIRECTIONS[0], "visible-to-thermal": DIRECTIONS[1],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What `vireid test` is to measure, as the user wrote it; see `vireid test --help`."""

    dataset: str | None = None
    data_root: Path | str | None = None
    camera_pattern: str | None = None
    mode: str = "all"
    shots: int = 1
    draw: str = "seeded"
    direction: str | None = None
    protocol: str = "standard"
    part: str = "test"
    trial: str | None = None
    trials: int = 10
    rerank: bool = False
    tta: str = "none"
    pictures: int = 8
    precision: str = "auto"
    skip_broken: bool = False


def test_weights(
    weights: Path, request: SearchRequest, *, device: str, out: Path | None = None
) -> Iterator[Report]:
    """Test weights; each report is written when it is returned.

    Args:
        weights: a run's folder, or a weights file.
        request: which data, which search.
        device: "cpu" or "cuda:N".
        out: folder of the report; with two directions, of one folder each.
    """
    from vireid.data import prepare, without
    from vireid.embed import load

    if request.pictures < 0:
        raise InputError(f"--pictures is {request.pictures}; a number from 0 up was expected.")
    tta = choose("test-time augmentation", request.tta, ("none", "flip"))
    if (weights / TRIALS).is_file():
        raise InputError(
            f"'{weights}' holds one run for each split, each with its own weights. Name one, as "
            f"{weights / 'trial1'}; `vireid train --resume {weights}` tests and averages all."
        )
    run = _run_of(weights)
    check_folder(out or run, "the report")
    embedder = load(weights, device=device, precision=precision_name(request.precision))
    trained = {**_run_config(run), **embedder.metadata}
    name = resolve_dataset(request.dataset or trained.get("dataset") or DEFAULT_DATASET)
    facts = facts_of(name)
    own = trained if name == trained.get("dataset") else {}
    trial = _trial(request.trial, own.get("trial"), facts)
    searches = _searches(facts, request)
    data = load_dataset(
        name,
        request.data_root or own.get("data_root"),
        trial=trial,
        camera_pattern=request.camera_pattern or own.get("camera_pattern"),
    )
    _refuse_seen_people(trained, data, searches[0].part if own else "test")
    store = prepare(data, size=embedder.size, skip_broken=request.skip_broken)
    tell_broken(store.broken)
    data = without(data, store.valid)
    for options in searches:
        folder = run / "test" / _folder_name(facts, options, trial)
        if out is not None:
            folder = out if len(searches) == 1 else out / options.direction.replace("_", "-")
        yield run_protocol(
            embedder,
            data,
            store,
            options,
            tta=tta,
            rerank=request.rerank,
            folder=folder,
            pictures=request.pictures,
        )


def _run_of(weights: Path) -> Path:
    """The folder of the run that the weights stand in, or one named after their file."""
    if weights.is_dir():
        return weights
    if (weights.parent / "config.json").is_file() and weights.stem == "weights":
        return weights.parent
    return weights.parent / weights.stem


def _run_config(run: Path) -> dict[str, Any]:
    """The options of the run, where there is one."""
    config = run / "config.json"
    return read_json(config) if config.is_file() else {}


def _trial(given: str | None, trained: int | None, facts: DatasetFacts) -> int:
    if given is None:
        return int(trained or 1)
    if not given.isdigit():
        raise InputError(f"--trial is '{given}'; the number of a split was expected.")
    check_trial(facts, int(given))
    if trained and int(given) != int(trained):
        raise InputError(
            f"These weights were trained on trial {trained} of {facts.title}; trial {given} tests "
            "people that they have seen, so its numbers would be too high. Use --trial "
            f"{trained}, or train a model on trial {given}."
        )
    return int(given)


def _refuse_seen_people(trained: dict[str, Any], data: Dataset, part: str) -> None:
    """Numbers on people that were trained on mean nothing.

    Synthetic people of one seed are the same people in every set made with it.
    """
    if part == "val" and trained.get("part", "fit") != "fit":
        raise InputError(
            "These weights were trained on the validation identities too, so --part val would "
            "test people that they have seen. Train with --select val or --select held-out."
        )
    made = data.synthetic
    if made is None or made == _trained_set(trained):
        return  # real people; or the set that was trained on, whose test people were left out
    if made["seed"] in _seen_seeds(trained):
        raise InputError(
            f"'{data.root}' was made with the seed {made['seed']}, and so were the people that "
            "these weights were trained on, or those that they started from. Make a set with "
            "another --seed."
        )


def _trained_set(trained: dict[str, Any]) -> dict[str, Any] | None:
    """The parameters of the synthetic set that weights were trained on, if it was one."""
    from vireid.data.protocol import SYNTHETIC_MARKER

    if trained.get("synthetic") is not None or not trained.get("data_root"):
        return trained.get("synthetic")
    marker = Path(trained["data_root"]) / SYNTHETIC_MARKER
    return read_json(marker) if marker.is_file() else None


def _seen_seeds(trained: dict[str, Any]) -> set[int]:
    """Seeds of all synthetic people that weights, or those they started from, were trained on."""
    from vireid.models.pretrained import shipped_weights
    from vireid.weights import read_weights

    own = _trained_set(trained)
    sets = [own] if own else []
    sets += trained.get("trained_on", {}).values()  # the shipped network names several
    seeds = {one["seed"] for one in sets}
    start = trained.get("model", {}).get("pretrained", "none")
    source = shipped_weights() if start == "synth" else Path(start)
    if source is not None and source.suffix == ".safetensors" and source.is_file():
        with contextlib.suppress(InputError):  # another program's weights saw none of our people
            seeds |= _seen_seeds(read_weights(source)[1])
    return seeds


def _searches(facts: DatasetFacts, request: SearchRequest) -> list[ProtocolOptions]:
    from vireid.config import from_plain
    from vireid.data.protocol import ProtocolOptions

    scope_aliases = {f"{scope}-search": scope for scope in facts.scopes}
    variant = _choose("protocol", request.protocol, facts.variant_names, facts)
    plain = {
        "part": choose("part", request.part, ("test", "val")),
        "scope": _choose("mode", request.mode, tuple(facts.scopes), facts, scope_aliases),
        "shots": request.shots,
        "draw": _choose("draw", request.draw, facts.draws, facts),
        "num_trials": request.trials,
        "variant": variant,
    }
    return [
        from_plain(ProtocolOptions, {**plain, "direction": direction}, "protocol")
        for direction in _directions(facts, request.direction, variant)
    ]


def _choose(
    flag: str,
    value: str,
    valid: tuple[str, ...],
    facts: DatasetFacts,
    aliases: dict[str, str] | None = None,
) -> str:
    try:
        return choose(flag, value, valid, aliases=aliases)
    except InputError as error:
        raise InputError(f"{error} (The data set is {facts.title}.)") from None


def _directions(facts: DatasetFacts, given: str | None, variant: str) -> list[Direction]:
    choices = (*DIRECTIONS, "both")
    direction: Any = given and choose("direction", given, choices, aliases=DIRECTION_ALIASES)
    if variant in facts.variants:
        only = facts.variants[variant].direction
        if direction not in (None, only):
            raise InputError(
                f"The protocol {variant} differs from the standard one from "
                f"{only.replace('_', ' ')} only. Leave --direction out, or use --protocol standard."
            )
        return [only]
    if direction is None:
        return list(facts.directions)
    return list(DIRECTIONS) if direction == "both" else [direction]


def _folder_name(facts: DatasetFacts, options: ProtocolOptions, trial: int) -> str:
    """What tells one search of a data set from the others, for the report's folder."""
    words = [facts.name] if options.part == "test" else [facts.name, options.part]
    choices = [
        text
        for text, count in (
            (options.scope, len(facts.scopes)),
            (f"{options.shots}shot", len(facts.shots)),
            (options.draw, len(facts.draws)),
            (f"trial{trial}", facts.splits),
        )
        if count > 1
    ]
    usual = facts.directions == (options.direction,)
    if not (choices and usual):
        choices.append(options.direction.replace("_", "-"))
    if options.variant != "standard":
        choices.append(options.variant)
    return "-".join([*words, *choices])


def run_protocol(
    embedder: Embedder,
    data: Dataset,
    store: PixelStore,
    options: ProtocolOptions,
    *,
    folder: Path,
    tta: str = "none",
    rerank: bool = False,
    pictures: int = 8,
) -> Report:
    """Embed what a protocol needs, score it, write report.json, report.md and the figures."""
    from vireid.data import rows_of, trials
    from vireid.evaluation import Search, evaluate

    drawn = trials(data, options)
    rows = rows_of(drawn)
    say(f"Embedding {len(rows):,} images, then scoring {len(drawn)} trial(s) ...")
    embeddings = embedder.embed_store(store, data, rows, tta=tta, progress=True)
    metadata = embedder.metadata
    dataset = metadata.get("dataset")
    context = {
        "method": embedder.method.name,  # of a user's own its name, not its place on a disk
        "arch": embedder.method.model_options.arch,
        "trained_on": dataset and label_of(dataset),
        "epoch": metadata.get("epoch"),
        "epoch_choice": metadata.get("chosen", "not stated"),
        "seed": metadata.get("seed"),
        "commit": metadata.get("commit"),
        "weights_hash": embedder.weights_hash,
        "tta": tta,
        "precision": embedder.precision,
        "skipped_images": list(store.broken),
    }
    searches: list[Search] = []
    report = evaluate(
        data, options, embeddings, rows,
        drawn=drawn, keep=searches.append, rerank=rerank, context=context,
    )  # fmt: skip
    report.write(folder)
    if pictures:
        from vireid.figures import write_figures

        write_figures(folder, report, data, store, searches[0], count=pictures)
    return report
