"""Addresses of Milvus, connections, making a collection, errors as sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from vireid.config import convert
from vireid.extras import require
from vireid.files import parse_json
from vireid.index.checks import IndexFacts
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
"""Index type → parameters to build it, parameters to search it."""

_FACTS = "vireid.about"  # property of a collection
_EXPECTED = "milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION[?index=TYPE&shards=N&tls=1]"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a collection is.

    Attributes:
        uri: what pymilvus connects to: http(s)://HOST:PORT, or the path of a Milvus Lite file.
        collection: its name.
        public: the address without user and password, for messages.
        user, password: "" for none.
        index: index type for a new collection.
        shards: number of shards for a new collection.
        is_lite: whether it is a Milvus Lite file.
    """

    uri: str
    collection: str
    public: str
    user: str = ""
    password: str = ""
    index: str = "FLAT"
    shards: int = 1
    is_lite: bool = False


def parse_url(url: str) -> Address:
    """Read `milvus://HOST:PORT/COLLECTION` or the path of a Milvus Lite file (`FILE.db`).

    Raises:
        InputError: it is neither.
    """
    if not url.startswith("milvus://"):
        return Address(uri=url, collection="vireid", public=url, is_lite=True)
    try:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        port = parts.port or 19530
        shards = int(options.get("shards", 1))
    except ValueError as error:  # a bracket that isn't one of an IPv6 address, too
        raise InputError(
            "The host, port or `shards` in the address of the Milvus index can't be one; "
            f"{_EXPECTED} was expected."
        ) from error
    collection = parts.path.strip("/")
    unknown = options.keys() - {"index", "shards", "tls"}
    if not parts.hostname or not collection.isidentifier() or unknown:
        raise InputError(
            f"The address of the Milvus index (host '{parts.hostname or ''}', collection "
            f"'{collection}', options {sorted(options)}) is not valid; {_EXPECTED} was expected, "
            "with letters, digits and underscores in the collection's name."
        )
    scheme = "https" if options.get("tls", "0") not in {"0", "no", "false"} else "http"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        uri=f"{scheme}://{host}:{port}",
        collection=collection,
        public=f"milvus://{host}:{port}/{collection}",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        index=options.get("index", "FLAT").upper(),
        shards=shards,
    )


def connect(address: Address) -> Any:
    """A pymilvus client of the server or file.

    Raises:
        InputError: pymilvus isn't installed, or the server can't be reached.
    """
    require("milvus")
    from pymilvus import MilvusClient

    # They log every error with a traceback; ours says the same in a sentence.
    for name in ("pymilvus", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with sentences(address):
        if address.is_lite:
            Path(address.uri).absolute().parent.mkdir(parents=True, exist_ok=True)
            return MilvusClient(address.uri)
        return MilvusClient(address.uri, user=address.user, password=address.password, timeout=10)


@contextmanager
def sentences(address: Address) -> Iterator[None]:
    """Turns errors of Milvus, or of the connection to it, into sentences.

    Raises:
        InputError: in place of pymilvus's errors.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        hint = (
            "Only one process at a time can use a Milvus Lite file."
            if address.is_lite
            else "Check that it is running and that address, user and password are correct."
        )
        raise InputError(
            f"Milvus at '{address.public}' answered: {error.message or error}. {hint}"
        ) from error
    except grpc.RpcError as error:
        raise InputError(
            f"Milvus at '{address.public}' refused a call ({error}). Its version may be too old: "
            "vireid needs Milvus 2.5, or Milvus Lite 3.2, or newer."
        ) from error
    except (ImportError, OSError) as error:
        raise InputError(f"Milvus at '{address.public}' can't be used: {error}.") from error


def make_collection(client: Any, address: Address, facts: dict[str, Any]) -> None:
    """Make the collection, with float16 vectors where the server has them."""
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import MilvusException

    text = json.dumps(facts)

    def make(vector: Any) -> None:
        schema = MilvusClient.create_schema(auto_id=False, description=text)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("path", DataType.VARCHAR, max_length=PATH_BYTES)
        for name in ("camid", "pid", "modality"):
            schema.add_field(name, DataType.INT64)
        schema.add_field("time", DataType.DOUBLE)
        schema.add_field("vector", vector, dim=facts["dim"])
        index = MilvusClient.prepare_index_params()
        parameters, _ = INDEX_TYPES[address.index]
        index.add_index("vector", index_type=address.index, metric_type="IP", params=parameters)
        client.create_collection(
            address.collection,
            schema=schema,
            index_params=index,
            num_shards=address.shards,
            consistency_level="Strong",
        )

    try:
        make(DataType.FLOAT16_VECTOR)
    except MilvusException as error:
        if "Float16Vector" not in str(error):
            raise
        make(DataType.FLOAT_VECTOR)  # Milvus Lite has no float16 vectors
    if not client.describe_collection(address.collection).get("description"):
        # Milvus Lite drops descriptions, but keeps properties.
        change_facts(client, address, facts)


def change_facts(client: Any, address: Address, facts: dict[str, Any]) -> None:
    """Keep other facts from now on, as a property: a description stays as it is."""
    properties = {_FACTS: json.dumps(facts)}
    client.alter_collection_properties(address.collection, properties=properties)


class MilvusFacts(IndexFacts):
    """`index`: which of Milvus's structures finds vectors."""

    index: str


def read_facts(collection: dict[str, Any]) -> dict[str, Any] | None:
    """The facts given to `make_collection` or `change_facts`; None if the collection was not made
    by vireid."""
    text = collection.get("properties", {}).get(_FACTS) or collection.get("description", "")
    try:
        facts = parse_json(text, "the collection's description")
        convert(MilvusFacts, facts, "the collection's description")
    except InputError:
        return None
    return facts if facts["index"] in INDEX_TYPES else None
