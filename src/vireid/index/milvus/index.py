"""An index in Milvus: a server, a cluster, or a Milvus Lite file.

One collection holds the vectors and the columns of their images. What an acknowledged add is
worth, and who may write when, is the server's business: a call that fails may have stored some
of its rows; calling it again stores the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vireid.index import checks
from vireid.index.base import AddResult, Entry, Filters, Hit, Index, IndexInfo
from vireid.index.milvus.client import (
    INDEX_TYPES,
    Place,
    connect,
    make_collection,
    parse_url,
    read_about,
    served,
)
from vireid.index.milvus.rows import (
    COLUMNS,
    NO_TIME,
    check_collisions,
    check_path_lengths,
    entry_columns,
    expression,
    row_id_of,
)
from vireid.types import Embeddings, InputError, Modality

_ROWS = 500  # rows in one request: 4 MB of 2048 float32 numbers; servers take 64 MB
_QUERIES = 100
_COUNTED = 2_000_000  # collections above this are not read through for info()


class MilvusIndex(Index):
    """See `Index`; make one with `create` or `open`."""

    def __init__(self, place: Place, client: Any, write: bool) -> None:
        self._place = place
        self._client: Any = client
        self._write = write
        self._guard = threading.Lock()
        with served(place):
            if not client.has_collection(place.collection):
                raise InputError(
                    f"There is no index '{place.shown}': Milvus has no collection "
                    f"'{place.collection}'. Make it with `vireid index create`, or correct the "
                    "name."
                )
            facts = client.describe_collection(place.collection)
            about = read_about(facts)
            if about is None:
                raise InputError(
                    f"The collection '{place.collection}' was not made by vireid. Name another one."
                )
            client.load_collection(place.collection)
            kinds = {field["name"]: field["type"] for field in facts["fields"]}
        self._half = kinds["vector"].name == "FLOAT16_VECTOR"
        self._kind: str = about["index"]
        self._preprocessing: dict[str, Any] = about["preprocessing"]
        self.weights_hash = about["weights_hash"]
        self.embedding = about["embedding"]
        self.dim = about["dim"]
        self.image_roots = tuple(about["image_roots"])

    @classmethod
    def create(cls, url: str | Path, **about: Any) -> MilvusIndex:
        """An empty collection, open for writing; see `create_index`.

        The URL may end in `?index=TYPE&shards=N`: FLAT (exact, the default), HNSW, IVF_FLAT,
        IVF_SQ8, DISKANN or AUTOINDEX. Preprocessing is fixed here; if it is not given, it is
        not compared later.
        """
        place = parse_url(str(url))
        if place.index not in INDEX_TYPES:
            raise InputError(
                f"There is no Milvus index type '{place.index}'. Legal: {', '.join(INDEX_TYPES)}."
            )
        client = connect(place)
        try:
            with served(place):
                if client.has_collection(place.collection):
                    raise InputError(
                        f"There is a collection '{place.collection}' in Milvus already. Name "
                        "another one, or add to the index that is there."
                    )
                make_collection(client, place, {**about, "index": place.index})
            return cls(place, client, write=True)
        except BaseException:
            client.close()
            raise

    @classmethod
    def open(cls, url: str | Path, *, write: bool = False) -> MilvusIndex:
        """An index that exists; see `open_index`."""
        place = parse_url(str(url))
        if place.is_lite and not Path(place.uri).exists():
            raise InputError(
                f"There is no Milvus Lite index '{place.shown}'. Give the path of one, or make "
                "one with `vireid index create`."
            )
        client = connect(place)
        try:
            return cls(place, client, write)
        except BaseException:
            client.close()
            raise

    @property
    def preprocessing(self) -> dict[str, Any]:
        return dict(self._preprocessing)

    # -- reading

    def search(
        self,
        vectors: np.ndarray,
        *,
        top: int = 20,
        filters: Filters | None = None,
        exact: bool | None = None,
    ) -> list[list[Hit]]:
        queries = checks.check_queries(vectors, self.dim, top)
        if exact and self._kind != "FLAT":
            raise InputError(
                f"The index '{self._place.shown}' is of type {self._kind}, which can't scan every "
                "vector. Search without `exact`, or make an index of type FLAT."
            )
        _, parameters = INDEX_TYPES[self._kind]
        if "ef" in parameters or "search_list" in parameters:
            parameters = {name: max(value, 2 * top) for name, value in parameters.items()}
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), _QUERIES):
            some = queries[start : start + _QUERIES]
            with self._served() as client:
                answers = client.search(
                    self._place.collection,
                    data=[self._sent(query) for query in some],
                    anns_field="vector",
                    limit=top,
                    filter=expression(filters),
                    output_fields=COLUMNS[1:],
                    search_params={"metric_type": "IP", "params": parameters},
                )
            hits += [self._hits(answer) for answer in answers]
        return hits

    @staticmethod
    def _hits(answer: Any) -> list[Hit]:
        hits = [
            Hit(
                **entry_columns({"id": found["id"], **found["entity"]}),
                similarity=float(min(1.0, max(-1.0, found["distance"]))),
            )
            for found in answer
        ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.row_id))

    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        rows = self._rows(row_ids, COLUMNS)
        return [Entry(**entry_columns(rows[number])) for number in row_ids]

    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        rows = self._rows(row_ids, ["id", "vector"])
        vectors = [self._received(rows[number]["vector"]) for number in row_ids]
        return np.array(vectors, dtype=np.float32).reshape(len(row_ids), self.dim)

    def _rows(self, row_ids: Sequence[int], fields: list[str]) -> dict[int, dict]:
        rows = self._present(list(row_ids), fields)
        for number in row_ids:
            if number not in rows:
                raise InputError(
                    f"There is no entry {number} in the index '{self._place.shown}' (any more). "
                    "Search again."
                )
        return rows

    def _present(self, row_ids: list[int], fields: list[str]) -> dict[int, dict]:
        found: dict[int, dict] = {}
        for start in range(0, len(row_ids), _ROWS):
            some = [int(number) for number in row_ids[start : start + _ROWS]]
            with self._served() as client:
                rows = client.query(
                    self._place.collection, filter=f"id in {some}", output_fields=fields
                )
            found.update((row["id"], row) for row in rows)
        return found

    def __len__(self) -> int:
        with self._served() as client:
            answer = client.query(self._place.collection, filter="", output_fields=["count(*)"])
        return int(answer[0]["count(*)"])

    def _all(self, fields: list[str], where: str = "") -> Iterator[list[dict]]:
        """All rows that fit, some at a time."""
        with self._served() as client:
            pages = client.query_iterator(
                self._place.collection, batch_size=_ROWS, filter=where, output_fields=fields
            )
            try:
                while rows := pages.next():
                    yield rows
            finally:
                pages.close()

    def info(self) -> IndexInfo:
        count = len(self)
        cameras: dict[int, int] = {}
        modalities: dict[str, int] = {}
        pids: set[int] = set()
        times: list[float] = []
        if count <= _COUNTED:
            for rows in self._all(COLUMNS[2:]):
                for row in rows:
                    word = Modality(row["modality"]).word
                    cameras[row["camid"]] = cameras.get(row["camid"], 0) + 1
                    modalities[word] = modalities.get(word, 0) + 1
                pids.update(row["pid"] for row in rows)
                known = [row["time"] for row in rows if row["time"] != NO_TIME]
                times = [min(times + known), max(times + known)] if times + known else []
        pids.discard(-1)
        flat = self._kind == "FLAT"
        return IndexInfo(
            url=self._place.shown,
            backend="milvus",
            weights_hash=self.weights_hash,
            embedding=self.embedding,
            dim=self.dim,
            preprocessing=self._preprocessing,
            count=count,
            removed=0,
            cameras=dict(sorted(cameras.items())),
            modalities=dict(sorted(modalities.items())),
            num_pids=len(pids),
            time_range=(times[0], times[1]) if times else None,
            size_on_disk=_size(Path(self._place.uri)) if self._place.is_lite else None,
            image_roots=self.image_roots,
            mode="exact" if flat else f"Milvus index of type {self._kind}",
            details={
                "milvus_index": self._kind,
                "vectors": "float16" if self._half else "float32",
                "columns_counted": count <= _COUNTED,
            },
        )

    def verify(self) -> list[str]:
        problems = []
        for rows in self._all(["id", "path", "vector"]):
            for row in rows:
                length = float(np.linalg.norm(self._received(row["vector"]).astype(np.float32)))
                if not abs(length - 1) <= checks.LENGTH_TOLERANCE:
                    problems.append(
                        f"The vector of '{row['path']}' has length {length:.4g}, not 1."
                    )
                if row["id"] != row_id_of(row["path"]):
                    problems.append(
                        f"The entry {row['id']} has the path of another: {row['path']}."
                    )
        return problems

    # -- writing

    def add(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        return self._put(embeddings, which, replace=False)

    def update(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        return self._put(embeddings, which, replace=True)

    def _put(self, embeddings: Embeddings, which: str | None, *, replace: bool) -> AddResult:
        self._check_writable()
        vectors = checks.check_same_kind(
            embeddings,
            checks.check_which(which, self.embedding),
            weights_hash=self.weights_hash,
            dim=self.dim,
            preprocessing=self._preprocessing,
        )
        paths = list(embeddings.paths)
        checks.check_paths(paths)
        check_path_lengths(paths)
        for start in range(0, len(paths), _ROWS):
            some = slice(start, start + _ROWS)
            checks.check_lengths(np.asarray(vectors[some], dtype=np.float32), paths[some])
        ids = [row_id_of(path) for path in paths]
        known = self._present(ids, ["id", "path"])
        check_collisions(ids, paths, known)
        chosen = [n for n, number in enumerate(ids) if replace or number not in known]
        for start in range(0, len(chosen), _ROWS):
            rows = [self._row(embeddings, vectors, ids, n) for n in chosen[start : start + _ROWS]]
            with self._served() as client:
                client.upsert(self._place.collection, rows)
        replaced = sum(ids[n] in known for n in chosen)
        return AddResult(
            added=len(chosen) - replaced,
            replaced=replaced,
            skipped=len(paths) - len(chosen),
            count=len(self),
        )

    def _row(self, embeddings: Embeddings, vectors: np.ndarray, ids: list[int], n: int) -> dict:
        time = float(embeddings.times[n])
        return {
            "id": ids[n],
            "path": embeddings.paths[n],
            "camid": int(embeddings.camids[n]),
            "pid": int(embeddings.pids[n]),
            "modality": int(embeddings.modality[n]),
            "time": NO_TIME if np.isnan(time) else time,
            # Rounded as a local index rounds, so that both give the same similarities.
            "vector": self._sent(vectors[n].astype(np.float16)),
        }

    def remove(
        self,
        *,
        paths: Sequence[str] | None = None,
        older_than: float | None = None,
        filters: Filters | None = None,
    ) -> int:
        self._check_writable()
        checks.check_removal(paths, older_than, filters)
        where = expression(filters, older_than)
        if paths is None:
            ids = [row["id"] for rows in self._all(["id"], where) for row in rows]
        else:
            ids = []
            named = [row_id_of(path) for path in paths]
            for start in range(0, len(named), _ROWS):
                both = [f"id in {named[start : start + _ROWS]}", *filter(None, [where])]
                ids += [row["id"] for rows in self._all(["id"], " and ".join(both)) for row in rows]
        for start in range(0, len(ids), _ROWS):
            with self._served() as client:
                client.delete(self._place.collection, ids=ids[start : start + _ROWS])
        return len(ids)

    def compact(self) -> int:
        self._check_writable()
        before = _size(Path(self._place.uri)) if self._place.is_lite else 0
        with self._served() as client:
            client.flush(self._place.collection)
            client.compact(self._place.collection)
        return before - (_size(Path(self._place.uri)) if self._place.is_lite else 0)

    def close(self) -> None:
        with self._guard:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _check_writable(self) -> None:
        if not self._write:
            raise InputError(
                f"The index '{self._place.shown}' was opened for searching. Open it with "
                "write=True to change it."
            )

    @contextmanager
    def _served(self) -> Iterator[Any]:
        client = self._client
        if client is None:
            raise InputError(f"The index '{self._place.shown}' has been closed. Open it again.")
        with served(self._place):
            yield client

    def _sent(self, vector: np.ndarray) -> Any:
        return vector.astype(np.float16) if self._half else vector.astype(np.float32).tolist()

    def _received(self, vector: Any) -> np.ndarray:
        if isinstance(vector, list) and vector and isinstance(vector[0], bytes):
            vector = vector[0]
        if isinstance(vector, bytes):
            return np.frombuffer(vector, dtype=np.float16)
        return np.asarray(vector)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
