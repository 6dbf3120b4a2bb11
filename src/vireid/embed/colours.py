"""Whether images look as if the other sensor had taken them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vireid.console import warn
from vireid.data.decoding import has_colour
from vireid.types import Modality

_LOOKED_AT = 64  # images of each sensor, which take milliseconds
_STEP = 4  # of their pixels that are looked at, along each side
# The share of images above which a sensor is doubted. Hardly any infrared camera gives colours;
# some visible ones give few by night.
_DOUBTED = {Modality.VISIBLE: 0.95, Modality.INFRARED: 0.5}


class ColourCheck:
    """Warns, once for each sensor, where its first images look like those of the other one."""

    def __init__(self) -> None:
        self._looked: set[Modality] = set()

    def look(
        self, modality: int, pixels: np.ndarray, rows: np.ndarray, paths: Sequence[str]
    ) -> None:
        """Look at images of one sensor, unless it was done before.

        Args:
            pixels: (n, H, W, 3) uint8; black ones, as broken images are, say nothing.
            rows: (n,) of `paths`.
        """
        sensor = Modality(modality)
        if sensor in self._looked:
            return
        self._looked.add(sensor)
        some = pixels[:_LOOKED_AT, ::_STEP, ::_STEP]
        lit = some.any((1, 2, 3))
        odd = lit & (has_colour(some) == (sensor == Modality.INFRARED))
        count, of = int(odd.sum()), int(lit.sum())
        if count <= _DOUBTED[sensor] * of:
            return
        colour = "colour" if sensor == Modality.INFRARED else "no colour"
        path, other = paths[int(rows[odd.argmax()])], Modality(1 - sensor).word
        found = f"{count} of the first {of} {sensor.word} images have {colour}, such as '{path}'"
        if of == 1:
            found = f"The {sensor.word} image '{path}' has {colour}"
        warn(
            f"{found}. What {other} cameras took must be embedded as such (`modality` {other}): "
            "the vectors depend on it."
        )
