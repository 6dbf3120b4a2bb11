"""Figures of runs and embeddings files: what `vireid plot` does, from Python too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.console import choose, folder_meant, path_meant, quoted, say
from vireid.files import NotWritten, check_folder, writing
from vireid.types import Embeddings, InputError, Modality, usual_embedding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset
    from vireid.embed import Embedder
    from vireid.evaluation import Search
    from vireid.figures.maps import ActivationRow
    from vireid.figures.style import Columns
    from vireid.testing import Opened, TestOptions

OF_VECTORS = ("similarity", "map", "gap")
OF_IMAGES = ("activation", "ranked")
OF_RUNS = ("cmc", "cameras", "training")
KINDS = (*OF_VECTORS, *OF_IMAGES, *OF_RUNS)
_MOST = 4000  # queries and gallery images in a histogram; more change nothing that can be seen


@dataclass
class Source:
    """One run or embeddings file, and what is known of it.

    Attributes:
        name: in legends and names of files.
        run: the run's folder, if it is one.
        opened: the run's network and test data, once opened.
        embeddings: of its test images.
        rows: (N,) rows of the data set, for a run.
    """

    name: str
    run: Path | None
    embeddings: Embeddings | None = None
    opened: Opened | None = None
    rows: np.ndarray | None = field(default=None, repr=False)


def plot(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    kinds: Sequence[str] = (),
    options: TestOptions | None = None,
    embedding: str | None = None,
    people: int = 12,
    queries: int = 4,
    seed: int = 0,
    columns: Columns = 1,
    formats: Sequence[str] = ("png",),
    method: str | None = None,
    arch: str | None = None,
    device: str = "auto",
) -> list[Path]:
    """Draw figures of runs or of embeddings files into a folder.

    Args:
        sources: runs' folders, or embeddings files; files of the two modalities count as one
            source together.
        out: folder of the figures.
        kinds: of `KINDS`; none means all that the sources allow.
        options: of a run's test: the data and the search; as in `vireid.testing.evaluate`.
        embedding: name of the test embedding (default: the weights' own).
        people: identities in the map.
        queries: of each kind (best, worst, random) in the ranked lists, and in the activation maps.
        seed: of what is drawn by chance: people, queries and the map.
        columns: of a paper, as wide as the figures are.
        formats: endings of the files: png, pdf, svg.
        method, arch: your own method or backbone, if a run has one, as in `vireid.load`.
        device: "auto", "cpu" or "cuda:N".

    Returns:
        The files written.

    Raises:
        InputError: a source that is neither, a figure that a source doesn't allow, a start that
            can't be rebuilt.
    """
    if not sources:
        raise InputError("Name at least one run's folder or embeddings file to plot.")
    kinds = [choose("figure", kind, KINDS) for kind in kinds]
    check_folder(Path(out), "the figures")
    every = [_source(Path(path)) for path in sources]
    runs = [source for source in every if source.run is not None]
    files = [source for source in every if source.run is None]
    units = [*runs, *([_joined(files)] if files else [])]
    possible = [kind for kind in KINDS if kind in OF_VECTORS or runs]
    for kind in kinds:
        if kind not in possible:
            raise InputError(
                f"The figure {kind} needs a run; {files[0].name} is an embeddings file. It allows "
                f"{', '.join(possible)}."
            )
    drawn = _Drawing(
        units, Path(out), options, embedding, people, queries, seed, columns, formats, method, arch,
        device,
    )  # fmt: skip
    for kind in kinds or possible:
        drawn.draw(kind, wanted=bool(kinds))
    return drawn.written


@dataclass
class _Drawing:
    """Opens sources when a figure needs them, draws and writes."""

    units: list[Source]
    out: Path
    options: TestOptions | None
    embedding: str | None
    people: int
    queries: int
    seed: int
    columns: Columns
    formats: Sequence[str]
    method: str | None
    arch: str | None
    device: str
    written: list[Path] = field(default_factory=list)
    _starts: dict[str, Embeddings | None] = field(default_factory=dict)

    def draw(self, kind: str, *, wanted: bool) -> None:
        """Draw one kind of figure; one that was not asked for by name may be impossible."""
        try:
            if kind in OF_RUNS:
                self._of_runs(kind)
            else:
                for unit in self.units:
                    if kind not in OF_IMAGES or unit.run is not None:
                        getattr(self, f"_{kind}")(unit)
        except InputError as error:
            if wanted or isinstance(error, NotWritten):
                raise
            say(f"No figure {kind}: {error}")

    # -- of vectors

    def _similarity(self, unit: Source) -> None:
        from vireid.figures import similarity_histogram

        trained = self._embeddings(unit)
        panels, query, gallery = {}, *_sides(trained, self.seed)
        start = self._start(unit)
        for name, found in (("start", start), ("trained", trained)):
            if found is not None:
                vectors = self._vectors(found)
                panels[name if start is not None else ""] = vectors[query] @ vectors[gallery].T
        self._save(
            unit,
            "similarity",
            similarity_histogram(
                panels, trained.pids[query], trained.pids[gallery], self._heading(unit),
                columns=self.columns,
            ),
        )  # fmt: skip

    def _gap(self, unit: Source) -> None:
        from vireid.evaluation import modality_probe
        from vireid.figures import modality_gap

        trained, start = self._embeddings(unit), self._start(unit)
        known = trained.pids >= 0
        found = {
            name: modality_probe(
                self._vectors(embeddings)[known], trained.modality[known], trained.pids[known]
            )
            for name, embeddings in (("start", start), ("trained", trained))
            if embeddings is not None
        }
        figure = modality_gap(found, self._heading(unit), columns=self.columns)
        self._save(unit, "gap", figure)

    def _map(self, unit: Source) -> None:
        from vireid.evaluation import project
        from vireid.figures import embedding_map

        found = self._embeddings(unit)
        both = [
            set(found.pids[(found.modality == kind) & (found.pids >= 0)].tolist())
            for kind in Modality
        ]
        possible = np.array(sorted(both[0] & both[1]))
        if not len(possible):
            raise InputError("Nobody is seen in both modalities, so there is no map to draw.")
        drawn = np.random.default_rng(self.seed).permutation(possible)[: self.people]
        chosen = np.flatnonzero(np.isin(found.pids, drawn))
        points, name = project(self._vectors(found)[chosen], seed=self.seed)
        heading = f"{self._heading(unit)}, {name}, {len(drawn)} people"
        figure = embedding_map(
            points, found.pids[chosen], found.modality[chosen], heading, columns=self.columns
        )
        self._save(unit, "map", figure)

    # -- of images

    def _ranked(self, unit: Source) -> None:
        from vireid.figures import ranked_results

        opened, search = self._search(unit)
        found = search.scores
        order = np.argsort(-found.ap, kind="stable")
        order = order[found.has_match[order]]
        random = np.random.default_rng(self.seed).permutation(order)[: self.queries]
        for name, chosen in (
            ("best", order[: self.queries]),
            ("worst", order[::-1][: self.queries]),
            ("random", random),
        ):
            for form in self.formats:
                form = "png" if form == "svg" else form  # images, which no SVG makes sharper
                path = self._path(unit, f"ranked-{name}", form)
                rows = [int(search.trial.query[q]) for q in chosen]
                self.written.append(
                    ranked_results(path, opened.data, opened.store, search, queries=rows)
                )

    def _activation(self, unit: Source) -> None:
        from vireid.figures import activation_maps

        opened, search = self._search(unit)
        order = np.flatnonzero(search.scores.has_match)
        chosen = np.random.default_rng(self.seed).permutation(order)[: self.queries]
        rows = activation_rows(opened.embedder, opened.data, opened.store, search, chosen.tolist())
        self._save(
            unit, "activation", activation_maps(rows, self._heading(unit), columns=self.columns)
        )

    # -- of several runs

    def _of_runs(self, kind: str) -> None:
        from vireid.figures import camera_pairs, cmc_curve, training_curves
        from vireid.training.journal import read_log

        runs = [unit for unit in self.units if unit.run is not None]
        if kind == "training":
            logs = {unit.name: read_log(unit.run / "log.jsonl") for unit in runs if unit.run}
            figure = training_curves(logs, columns=self.columns)
            if figure is None:
                raise InputError("None of the runs has finished an epoch.")
            self._save(None, "training", figure)
            return
        reports = {unit.name: self._report(unit) for unit in runs}
        if kind == "cmc":
            curves: dict[str, Any] = {}
            for name, report in reports.items():
                if self.embedding:
                    self._which(list(report.raw))
                for which, curve in report.curves.items():
                    if self.embedding in (None, which):
                        curves[name if self.embedding else f"{name}, {which}"] = curve
            self._save(None, "cmc", cmc_curve(curves, columns=self.columns))
            return
        for unit in runs:
            pairs: Mapping[str, list] = reports[unit.name].camera_pairs
            name = self._which(list(reports[unit.name].raw))
            figure = camera_pairs(
                pairs.get(name, []), "rank1", f"{unit.name}, {name}", columns=self.columns
            )
            self._save(unit, "cameras", figure)

    # -- what figures are made of

    def _report(self, unit: Source) -> Any:
        from vireid.testing import reports_of

        assert unit.run is not None
        found = reports_of(unit.run)
        if not found:
            raise InputError(
                f"The run '{unit.run}' has no report. `vireid test --resume {quoted(unit.run)}` "
                "writes one."
            )
        scope = self.options.scope if self.options else None
        fitting = [report for report in found if scope in (None, report.protocol.scope)]
        if not fitting:
            raise InputError(
                f"The run '{unit.run}' has no report of the scope {scope}. `vireid test` writes it."
            )
        if len(fitting) > 1:
            say(f"'{unit.run}' has {len(fitting)} such reports; '{fitting[0].folder}' is drawn.")
        return fitting[0]

    def _opened(self, unit: Source) -> Opened:
        from vireid.testing import open_test

        assert unit.run is not None
        if unit.opened is None:
            unit.opened = open_test(
                unit.run, self.options, method=self.method, arch=self.arch, device=self.device
            )
        return unit.opened

    def _embeddings(self, unit: Source) -> Embeddings:
        if unit.embeddings is None:
            unit.embeddings = self._embed(unit, self._opened(unit).embedder, "trained")
        return unit.embeddings

    def _embed(self, unit: Source, embedder: Embedder, which: str) -> Embeddings:
        from vireid.data import rows_of, trials

        opened = self._opened(unit)
        unit.rows = rows_of(trials(opened.data, opened.searches[0])[:1])
        say(f"Embedding {len(unit.rows):,} images with the {which} network of {unit.name} ...")
        return embedder.embed_store(opened.store, opened.data, unit.rows, progress=True)

    def _search(self, unit: Source) -> tuple[Opened, Any]:
        from vireid.data import trials
        from vireid.evaluation import search_trials

        opened, found = self._opened(unit), self._embeddings(unit)
        drawn = trials(opened.data, opened.searches[0])[:1]
        assert unit.rows is not None
        for search in search_trials(opened.data, drawn, found, unit.rows):
            if search.name == self._drawn(found):
                return opened, search
        raise AssertionError("the embedding was there a moment ago")

    def _start(self, unit: Source) -> Embeddings | None:
        """The same images, embedded by the network that the run started from."""
        if unit.run is None:
            return None
        if unit.name not in self._starts:
            from vireid.training.start import rebuild_start

            opened = self._opened(unit)
            start = rebuild_start(
                unit.run, method=self.method, arch=self.arch, device=str(opened.embedder.device)
            )
            self._starts[unit.name] = self._embed(unit, start, "starting")
        return self._starts[unit.name]

    def _which(self, names: Sequence[str], recommended: str | None = None) -> str:
        """The embedding to draw: the one asked for, or the weights' own."""
        name = self.embedding or recommended or usual_embedding(names)
        if name not in names:
            raise InputError(f"There is no embedding '{name}'. Choose one of: {', '.join(names)}.")
        return name

    def _drawn(self, found: Embeddings) -> str:
        return self._which(list(found.vectors), found.preprocessing.get("search_with"))

    def _vectors(self, found: Embeddings) -> np.ndarray:
        return np.asarray(found.vectors[self._drawn(found)], np.float32)

    def _heading(self, unit: Source) -> str:
        return f"{unit.name}, {self._drawn(self._embeddings(unit))}"

    # -- files

    def _path(self, unit: Source | None, kind: str, form: str) -> Path:
        of = "" if unit is None or len(self.units) == 1 else f"-{unit.name}"
        return self.out / f"{kind}{of}.{form}"

    def _save(self, unit: Source | None, kind: str, figure: Figure) -> None:
        from vireid.figures import save_figure

        with writing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        for form in self.formats:
            self.written.append(save_figure(figure, self._path(unit, kind, form)))


def activation_rows(
    embedder: Embedder,
    data: Dataset,
    store: PixelStore,
    search: Search,
    queries: Sequence[int],
    top: int = 4,
) -> list[ActivationRow]:
    """Queries of a search with the nearest gallery images and what makes them similar, as
    `vireid.figures.activation_maps` takes them.

    Args:
        queries: their numbers in the search.
        top: gallery images for each.
    """
    from vireid.embed import similarity_maps
    from vireid.figures.maps import ActivationRow

    rows: list[ActivationRow] = []
    for q in queries:
        nearest = np.argsort(-search.similarity[q], kind="stable")[:top]
        gallery = search.trial.gallery[nearest]
        shown = np.stack([store.images[row] for row in gallery])
        kind = Modality(int(data.modality[gallery[0]]))
        similarity, maps = similarity_maps(
            embedder, shown, kind, search.query[q][None], embedding=search.name
        )
        same = search.labels[1][nearest] == search.labels[0][q]
        labels = [
            f"{value:.2f} {'same' if match else 'other'}" for value, match in zip(similarity, same)
        ]
        query = store.images[int(search.trial.query[q])]
        rows.append(ActivationRow(query, list(shown), maps, labels))
    return rows


def _source(path: Path) -> Source:
    """A run's folder or an embeddings file."""
    if path.is_dir():
        if not (path / "config.json").is_file():
            meant = folder_meant(path, lambda run: (run / "config.json").is_file())
            raise InputError(
                f"'{path}' is not a run's folder: it has no config.json.{meant} Name a run, or an "
                "embeddings file."
            )
        return Source(path.name, path)
    if not path.exists():
        raise InputError(
            f"There is no folder or file '{path}'.{path_meant(path)} Give folders of runs, or "
            "embeddings files."
        )
    from vireid.embed import load_embeddings

    return Source(path.stem, None, load_embeddings(path))


def _joined(files: Sequence[Source]) -> Source:
    """Embeddings files as one source: usually one file for each modality.

    Raises:
        InputError: they are of several networks, or of one modality only.
    """
    found = [source.embeddings for source in files if source.embeddings is not None]
    if len({(one.weights_hash, tuple(one.vectors)) for one in found}) > 1:
        raise InputError("The embeddings files are of several networks. Plot them one by one.")
    whole = found[0]
    if len(found) > 1:
        whole = replace(
            found[0],
            vectors={
                name: np.concatenate([one.vectors[name] for one in found])
                for name in found[0].vectors
            },
            paths=[path for one in found for path in one.paths],
            pids=np.concatenate([one.pids for one in found]),
            camids=np.concatenate([one.camids for one in found]),
            modality=np.concatenate([one.modality for one in found]),
            times=np.concatenate([one.times for one in found]),
        )
    names = "+".join(source.name for source in files)
    if len(set(whole.modality.tolist())) < 2:
        raise InputError(
            f"{names} holds images of one modality only; the figures compare both. Name the file "
            "of the other one too."
        )
    if not (whole.pids >= 0).any():
        raise InputError(
            f"{names} says nothing of who is in the images. Embed a table with identities: "
            "`vireid embed --images TABLE.csv`."
        )
    return Source(names, None, whole)


def _sides(found: Embeddings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Infrared queries and visible gallery images of known people, at most 4,000 of each."""
    rows = np.random.default_rng(seed).permutation(len(found))
    rows = rows[found.pids[rows] >= 0]
    query, gallery = (
        rows[found.modality[rows] == kind][:_MOST] for kind in (Modality.INFRARED, Modality.VISIBLE)
    )
    return query, gallery
