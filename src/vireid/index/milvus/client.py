"""Reaching Milvus: addresses, connections, making a collection, errors as sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from vireid.index.milvus.rows import PATH_BYTES
from vireid.types import InputError

INDEX_TYPES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "FLAT": ({}, {}),
    "HNSW": ({"M": 32, "efConstruction": 360}, {"ef": 400}),
    "IVF_FLAT": ({"nlist": 4096}, {"nprobe": 256}),
    "IVF_SQ8": ({"nlist": 4096}, {"nprobe": 256}),
    "DISKANN": ({}, {"search_list": 400}),
    "AUTOINDEX": ({}, {}),
}
"""Index type → how it is built, how it is searched."""

_ABOUT = "vireid.about"
_EXPECTED = "milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION[?index=TYPE&shards=N&tls=1]"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a collection is.

    Attributes:
        uri: what pymilvus connects to: http(s)://HOST:PORT, or the path of a Milvus Lite file.
        collection: its name.
        shown: the address without user and password.
        user, password: "" for none.
        index: index type for a new collection.
        shards: number of shards for a new collection.
        is_lite: whether it is a Milvus Lite file.
    """

    uri: str
    collection: str
    shown: str
    user: str = ""
    password: str = ""
    index: str = "FLAT"
    shards: int = 1
    is_lite: bool = False


def parse_url(url: str) -> Place:
    """Read `milvus://HOST:PORT/COLLECTION` or the path of a Milvus Lite file (`FILE.db`).

    Raises:
        InputError: it is neither.
    """
    if not url.startswith("milvus://"):
        return Place(uri=url, collection="vireid", shown=url, is_lite=True)
    parts = urlsplit(url)
    collection = parts.path.strip("/")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        port = parts.port or 19530
        shards = int(options.get("shards", 1))
    except ValueError as error:
        raise InputError(f"A port or number in a Milvus address is no number; {_EXPECTED} was "
                         "expected.") from error  # fmt: skip
    unknown = options.keys() - {"index", "shards", "tls"}
    if not parts.hostname or not collection.isidentifier() or unknown:
        raise InputError(
            f"The address of the Milvus index (host '{parts.hostname or ''}', collection "
            f"'{collection}', options {sorted(options)}) can't be used; {_EXPECTED} was expected, "
            "the collection's name of letters, digits and underscores."
        )
    scheme = "https" if options.get("tls", "0") not in {"0", "no", "false"} else "http"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Place(
        uri=f"{scheme}://{host}:{port}",
        collection=collection,
        shown=f"milvus://{host}:{port}/{collection}",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        index=options.get("index", "FLAT").upper(),
        shards=shards,
    )


def connect(place: Place) -> Any:
    """A pymilvus client of the server or file.

    Raises:
        InputError: pymilvus isn't installed, or the server can't be reached.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise InputError(
            f"The index '{place.shown}' is kept in Milvus, whose client isn't installed "
            f"({error}). Run: pip install 'vireid[milvus]'"
        ) from error
    # They log every refusal with a traceback; ours says the same in a sentence.
    for name in ("pymilvus", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with served(place):
        if place.is_lite:
            Path(place.uri).absolute().parent.mkdir(parents=True, exist_ok=True)
            return MilvusClient(place.uri)
        return MilvusClient(place.uri, user=place.user, password=place.password, timeout=10)


@contextmanager
def served(place: Place) -> Iterator[None]:
    """Turns what Milvus refuses, or a server that can't be reached, into sentences.

    Raises:
        InputError: in place of pymilvus's errors.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        lite = "A Milvus Lite file can be used by one process at a time. " if place.is_lite else ""
        raise InputError(
            f"Milvus at '{place.shown}' answered: {error.message or error}. {lite}See that it "
            "runs and that the address, user and password are right."
        ) from error
    except grpc.RpcError as error:
        raise InputError(
            f"Milvus at '{place.shown}' refused a call ({error}). Its version may be too old: "
            "vireid needs Milvus 2.5, or Milvus Lite 3.2, or newer."
        ) from error
    except (ImportError, OSError) as error:
        raise InputError(f"Milvus at '{place.shown}' can't be used: {error}.") from error


def make_collection(client: Any, place: Place, about: dict[str, Any]) -> None:
    """Make the collection, with float16 vectors where the server has them."""
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import MilvusException

    text = json.dumps(about)

    def make(vector: Any) -> None:
        schema = MilvusClient.create_schema(auto_id=False, description=text)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("path", DataType.VARCHAR, max_length=PATH_BYTES)
        for name in ("camid", "pid", "modality"):
            schema.add_field(name, DataType.INT64)
        schema.add_field("time", DataType.DOUBLE)
        schema.add_field("vector", vector, dim=about["dim"])
        index = MilvusClient.prepare_index_params()
        built, _ = INDEX_TYPES[place.index]
        index.add_index("vector", index_type=place.index, metric_type="IP", params=built)
        client.create_collection(
            place.collection,
            schema=schema,
            index_params=index,
            num_shards=place.shards,
            consistency_level="Strong",
        )

    try:
        make(DataType.FLOAT16_VECTOR)
    except MilvusException as error:
        if "Float16Vector" not in str(error):
            raise
        make(DataType.FLOAT_VECTOR)  # Milvus Lite has no float16 vectors
    if not client.describe_collection(place.collection).get("description"):
        # Milvus Lite forgets descriptions, but keeps properties.
        client.alter_collection_properties(place.collection, properties={_ABOUT: text})


def read_about(facts: dict[str, Any]) -> dict[str, Any] | None:
    """What `make_collection` was told, from a collection's description; None if not ours."""
    text = facts.get("description") or facts.get("properties", {}).get(_ABOUT, "")
    try:
        about = json.loads(text)
    except ValueError:
        return None
    ours = {"weights_hash", "dim", "embedding", "image_roots", "preprocessing", "index"}
    return about if isinstance(about, dict) and ours <= about.keys() else None
