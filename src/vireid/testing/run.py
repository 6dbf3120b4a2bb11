"""From weights and a data set to reports: what `vireid test` does, from Python too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import convert
from vireid.console import quoted, say, tell_broken
from vireid.data.registry import DEFAULT_DATASET, find_root, label_of, resolve_dataset
from vireid.files import check_folder, read_json
from vireid.own_code import code_of
from vireid.problems import Problems
from vireid.testing.beforehand import check_searches, list_data
from vireid.testing.options import TestOptions
from vireid.testing.places import TRIALS, folder_name, free_place, run_of
from vireid.testing.searches import Asked, asked_of
from vireid.types import InputError, TtaName

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, ProtocolOptions, SearchOptions
    from vireid.embed import Embedder
    from vireid.evaluation import Report, Search


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
    options = options or TestOptions()
    problems, run = Problems(), Path()
    with problems:
        if out:
            check_folder(Path(out), "the report")
    with problems:
        _check_places(weights, options, epoch)
        run = _run_for_reports(weights, epoch, free=out is not None)
    with problems:
        tested = _tested(weights, options, epoch=epoch, method=method, arch=arch, device=device)
    problems.tell()
    from vireid.data import trials
    from vireid.data.content import data_hash
    from vireid.evaluation.evaluator import search_fields

    listed = list_data(tested.dataset, options, tested.asked, tested.trained)
    check_searches(listed, tested.asked.searches)
    opened = _decoded(tested, listed, skip_broken=options.skip_broken)
    embedder, data, store = opened.embedder, opened.data, opened.store
    asked = {
        "weights_hash": embedder.weights_hash,
        "data_hash": data_hash(data),
        "tta": options.tta,
        "precision": embedder.precision,
    }
    places = []
    for search in opened.searches:
        folder = run / "test" / folder_name(data, search, options, opened.checkpoint)
        if out is not None:
            folder = Path(out)
            if len(opened.searches) > 1:
                folder /= search.direction.replace("_", "-")
        numbers = tuple(one.number for one in trials(data, search))
        question = {**asked, **search_fields(data, search), "trials": numbers}
        places.append(free_place(folder, question, rerank=options.rerank, chosen=out is not None))
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


def _check_places(weights: str | Path, options: TestOptions, epoch: int | None) -> None:
    """Refuse weights and data that aren't there, before PyTorch is imported for them.

    Raises:
        InputError: all of them that aren't.
    """
    from vireid.models.whereabouts import check_has_epochs, check_weights, on_disk

    problems = Problems()
    with problems:
        if on_disk(weights) and (Path(weights) / TRIALS).is_file():
            raise InputError(
                f"'{weights}' holds one run for each split, each with its own weights. Name one, "
                f"as {Path(weights) / 'trial1'}; `vireid train --resume {quoted(weights)}` tests "
                "and averages all."
            )
        if epoch is None:
            check_weights(weights)
        else:
            check_has_epochs(weights, epoch)
    with problems:
        if options.data_root is not None:
            find_root(options.dataset, options.data_root)
    problems.tell()


def _run_for_reports(weights: str | Path, epoch: int | None, *, free: bool) -> Path:
    """The folder of the run that the reports on weights go into, unless they are `free` of it.

    Raises:
        InputError: they would go into the run of other weights, or can't be written there.
    """
    from vireid.models.whereabouts import on_disk
    from vireid.training.epoch import find_checkpoint

    run = run_of(weights, find_checkpoint(weights, epoch))
    if free:
        return run
    if not on_disk(weights) and (run / "config.json").is_file():
        raise InputError(
            f"The folder '{run}' is a run's, and the report on the weights '{weights}' would "
            "go into it. Name another folder by `out`."
        )
    check_folder(run, "the report")
    return run


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
    options = options or TestOptions()
    tested = _tested(weights, options, epoch=epoch, method=method, arch=arch, device=device)
    listed = list_data(tested.dataset, options, tested.asked, tested.trained)
    return _decoded(tested, listed, skip_broken=options.skip_broken)


@dataclass(frozen=True)
class _Tested:
    """What is known of a test before its data are read.

    Attributes:
        embedder, checkpoint: as in `Opened`.
        trained: what the weights and their run say of their training.
        dataset: that is tested on.
        asked: of it.
    """

    embedder: Embedder
    checkpoint: Path | None
    trained: dict[str, Any]
    dataset: str
    asked: Asked


def _tested(
    weights: str | Path, options: TestOptions, *,
    epoch: int | None, method: str | None, arch: str | None, device: str,
) -> _Tested:  # fmt: skip
    """The weights, and what is asked of which data set.

    Raises:
        InputError: as in `evaluate`; all that is wrong, as far as no data are needed to see it.
    """
    from vireid.models.hub import is_shipped
    from vireid.models.whereabouts import on_disk
    from vireid.runtime.device import check_device, resolve_device
    from vireid.runtime.precision import check_precision

    shipped, problems = is_shipped(weights), Problems()
    place, precision = "cpu", "auto"  # if those that are asked for can't be: to see the rest
    embedder, checkpoint, trained, dataset = None, None, dict[str, Any](), options.dataset
    with problems:
        check_device(device)
        place = device
        if options.precision == "float16":
            check_precision(options.precision, resolve_device(None, device))
        precision = options.precision
    with problems:
        _check_places(weights, options, epoch)
        embedder, checkpoint = _loaded(weights, epoch, method, arch, place, precision)
        of_run = _run_config(run_of(weights, checkpoint)) if on_disk(weights) else {}
        trained = {**of_run, **embedder.metadata}
    with problems:
        if dataset is None and embedder is not None:
            # the shipped ones saw no data set of ours
            stated = None if shipped else trained.get("dataset")
            dataset = code_of(stated or DEFAULT_DATASET, None, what="dataset", where=f"'{weights}'")
        if dataset is not None:
            dataset = resolve_dataset(dataset)
            known = shipped or embedder is None or trained.get("dataset") is not None
            trial = trained.get("trial") if dataset == trained.get("dataset") else None
            asked = asked_of(dataset, options, trial, known=known)
    problems.tell()
    assert embedder is not None and dataset is not None
    return _Tested(embedder, checkpoint, trained, dataset, asked)


def _loaded(
    weights: str | Path, epoch: int | None, method: str | None, arch: str | None,
    device: str, precision: str,
) -> tuple[Embedder, Path | None]:  # fmt: skip
    """The network, and the checkpoint of a run that its weights are of, if they are."""
    from vireid.embed import load
    from vireid.training.epoch import find_checkpoint, load_epoch

    checkpoint = find_checkpoint(weights, epoch)
    of_epoch, source = (load, weights) if checkpoint is None else (load_epoch, checkpoint)
    embedder = of_epoch(source, device=device, method=method, arch=arch, precision=precision)
    return embedder, checkpoint


def _decoded(tested: _Tested, data: Dataset, *, skip_broken: bool) -> Opened:
    """The same with the data's pixels."""
    from vireid.data import prepare, without

    store = prepare(data, size=tested.embedder.size, skip_broken=skip_broken)
    tell_broken(store.broken)
    data = without(data, store.valid)
    return Opened(tested.embedder, data, store, tested.asked.searches, tested.checkpoint)


def _run_config(run: Path) -> dict[str, Any]:
    """The options of the run, where there is one."""
    from vireid.weights import Trained

    config = run / "config.json"
    return convert(Trained, read_json(config), str(config)) if config.is_file() else {}


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
