"""synthesize, prepare, info: commands about images."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step, print_json, suggest
from vireid.console import choose, facts_table, results, say, tell_broken
from vireid.data.registry import DEFAULT_DATASET, resolve_dataset
from vireid.files import check_folder
from vireid.testing import TRIALS
from vireid.types import InputError


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
        out: folder to make; an existing folder that this command did not make is refused.
        identities: number of people, including those for testing.
        test_identities: how many of them are for testing (default: a fifth, at least 2). A sixth
            of the rest is for validation.
        images: images of each person by each camera.
        layout: sysu (six cameras, visible and near-infrared), regdb (visible and thermal
            pairs) or llcm (nine cameras, low light).
        preset: easy, standard or hard.
        seed: seed of people, clothes, scenes and cameras.
        workers: processes (default: one per core).
        masks: also write a mask of the person for each image, in the folder masks.
        v1: make VIReID-Synth v1, the frozen benchmark, instead; it fixes everything but `out` and
            `workers`.
        verify: with --v1, compare an existing folder with the checksums of v1 and write nothing.
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
    if v1:
        from vireid.synthetic import regenerate_v1

        summary = regenerate_v1(out, workers=workers)
        layout = DEFAULT_DATASET
    else:
        from vireid.synthetic import LAYOUTS, write_dataset

        layout = choose("layout", layout, tuple(LAYOUTS))
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
    rate = summary.num_images / max(summary.seconds, 1e-9)
    next_step(
        f"{summary.num_images:,} images of {summary.num_identities} synthetic people in '{out}' "
        f"({summary.seconds:.0f} s, {rate:.0f} img/s)",
        f"vireid train --dataset {layout} --data-root {out} --method mcl --pretrained none",
    )
    return 0


def prepare(
    *,
    dataset: str = DEFAULT_DATASET,
    data_root: Path | None = None,
    npy: bool = False,
    camids: bool = True,
    workers: int | None = None,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
) -> int:
    """Decode and resize every image once, into one cache file.

    `train` and `test` do this by themselves when needed.

    Args:
        dataset: sysu, regdb, llcm, folder or path/to/my.py:MY_SET.
        data_root: the data set's folder (default: $VIREID_DATA/NAME).
        npy: also write the published preprocessing's .npy files at the data root.
        camids: with --npy, write the camera numbers too (--no-camids: as the first of the two
            published scripts).
        workers: processes (default: one for each core).
        camera_pattern: folder: regular expression that finds the camera's number in a file's
            name, as 'c(\\d+)_'.
        intensity_range: LOW:HIGH or minmax: which values are black and white in images with more
            than 8 bits per channel, as thermal cameras write them. minmax takes them from each
            image, so contrast changes from frame to frame (default: such images are refused).
        skip_broken: leave out images that cannot be decoded, and list them.
        cache: folder for the cache file (default: DATA_ROOT/.vireid, or the user's cache folder
            where that cannot be written).
    """
    from vireid.data import load_dataset, prepare, write_published_npy

    name = resolve_dataset(dataset)
    data = load_dataset(
        name, data_root, camera_pattern=camera_pattern, intensity_range=intensity_range
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
    next_step(
        f"{store.path}: {len(store.images):,} images of {store.size[0]}x{store.size[1]}",
        f"vireid train --dataset {name} --data-root {data.root} --method mcl",
    )
    return 0


def info(
    target: Path,
    /,
    *,
    dataset: str | None = None,
    trial: int = 1,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    json: bool = False,
) -> int:
    """Show what a data set's folder or a run's folder holds, and everything suspicious in it.

    Args:
        target: a data set's folder, a CSV table, or a run's folder.
        dataset: sysu, regdb, llcm, folder or path/to/my.py:MY_SET (default: recognised by its
            files).
        trial: RegDB's split, 1 to 10.
        camera_pattern: folder: regular expression that finds the camera's number in a file's
            name, as 'c(\\d+)_'.
        intensity_range: LOW:HIGH or minmax: which values are black and white in images with more
            than 8 bits per channel, as thermal cameras write them. minmax takes them from each
            image, so contrast changes from frame to frame (default: such images are refused).
        json: print JSON on standard output instead of tables.
    """
    if (target / TRIALS).is_file():
        done = sorted(path.parent.name for path in target.glob("trial*/summary.json"))
        facts = {"trials": "one run a split", "trained": f"{len(done)}: {', '.join(done)}"}
        if json:
            print_json(facts)
            return 0
        results.print(facts_table(f"Run {target}", facts))
        suggest(f"vireid train --resume {target}   (trains and tests what is left, and averages)")
        return 0
    if (target / "config.json").is_file() or target.suffix == ".safetensors":
        from vireid.training.checkpoint import describe_run

        run = describe_run(target)
        if json:
            print_json(run)
            return 0
        results.print(facts_table(f"Run {target}", run))
        suggest(f"vireid test --resume {target}")
        return 0
    from vireid.data.inspect import inspect, tables

    facts = inspect(
        dataset,
        target,
        trial=trial,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
    )
    if json:
        print_json(facts)
        return 0
    for part in tables(facts):
        results.print(part)
    for note in facts["notes"]:
        results.print(f"note: {note}", markup=False)
    suggest(f"vireid train --dataset {dataset or facts['name']} --data-root {target} --method mcl")
    return 0
