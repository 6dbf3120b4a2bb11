"""Find the people in a folder who look like the one in an image.

    python examples/search_three_lines.py IMAGE INDEX [WEIGHTS]

Make the index before, for example with

    vireid embed --weights synth --images people/ --modality visible --out people.emb
    vireid index create --index people.index --embeddings people.emb --image-root people/
"""

import sys

import vireid

image, place, *weights = sys.argv[1:]

searcher = vireid.Searcher(
    vireid.open_index(place), vireid.load(weights[0] if weights else "synth")
)
(hits,) = searcher.search_images([image], "infrared", top=10)
print(*(f"{hit.similarity:.3f}  camera {hit.camid}  {hit.path}" for hit in hits), sep="\n")
