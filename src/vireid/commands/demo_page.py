"""The page that the demo ends with: what it made, trained and found, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vireid.console import quoted, typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset
    from vireid.embed import Embedder
    from vireid.evaluation import Report, Search
    from vireid.figures.page import Section
    from vireid.figures.ranked import Entry
    from vireid.figures.style import Columns

_PEOPLE, _QUERIES, _TOP = 3, 4, 7


class Tested(NamedTuple):
    """A network and what a test of it found."""

    embedder: Embedder
    data: Dataset
    store: PixelStore
    report: Report
    search: Search


class Searched(NamedTuple):
    """A night image that was searched with.

    Attributes:
        pid: who it shows.
        rank: where in the list that person comes first; None, not in it.
        length: of the list.
    """

    path: Path
    pid: int
    rank: int | None
    length: int

    def words(self) -> str:
        """What was found, so that nobody takes a similarity for a proof."""
        if self.rank == 1:
            return f"The query shows person {self.pid}, and so does the first result."
        found = (
            f"comes first at rank {self.rank}" if self.rank
            else f"is not among the first {self.length} results"
        )  # fmt: skip
        return (
            f"The query shows person {self.pid}, who {found}: others can look more alike. A "
            "similarity is a hint, not a proof."
        )


def demo_page(out: Path, run: Path, before: Tested, after: Tested, query: Searched) -> Path:
    """Write the page into the demo's folder.

    Args:
        before, after: the network before its first step, and the trained one.
        query: the night image to try the search page with.
    """
    from vireid.figures.page import write_page
    from vireid.training.journal import read_log

    epochs = [line for line in read_log(run / "log.jsonl") if line["kind"] == "epoch"]
    seconds = epochs[-1]["seconds"]  # of all of them
    sections = [
        _people(after),
        _numbers(before, after, run),
        _training(run),
        _similarity(before, after),
        _curve(before, after),
        _ranked(before, after),
        _activation(after),
        *_further(out, run, query),
    ]
    lead = (
        "Somebody is seen by an infrared camera at night. Who is it among the people whom other "
        "cameras saw by day? All people here are synthetic: they were made by this program and "
        f"don't exist. The numbers below are for these people, after {_time(seconds)} of training."
    )
    return write_page(out / "demo.html", "The vireid demo", lead, sections)


def _people(tested: Tested) -> Section:
    import numpy as np

    from vireid.figures.page import Section, tiles
    from vireid.types import Modality

    data, images = tested.data, tested.store.images
    pids = np.unique(tested.search.labels[0])[:_PEOPLE].tolist()
    camids = np.unique(data.camids).tolist()
    rows = []
    for pid in pids:
        row = []
        for camid in camids:
            (found,) = np.flatnonzero((data.pids == pid) & (data.camids == camid))[:1]
            row.append((images[found], f"camera {camid}"))
        rows.append(row)
    infrared = np.unique(data.camids[data.modality == Modality.INFRARED]).tolist()
    return Section(
        "People",
        tiles(rows),
        f"Each row is one person, as {len(camids)} cameras see them. Cameras "
        f"{' and '.join(map(str, infrared))} are infrared: there are no colours, and clothes that "
        "are bright in daylight may look dark, and dark ones bright. A network has to go by what "
        "remains. These cameras are unlike those that the weights in the package were trained for.",
    )


def _numbers(before: Tested, after: Tested, run: Path) -> Section:
    from vireid.figures.page import Section, numbers
    from vireid.figures.style import percent
    from vireid.files import read_json

    was, now = (tested.report.best()["rank1"]["mean"] for tested in (before, after))
    precision = after.report.best()["mean_ap"]["mean"]
    chance = after.report.chance["rank1"]
    people = after.report.counts["identities"][0]
    trained = len({after.data.samples[i].pid for i in after.data.parts["train"]})
    learned = read_json(run / "config.json")["model"]["pretrained"] == "synth"
    began = (
        "weights that have learned from many hundreds of people, under other cameras"
        if learned
        else "nothing"
    )
    words = (
        f"{change_words(before.report, after.report)} It began with {began}; training on {trained} "
        "people shows how it is done, not what it can reach."
    )
    return Section(
        "Who is found",
        numbers(
            {
                "first match is the person (Rank-1)": f"{percent(now)} %",
                "before training": f"{percent(was)} %",
                "by guessing": f"{percent(chance)} %",
                "mean average precision (mAP)": f"{percent(precision)} %",
            }
        ),
        f"{people} people whom the network didn't train on; each infrared image is searched among "
        f"visible images of all of them. {after.report.protocol.search().capitalize()}. {words}",
    )


def change_words(before: Report, after: Report) -> str:
    """What training changed in Rank-1, for these people and for others."""
    import numpy as np

    from vireid.evaluation.significance import count_identities, over_identities, too_few

    was, now = (one.best_embedding() for one in (before, after))
    columns = [one.queries[f"{name}.rank1"] for one, name in ((before, was), (after, now))]
    gains = columns[1].astype(np.float64) - columns[0]
    pids, matched = after.queries["pids"], after.queries["matched"]
    found = over_identities(gains, matched, pids)
    gain, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in found)
    words = f"Training changed Rank-1 by {gain} points for these people"
    if too_few(count_identities(pids, matched)):
        return f"{words}."
    chance = "" if found.low > 0 or found.high < 0 else " this may be chance, as"
    return f"{words};{chance} for other people it would be between {low} and {high} (95 %)."


def _training(run: Path) -> Section:
    from vireid.figures import training_curves
    from vireid.figures.page import Section, chart
    from vireid.training.journal import read_log

    log = read_log(run / "log.jsonl")
    rate = _course([line["lr"] for line in log if line["kind"] == "epoch"])

    def draw(columns: Columns) -> Figure:
        figure = training_curves({run.name: log}, columns=columns)
        assert figure is not None
        return figure

    return Section(
        "Training",
        chart(
            lambda: draw(2),
            "Losses and learning rate over the epochs",
            narrow=lambda: draw(1),
        ),
        "First the losses, each a mean over an epoch: what training makes smaller. The identity "
        "and triplet losses pull one person's images together and those of two apart; "
        "discriminator and confusion are opponents, so neither falls to nothing; the two center "
        "losses, drawn with their small weight as all are with theirs, hardly move in so short a "
        f"training. Then the learning rate, which {rate}.",
    )


def _similarity(before: Tested, after: Tested) -> Section:
    from vireid.figures import overlap, similarity_histogram
    from vireid.figures.page import Section, chart
    from vireid.figures.style import percent

    panels = {"before training": before.search.similarity, "trained": after.search.similarity}
    query, gallery = after.search.labels[:2]
    same = query[:, None] == gallery[None]
    was, now = (overlap(one[same], one[~same]) for one in panels.values())
    return Section(
        "Similarities before and after",
        chart(
            lambda: similarity_histogram(panels, query, gallery),
            "Histograms of the similarities of pairs of the same and of different people, before "
            "and after training",
        ),
        "How alike an infrared and a visible image are to the network, for pairs of one person "
        "(green) and of two people (orange). The less the two overlap, the more reliably a person "
        "is found: "
        f"{percent(was, 0)} % of their area was shared before training, {percent(now, 0)} % after.",
    )


def _curve(before: Tested, after: Tested) -> Section:
    from vireid.figures import cmc_curve
    from vireid.figures.page import Section, chart
    from vireid.figures.style import percent

    curves = {
        words: tested.report.curves[tested.search.name]
        for words, tested in (("before training", before), ("trained", after))
    }
    at_ten = curves["trained"][9]
    return Section(
        "How far down the list",
        chart(lambda: cmc_curve(curves), "Share of the queries found at rank 1 to 20"),
        "The share of the queries whose person is among the first images of the list, up to each "
        f"rank (a CMC curve). With the trained network, {percent(at_ten)} % of the people searched "
        "for are among the first ten.",
    )


def _ranked(before: Tested, after: Tested) -> Section:
    from vireid.figures.page import Section, rankings
    from vireid.figures.ranked import gallery_words, ranked_lists

    pale = " Pale images don't count: the rule of the data set leaves their camera out."
    was, now = (
        ranked_lists(tested.data, tested.store, tested.search, count=_QUERIES, top=_TOP)[0]
        for tested in (before, after)  # of the same queries
    )
    lists = [one for pair in zip(was, now) for one in pair]
    titles = [
        f"{when}: {_first_place(one.entries)}"
        for pair in zip(was, now)
        for when, one in zip(("Before training", "Trained"), pair)
    ]
    return Section(
        "Ranked lists before and after",
        rankings(lists, titles),
        f"The gallery that is searched: {gallery_words(after.data, after.search)}. "
        "First an infrared query, framed blue, then the gallery images that are nearest to it, "
        "each with its similarity. Green frames are the same person, orange ones somebody else; "
        "what they have in common is what the network went by."
        + (pale if any(entry.skipped for one in lists for entry in one.entries) else "")
        + " The queries are taken evenly from all of them, not chosen.",
        wide=True,
    )


def _first_place(entries: Sequence[Entry]) -> str:
    """Where the person comes first, among the images that count."""
    counted = [entry.matches for entry in entries if not entry.skipped]
    if True in counted:
        return f"found at rank {counted.index(True) + 1}"
    return f"not among the first {len(counted)}" if counted else "none of these counts"


def _activation(tested: Tested) -> Section:
    from vireid.figures.maps import BRIGHT
    from vireid.figures.page import Section, similar_places
    from vireid.plotting import activation_rows

    rows = activation_rows(
        tested.embedder, tested.data, tested.store, tested.search, _spread(tested), top=4
    )
    dark = any(not places.any() for row in rows for places in row.maps)
    return Section(
        "What makes them similar",
        similar_places(rows),
        f"First the query, then the nearest images. {' '.join(BRIGHT if dark else BRIGHT[:1])} "
        "Bright places should lie on the person. Where they lie on the background, the network "
        "has learned the camera's place and not the person.",
        wide=True,
    )


def _spread(tested: Tested) -> list[int]:
    """Numbers of queries with a match, evenly from all."""
    import numpy as np

    possible = np.flatnonzero(tested.search.scores.has_match)
    chosen: np.ndarray = possible[np.linspace(0, len(possible) - 1, _QUERIES).astype(int)]
    return list(dict.fromkeys(chosen.tolist()))


def _further(out: Path, run: Path, query: Searched) -> list[Section]:
    from vireid.figures.page import Section, commands

    return [
        Section(
            "Search for yourself",
            commands(
                [typed(f"vireid serve --index {quoted(out / 'index')} --weights {quoted(run)}")]
            ),
            f"It says where the search page is; drop the night image `{query.path}` on it. "
            f"{query.words()}",
            wide=True,
        ),
        Section(
            "With images of your own",
            commands(
                [
                    typed(line)
                    for line in (
                        "vireid info DIR        # visible/PERSON/*.jpg and infrared/PERSON/*.jpg",
                        "vireid train --dataset folder --data-root DIR --method agw "
                        "--pretrained synth",
                        "vireid test --resume RUN",
                        "vireid plot RUN        # such figures as these, for a paper",
                        "vireid embed --weights RUN --images DIR/visible --modality visible "
                        "--out day.safetensors",
                        "vireid index create --index people --embeddings day.safetensors "
                        "--image-root DIR/visible",
                        "vireid serve --index people --weights RUN",
                    )
                ]
            ),
            "`vireid info` says what a folder holds, what is wrong with it and how to train on it. "
            "`--dataset sysu`, `regdb` or `llcm` reads the published data sets. Before you point "
            "this at people, read `docs/responsible-use.md`: a similarity is no proof of who "
            "somebody is.",
            wide=True,
        ),
    ]


def _course(rates: Sequence[float]) -> str:
    """What a learning rate does over the epochs."""
    peak = max(rates)
    if rates[-1] < peak:
        return "falls" if rates[0] == peak else "rises first and then falls"
    if rates.index(peak) == len(rates) - 1 > 0:
        return "still rises: so short a training ends within its warm-up"
    return "reaches its full value and stays there"


def _time(seconds: float) -> str:
    """In words, as short as a reader wants it."""
    number, unit = (
        (seconds, "second") if seconds < 90 else
        (seconds / 60, "minute") if seconds < 5400 else
        (seconds / 3600, "hour")
    )  # fmt: skip
    count = max(1, round(number))
    return f"{count} {unit}{'s' * (count != 1)}"
