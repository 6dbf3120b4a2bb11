"""A small real world for the server's tests: people on disk, a network, an index, a server.

The network is a tiny `base` with random weights at 64 x 32: it finds nobody, but everything
it computes is real.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import fakes
import httpx
import numpy as np
import torch
import uvicorn
from PIL import Image

import vireid
from vireid.index import create_index, open_index
from vireid.index.base import Index
from vireid.methods import build_method
from vireid.methods.base import Sizes
from vireid.models.options import ModelOptions
from vireid.server.app import create_app, server_config
from vireid.server.settings import ServerSettings
from vireid.types import Embeddings
from vireid.weights import method_metadata, save_weights

SIZE = (64, 32)
PIDS, CAMERAS, IMAGES = 5, 6, 2
START = 1_767_600_000.0
TOKEN = "a-token-for-the-tests"
LOOSE = ServerSettings(searches_per_second=1000, search_burst=5000, reads_per_second=5000,
                       read_burst=20_000, refusals_per_minute=10_000)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class World:
    """Images, weights and an index of them; the last person's identity is not recorded."""

    root: Path
    weights: Path
    index: Path
    embedder: vireid.Embedder
    embeddings: Embeddings


def make_world(folder: Path) -> World:
    """Write everything under `folder`, within a second or two."""
    root, weights = folder / "people", folder / "tiny.safetensors"
    names, pids, camids, times = [], [], [], []
    for pid in range(1, PIDS + 1):
        for camid in range(1, CAMERAS + 1):
            for number in range(IMAGES):
                name = f"cam{camid}/{pid:04d}/{number:04d}.jpg"
                infrared = camid in fakes.SYSU_INFRARED
                fakes.save(root / name, pid, infrared, camid * 10 + number, size=(96, 48))
                names.append(name)
                pids.append(pid if pid < PIDS else -1)
                camids.append(camid)
                times.append(START + pid * 900 + camid * 120 + number * 5)
    embedder = make_embedder(weights)
    embeddings = embed(embedder, root, names, np.array(pids), np.array(camids), np.array(times))
    with create_index(
        folder / "index", weights_hash=embedder.weights_hash, image_roots=[root],
        dim=embeddings.embedding.shape[1],
    ) as index:  # fmt: skip
        index.add(embeddings)
    return World(root=root, weights=weights, index=folder / "index", embedder=embedder,
                 embeddings=embeddings)  # fmt: skip


def make_embedder(weights: Path, seed: int = 0) -> vireid.Embedder:
    """A tiny network with random weights, written and loaded as a user's would be."""
    torch.manual_seed(seed)
    model = ModelOptions(arch="test_resnet", pretrained="none")
    sizes = Sizes(num_pids=4, num_cameras=CAMERAS)
    method = build_method("base", model, sizes)
    known = method_metadata("base", model, sizes, {}) | {"size": list(SIZE)}
    save_weights(weights, method, known)
    return vireid.load(weights, device="cpu")


def embed(
    embedder: vireid.Embedder,
    root: Path,
    names: list[str],
    pids: np.ndarray,
    camids: np.ndarray,
    times: np.ndarray,
) -> Embeddings:
    """Embeddings of files under `root`, with paths relative to it."""
    infrared = np.isin(camids, fakes.SYSU_INFRARED).astype(np.int64)
    found = embedder.embed(
        [root / name for name in names], infrared, pids=pids, camids=camids, times=times
    )
    return replace(found, paths=names)


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    url: str
    port: int
    index: Index

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, **{"timeout": 30, **options})

    def alive(self) -> bool:
        """Whether it still answers."""
        return httpx.get(f"{self.url}/api/health", timeout=10).json()["status"] == "ok"

    def raw(self, data: bytes, *, pause: float = 0.0, wait: float = 5.0) -> bytes:
        """Send bytes as they are (in two parts if there is a pause) and read the answer."""
        parts = []
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            try:
                half = len(data) // 2 if pause else len(data)
                connection.sendall(data[:half])
                if pause:
                    time.sleep(pause)
                    connection.sendall(data[half:])
                while part := connection.recv(65536):
                    parts.append(part)
            except (ConnectionError, TimeoutError):
                return b"".join(parts)  # the server hung up, or keeps the connection
        return b"".join(parts)


@contextmanager
def running(world: World, settings: ServerSettings = LOOSE) -> Iterator[Running]:
    """The application under uvicorn, as `serve` runs it, on a free port of loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with open_index(world.index) as index:
        app = create_app(index, world.embedder, settings)
        server = uvicorn.Server(server_config(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Running(f"http://127.0.0.1:{port}", port, index)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            listener.close()


def image_bytes(pid: int = 1, *, infrared: bool = True, form: str = "PNG",
                  size: tuple[int, int] = (96, 48)) -> bytes:  # fmt: skip
    """An image of a person as an encoded file."""
    out = io.BytesIO()
    fakes.image(pid, infrared, 999, size).save(out, form)
    return out.getvalue()


def post(client: httpx.Client, data: bytes, **fields: object) -> httpx.Response:
    """Upload an image to the search; it is said to be infrared unless told otherwise."""
    return client.post(
        "/api/search",
        files={"image": ("C:\\Users\\Jane Doe\\me.png", data, "image/png")},
        data={"modality": "infrared", **{name: str(value) for name, value in fields.items()}},
    )


def audit_lines(path: Path) -> list[dict]:
    """The audit log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def plain_png(width: int, height: int) -> bytes:
    """A one-coloured PNG, small on disk whatever its size."""
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()
