"""Whether images look as if the other sensor had taken them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vireid.console import warn
from vireid.cores import usable_cores
from vireid.data.decoding import GREY, MONOCHROME, colour_spread, decode
from vireid.data.facts import Decoding
from vireid.types import InputError, Modality

_LOOKED_AT = 64  # images of each sensor, which take milliseconds
_STEP = 4  # of their pixels that are looked at, along each side
_MIXED = 0.1  # the share of images that are certainly of the other sensor, above which it is told
# The same of visible images with hardly any colour: some cameras give few by night.
_FAINT = 0.95


@dataclass
class _Seen:
    """Of one sensor's images: how many were looked at, how many of these look like the other
    sensor's, and how many certainly do; the first of each of these."""

    count: int = 0
    odd: int = 0
    certain: int = 0
    odd_path: str = ""
    certain_path: str = ""
    told: bool = False


class ColourCheck:
    """Warns, once for each sensor, where images look like those of the other one."""

    def __init__(self) -> None:
        self._seen = {sensor: _Seen() for sensor in Modality}

    def sample(self, modality: np.ndarray) -> np.ndarray:
        """The rows to look at, in order: of each sensor that wasn't told of, some that are evenly
        spaced. The first ones alone may all be of one camera, or of one half of a day.

        Args:
            modality: (N,) of all rows.
        """
        rows = [
            _spaced(np.flatnonzero(modality == sensor))
            for sensor, seen in self._seen.items()
            if not seen.told
        ]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *rows]))

    def look_at_files(
        self,
        files: Sequence[str | Path],
        modality: np.ndarray,
        size: tuple[int, int],
        decoding: Decoding,
        names: Sequence[str],
    ) -> None:
        """Look at a sample of image files; those that can't be decoded say nothing."""

        def pixels_of(row: int) -> np.ndarray | None:
            try:
                return some_pixels(decode(files[row], size, decoding))
            except InputError:
                return None

        rows = self.sample(modality).tolist()
        with ThreadPoolExecutor(usable_cores()) as pool:
            decoded = dict(zip(rows, pool.map(pixels_of, rows)))
        self.look({row: one for row, one in decoded.items() if one is not None}, modality, names)

    def look(
        self, pixels: dict[int, np.ndarray], modality: np.ndarray, names: Sequence[str]
    ) -> None:
        """Look at the images of a sample, together with those of samples before it.

        Args:
            pixels: row → `some_pixels`; black ones, as broken images are, say nothing.
            modality: (N,) of all rows.
            names: N.
        """
        for row, one in pixels.items():
            if one.any():
                self._count(Modality(int(modality[row])), one, names[row])
        for sensor, seen in self._seen.items():
            self._tell(sensor, seen)

    def _count(self, sensor: Modality, pixels: np.ndarray, name: str) -> None:
        seen, spread = self._seen[sensor], float(colour_spread(pixels[None])[0])
        seen.count += 1
        odd = certain = spread >= GREY
        if sensor == Modality.VISIBLE:
            odd, certain = spread < GREY, spread < MONOCHROME
        if odd:
            seen.odd += 1
            seen.odd_path = seen.odd_path or name
        if certain:
            seen.certain += 1
            seen.certain_path = seen.certain_path or name

    def _tell(self, sensor: Modality, seen: _Seen) -> None:
        many = seen.odd > _FAINT * seen.count
        if seen.told or not (many or seen.certain > _MIXED * seen.count):
            return
        seen.told = True
        count, path = (seen.odd, seen.odd_path) if many else (seen.certain, seen.certain_path)
        colour, other = "colour", Modality(1 - sensor).word
        if sensor == Modality.VISIBLE:
            colour = "no colour" if count == seen.certain else "hardly any colour"
        found = (
            f"{count} of the {seen.count} {sensor.word} images that were looked at have "
            f"{colour}, such as '{path}'"
        )
        if seen.count == 1:
            found = f"The {sensor.word} image '{path}' has {colour}"
        both = " Where both are mixed, embed them apart, or by a table with the column modality."
        warn(
            f"{found}. What {other} cameras took must be embedded as such (`modality` {other}): "
            f"the vectors depend on it.{'' if many else both}"
        )


def some_pixels(image: np.ndarray) -> np.ndarray:
    """Enough of an image (H, W, 3) to see whether it has colour, as a copy."""
    return image[::_STEP, ::_STEP].copy()


def _spaced(rows: np.ndarray) -> np.ndarray:
    """At most `_LOOKED_AT` of `rows`, the first and the last among them."""
    if len(rows) <= _LOOKED_AT:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _LOOKED_AT).round().astype(np.int64)]
