"""From what `vireid test` was asked to reports: weights, data, protocols, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import (
    TRIALS,
    check_folder,
    dataset_name,
    precision_name,
    tell_broken,
)
from vireid.console import choose, say
from vireid.files import read_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, ProtocolOptions
    from vireid.embed import Embedder
    from vireid.evaluation import Report

DIRECTIONS = ("infrared_to_visible", "visible_to_infrared")
DIRECTION_ALIASES = {
    "i2v": DIRECTIONS[0], "t2v": DIRECTIONS[0], "v2i": DIRECTIONS[1], "v2t": DIRECTIONS[1],
    "thermal-to-visible": DIRECTIONS[0], "visible-to-thermal": DIRECTIONS[1],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a test was asked, in the user's words; see `vireid test --help`."""

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
    weights: Path, asked: Asked, *, device: str, out: Path | None = None
) -> Iterator[Report]:
    """Test weights; each report is written when it is returned.

    Args:
        weights: a run's folder, or a weights file.
        asked: which data, which search.
        device: "cpu" or "cuda:N".
        out: folder of the report; with two directions, of one folder each.
    """
    from vireid.data import load_dataset, prepare, without
    from vireid.embed import load

    if asked.pictures < 0:
        raise InputError(f"--pictures is {asked.pictures}; a number from 0 up was expected.")
    tta = choose("test-time augmentation", asked.tta, ("none", "flip"))
    if (weights / TRIALS).is_file():
        raise InputError(
            f"'{weights}' holds RegDB's ten trials, each with its own weights. Name one, as "
            f"{weights / 'trial1'}; `vireid train --resume {weights}` tests and averages all."
        )
    run = _run_of(weights)
    check_folder(out or run, "the report")
    embedder = load(weights, device=device, precision=precision_name(asked.precision))
    known = {**_run_config(run), **embedder.metadata}
    name = dataset_name(asked.dataset or known.get("dataset") or "sysu")
    own = known if name == known.get("dataset") else {}
    trial = _trial(asked.trial, own.get("trial"), name)
    searches = _searches(name, asked)
    data = load_dataset(
        name,
        asked.data_root or own.get("data_root"),
        trial=trial,
        camera_pattern=asked.camera_pattern or own.get("camera_pattern"),
    )
    _refuse_seen_people(known, data, searches[0].part if own else "test")
    store = prepare(data, size=embedder.size, skip_broken=asked.skip_broken)
    tell_broken(store.broken)
    data = without(data, store.valid)
    for options in searches:
        place = run / "test" / _label(name, options, trial)
        if out is not None:
            place = out if len(searches) == 1 else out / options.direction.replace("_", "-")
        yield run_protocol(
            embedder,
            data,
            store,
            options,
            tta=tta,
            rerank=asked.rerank,
            folder=place,
            pictures=asked.pictures,
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


def _trial(given: str | None, trained: int | None, name: str) -> int:
    if given is None:
        return int(trained or 1)
    if not given.isdigit() or not 1 <= int(given) <= 10:
        raise InputError(f"--trial is '{given}'; a number from 1 to 10 was expected.")
    if name != "regdb" and int(given) != 1:
        raise InputError(f"--trial belongs to RegDB; '{name}' has one split only. Leave it out.")
    if trained and int(given) != int(trained):
        raise InputError(
            f"These weights were trained on RegDB's trial {trained}; trial {given} tests people "
            f"that they have seen, so its numbers would be too high. Use --trial {trained}, or "
            f"train a model on trial {given}."
        )
    return int(given)


def _refuse_seen_people(known: dict[str, Any], data: Dataset, part: str) -> None:
    """Numbers on people that were trained on are no numbers.

    Synthetic people of one seed are the same people in every set made with it.
    """
    if part == "val" and known.get("part", "fit") != "fit":
        raise InputError(
            "These weights were trained on the validation identities too, so --part val would "
            "test people that they have seen. Train with --select val or --select held-out."
        )
    made = data.synthetic
    if made is None or made == _trained_set(known):
        return  # real people; or the set that was trained on, whose test people were left out
    if made["seed"] in _seen_seeds(known):
        raise InputError(
            f"'{data.root}' was made with the seed {made['seed']}, and so were the people that "
            "these weights were trained on, or those that they started from. Make a set with "
            "another --seed."
        )


def _trained_set(known: dict[str, Any]) -> dict[str, Any] | None:
    """The parameters of the synthetic set that weights were trained on, if it was one."""
    from vireid.data.protocol import SYNTHETIC_MARKER

    if known.get("synthetic") is not None or not known.get("data_root"):
        return known.get("synthetic")
    marker = Path(known["data_root"]) / SYNTHETIC_MARKER
    return read_json(marker) if marker.is_file() else None


def _seen_seeds(known: dict[str, Any]) -> set[int]:
    """Seeds of all synthetic people behind weights: their own, and of those they started from."""
    from vireid.models.pretrained import shipped_weights
    from vireid.weights import read_weights

    own = _trained_set(known)
    sets = [own] if own else []
    sets += known.get("trained_on", {}).values()  # the shipped network names several
    seeds = {one["seed"] for one in sets}
    start = known.get("model", {}).get("pretrained", "none")
    source = shipped_weights() if start == "synth" else Path(start)
    if source is not None and source.suffix == ".safetensors" and source.is_file():
        with contextlib.suppress(InputError):  # another program's weights saw none of our people
            seeds |= _seen_seeds(read_weights(source)[1])
    return seeds


def _searches(name: str, asked: Asked) -> list[ProtocolOptions]:
    from vireid.config import from_plain
    from vireid.data.protocol import ProtocolOptions

    variant = choose("protocol", asked.protocol, ("standard", "legacy-deen"))
    draw = choose("draw", asked.draw, ("seeded", "official"))
    scope = choose(
        "mode",
        asked.mode,
        ("all", "indoor"),
        aliases={"all-search": "all", "indoor-search": "indoor"},
    )
    if name != "sysu":
        for flag, value, default in (("mode", scope, "all"), ("draw", draw, "seeded")):
            if value != default:
                raise InputError(
                    f"--{flag} {value} belongs to SYSU-MM01; '{name}' has no such choice. "
                    "Leave the flag out."
                )
    plain = {
        "part": choose("part", asked.part, ("test", "val")),
        "scope": scope,
        "shots": asked.shots,
        "draw": draw,
        "num_trials": asked.trials,
        "variant": variant,
    }
    return [
        from_plain(ProtocolOptions, {**plain, "direction": direction}, "protocol")
        for direction in _directions(name, asked.direction, variant)
    ]


def _directions(name: str, given: str | None, variant: str) -> list[str]:
    legal = (*DIRECTIONS, "both")
    word = None if given is None else choose("direction", given, legal, aliases=DIRECTION_ALIASES)
    if variant == "legacy-deen" and name == "llcm":
        if word not in (None, DIRECTIONS[1]):
            raise InputError(
                "The protocol legacy-deen differs from the standard one from visible to infrared "
                "only. Leave --direction out, or use --protocol standard."
            )
        return [DIRECTIONS[1]]
    if word == "both" or (word is None and name in {"regdb", "llcm"}):
        return list(DIRECTIONS)
    return [word or DIRECTIONS[0]]


def _label(name: str, options: ProtocolOptions, trial: int) -> str:
    words = [name, options.part] if options.part != "test" else [name]
    if name == "sysu":
        words += [options.scope, f"{options.shots}shot", options.draw]
    elif name == "regdb":
        words += [f"trial{trial}"]
    if name != "sysu" or options.direction != "infrared_to_visible":
        words += [options.direction.replace("_", "-")]
    if options.variant != "standard":
        words += [options.variant]
    return "-".join(words)


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
    """Embed what a protocol needs, score it, write report.json, report.md and the pictures."""
    import numpy as np

    from vireid.data import trials
    from vireid.evaluation import evaluate
    from vireid.evaluation.plots import write_pictures

    drawn = trials(data, options)
    rows = np.unique(np.concatenate([np.concatenate([t.query, t.gallery]) for t in drawn]))
    say(f"Embedding {len(rows):,} images, then scoring {len(drawn)} trial(s) ...")
    embeddings = embedder.embed_store(store, data, rows, tta=tta, progress=True)
    metadata = embedder.metadata
    context = {
        "method": embedder.method.name,  # of a user's own its name, not its place on a disk
        "arch": embedder.method.model_options.arch,
        "trained_on": metadata.get("dataset"),
        "epoch": metadata.get("epoch"),
        "epoch_choice": metadata.get("chosen", "not stated"),
        "seed": metadata.get("seed"),
        "commit": metadata.get("commit"),
        "weights_hash": embedder.weights_hash,
        "tta": tta,
        "precision": embedder.precision,
        "skipped_images": list(store.broken),
    }
    report = evaluate(data, options, embeddings, rows, rerank=rerank, context=context)
    report.write(folder)
    if pictures:
        write_pictures(folder, report, data, store, embeddings, rows, drawn[0], count=pictures)
    return report
