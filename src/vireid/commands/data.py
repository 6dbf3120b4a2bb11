"""synthesize, prepare, info: commands about images."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import (
    AFRESH,
    going_on,
    is_run,
    kept_in,
    next_step,
    print_json,
    root_words,
    suggest,
    words_of_test,
)
from vireid.commands.run_list import show_runs
from vireid.console import (
    around,
    choose,
    facts_table,
    path_meant,
    quoted,
    results,
    say,
    table,
    tell_broken,
)
from vireid.data import known
from vireid.data.registry import DEFAULT_DATASET, resolve_dataset
from vireid.files import check_folder, read_json
from vireid.models.options import ENDINGS
from vireid.own_code import UnnamedCode
from vireid.testing import TRIALS, report_files
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset
    from vireid.synthetic import Summary


def synthesize(
    *,
    out: Path,
    identities: int = 100,
    test_identities: int | None = None,
    images: int = 4,
    layout: str = DEFAULT_DATASET,
    preset: str = "standard",
    seed: int = 0,
    workers: int | None = None,
    masks: bool = False,
    v1: bool = False,
    verify: bool = False,
) -> int:
    """Make images of synthetic people, in the layout of a real data set.

    The same seed gives the same bytes, for any number of workers. The same command continues an
    interrupted one.

    Args:
        out: Folder to make; an existing folder that this command did not make is refused.
        identities: Number of people, including those for testing.
        test_identities: How many of them are for testing (default: a fifth, at least 2). A sixth
            of the rest is for validation.
        images: Images of each person by each camera.
        layout: Layout of the folder: sysu (six cameras, visible and near-infrared), regdb (visible
            and thermal pairs) or llcm (nine cameras, low light).
        preset: How hard the images are: easy, standard or hard.
        seed: Seed of people, clothes, scenes and cameras.
        workers: Number of processes (default: one per core).
        masks: Also write a mask of the person for each image, in the folder masks.
        v1: Make VIReID-Synth v1, the frozen benchmark, instead; only `out` and `workers` can be
            chosen then.
        verify: With --v1: compare an existing folder with the checksums of v1, and write nothing.
    """
    if verify and not v1:
        raise InputError("--verify compares with the checksums of VIReID-Synth v1; add --v1.")
    if v1 and verify:
        from vireid.synthetic import verify_v1

        problems = verify_v1(out)
        if problems:
            for line in problems[:20]:
                say(f"differs: {line}")
            raise InputError(f"'{out}' is not VIReID-Synth v1: {len(problems)} folders differ.")
        say(f"'{out}' is VIReID-Synth v1: all checksums are equal.")
        return 0
    check_folder(out, "the images")
    with going_on(lambda: kept_in(out)):
        if v1:
            from vireid.synthetic import regenerate_v1

            summary = regenerate_v1(out, workers=workers)
            layout = DEFAULT_DATASET
        else:
            from vireid.synthetic import LAYOUTS, write_dataset

            summary = write_dataset(
                out,
                layout=layout,
                identities=identities,
                test_identities=test_identities,
                images=images,
                seed=seed,
                workers=workers,
                preset=preset,
                masks=masks,
            )
            layout = choose("layout", layout, tuple(LAYOUTS))
    _tell_drawn(summary)
    from vireid.data import load_dataset

    _suggest_training(layout, out, *_trainable(load_dataset(layout, out)), brief=True)
    return 0


def _tell_drawn(summary: Summary) -> None:
    """Say what a call of `synthesize` wrote, which may be less than the folder holds."""
    images, drawn = summary.num_images, summary.num_drawn
    people = f"{summary.num_identities} synthetic people"
    if not drawn:
        say(f"All {images:,} images of {people} are in '{summary.out}' already.")
        return
    what = f"{images:,} images of" if drawn == images else f"{drawn:,} of {images:,} images of"
    rest = "" if drawn == images else "; the others were there"
    rate = drawn / max(summary.seconds, 1e-9)
    next_step(
        f"{what} {people} in '{summary.out}' ({summary.seconds:.0f} s, {rate:,.1f} img/s){rest}"
    )


@going_on(AFRESH)
def prepare(
    *,
    dataset: str = DEFAULT_DATASET,
    data_root: Path | None = None,
    npy: bool = False,
    camids: bool = True,
    workers: int | None = None,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    junk: tuple[str, ...] = (),
    skip_broken: bool = False,
    cache: Path | None = None,
) -> int:
    """Decode and resize every image once, into one cache file.

    Training and testing do this by themselves where it is needed.

    Args:
        dataset: Data set: {dataset}.
        data_root: The data set's folder (default: $VIREID_DATA/NAME).
        npy: Also write the .npy files of the published preprocessing, at the data root.
        camids: With --npy, write the camera numbers too; the first of the two published scripts
            writes none.
        workers: Number of processes (default: one per core).
        camera_pattern: With `dataset` folder: regular expression that finds the camera number in
            a file name, such as 'c(\\d+)_'.
        intensity_range: Values that are black and white in images with more than 8 bits per
            channel, as thermal cameras write them: LOW:HIGH, or minmax, which takes them from each
            image, so that contrast changes from frame to frame (default: such images are refused).
        junk: With `dataset` folder: identities, such as 0000, of nobody: their images are left out
            and counted, as those of -1 always are.
        skip_broken: Leave out images that can't be decoded, and list them.
        cache: Folder for the cache file (default: DATA_ROOT/.vireid, or the user's cache folder
            where that can't be written).
    """
    from vireid.data import load_dataset, prepare, write_published_npy

    name = resolve_dataset(dataset)
    data = load_dataset(
        name,
        data_root,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
    )
    for note in data.notes:
        say(f"note: {note}")
    if cache is not None:
        check_folder(cache, "the images")
    store = prepare(data, cache=cache, workers=workers, skip_broken=skip_broken)
    tell_broken(store.broken)
    if npy:
        written = write_published_npy(data, store, data.root, camids=camids)
        next_step(", ".join(map(str, written)))
    next_step(f"{store.path}: {len(store.images):,} images of {store.size[0]}x{store.size[1]}")
    _suggest_training(
        name,
        data.root,
        *_trainable(data),
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
    )
    return 0


setattr(prepare, "choices", {"dataset": known.datasets})  # noqa: B010 - read by `commands.flags`


def info(
    target: str,
    /,
    *,
    dataset: str | None = None,
    trial: int = 1,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    junk: tuple[str, ...] = (),
    sensor_cameras: bool = False,
    method: str | None = None,
    arch: str | None = None,
    json: bool = False,
) -> int:
    """Show what a data set or a run holds, and everything suspicious in it.

    Of weights also the network's parts (parameters, multiply-adds and activations for one visible
    image) and what an image costs on this machine.

    Args:
        target: A data set's folder, a CSV table, a run's folder or a folder of runs, weights or a
            checkpoint; or synth, the weights in the package, or hf://USER/NAME.
        dataset: Data set: {dataset} (default: recognised by its files).
        trial: Split of the identities, where a data set has several: {trial}.
        camera_pattern: With `dataset` folder: regular expression that finds the camera number in
            a file name, such as 'c(\\d+)_'.
        intensity_range: Values that are black and white in images with more than 8 bits per
            channel, as thermal cameras write them: LOW:HIGH, or minmax, which takes them from each
            image, so that contrast changes from frame to frame (default: such images are refused).
        junk: With `dataset` folder: identities, such as 0000, of nobody: their images are left out
            and counted, as those of -1 always are.
        sensor_cameras: With `dataset` folder: each sensor's camera numbers are its own, so that
            camera 1 of visible images and camera 1 of infrared ones are two cameras.
        method: Your own method, if weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if weights have one: path/to/my.py:MyNet.
        json: Print JSON on standard output instead of tables.
    """
    from vireid.models.hub import is_shipped, on_hub, shipped_meant

    if is_shipped(target) or on_hub(target):
        from vireid.models.whereabouts import find_weights

        place = find_weights(target)
    else:
        place = Path(target)
    if not place.exists():
        raise InputError(
            f"There is no folder or file '{place}'.{shipped_meant(target) or path_meant(place)} "
            "Give a data set's or a run's folder, a CSV table, weights or a checkpoint."
        )
    if (place / TRIALS).is_file():
        done = sorted(path.parent.name for path in place.glob("trial*/summary.json"))
        facts = {"trials": "one run a split", "trained": f"{len(done)}: {', '.join(done)}"}
        if json:
            print_json(facts)
            return 0
        results.print(facts_table(f"Run {place}", facts))
        suggest(
            f"vireid train --resume {quoted(place)}   # trains and tests what is left, and averages"
        )
        return 0
    is_weights = place.suffix.lower() in ENDINGS and place.is_file()
    if is_weights or (place / "config.json").is_file():
        from vireid.runtime.checkpoints import tell_unfinished
        from vireid.training.checkpoint import describe_run

        run = describe_run(place)
        files = report_files(place) if place.is_dir() else []
        reports = _reports_on(run.get("hash"), files)
        if files:
            earlier = len(files) - reports
            run["reports"] = (
                f"{len(files)}{f', {earlier} of them on other weights' if earlier else ''}"
            )
        network = _network(place, method, arch) if "hash" in run else None
        if json:
            print_json(run | ({"network": network} if network else {}))
            return 0
        results.print(facts_table(f"{'Run' if place.is_dir() else 'File'} {place}", run))
        if network:
            _print_network(network)
        tell_unfinished(place)
        suggest(f"vireid {_after_run(run, target, place, reports)}")
        return 0
    if dataset is None:
        if place.is_dir() and show_runs(place, json=json):
            return 0
        if place.suffix.lower() != ".csv" and (whole := around(place, is_run)):
            say(f"note: '{place}' is a part of the run '{whole}', which is shown.")
            return info(str(whole), method=method, arch=arch, json=json)
    from vireid.data.inspect import inspect, tables

    found = inspect(
        dataset,
        place,
        trial=trial,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
        sensor_cameras=sensor_cameras,
    )
    if json:
        print_json(found)
        return 0
    for part in tables(found):
        results.print(part)
    for search in found["searches"]:
        results.print(search["text"], markup=False)
    for note in found["notes"]:
        results.print(f"note: {note}", markup=False)
    camids = {camera["camid"] for camera in found["cameras"]}
    _suggest_training(
        dataset or found["name"],
        place,
        found["parts"]["train"]["identities"],
        0 if -1 in camids else len(camids),
        trial=trial if trial > 1 else None,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
        sensor_cameras=sensor_cameras,
    )
    return 0


def _reports_on(weights_hash: str | None, files: Sequence[Path]) -> int:
    """How many reports are on these weights; the others are older than the newest training."""
    from vireid.evaluation import Report

    count = 0
    for file in files:
        with contextlib.suppress(InputError):  # damaged: `vireid report` says so
            count += Report.load(file).protocol.weights_hash == weights_hash
    return count


def _after_run(run: Mapping[str, str], target: str, place: Path, reports: int) -> str:
    """What to type after having looked at a run, a checkpoint or weights."""
    from vireid.models.hub import is_shipped
    from vireid.own_code import named_again
    from vireid.runtime.checkpoints import epochs_so_far
    from vireid.training.checkpoint import has_failed

    if is_shipped(target):
        return f"test --resume {quoted(target)}{root_words(DEFAULT_DATASET)}"
    if "checkpoint of" in run:
        return f"import-weights {quoted(target)}"
    failed, to_go = has_failed(place), place.is_dir() and epochs_so_far(place)
    if reports and not to_go:
        return f"report {quoted(target)}"
    config = place / "config.json"
    plain = read_json(config) if config.is_file() else {}
    if place.is_file() or ("hash" in run and not failed and not to_go):  # there are weights
        known = run.get("dataset") or run.get("data set")  # of a file, or of a run's
        data = words_of_test(known) if place.is_file() else ""
        return f"test --resume {quoted(target)}{named_again(plain, training=False)}{data}"
    again = " --other-code   # once the mistake is corrected" if failed else ""
    return f"train --resume {quoted(target)}{named_again(plain)}{again}"


def _network(target: Path, method: str | None, arch: str | None) -> dict[str, Any] | None:
    """The network of weights and its costs; None, with a sentence, where code of the user's own is
    needed and not named."""
    from vireid.bench import network_facts
    from vireid.embed import Embedder
    from vireid.weights import load_weights

    try:
        embedder = Embedder(*load_weights(target, method, arch))
    except UnnamedCode as error:
        say(f"note: the network isn't shown. {error}")
        return None
    return network_facts(embedder)


def _print_network(network: dict[str, Any]) -> None:
    parts = {**network["parts"], "total": network["total"]}
    rows = [
        [name, *(_short(part[key]) for key in ("parameters", "multiply_adds", "activations"))]
        for name, part in parts.items()
    ]
    height, width = network["size"]
    title = f"{network['architecture']}, one visible image of {height}x{width}"
    results.print(table(title, ["part", "parameters", "multiply-adds", "activations"], rows))
    cost = network["cost"]
    memory = "GPU memory at most" if cost["device"] not in ("cpu", "mps") else "process at most"
    results.print(facts_table(f"An image on this machine ({cost['device']}, {cost['precision']})", {
        "alone": f"{cost['ms_one']:.2f} ms",
        f"{cost['batch']} at a time": f"{cost['ms_in_batch']:.2f} ms each",
        "memory": f"weights {cost['weights_bytes'] / 2**20:.1f} MiB, "
        f"{memory} {cost['peak_bytes'] / 2**20:,.0f} MiB",
    }))  # fmt: skip


def _short(count: int) -> str:
    """1_234_567 → "1.23 M"."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.2f} {name}"
    return str(count)


setattr(info, "choices", {"dataset": known.datasets, "trial": known.splits})  # noqa: B010


# A short training, also for a laptop.
_SMALL = {"--pretrained": "synth", "--max-steps": "60"}


def _trainable(data: Dataset) -> tuple[int, int]:
    """Training identities, and cameras (0 where they are unknown)."""
    pids = {data.samples[row].pid for row in data.parts["train"]}
    camids = {sample.camid for sample in data.samples}
    return len(pids), 0 if -1 in camids else len(camids)


def _suggest_training(
    dataset: str,
    root: Path,
    people: int,
    cameras: int,
    *,
    brief: bool = False,
    trial: int | None = None,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    junk: Sequence[str] = (),
    sensor_cameras: bool = False,
) -> None:
    """Say how to train on a data set, with what its few people or unknown cameras need: as its
    methods are meant, and briefly, from the weights in the package; `brief`: only the latter."""
    from vireid.models.shipped import shipped_weights
    from vireid.training.defaults import Choices, defaults

    if people < 2:
        say(
            "Training needs at least 2 identities with images of both modalities; here it finds "
            f"{people}."
        )
        return
    method = "mcl" if cameras > 1 else "agw"  # mcl gathers features by camera
    data = {
        "--dataset": dataset, "--data-root": root, "--trial": trial,
        "--camera-pattern": camera_pattern, "--intensity-range": intensity_range,
        "--method": method,
    }  # fmt: skip
    more = [*(["--sensor-cameras"] if sensor_cameras else []), *(["--junk", *junk] if junk else [])]

    def command(of_way: Mapping[str, str]) -> str:
        choices = Choices(method=method, dataset=dataset, pretrained=of_way.get("--pretrained"))
        batch = defaults(None, choices).recipe.pids_per_batch
        flags = {**data, **of_way, "--pids-per-batch": people if people < batch else None}
        given = [str(w) for item in flags.items() if item[1] is not None for w in item]
        return shlex.join(["vireid", "train", *given, *more])

    if brief:
        suggest(command(_SMALL))
        return
    suggest(command({}))
    if shipped_weights() is not None:
        suggest(f"{command(_SMALL)}   # a short one, from the small network in the package")
