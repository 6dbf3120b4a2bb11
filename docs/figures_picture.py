"""Puts five figures of a run into docs/images/figures.webp.

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
BESIDE, BELOW = ("similarity", "map", "activation"), ("ranked-best", "ranked-worst")


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
    below = [scaled(figures[name], WIDTH) for name in BELOW]
    tall = height + sum(GAP + figure.height for figure in below)
    whole = Image.new("RGB", (WIDTH, tall), "white")
    x = 0
    for figure in above:
        whole.paste(figure, (x, 0))
        x += figure.width + GAP
    y = height
    for figure in below:
        whole.paste(figure, (0, y + GAP))
        y += GAP + figure.height
    whole.save(OUT, quality=80, method=6)


def scaled(figure: Image.Image, width: float) -> Image.Image:
    size = (round(width), round(width * figure.height / figure.width))
    return figure.resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
