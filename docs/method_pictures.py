"""Draws the network and the losses of every method: docs/images/method_NAME.svg.

    python docs/method_pictures.py

Blue is visible, red infrared, grey shared, green what the method adds to a ResNet, yellow a loss. A
loss stands on the line of what it is computed from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "images"
FILLS = {
    "visible": "#cfe2f7",
    "infrared": "#f7d0cc",
    "shared": "#e6e6e6",
    "added": "#cfe9cf",
    "loss": "#fbe7b0",
}
TOP, BOTTOM, HIGH = 20, 92, 46  # rows of the two modalities, and how high a box is
GAP, LETTER, LINE = 16, 6.6, 14


class Box(NamedTuple):
    """A rectangle with lines of text."""

    x: float
    y: float
    width: float
    height: float
    text: str
    kind: str

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


class Picture:
    """Boxes from left to right, and the losses below them."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.lines: list[list[tuple[float, float]]] = []
        self.right = 8.0
        self.ends: list[Box] = []
        self.low = float(BOTTOM + HIGH)

    def columns(self, *texts: str, kinds: tuple[str, ...] = ("visible", "infrared")) -> None:
        """One box for each modality, or for each of several streams."""
        height, step = float(HIGH), float(BOTTOM - TOP)
        if len(texts) > 2:
            step = (BOTTOM + HIGH - TOP + 6) / len(texts)
            height = step - 6
        boxes = [
            self._add(text, TOP + i * step, height, kind)
            for i, (text, kind) in enumerate(zip(texts, kinds))
        ]
        self._join(boxes)

    def shared(self, text: str, kind: str = "shared") -> Box:
        """One box for all rows."""
        box = self._add(text, TOP, BOTTOM + HIGH - TOP, kind)
        self._join([box])
        return box

    def loss(self, text: str, *origins: Box) -> None:
        """A loss, below everything, with lines from what it is computed from."""
        width, height = len(text) * LETTER + 18, 24.0
        y = self.low + 14
        edge = min(origin.middle[0] for origin in origins) - 14
        box = Box(max(8.0, edge - width), y, width, height, text, "loss")
        self.boxes.append(box)
        for origin in origins:
            x = origin.middle[0]
            end = (box.x + width, y + height / 2)
            self.lines.append([(x, origin.y + origin.height), (x, end[1]), end])
        self.low = y + height

    def _add(self, text: str, y: float, height: float, kind: str) -> Box:
        lines = text.split("\n")
        width = max(len(line) for line in lines) * LETTER + 16
        box = Box(self.right, y, width, height, text, kind)
        self.boxes.append(box)
        return box

    def _join(self, boxes: list[Box]) -> None:
        for before in self.ends:
            own = [box for box in boxes if box.kind == before.kind and len(boxes) > 1]
            for box in own or boxes:
                start = max(before.middle[1], box.y + 8)
                start = min(start, box.y + box.height - 8) if len(self.ends) > len(boxes) else start
                if before.height > box.height:
                    start = box.middle[1]
                x = before.x + before.width
                ends = [(x, before.middle[1]), (x + 4, start)] if before.middle[1] != start else []
                self.lines.append([*(ends or [(x, start)]), (box.x, start)])
        self.ends = boxes
        self._next(boxes)

    def aside(self, text: str) -> Box:
        """A box of what the method adds that doesn't follow the one before it."""
        box = self._add(text, TOP, BOTTOM + HIGH - TOP, "added")
        self.ends = [box]
        self._next([box])
        return box

    def _next(self, boxes: list[Box]) -> None:
        self.right = max(box.x + box.width for box in boxes) + GAP

    def svg(self) -> str:
        width, height = self.right, self.low + 12
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" font-family="sans-serif" font-size="12" text-anchor="middle">',
            '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        ]
        for points in self.lines:
            path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="#555" marker-end="url(#a)"/>'
            )
        for box in self.boxes:
            round_corner = 12 if box.kind == "loss" else 4
            parts.append(
                f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" '
                f'height="{box.height:.0f}" rx="{round_corner}" fill="{FILLS[box.kind]}" '
                'stroke="#555"/>'
            )
            lines = box.text.split("\n")
            x, y = box.middle
            for i, line in enumerate(lines):
                at = y + 4 + LINE * (i - (len(lines) - 1) / 2)
                parts.append(f'<text x="{x:.0f}" y="{at:.0f}">{escape(line)}</text>')
        return "\n".join([*parts, "</svg>"]) + "\n"


def body(picture: Picture, *between: tuple[str, str], first: int = 1) -> None:
    """Stages 1 to 4 with what stands between them: (after which stage, text)."""
    after = dict(between)
    for number in range(first, 5):
        picture.shared(f"stage {number}")
        if str(number) in after:
            picture.shared(after[str(number)], "added")


def head(picture: Picture, pool: str) -> tuple[Box, Box, Box]:
    """Pooling, neck and classifier, named by what they give."""
    pooled = picture.shared(f"{pool}\n\nx")
    embedding = picture.shared("neck\n\nz")
    return pooled, embedding, picture.shared("classi-\nfier")


def streams(picture: Picture) -> None:
    picture.columns("visible", "infrared")
    picture.columns("stem", "stem")


def base(picture: Picture) -> None:
    streams(picture)
    body(picture)
    pooled, _, logits = head(picture, "mean")
    picture.loss("batch-hard triplet", pooled)
    picture.loss("cross-entropy", logits)


def agw_network(picture: Picture) -> tuple[Box, Box, Box]:
    body(picture, ("2", "non-\nlocal"), ("3", "non-\nlocal"))
    return head(picture, "GeM")


def agw(picture: Picture) -> None:
    streams(picture)
    pooled, _, logits = agw_network(picture)
    picture.loss("weighted triplet", pooled)
    picture.loss("cross-entropy", logits)


def mcl(picture: Picture) -> None:
    streams(picture)
    pooled, embedding, logits = agw_network(picture)
    picture.loss("weighted triplet", pooled)
    picture.loss("confusion of a discriminator of the modality", pooled)
    picture.loss("center aggregation, by identity and by camera", embedding)
    picture.loss("cross-entropy", logits)


def ddag(picture: Picture) -> None:
    streams(picture)
    body(picture)
    pooled, _, logits = head(picture, "mean")
    picture.aside("part\nattention\nof map\nand z")
    again = picture.shared("classi-\nfier")
    picture.loss("batch-hard triplet", pooled)
    picture.loss("graph attention over the batch, λ", pooled)
    picture.loss("cross-entropy", logits)
    picture.loss("cross-entropy", again)


def two_views(picture: Picture) -> None:
    picture.columns(
        "visible", "one channel of it", "infrared", kinds=("visible", "visible", "infrared")
    )
    picture.columns("stem", "stem")


def caj(picture: Picture) -> None:
    two_views(picture)
    pooled, _, logits = agw_network(picture)
    picture.loss("squared weighted triplet", pooled)
    picture.loss("cross-entropy", logits)


def dns(picture: Picture) -> None:
    streams(picture)
    for number in (1, 2):
        picture.columns(f"stage {number}", f"stage {number}")
    body(picture, ("3", "shift"), ("4", "shift"), first=3)
    pooled, embedding, logits = head(picture, "GeM")
    projected = picture.aside("projection\nof the\nmap's mean\n\nẑ")
    picture.loss("alignment of the modalities", pooled, projected)
    picture.loss("circle", embedding)
    picture.loss("the modalities' own classifiers", embedding, projected)
    picture.loss("cross-entropy", logits)


def deen(picture: Picture) -> None:
    streams(picture)
    more = "aggre-\ngation"
    body(picture, ("1", more), ("2", more), ("3", f"{more}\n\nthree\nbranches"))
    pooled, _, logits = head(picture, "mean")
    picture.loss("batch-hard triplet", pooled)
    picture.loss("center pairs of images and branches", pooled)
    picture.loss("overlap of the branches", pooled)
    picture.loss("cross-entropy", logits)


def rle(picture: Picture) -> None:
    picture.columns("visible\nenhanced", "infrared\nenhanced")
    picture.columns("stem", "stem")
    body(picture)
    pooled = picture.shared("means\nwhole map,\n3 stripes\n\nx", "added")
    picture.shared("4 necks\n\nz")
    logits = picture.shared("4\nclassi-\nfiers")
    picture.loss("batch-hard triplet, of each", pooled)
    picture.loss("cross-entropy, of each", logits)


def halo(picture: Picture) -> None:
    two_views(picture)
    pooled, embedding, logits = agw_network(picture)
    picture.loss("weighted triplet", pooled)
    picture.loss("circle", embedding)
    picture.loss("cross-entropy", logits)


PICTURES: dict[str, Callable[[Picture], None]] = {
    "base": base, "agw": agw, "ddag": ddag, "mcl": mcl,
    "caj": caj, "dns": dns, "deen": deen, "rle": rle, "halo": halo,
}  # fmt: skip


def draw(name: str) -> str:
    """The picture of a method as SVG."""
    picture = Picture()
    PICTURES[name](picture)
    return picture.svg()


if __name__ == "__main__":
    for name in PICTURES:
        (FOLDER / f"method_{name}.svg").write_text(draw(name), encoding="utf-8")
