"""Puts four figures of a run into docs/images/figures.webp.

    python docs/figures_picture.py RUN

`make demo` makes such a run, in demo/run; `vireid plot` draws the figures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

OUT = Path(__file__).parent / "images" / "figures.webp"
WIDTH, GAP = 1400, 12
BESIDE = ("similarity", "map", "activation")


def main() -> None:
    run = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for kinds, queries in ((BESIDE, "4"), (("ranked",), "1")):
            command = ["-m", "vireid", "plot", run, "--out", folder, "--kind", *kinds,
                       "--queries", queries]  # fmt: skip
            subprocess.run([sys.executable, *command], check=True)
        figures = {path.stem: Image.open(path).convert("RGB") for path in Path(folder).iterdir()}
    shares = [figures[name].width / figures[name].height for name in BESIDE]
    height = round((WIDTH - GAP * (len(BESIDE) - 1)) / sum(shares))
    above = [scaled(figures[name], height * share) for name, share in zip(BESIDE, shares)]
    below = scaled(figures["ranked"], WIDTH)
    whole = Image.new("RGB", (WIDTH, height + GAP + below.height), "white")
    x = 0
    for figure in above:
        whole.paste(figure, (x, 0))
        x += figure.width + GAP
    whole.paste(below, (0, height + GAP))
    whole.save(OUT, quality=80, method=6)


def scaled(figure: Image.Image, width: float) -> Image.Image:
    size = (round(width), round(width * figure.height / figure.width))
    return figure.resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
