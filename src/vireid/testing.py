"""From weights and a data set to reports: what `vireid test` does, from Python too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vireid.config import Options, convert, option
from vireid.console import choose, say, tell_broken
from vireid.data import known
from vireid.data.facts import DIRECTIONS, DatasetFacts, Direction
from vireid.data.registry import (
    DEFAULT_DATASET,
    check_trial,
    facts_of,
    label_of,
    load_dataset,
    resolve_dataset,
)
from vireid.files import check_folder, code_of, read_json
from vireid.types import PRECISION_ALIASES, InputError, PrecisionName, TtaName

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, ProtocolOptions, SearchOptions
    from vireid.embed import Embedder
    from vireid.evaluation import Report, Search

TRIALS = "trials.json"  # in the folder of all splits' runs: what each is trained with
DIRECTION_ALIASES: dict[str, str] = {
    "i2v": DIRECTIONS[0], "t2v": DIRECTIONS[0], "v2i": DIRECTIONS[1], "v2t": DIRECTIONS[1],
    "thermal-to-visible": DIRECTIONS[0], "visible-to-thermal": DIRECTIONS[1],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TestOptions(Options):
    """Which people are searched for, and how."""

    __test__: ClassVar[bool] = False  # no class of tests, whatever pytest thinks of the name
    title: ClassVar[str] = "search"

    dataset: str | None = option(None, choices=known.datasets)
    """Data set: {dataset} (default: the run's)."""
    data_root: str | None = None
    """The data set's folder (default: the run's)."""
    camera_pattern: str | None = None
    """With `dataset` folder: regular expression that finds the camera number in a file name
    (default: the run's)."""
    intensity_range: str | None = None
    """Values that are black and white in images with more than 8 bits per channel: LOW:HIGH, or
    minmax, which changes contrast from frame to frame (default: the run's)."""
    junk: tuple[str, ...] = ()
    """With `dataset` folder: identities, such as 0000, of nobody: their images are left out and
    counted, as those of -1 always are (default: the run's)."""
    sensor_cameras: bool = False
    """With `dataset` folder: each sensor's camera numbers are its own, so that camera 1 of visible
    images and camera 1 of infrared ones are two cameras; on for a run that was trained so."""
    scope: str | None = option(None, flag="mode", choices=known.scopes)
    """Which cameras are searched (default: the data set's first): {scope}."""
    shots: int | None = option(None, choices=known.shots)
    """Gallery images of each identity by each camera (default: the data set's first): {shots}."""
    draw: str = option("seeded", choices=known.draws)
    """How the gallery is drawn: {draw}; official reads the data set's own permutation file."""
    direction: str | None = option(None, choices=known.usual_directions)
    """Modality of the queries and of the gallery: infrared-to-visible, visible-to-infrared or both.
    Default: {direction}."""
    variant: str = option("standard", flag="protocol", choices=known.variants)
    """Variant of the protocol: {variant}; docs/protocols.md explains them, reports mark them."""
    part: Literal["test", "val"] = "test"
    """Identities to test on: test, or val for the validation identities."""
    trial: int | None = option(None, choices=known.splits)
    """Split of the identities, where a data set has several (default: the run's; another one is
    refused, because the model has seen those people): {trial}."""
    num_trials: int = option(10, flag="trials", at_least=1)
    """Gallery draws to average over."""
    rerank: bool = False
    """Report the numbers after k-reciprocal re-ranking too."""
    tta: TtaName = "none"
    """Test-time augmentation with an image's mirror image: flip compares the sums of both
    embeddings, flip-mean the means, brought to length 1 again."""
    figure_queries: int = option(8, at_least=0)
    """Queries in the figure of ranked results; 0 draws no figures."""
    precision: PrecisionName = option("auto", aliases=PRECISION_ALIASES)
    """Number format the network computes in; auto is float16 on a GPU, float32 on a CPU."""
    skip_broken: bool = False
    """Leave out images that can't be decoded, and list them."""


def evaluate(
    weights: str | Path,
    options: TestOptions | None = None,
    *,
    epoch: int | None = None,
    method: str | None = None,
    arch: str | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> list[Report]:
    """Test weights on a data set, as `vireid test` does.

    Args:
        weights: a run's folder, a weights file, a checkpoint in a run's folder, "synth", or
            "hf://USER/NAME".
        options: which data, which search; those of the run where nothing is said.
        epoch: of a run's folder, the checkpoint after so many epochs instead of its weights.
        method, arch: as in `vireid.load`.
        device: "auto", "cpu" or "cuda:N".
        out: folder of the report (default: RUN/test/NAME, where NAME says everything that was
            asked, with a number behind it if that is the report of another question); with two
            directions, one folder each in it.

    Returns:
        One report a direction, written before the next search begins.

    Raises:
        InputError: weights or data that can't be used, a search that the data set doesn't
            define, people that the weights were trained on, or an `out` with the report of
            another question, which is kept.
    """
    from vireid.data import trials
    from vireid.data.content import data_hash
    from vireid.evaluation.evaluator import search_fields
    from vireid.training.epoch import find_checkpoint
    from vireid.weights import on_disk

    options = options or TestOptions()
    run = run_of(weights, find_checkpoint(weights, epoch))
    if not on_disk(weights) and out is None and (run / "config.json").is_file():
        raise InputError(
            f"The folder '{run}' is a run's, and the report on the weights '{weights}' would go "
            "into it. Name another folder by `out`."
        )
    check_folder(Path(out) if out else run, "the report")
    opened = open_test(weights, options, epoch=epoch, method=method, arch=arch, device=device)
    embedder, data, store = opened.embedder, opened.data, opened.store
    asked = {
        "weights_hash": embedder.weights_hash,
        "data_hash": data_hash(data),
        "tta": options.tta,
        "precision": embedder.precision,
    }
    places = []
    for search in opened.searches:
        folder = run / "test" / _folder_name(data, search, options, opened.checkpoint)
        if out is not None:
            folder = Path(out)
            if len(opened.searches) > 1:
                folder /= search.direction.replace("_", "-")
        numbers = tuple(one.number for one in trials(data, search))
        question = {**asked, **search_fields(data, search), "trials": numbers}
        places.append(_free_place(folder, question, rerank=options.rerank, chosen=out is not None))
    return [
        run_protocol(
            embedder,
            data,
            store,
            search,
            tta=options.tta,
            rerank=options.rerank,
            folder=folder,
            figure_queries=options.figure_queries,
        )
        for search, folder in zip(opened.searches, places)
    ]


@dataclass(frozen=True)
class Opened:
    """Weights and the data to test them on.

    Attributes:
        embedder, data, store: the network; the samples without broken images; their pixels.
        searches: what is asked, one for each direction.
        checkpoint: the run's checkpoint that the weights are of, if they are.
    """

    embedder: Embedder
    data: Dataset
    store: PixelStore
    searches: Sequence[SearchOptions]
    checkpoint: Path | None


def open_test(
    weights: str | Path,
    options: TestOptions | None = None,
    *,
    epoch: int | None = None,
    method: str | None = None,
    arch: str | None = None,
    device: str = "auto",
) -> Opened:
    """Everything that a test of weights needs; arguments and errors as in `evaluate`."""
    from vireid.data import prepare, without
    from vireid.embed import load
    from vireid.models.hub import is_shipped
    from vireid.training.epoch import find_checkpoint, load_epoch
    from vireid.training.seen import refuse_seen_people
    from vireid.weights import on_disk

    options = options or TestOptions()
    shipped, of_user = is_shipped(weights), on_disk(weights)
    if of_user and (Path(weights) / TRIALS).is_file():
        raise InputError(
            f"'{weights}' holds one run for each split, each with its own weights. Name one, as "
            f"{Path(weights) / 'trial1'}; `vireid train --resume {weights}` tests and averages all."
        )
    checkpoint = find_checkpoint(weights, epoch)
    run = run_of(weights, checkpoint)
    precision = options.precision
    if checkpoint is None:
        embedder = load(weights, device=device, method=method, arch=arch, precision=precision)
    else:
        embedder = load_epoch(
            checkpoint, device=device, method=method, arch=arch, precision=precision
        )
    trained = {**(_run_config(run) if of_user else {}), **embedder.metadata}
    of_run = None if shipped else trained.get("dataset")  # the shipped ones saw no data set of ours
    stated = of_run or DEFAULT_DATASET
    if options.dataset is None:
        code_of(stated, None, what="dataset", where=f"'{weights}'")
    name = resolve_dataset(options.dataset or stated)
    facts = facts_of(name)
    own = trained if name == trained.get("dataset") else {}
    known = shipped or trained.get("dataset") is not None
    trial = _trial(options.trial, own.get("trial"), facts, known=known)
    searches = _searches(facts, options)
    data = load_dataset(
        name,
        options.data_root or own.get("data_root"),
        trial=trial,
        camera_pattern=options.camera_pattern or own.get("camera_pattern"),
        intensity_range=options.intensity_range or own.get("intensity_range"),
        junk=options.junk or tuple(own.get("junk", ())),
        sensor_cameras=options.sensor_cameras or own.get("sensor_cameras", False),
    )
    refuse_seen_people(trained, data, searches[0].part, own=bool(own))
    store = prepare(data, size=embedder.size, skip_broken=options.skip_broken)
    tell_broken(store.broken)
    data = without(data, store.valid)
    return Opened(embedder, data, store, searches, checkpoint)


def _free_place(folder: Path, question: dict[str, Any], *, rerank: bool, chosen: bool) -> Path:
    """A folder whose report, if it has one, answers the same question: `folder`, or the same with
    a number where the user didn't choose it.

    Raises:
        InputError: the user chose it, and it has the report of another question.
    """
    from vireid.evaluation import Report
    from vireid.evaluation.protocol import PROTOCOL_WORDS
    from vireid.evaluation.unlike import joined

    place, number = folder, 1
    while (place / "report.json").is_file():
        there = Report.load(place / "report.json")
        other = [
            PROTOCOL_WORDS[name].lower()
            for name, value in question.items()
            if getattr(there.protocol, name) != value
            and not (name == "data_hash" and there.protocol.data_hash is None)  # an older report
        ]
        if (there.protocol.reranking != "none") != rerank:
            other.append(PROTOCOL_WORDS["reranking"].lower())
        if there.averaged:
            other.append("being an average")
        if not other:
            return place
        if chosen:
            raise InputError(
                f"'{place}' holds the report of another question: {joined(other)} differ. It is "
                "kept; name another folder by `out`."
            )
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    if number > 1:
        say(f"'{folder}' holds the report of another question, which is kept.")
    return place


def run_of(source: str | Path, checkpoint: Path | None = None) -> Path:
    """The folder of the run that weights stand in, or one named after their file or repository;
    the reports on them are in its folder `test`.

    Args:
        checkpoint: of the run, where they are of one.
    """
    from vireid.models.hub import on_hub, repository_of
    from vireid.training import epoch

    if on_hub(source):
        return Path(repository_of(str(source))[0].rsplit("/", 1)[1])
    weights = Path(source)
    if weights.is_dir():
        return weights
    if checkpoint is not None:
        return epoch.run_of(checkpoint)
    if (weights.parent / "config.json").is_file() and weights.stem == "weights":
        return weights.parent
    return weights.parent / weights.stem


def reports_of(run: Path) -> list[Report]:
    """The reports in a run's folder, by the names of their folders."""
    from vireid.evaluation import Report

    return [Report.load(file) for file in sorted(run.glob("test/**/report.json"))]


def _run_config(run: Path) -> dict[str, Any]:
    """The options of the run, where there is one."""
    from vireid.weights import Trained

    config = run / "config.json"
    return convert(Trained, read_json(config), str(config)) if config.is_file() else {}


def _trial(asked: int | None, trained: int | None, facts: DatasetFacts, *, known: bool) -> int:
    """The split to test on.

    Args:
        known: the weights say which data set they were trained on, or have seen no real people.

    Raises:
        InputError: no such split, another one than was trained on, or none where nobody knows
            which one was trained on.
    """
    if asked is None:
        if facts.splits > 1 and not known:
            raise InputError(
                f"These weights don't say what they were trained on, and {facts.title} has "
                f"{facts.splits} splits: on another split than their own they have seen the people "
                "to find. Set `trial` to the split that they were trained on."
            )
        return int(trained or 1)
    check_trial(facts, asked)
    if trained and asked != int(trained):
        raise InputError(
            f"These weights were trained on trial {trained} of {facts.title}; trial {asked} tests "
            "people that they have seen, so its numbers would be too high. Set `trial` to "
            f"{trained}, or train a model on trial {asked}."
        )
    return asked


def _searches(facts: DatasetFacts, options: TestOptions) -> list[SearchOptions]:
    from vireid.config import from_plain
    from vireid.data.protocol import ProtocolOptions

    scope = options.scope
    if scope is not None:
        aliases = {f"{name}-search": name for name in facts.scopes}
        scope = _choose("mode", scope, tuple(facts.scopes), facts, aliases)
    variant = _choose("protocol", options.variant, facts.variant_names, facts)
    plain = {
        "part": options.part,
        "scope": scope,
        "shots": options.shots,
        "draw": _choose("draw", options.draw, facts.draws, facts),
        "num_trials": options.num_trials,
        "variant": variant,
    }
    return [
        from_plain(ProtocolOptions, {**plain, "direction": direction}, "protocol").of(facts)
        for direction in _directions(facts, options.direction, variant)
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
    """The searches that are asked for, by their directions.

    Raises:
        InputError: no such direction, or one that the data set or the variant doesn't define.
    """
    choices = (*DIRECTIONS, "both")
    direction: Any = given and choose("direction", given, choices, aliases=DIRECTION_ALIASES)
    if variant in facts.variants:
        only = facts.variants[variant].direction
        if direction not in (None, only):
            raise InputError(
                f"The protocol {variant} differs from the standard one from "
                f"{only.replace('_', ' ')} only. Leave `direction` out, or `protocol` standard."
            )
        return [only]
    if direction is None:
        return list(facts.tested_directions)
    asked = list(DIRECTIONS) if direction == "both" else [direction]
    if not set(asked) <= set(facts.directions):
        defined = " and ".join(facts.directions).replace("_", " ")
        raise InputError(
            f"`direction` is {direction.replace('_', ' ')}, but {facts.title} is searched from "
            f"{defined} only. Leave `direction` out."
        )
    return asked


def _folder_name(
    data: Dataset, search: SearchOptions, options: TestOptions, checkpoint: Path | None
) -> str:
    """What tells one test of a run from the others, for the report's folder: everything that was
    asked where it isn't the default."""
    from vireid.data.gallery import searches_whole_gallery
    from vireid.training.checkpoint import position

    facts = data.facts
    words = [facts.name] if search.part == "test" else [facts.name, search.part]
    choices = [
        text
        for text, count in (
            (search.scope, len(facts.scopes)),
            (f"{search.shots}shot", len(facts.shots)),
            (search.draw, len(facts.draws)),
            (f"trial{data.trial}", facts.splits),
        )
        if count > 1
    ]
    usual = facts.tested_directions == (search.direction,)
    if not (choices and usual):
        choices.append(search.direction.replace("_", "-"))
    default = TestOptions()
    if search.variant != "standard":
        choices.append(search.variant)
    drawn = not searches_whole_gallery(data, search)
    if drawn and search.num_trials != default.num_trials:
        choices.append(f"{search.num_trials}trials")
    choices += [str(getattr(options, name)) for name in ("tta", "precision")
                if getattr(options, name) != getattr(default, name)]  # fmt: skip
    if options.rerank:
        choices.append("reranked")
    if checkpoint is not None:
        done, step = position(checkpoint)
        choices.append(f"epoch{done}" + (f"-step{step}" if step else ""))
    return "-".join([*words, *choices])


def run_protocol(
    embedder: Embedder,
    data: Dataset,
    store: PixelStore,
    options: ProtocolOptions,
    *,
    folder: Path,
    tta: TtaName = "none",
    rerank: bool = False,
    figure_queries: int = 8,
    keep: Callable[[Search], None] | None = None,
) -> Report:
    """Embed what a protocol needs, score it, write report.json, report.md and the figures.

    Args:
        keep: is handed the search that the figures show.

    Raises:
        InputError: no query has a match; found out before anything is embedded.
    """
    from vireid.data import rows_of, trials
    from vireid.data.content import data_hash
    from vireid.data.matches import count_matches
    from vireid.evaluation import evaluate
    from vireid.runtime.record import record_of

    found = count_matches(data, options)
    if not found.matched:
        raise InputError(str(found))
    if found.matched < found.queries:
        say(str(found))
    drawn = trials(data, options)
    rows = rows_of(drawn)
    draws = "1 gallery draw" if len(drawn) == 1 else f"{len(drawn)} gallery draws"
    say(f"Embedding {len(rows):,} images, then scoring {draws} ...")
    embeddings = embedder.embed_store(store, data, rows, tta=tta, progress=True)
    metadata = embedder.metadata
    dataset, kept = metadata.get("dataset"), record_of(metadata)
    if kept and (changed := embedder.other_code):
        kept = {**kept, "changes": [*kept.get("changes", []), f"tested with other code: {changed}"]}
    record = kept or {}
    context = {
        "method": embedder.method.name,  # of a user's own its name, not its place on a disk
        "arch": embedder.method.architecture,
        "trained_on": dataset and label_of(dataset),
        "recipe": metadata.get("recipe"),
        "epoch": metadata.get("epoch"),
        "epoch_choice": metadata.get("chosen", "not stated"),
        "seed": metadata.get("seed"),
        "commit": record.get("commit", metadata.get("commit")),
        "weights_hash": embedder.weights_hash,
        "data_hash": data_hash(data),
        "tta": tta,
        "precision": embedder.precision,
        "skipped_images": list(store.broken),
    }
    searches: list[Search] = []
    report = evaluate(
        data, options, embeddings, rows,
        drawn=drawn, keep=searches.append, rerank=rerank, context=context,
        record=kept,
    )  # fmt: skip
    report.write(folder)
    if figure_queries:
        from vireid.figures import write_figures

        write_figures(folder, report, data, store, searches[0], count=figure_queries)
    if keep:
        keep(searches[0])
    return report
