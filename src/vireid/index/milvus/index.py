"""An index in Milvus: a server, a cluster, or a Milvus Lite file.

One collection holds the vectors and the columns of their images. Durability and concurrent
writers are up to the server: a call that fails may have stored some of its rows; calling it again
stores the others.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vireid.console import path_meant
from vireid.index import checks
from vireid.index.base import Index
from vireid.index.entries import Entry, Filters, Hit, IndexInfo, ranked_hits
from vireid.index.milvus.client import (
    INDEX_TYPES,
    Address,
    change_facts,
    connect,
    make_collection,
    parse_url,
    read_facts,
    sentences,
)
from vireid.index.milvus.rows import (
    COLUMNS,
    NO_TIME,
    check_collisions,
    check_path_lengths,
    entry_of,
    expression,
    row_id_of,
)
from vireid.types import Embeddings, InputError, Modality

_ROWS = 500  # rows in one request: 4 MB of 2048 float32 numbers; servers take 64 MB
_QUERIES = 100
_COUNTED = 2_000_000  # collections above this are not read through for info()


class MilvusIndex(Index):
    """See `Index`; make one with `create` or `open`."""

    backend = "milvus"

    def __init__(self, address: Address, client: Any, write: bool) -> None:
        self._address = address
        self._client: Any = client
        self._guard = threading.Lock()
        self.url = address.public
        self.writable = write
        with sentences(address):
            if not client.has_collection(address.collection):
                raise InputError(
                    f"There is no index '{address.public}': Milvus has no collection "
                    f"'{address.collection}'. Make it with `vireid index create`, or correct the "
                    "name."
                )
            collection = client.describe_collection(address.collection)
            facts = read_facts(collection)
            if facts is None:
                raise InputError(
                    f"The collection '{address.collection}' was not made by vireid. Name another "
                    "one."
                )
            client.load_collection(address.collection)
            types = {field["name"]: field["type"] for field in collection["fields"]}
        self._is_half = types["vector"].name == "FLOAT16_VECTOR"
        self._index_type: str = facts["index"]
        self._preprocessing: dict[str, Any] = facts["preprocessing"]
        self.weights_hash = facts["weights_hash"]
        self.embedding = facts["embedding"]
        self.dim = facts["dim"]
        self._facts = facts
        self._take_facts(facts)

    @classmethod
    def create(cls, url: str | Path, **facts: Any) -> MilvusIndex:
        """An empty collection, open for writing; see `create_index`.

        The URL may end in `?index=TYPE&shards=N`: FLAT (exact, the default), HNSW, IVF_FLAT,
        IVF_SQ8, DISKANN or AUTOINDEX. Preprocessing is fixed here; if it is left out, that of
        later embeddings is not compared.
        """
        address = parse_url(str(url))
        if address.index not in INDEX_TYPES:
            raise InputError(
                f"There is no Milvus index type '{address.index}'. Valid: {', '.join(INDEX_TYPES)}."
            )
        client = connect(address)
        try:
            with sentences(address):
                if client.has_collection(address.collection):
                    raise InputError(
                        f"There is a collection '{address.collection}' in Milvus already. Name "
                        "another one, or add to the index that is there."
                    )
                make_collection(client, address, {**facts, "index": address.index})
            return cls(address, client, write=True)
        except BaseException:
            client.close()
            raise

    @classmethod
    def open(cls, url: str | Path, *, write: bool = False) -> MilvusIndex:
        """An existing index; see `open_index`."""
        address = parse_url(str(url))
        if address.is_lite and not Path(address.uri).exists():
            raise InputError(
                f"There is no Milvus Lite index '{address.public}'.{path_meant(address.uri)} Give "
                "the path of one, or make one with `vireid index create`."
            )
        client = connect(address)
        try:
            return cls(address, client, write)
        except BaseException:
            client.close()
            raise

    @property
    def preprocessing(self) -> dict[str, Any]:
        return dict(self._preprocessing)

    # -- reading

    def _search(
        self, queries: np.ndarray, top: int, filters: Filters, exact: bool | None
    ) -> list[list[Hit]]:
        if exact and self._index_type != "FLAT":
            raise InputError(
                f"The index '{self.url}' is of type {self._index_type}, which can't scan every "
                "vector. Search without `exact`, or make an index of type FLAT."
            )
        _, parameters = INDEX_TYPES[self._index_type]
        if "ef" in parameters or "search_list" in parameters:
            parameters = {name: max(value, 2 * top) for name, value in parameters.items()}
        hits: list[list[Hit]] = []
        for block in checks.in_blocks(queries, _QUERIES):
            with self._open_client() as client:
                answers = client.search(
                    self._address.collection,
                    data=[self._encode(query) for query in block],
                    anns_field="vector",
                    limit=top,
                    filter=expression(filters),
                    output_fields=COLUMNS[1:],
                    search_params={"metric_type": "IP", "params": parameters},
                )
            hits += [
                ranked_hits(
                    (entry_of({"id": hit["id"], **hit["entity"]}), hit["distance"])
                    for hit in answer
                )
                for answer in answers
            ]
        return hits

    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        return [entry_of(row) for row in self._rows(row_ids, COLUMNS)]

    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        rows = self._rows(row_ids, ["id", "vector"])
        vectors = [self._decode(row["vector"]) for row in rows]
        return np.array(vectors, dtype=np.float32).reshape(len(row_ids), self.dim)

    def _rows(self, row_ids: Sequence[int], fields: list[str]) -> list[dict]:
        by_id = self._existing(row_ids, fields)
        self._check_none_missing([n for n in row_ids if n not in by_id])
        return [by_id[n] for n in row_ids]

    def _existing(self, row_ids: Sequence[int], fields: list[str]) -> dict[int, dict]:
        """row id → fields of those that are in the collection."""
        by_id: dict[int, dict] = {}
        for block in checks.in_blocks([int(n) for n in row_ids], _ROWS):
            with self._open_client() as client:
                rows = client.query(
                    self._address.collection, filter=f"id in {block}", output_fields=fields
                )
            by_id.update((row["id"], row) for row in rows)
        return by_id

    def __len__(self) -> int:
        return self._counted("")

    def _count(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        return sum(map(self._counted, self._conditions(paths, older_than, filters)))

    def _counted(self, where: str) -> int:
        with self._open_client() as client:
            answer = client.query(
                self._address.collection, filter=where, output_fields=["count(*)"]
            )
        return int(answer[0]["count(*)"])

    @staticmethod
    def _conditions(
        paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> list[str]:
        """Expressions, of which an entry that matches every condition fits one."""
        every = expression(filters, older_than)
        if paths is None:
            return [every]
        blocks = checks.in_blocks([row_id_of(path) for path in dict.fromkeys(paths)], _ROWS)
        return [" and ".join(filter(None, [f"id in {block}", every])) for block in blocks]

    def _all(self, fields: list[str], where: str = "") -> Iterator[list[dict]]:
        """All matching rows, in blocks."""
        with self._open_client() as client:
            pages = client.query_iterator(
                self._address.collection, batch_size=_ROWS, filter=where, output_fields=fields
            )
            try:
                while rows := pages.next():
                    yield rows
            finally:
                pages.close()

    def sample(self, count: int) -> list[int]:
        # In order of their ids, which are hashes of paths: as good as drawn.
        ids = (row["id"] for rows in self._all(["id"]) for row in rows)
        return list(itertools.islice(ids, count))

    def info(self) -> IndexInfo:
        count = len(self)
        cameras: Counter[int] = Counter()
        modalities: Counter[str] = Counter()
        pids: set[int] = set()
        times: list[float] = []
        if count <= _COUNTED:
            for rows in self._all(COLUMNS[2:]):
                cameras.update(row["camid"] for row in rows)
                modalities.update(Modality(row["modality"]).word for row in rows)
                pids.update(row["pid"] for row in rows)
                times += [row["time"] for row in rows if row["time"] != NO_TIME]
                times = [min(times), max(times)] if times else []
        is_flat = self._index_type == "FLAT"
        return self._info(
            count=count,
            removed=0,
            cameras=dict(sorted(cameras.items())),
            modalities=dict(sorted(modalities.items())),
            num_pids=len(pids - {-1}),
            time_range=(times[0], times[1]) if times else None,
            size_on_disk=self._size() if self._address.is_lite else None,
            mode="exact" if is_flat else f"Milvus index of type {self._index_type}",
            details={
                "milvus_index": self._index_type,
                "vectors": "float16" if self._is_half else "float32",
                "columns_counted": count <= _COUNTED,
            },
        )

    def verify(self) -> list[str]:
        problems = []
        for rows in self._all(["id", "path", "vector"]):
            for row in rows:
                length = float(np.linalg.norm(self._decode(row["vector"]).astype(np.float32)))
                if not abs(length - 1) <= checks.LENGTH_TOLERANCE:
                    problems.append(
                        f"The vector of '{row['path']}' has length {length:.4g}, not 1."
                    )
                if row["id"] != row_id_of(row["path"]):
                    problems.append(
                        f"The entry {row['id']} has the path of another entry: {row['path']}."
                    )
        return problems

    # -- writing

    def _write(
        self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool
    ) -> tuple[int, int]:
        paths = list(embeddings.paths)
        check_path_lengths(paths)
        for start in range(0, len(paths), _ROWS):
            rows = slice(start, start + _ROWS)
            checks.check_lengths(np.asarray(vectors[rows], dtype=np.float32), paths[rows])
        ids = [row_id_of(path) for path in paths]
        existing = self._existing(ids, ["id", "path"])
        check_collisions(ids, paths, existing)
        chosen = [n for n, row_id in enumerate(ids) if replace or row_id not in existing]
        for block in checks.in_blocks(chosen, _ROWS):
            # Rounded as a local index rounds, so that both give the same similarities.
            rounded = vectors[block].astype(np.float16)
            data = [
                {
                    **row._asdict(),
                    "id": ids[n],
                    "time": NO_TIME if row.time is None else row.time,
                    "vector": self._encode(vector),
                }
                for n, row, vector in zip(block, checks.rows_of(embeddings, block), rounded)
            ]
            with self._open_client() as client:
                client.upsert(self._address.collection, data)
        replaced = sum(ids[n] in existing for n in chosen)
        return len(chosen) - replaced, replaced

    def _remove(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        conditions = self._conditions(paths, older_than, filters)
        ids = [row["id"] for each in conditions for rows in self._all(["id"], each) for row in rows]
        for block in checks.in_blocks(ids, _ROWS):
            with self._open_client() as client:
                client.delete(self._address.collection, ids=block)
        return len(ids)

    def _set_facts(self, **facts: Any) -> None:
        facts = {**self._facts, **facts}
        with self._open_client() as client:
            change_facts(client, self._address, facts)
        self._facts = facts

    def discard(self) -> None:
        self._check_writable()
        with self._open_client() as client:
            client.drop_collection(self._address.collection)
        self.close()

    def compact(self) -> int:
        self._check_writable()
        before = self._size()
        with self._open_client() as client:
            client.flush(self._address.collection)
            client.compact(self._address.collection)
        return before - self._size()

    def close(self) -> None:
        with self._guard:
            if self._client is not None:
                self._client.close()
                self._client = None

    @contextmanager
    def _open_client(self) -> Iterator[Any]:
        client = self._client
        self._check_open(client is not None)
        with sentences(self._address):
            yield client

    def _encode(self, vector: np.ndarray) -> Any:
        return vector.astype(np.float16) if self._is_half else vector.astype(np.float32).tolist()

    def _decode(self, vector: Any) -> np.ndarray:
        if isinstance(vector, list) and vector and isinstance(vector[0], bytes):
            vector = vector[0]
        if isinstance(vector, bytes):
            return np.frombuffer(vector, dtype=np.float16)
        return np.asarray(vector)

    def _size(self) -> int:
        """Bytes of a Milvus Lite file or folder; 0 for a server."""
        if not self._address.is_lite:
            return 0
        path = Path(self._address.uri)
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        return sum(file.stat().st_size for file in files)
