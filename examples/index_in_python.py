"""Embed a folder of visible images, index it, and search it with infrared ones.

    python examples/index_in_python.py GALLERY_FOLDER QUERY_FOLDER INDEX [WEIGHTS]

What it shows: `vireid.load`, `Embedder.embed`, `build_index`, `Filters`, `Searcher`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vireid
from vireid.index import Filters, Searcher, build_index


def main(gallery: str, queries: str, place: str, weights: str = "synth") -> None:
    """Index `gallery`, then print the best visible match of each image in `queries`."""
    embedder = vireid.load(weights)
    root = Path(gallery)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    # Entries are named by the image root, so that the folder can move.
    with build_index(place, embedder.embed(paths, "visible"), image_roots=[root]) as index:
        print(f"{len(index)} images indexed in {place}")

        wanted = sorted(path for path in Path(queries).rglob("*.jpg"))
        searcher = Searcher(index, embedder)
        visible = Filters(modality=vireid.Modality.VISIBLE)
        for path, hits in zip(
            wanted, searcher.search_images(wanted, "infrared", top=1, filters=visible)
        ):
            print(f"{path.name}: {hits[0].path} ({hits[0].similarity:.3f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
