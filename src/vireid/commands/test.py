"""test, report: commands about numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import dataset_name, next_step, resolve_device
from vireid.console import choose, console
from vireid.files import read_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, ProtocolOptions
    from vireid.embed import Embedder
    from vireid.evaluation import Report


def test(
    *,
    resume: Path,
    dataset: str | None = None,
    data_root: Path | None = None,
    mode: str = "all",
    shots: int = 1,
    draw: str = "seeded",
    direction: str | None = None,
    protocol: str = "standard",
    part: str = "test",
    trial: str | None = None,
    trials: int = 10,
    rerank: bool = False,
    tta: str = "none",
    out: Path | None = None,
    pictures: int = 8,
    gpu: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    skip_broken: bool = False,
) -> int:
    """Test trained weights: find each query of one modality among the gallery of the other.

    Args:
        resume: a run's folder, or a weights file (.safetensors).
        dataset: sysu, regdb, llcm or folder (default: the run's).
        data_root: the data set's folder (default: the run's).
        mode: all or indoor (SYSU-MM01's two searches).
        shots: gallery images for each identity and camera: 1 or 10 (SYSU-MM01).
        draw: seeded or official gallery draw (SYSU-MM01; official reads
            exp/rand_perm_cam.mat).
        direction: infrared-to-visible or visible-to-infrared. Default: infrared-to-visible for
            SYSU-MM01, both for the others.
        protocol: standard, or legacy-deen (LLCM only: queries and gallery as DEEN's script
            swaps them; marked in the report).
        part: test, or val for the validation identities.
        trial: RegDB's split (default: the run's; another one is refused, because the model has
            seen those people).
        trials: gallery draws to average.
        rerank: add k-reciprocal re-ranked numbers beside the raw ones.
        tta: none or flip (sum of the image's and its mirror image's embedding).
        out: folder of the report (default: RUN/test/NAME).
        pictures: queries in the picture of ranked results; 0 for none.
        gpu: number of the GPU.
        device: auto, cpu or cuda:N.
        precision: auto, bfloat16, float16 or float32.
        skip_broken: leave out images that cannot be decoded, and list them.
    """
    from vireid.data import load_dataset, prepare, without
    from vireid.embed import load

    tta = choose("test-time augmentation", tta, ("none", "flip"))
    embedder = load(resume, device=resolve_device(gpu, device), precision=precision)
    known = {**_run_config(resume), **embedder.metadata}
    name = dataset_name(dataset or known.get("dataset") or "sysu")
    same = name == known.get("dataset")
    number = _trial(trial, known.get("trial") if same else None, name)
    data = load_dataset(
        name,
        data_root or (known.get("data_root") if same else None),
        trial=number,
        camera_pattern=known.get("camera_pattern") if same else None,
    )
    _refuse_seen_people(known, data)
    store = prepare(data, size=embedder.size, skip_broken=skip_broken)
    for path in store.broken:
        console.print(f"skipped (cannot be decoded): {path}")
    data = without(data, store.valid)
    folder = out or (resume if resume.is_dir() else resume.parent / resume.stem) / "test"
    for options in _protocols(
        name,
        mode=mode,
        shots=shots,
        draw=draw,
        direction=direction,
        protocol=protocol,
        part=part,
        trials=trials,
    ):
        report = run_protocol(
            embedder,
            data,
            store,
            options,
            tta=tta,
            rerank=rerank,
            folder=folder if out else folder / _label(name, options, number),
            pictures=pictures,
        )
        console.print(report.to_table())
        next_step(
            report.folder / "report.json",
            f"vireid report {report.folder / 'report.json'} ...   (to compare runs)",
        )
    return 0


def _run_config(resume: Path) -> dict[str, Any]:
    """The options of the run that the weights stand in, where they stand in one."""
    config = (resume if resume.is_dir() else resume.parent) / "config.json"
    return read_json(config) if config.is_file() else {}


def _trial(given: str | None, trained: int | None, name: str) -> int:
    if given is None:
        return int(trained or 1)
    if not given.isdigit() or not 1 <= int(given) <= 10:
        raise InputError(f"--trial is '{given}'; a number from 1 to 10 was expected.")
    if name == "regdb" and trained and int(given) != int(trained):
        raise InputError(
            f"These weights were trained on RegDB's trial {trained}; trial {given} tests people "
            f"that they have seen, so its numbers would be too high. Use --trial {trained}, or "
            f"train a model on trial {given}."
        )
    return int(given)


def _refuse_seen_people(known: dict[str, Any], data: Dataset) -> None:
    """Synthetic people of one seed are the same people in every set made with it."""
    from vireid.data.protocol import SYNTHETIC_MARKER

    made, seen = data.synthetic, known.get("synthetic")
    if seen is None and known.get("data_root"):
        marker = Path(known["data_root"]) / SYNTHETIC_MARKER
        seen = read_json(marker) if marker.is_file() else None
    if not seen or not made or seen["seed"] != made["seed"] or seen == made:
        return  # an equal set is the one that was trained on, whose test people were left out
    raise InputError(
        f"'{data.root}' was made with the seed {made['seed']}, and so were the people that these "
        "weights were trained on. Make a set with another --seed."
    )


def _protocols(
    name: str,
    *,
    mode: str,
    shots: int,
    draw: str,
    direction: str | None,
    protocol: str,
    part: str,
    trials: int,
) -> list[ProtocolOptions]:
    from vireid.data.protocol import ProtocolOptions

    directions = {
        "infraredtovisible": "infrared_to_visible",
        "visibletoinfrared": "visible_to_infrared",
    }
    legal = tuple(directions.values())
    aliases = {"i2v": legal[0], "t2v": legal[0], "v2i": legal[1], "v2t": legal[1]}
    if direction is None:
        chosen = [legal[0]] if name in {"sysu", "folder"} else list(legal)
    else:
        chosen = [choose("direction", direction, legal, aliases=aliases)]
    if name != "sysu":
        for flag, value, default in (("mode", mode, "all"), ("draw", draw, "seeded")):
            if value != default:
                raise InputError(
                    f"--{flag} {value} belongs to SYSU-MM01; '{name}' has no such "
                    "choice. Leave the flag out."
                )
    return [
        ProtocolOptions(
            part=choose("part", part, ("test", "val")),
            scope=choose(
                "mode",
                mode,
                ("all", "indoor"),
                aliases={"all-search": "all", "indoor-search": "indoor"},
            ),
            shots=shots,
            draw=choose("draw", draw, ("seeded", "official")),
            direction=one,
            num_trials=trials,
            variant=choose("protocol", protocol, ("standard", "legacy-deen")),
        )
        for one in chosen
    ]


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
    embeddings = embedder.embed_store(store, data, rows, tta=tta)
    metadata = embedder.metadata
    context = {
        "method": metadata.get("method"),
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


def report(reports: tuple[Path, ...], /, *, out: Path | None = None, average: bool = False) -> int:
    """Compare reports in one table, or average the seeds of one experiment.

    Args:
        reports: report.json files, or folders that hold one.
        out: folder for comparison.md, .csv and .tex (default: print only).
        average: average reports that differ in the seed (or in RegDB's trial) alone; any other
            difference is an error that names it.
    """
    from vireid.evaluation import Report, average_reports, compare

    if not reports:
        raise InputError("Name at least one report.json, as `vireid test` writes it.")
    loaded = [Report.load(path / "report.json" if path.is_dir() else path) for path in reports]
    comparison = compare([average_reports(loaded)] if average else loaded)
    console.print(comparison.to_table())
    if out:
        comparison.write(out)
        next_step(out)
    return 0
