"""The demo: synthetic people → train → test → index → search, on this machine, honestly.

Everything is made here; nothing is downloaded. The people are synthetic, and so are the numbers.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from vireid.commands.common import going_on, kept_in, suggest
from vireid.commands.demo_page import Searched, Tested, demo_page
from vireid.console import console, quoted, results, say
from vireid.files import check_folder, read_json
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from vireid.evaluation import Search


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much the demo does.

    Attributes:
        identities, test_identities: synthetic people in all, and of these unseen in training.
        images: images for each person and camera.
        steps, epochs: training steps, and into how many epochs they are divided, each a point of
            the curves.
        pids_per_batch, images_per_pid: P and K of the sampler.
    """

    identities: int = 80
    test_identities: int = 56
    images: int = 4
    steps: int = 30
    epochs: int = 6
    pids_per_batch: int = 4
    images_per_pid: int = 4


def run_demo(
    out: Path, *, size: DemoSize | None = None, device: str = "auto", seed: int = 2026
) -> dict[str, float]:
    """Run the whole job into the folder `out` and say what each part is.

    Returns:
        rank1 and mean_ap (fractions) before and after training, the chance level, seconds.

    Raises:
        InputError: `out` holds something that a demo did not make.
    """
    from vireid.runtime.device import resolve_device

    size = size or DemoSize()
    began = time.monotonic()
    check_folder(out, "the demo")
    people, run, drawn = out / "people", out / "run", out / "drawn"
    if out.exists() and any(out.iterdir()) and not (people.is_dir() or drawn.is_dir()):
        raise InputError(f"'{out}' holds other things already. Name another folder with --out.")
    device = resolve_device(None, device)
    start = "synth" if _shipped() else "none"

    _say(1, f"Making {size.identities} synthetic people ({people}) ...")
    if people.is_dir():
        _check_people(people, seed)
        say("They are there already, and are kept.")
    else:
        _make(people, drawn, size, seed)
    shutil.rmtree(drawn, ignore_errors=True)
    _say(
        2,
        f"Training on the {size.identities - size.test_identities} people who are not for "
        "testing, "
        + (
            "from the weights in the package, which have never seen such cameras ..."
            if start == "synth"
            else "from random weights. So brief a training teaches little: expect numbers near "
            "chance ..."
        ),
    )
    if (run / "summary.json").is_file():
        say("It is trained already, and is kept.")
    else:
        _train(people, run, size, start, device)
    _say(3, "Finding people whom the network has never seen: infrared query, visible gallery ...")
    before, after = _test(people, run, out / "report-before-training", device)
    _say(4, "Indexing the daytime images and searching them with a night image ...")
    query = _search(people, run, out, device, after.search.name)
    page = demo_page(out, run, before, after, query)
    numbers = {
        f"{name}_{metric}": tested.report.best()[metric]["mean"]
        for name, tested in (("before", before), ("after", after))
        for metric in ("rank1", "mean_ap")
    }
    numbers["chance_rank1"] = after.report.chance["rank1"]
    numbers["seconds"] = time.monotonic() - began
    _close(out, people, run, page, before, after, query, numbers)
    return numbers


def _check_people(people: Path, seed: int) -> None:
    from vireid.data.protocol import read_marker
    from vireid.synthetic.other_cameras import OTHERS

    made = read_marker(people)
    if made is None or made.get("cameras") != OTHERS:
        raise InputError(
            f"'{people}' holds other people than a demo makes, such as those of an earlier "
            "version. Name another folder with --out, or remove this one."
        )
    if made["seed"] != seed:
        raise InputError(
            f"'{people}' holds the people of the seed {made['seed']}; {seed} was asked for. Name "
            f"another folder with --out, or go on with --seed {made['seed']}."
        )


def _make(people: Path, drawn: Path, size: DemoSize, seed: int) -> None:
    """Draw the people, as cameras see them that the weights in the package were not trained for:
    then a short training has something to teach."""
    from vireid.synthetic import write_as_other_cameras, write_dataset

    write_dataset(
        drawn,
        identities=size.identities,
        test_identities=size.test_identities,
        images=size.images,
        seed=seed,
        preset="hard",
    )
    write_as_other_cameras(drawn, people)


def _train(people: Path, run: Path, size: DemoSize, start: str, device: str) -> None:
    from vireid.training.defaults import train_options
    from vireid.training.options import TrainOptions
    from vireid.training.run import train

    if (run / "config.json").is_file():  # an earlier demo was stopped here
        options = TrainOptions.read(read_json(run / "config.json"), f"'{run}'")
        train(dataclasses.replace(options, device=device), run, resume=True)
        return
    own = {} if start == "synth" else {"arch": "resnet18"}  # synth brings its network
    epochs = min(size.epochs, size.steps)
    options = train_options(
        data_root=str(people.absolute()),
        method="mcl",
        pretrained=start,
        pids_per_batch=size.pids_per_batch,
        images_per_pid=size.images_per_pid,
        epochs=epochs,
        steps_per_epoch=-(-size.steps // epochs),
        device=device,
        **own,
    )
    train(options, run)


def _shipped() -> bool:
    from vireid.models.shipped import shipped_weights

    return shipped_weights() is not None


def _test(people: Path, run: Path, folder: Path, device: str) -> tuple[Tested, Tested]:
    """Test the network before and after training; the report on the trained one goes where
    `vireid test` would write it, the other one, which isn't of the run's weights, to `folder`."""
    from vireid.data import DEFAULT_DATASET, load_dataset, prepare
    from vireid.data.protocol import ProtocolOptions
    from vireid.embed import load
    from vireid.testing import TestOptions, run_protocol
    from vireid.testing.places import folder_name
    from vireid.training.start import rebuild_start

    data = load_dataset(DEFAULT_DATASET, people)
    store, asked = prepare(data), ProtocolOptions().of(data.facts)
    place_of_run = run / "test" / folder_name(data, asked, TestOptions(), None)
    found = []
    for when, embedder, place in (
        ("Before training", rebuild_start(run, device=device), folder),
        ("After it", load(run, device=device), place_of_run),
    ):
        console.print(f"{when}:")
        searches: list[Search] = []
        report = run_protocol(
            embedder,
            data,
            store,
            asked,
            folder=place,
            keep=searches.append,
        )
        found.append(Tested(embedder, data, store, report, searches[0]))
    results.print(found[1].report.to_table())
    return found[0], found[1]


def _search(people: Path, run: Path, out: Path, device: str, which: str) -> Searched:
    """Index the daytime images by the test embedding `which`, that of the numbers, and search."""
    from vireid.data import DEFAULT_DATASET, load_dataset
    from vireid.embed import embed_files, load
    from vireid.index import Searcher, build_index, open_index
    from vireid.index.output import Query, hits_table, save_figure, where_they_are

    data = load_dataset(DEFAULT_DATASET, people)
    test = data.parts["test"]
    daytime = [data.samples[i] for i in test if data.samples[i].modality is Modality.VISIBLE]
    night = [data.samples[i] for i in test if data.samples[i].modality is Modality.INFRARED]
    embedder = load(run, device=device)
    table = out / "daytime.csv"
    table.write_text(
        "path,pid,camid,modality\n"
        + "".join(f"{people.resolve() / s.path},{s.pid},{s.camid},visible\n" for s in daytime),
        encoding="utf-8",
    )
    vectors = out / "daytime.safetensors"
    embed_files(embedder, str(table), vectors)
    if not (out / "index").exists():
        from vireid.embed import load_embeddings

        rows = load_embeddings(vectors)
        build_index(out / "index", rows, which=which, image_roots=[people]).close()
    sample = night[len(night) // 2]
    query = people / sample.path
    with open_index(str(out / "index")) as index:
        searcher = Searcher(index, embedder)
        (hits,) = searcher.search_images([query], Modality.INFRARED, top=10)
        found = [where_they_are(hit, index.roots) for hit in hits]
    asked = Query((query,), pid=sample.pid, camid=sample.camid)
    results.print(hits_table(asked, found, {}))
    save_figure(out / "search.jpg", [asked], [found], searcher.decoding, len(daytime))
    rank = next((n for n, hit in enumerate(found, 1) if hit.pid == sample.pid), None)
    searched = Searched(query, sample.pid, rank, len(found))
    say(searched.words())
    return searched


def _say(number: int, text: str) -> None:
    console.print(f"\n[bold]{number}/4[/] {escape(text)}")


def _close(
    out: Path, people: Path, run: Path, page: Path, before: Tested, after: Tested, query: Searched,
    numbers: dict[str, float],
) -> None:  # fmt: skip
    was = f" (before training: {100 * numbers['before_rank1']:.1f} %)"
    console.print("\n[bold]Done[/] ", end="")
    say(
        f"in {numbers['seconds'] / 60:.1f} minutes. Rank-1 "
        f"{100 * numbers['after_rank1']:.1f} %{was}; guessing gives "
        f"{100 * numbers['chance_rank1']:.1f} %. All people are synthetic.\n"
        f"  all of it on one page      {page.absolute().as_uri()}\n"
        f"  images of the people       {people}\n"
        f"  training curves            {run / 'curves.png'}\n"
        f"  ranked results             {after.report.folder}/ranks.jpg\n"
        f"  the same, before training  {before.report.folder}/ranks.jpg\n"
        f"  report                     {after.report.folder}/report.md\n"
        f"  one search                 {out / 'search.jpg'}"
    )
    serve = f"vireid serve --index {quoted(out / 'index')} --weights {quoted(run)}"
    suggest(f"the search page: {serve}\n      (drop the night image {query.path} on it)")


def demo(*, out: Path = Path("demo"), device: str = "auto", seed: int = 2026) -> int:
    """Make synthetic people, train, test and search: the whole job, in minutes.

    Args:
        out: Folder for everything that the demo makes.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
        seed: Seed of the synthetic people.
    """
    with going_on(lambda: kept_in(out), always=True):
        run_demo(out, device=device, seed=seed)
    return 0
