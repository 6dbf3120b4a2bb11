"""embed, search, serve: commands about finding somebody."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.commands.common import (
    PRECISION_ALIASES,
    going_on,
    kept_in,
    next_step,
    precision_name,
    print_json,
    suggest,
)
from vireid.console import (
    choose,
    count_text,
    path_meant,
    quoted,
    results,
    say,
    tell_broken,
    warn,
)
from vireid.data.facts import Decoding
from vireid.files import check_folder, write_text
from vireid.problems import Problems
from vireid.types import TTA, InputError, Modality, parse_pid, parse_time

if TYPE_CHECKING:
    from vireid.index import Hit
    from vireid.index.output import Query

MAX_NOTES = 20
"""Queries that are remarked on; JSON has the notes on all."""


def embed(
    *,
    images: str,
    modality: str | None = None,
    out: Path,
    weights: str = "synth",
    method: str | None = None,
    arch: str | None = None,
    batch_size: int = 256,
    dtype: str = "float16",
    tta: str = "none",
    camera_pattern: str | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
    intensity_range: str | None = None,
    gpu: int | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> int:
    """Turn images into an embeddings file.

    Under torchrun the work is shared among the ranks. An interrupted run continues where it
    stopped.

    Args:
        images: A folder (with its subfolders), a text file with one path per line, or a CSV
            table with the column path and any of pid, camid, modality, time.
        modality: Sensor that took the images: visible or infrared; needed unless the table has a
            column modality.
        out: Embeddings file to write.
        weights: Weights to embed with: a run's folder, a weights file, synth (part of the
            package), or hf://USER/NAME (on the Hugging Face Hub).
        method: Your own method, if the weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if the weights have one: path/to/my.py:MyNet.
        batch_size: Images per batch.
        dtype: Number format of the vectors: float16 or float32.
        tta: Test-time augmentation: none; flip, which adds the embeddings of an image and its
            mirror image; or flip-mean, which takes their mean and brings it to length 1 again.
        camera_pattern: Regular expression that is searched in each path: a group around the
            camera number, or groups named camid, pid and time.
        workers: Number of decoding processes (default: one per core).
        skip_broken: Leave out images that can't be decoded, and list them.
        intensity_range: Values that are black and white in images with more than 8 bits per
            channel, as thermal cameras write them: LOW:HIGH, or minmax, which takes them from each
            image, so that contrast changes from frame to frame (default: such images are refused).
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
        precision: Number format the network computes in: bfloat16, float16, float32, or auto
            (float16 on a GPU, float32 on a CPU).
    """
    from vireid.embed.sources import check_source
    from vireid.embed.storage import check_out, parts_folder

    problems = Problems()
    with problems:
        check_source(images)
    with problems:
        check_folder(out.parent, "the embeddings")
    with problems:
        check_out(out)
    with problems:
        if batch_size < 1:
            raise InputError(f"--batch-size is {batch_size}; it must be at least 1.")
    with problems:
        tta = choose("test-time augmentation", tta, TTA)
    with problems:
        dtype = choose(
            "dtype", dtype, ("float16", "float32"), aliases=PRECISION_ALIASES, option=True
        )
    with problems:
        precision = precision_name(precision)
    with problems:
        decoding = Decoding(intensity_range=intensity_range)
    with problems:
        sensor = None if modality is None else Modality.parse(modality)
    place = _network_at(weights, gpu, device, problems)
    problems.tell()
    from vireid.embed import embed_files, load

    with going_on(lambda: kept_in(parts_folder(out), "part-*.json")):
        embedder = load(weights, device=place, method=method, arch=arch, precision=precision)
        summary = embed_files(
            embedder,
            images,
            out,
            modality=sensor,
            batch_size=batch_size,
            dtype=dtype,
            camera_pattern=camera_pattern,
            skip_broken=skip_broken,
            tta=tta,
            workers=workers,
            decoding=decoding,
        )
    tell_broken(summary.broken)
    if summary.misshapen:
        warn(
            f"{len(summary.misshapen):,} of {summary.count:,} images are not shaped like one "
            f"person, cut out, about twice as high as wide, such as '{summary.misshapen[0]}'. They "
            "were squeezed to that shape; don't expect matches for them."
        )
    next_step(
        f"{count_text(summary.count, 'embedding', 'embeddings')} in '{out}' "
        f"({summary.images_per_second:,.0f} img/s)",
        f"vireid index create --index INDEX --embeddings {quoted(out)}   "
        "(index add, if there is one)",
    )
    return 0


def search(
    *,
    index: str,
    image: tuple[Path, ...] = (),
    images: Path | None = None,
    box: tuple[str, ...] = (),
    one_person: bool = False,
    modality: str,
    weights: str = "synth",
    method: str | None = None,
    arch: str | None = None,
    top: int = 20,
    cameras: tuple[int, ...] = (),
    gallery_modality: str | None = None,
    time_from: str | None = None,
    time_to: str | None = None,
    pids: tuple[str, ...] = (),
    rerank: bool = False,
    intensity_range: str | None = None,
    json: bool = False,
    csv: Path | None = None,
    save: Path | None = None,
    gpu: int | None = None,
    device: str = "auto",
) -> int:
    """Search an index for the person in an image.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        image: Image of the person to find; several images are several queries.
        images: Folder of images instead, each a query.
        box: Part of each image to search with, X,Y,W,H: left and upper edge, width and height in
            pixels of the upright image; whole takes all of one.
        one_person: All images show one person, and are one query: the mean of their vectors.
        modality: Sensor that took the query: visible or infrared.
        weights: The weights that the index was made with: a run's folder, a weights file,
            synth, or hf://USER/NAME.
        method: Your own method, if the weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if the weights have one: path/to/my.py:MyNet.
        top: Results for each query.
        cameras: Search only images of these cameras.
        gallery_modality: Search only images of this sensor: visible or infrared.
        time_from: Search only images from this time on: seconds since 1970, or ISO 8601 such as
            2026-01-31T08:00 (UTC where no zone is given).
        time_to: Search only images up to this time.
        pids: Search only images of these identities, numbers or names.
        rerank: Re-rank the best candidates by k-reciprocal neighbours.
        intensity_range: Values that are black and white in queries with more than 8 bits per
            channel: LOW:HIGH, or minmax, which changes contrast from frame to frame (default: as
            for the index's images; another range than theirs is refused).
        json: Print JSON on standard output.
        csv: Write the hits to this file instead of printing them.
        save: Draw the ranked results into this file (.png or .jpg).
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
    """
    from vireid.data.decoding import boxes_of, parse_box
    from vireid.index import Filters, open_index

    problems = Problems()
    with problems:
        files = _queries(image, images)
        boxes = boxes_of([parse_box(text) for text in box], len(files))
    for out in (csv, save):
        with problems:
            if out is not None:
                check_folder(out.parent, f"'{out.name}'")
    with problems:
        filters = Filters(
            camids=cameras or None,
            modality=None if gallery_modality is None else Modality.parse(gallery_modality),
            time_from=_time("--time-from", time_from),
            time_to=_time("--time-to", time_to),
            pids=tuple(map(parse_pid, pids)) or None,
        )
    with problems:
        if top < 1:
            raise InputError(f"--top is {top}; it must be at least 1.")
    with problems:
        sensor = Modality.parse(modality)
    with contextlib.ExitStack() as stack:
        with problems:
            opened = stack.enter_context(open_index(index))
        place = _network_at(weights, gpu, device, problems)
        problems.tell()
        from vireid.embed import load
        from vireid.index.output import Query, where_they_are
        from vireid.index.searcher import Searcher, combine

        embedder = load(weights, device=place, method=method, arch=arch)
        searcher = Searcher(opened, embedder, intensity_range=intensity_range)
        vectors = searcher.embed(files, sensor, boxes=boxes, check_colours=False)  # `notes` do
        hits = searcher.search_vectors(
            combine(vectors) if one_person else vectors,
            modality=sensor,
            top=top,
            filters=filters,
            rerank=rerank,
        )
        notes = [
            searcher.notes(vector, sensor, file, part)
            for file, vector, part in zip(files, vectors, boxes)
        ]
        found = [[where_they_are(hit, opened.roots) for hit in ranked] for ranked in hits]
        names = opened.camera_names
        searched = opened.count(filters=filters) if save else None
    queries = [Query((file,), (part,)) for file, part in zip(files, boxes)]
    if one_person:
        queries = [Query(tuple(files), tuple(boxes))]
        notes = [[f"'{file}': {said}" for file, some in zip(files, notes) for said in some]]
    _show(
        queries, found, notes, names, searcher.decoding, searched, opened.url,
        json=json, csv=csv, save=save,
    )  # fmt: skip
    return 0


def _show(
    queries: list[Query],
    hits: list[list[Hit]],
    notes: list[list[str]],
    names: Mapping[int, str],
    decoding: Decoding,
    searched: int | None,
    index: str,
    *,
    json: bool,
    csv: Path | None,
    save: Path | None,
) -> None:
    """Print, write and draw the hits as asked for."""
    from vireid.index.output import MAX_DRAWN, hits_as_csv, hits_as_json, hits_table, save_figure
    from vireid.index.strangers import TOO_FEW

    if json:
        print_json(hits_as_json(queries, hits, notes, names))
    elif not csv:
        for query, ranked in zip(queries, hits):
            if ranked:
                results.print(hits_table(query, ranked, names))
        if any(hits) and all(hit.one_in is None for ranked in hits for hit in ranked):
            say(f"How many strangers look as alike can't be said: {TOO_FEW}.")
    if csv:
        write_text(csv, hits_as_csv(queries, hits, names))
        next_step(csv)
    for query, said in list(zip(queries, notes))[:MAX_NOTES]:
        for sentence in said:
            warn(sentence if len(query.images) > 1 else f"'{query}': {sentence}")
    if not any(hits):
        say("Nothing found: no image in the index matches the filters.")
        return
    if save:
        missing = save_figure(save, queries, hits, decoding, searched)
        if missing:
            warn(
                f"{len(missing):,} results are grey, as their images can't be read: "
                f"'{missing[0]}' is one. If they were moved, `vireid index update --index "
                f"{quoted(index)} --image-root FOLDER` says where they are."
            )
        next_step(save)
        if len(queries) > MAX_DRAWN:
            say(f"It shows the first {MAX_DRAWN} of {len(queries):,} queries.")
    if not (json or csv or save):
        suggest("add --save ranks.jpg to draw the results; `vireid serve` shows them on a page.")


def _network_at(weights: str | Path, gpu: int | None, device: str, problems: Problems) -> str:
    """The device that the options name; `problems` keeps what is wrong with it or the weights."""
    from vireid.models.whereabouts import check_weights
    from vireid.runtime.device import check_device, device_named

    with problems:
        check_weights(weights)
    with problems:
        place = device_named(gpu, device)
        check_device(place)
        return place
    return device


def _queries(image: tuple[Path, ...], images: Path | None) -> list[Path]:
    if image and images is None:
        missing = next((path for path in image if not path.is_file()), None)
        if missing is not None and missing.is_dir():
            raise InputError(f"'{missing}' is a folder. Name an image in it, or all: --images.")
        if missing is not None:
            raise InputError(f"There is no image '{missing}'.{path_meant(missing, Path.is_file)}")
        return list(image)
    if images is None or image:
        raise InputError("Give either --image FILE ... or --images FOLDER.")
    from vireid.data.listing import walk

    found = walk(images)
    notes = found.notes()
    if not found.images:
        raise InputError(
            " ".join([f"There is no image in '{images}'. A folder of images was expected.", *notes])
        )
    for note in notes:
        say(f"note: {note}")
    return [images / path for path in found.images]


def _time(flag: str, text: str | None) -> float | None:
    try:
        return None if text is None else parse_time(text)
    except InputError as error:
        raise InputError(f"{flag}: {error}") from error


def serve(
    *,
    index: str,
    weights: str = "synth",
    method: str | None = None,
    arch: str | None = None,
    port: int = 8000,
    host: str = "127.0.0.1",
    token: tuple[str, ...] = (),
    token_file: Path | None = None,
    allowed_host: tuple[str, ...] = (),
    trusted_proxy: tuple[str, ...] = (),
    audit_log: Path | None = None,
    reason_required: bool = False,
    intensity_range: str | None = None,
    open: bool = False,
    gpu: int | None = None,
    device: str = "auto",
) -> int:
    """Serve a web page that searches an index.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        weights: The weights that the index was made with: a run's folder, a weights file,
            synth, or hf://USER/NAME.
        method: Your own method, if the weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if the weights have one: path/to/my.py:MyNet.
        port: Port to listen on.
        host: Address to listen on; any other than 127.0.0.1 needs a token.
        token: Token that clients must send, or NAME=TOKEN of each user, whom the audit log then
            tells apart (default: $VIREID_TOKEN). Other users of this machine can see it in the
            list of processes; a file hides it.
        token_file: File with a line "NAME TOKEN" for each user.
        allowed_host: Names under which the server may be reached, besides its IP address.
        trusted_proxy: Addresses or networks of proxies in front of it, which say in
            X-Forwarded-For for whom they ask.
        audit_log: File for who searched when (default: beside the index, INDEX.audit.jsonl).
        reason_required: Every search needs a reason, which the audit log keeps.
        intensity_range: Values that are black and white in queries with more than 8 bits per
            channel: LOW:HIGH, or minmax, which changes contrast from frame to frame (default: as
            for the index's images; another range than theirs is refused).
        open: Open the page in this machine's browser.
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
    """
    from vireid.index.backends import check_index
    from vireid.server.settings import ANY_TOKEN, ServerSettings, read_tokens

    settings, tokens, problems = None, ANY_TOKEN, Problems()
    with problems:
        tokens = read_tokens(token, token_file)
        if not tokens and (alone := os.environ.get("VIREID_TOKEN")):
            tokens = {"token": alone}
    with problems:
        settings = ServerSettings(
            host=host,
            port=port,
            tokens=tokens,
            allowed_hosts=tuple(name.lower() for name in allowed_host),
            trusted_proxies=trusted_proxy,
            audit_log=audit_log,
            require_reason=reason_required,
            intensity_range=intensity_range,
        )
    with problems:
        check_index(index)
    place = _network_at(weights, gpu, device, problems)
    problems.tell()
    from vireid.server.app import serve

    serve(
        index,
        weights,
        method=method,
        arch=arch,
        host=host,
        port=port,
        device=place,
        settings=settings,
        browser=open,
    )
    return 0
