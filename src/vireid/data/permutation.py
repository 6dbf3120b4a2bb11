"""Official gallery permutations in the form of SYSU-MM01's `exp/rand_perm_cam.mat`.

A MATLAB file (to version 7) with `rand_perm_cam`, a column of cells, one for each camera from 1:
each a column of cells, one for each identity from 1: each a matrix (draws, n) of the numbers 1 to n
of that identity's n images of that camera, sorted by path; empty where there are none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vireid.data.matlab import read_variables
from vireid.types import InputError, shown


class Permutations:
    """The order in which each identity's images of a camera enter the gallery.

    Args:
        cells: (cameras, 1) object array; `cells[camid-1][0][pid-1][0]` is (trials, n) image numbers
            from 1, as the file holds them.
        path: where they come from, for messages.
    """

    def __init__(self, cells: np.ndarray, path: Path) -> None:
        self._cells = cells
        self._path = path

    def order(self, pid: int, camid: int, trial: int, *, expected: int) -> list[int]:
        """Positions from 0 of one identity's sorted images of one camera, in gallery order.

        Args:
            trial: the row, from 0.
            expected: how many images the folder has.

        Raises:
            InputError: the file holds no permutation of that many images.
        """
        try:
            table = np.asarray(self._cells[camid - 1][0][pid - 1][0])
            row = table[trial].astype(np.int64) if table.size else np.zeros(0, np.int64)
        except (IndexError, ValueError, TypeError) as error:
            raise InputError(
                f"'{self._path}' has no draw {trial} for identity {pid} in camera {camid}. It is "
                "not the permutation file of this data set; use the one that came with it, or the "
                "seeded draw."
            ) from error
        if len(row) != expected or not np.array_equal(np.sort(row), np.arange(1, expected + 1)):
            raise InputError(
                f"'{self._path}' permutes {len(row)} images of identity {pid} in camera {camid}, "
                f"but the folder has {expected}. The permutation file and the images are not the "
                "same release, or images are missing; use the seeded draw, or restore the images."
            )
        return (row - 1).tolist()


def read_permutations(path: str | Path) -> Permutations:
    """Read the permutation file.

    Raises:
        InputError: it is missing, of MATLAB's version 7.3, or has another content.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"The official gallery draw needs '{path}', which does not exist. Copy "
            "it from the data set's own evaluation code, or set `draw` to seeded."
        )
    with path.open("rb") as file:
        start = file.read(128)
    if b"MATLAB 7.3" in start or start.startswith(b"\x89HDF"):
        raise InputError(
            f"'{path}' is a MATLAB file of version 7.3 (HDF5), which is not read here. Save it in "
            "an older version: in MATLAB, save('rand_perm_cam.mat', 'rand_perm_cam', '-v7')."
        )
    content = read_variables(path)
    cells = content.get("rand_perm_cam")
    if cells is None or cells.dtype != object or cells.shape[1:] != (1,):
        names = ", ".join(shown(name) for name in [*content][:10]) or "nothing"
        raise InputError(
            f"'{path}' does not hold 'rand_perm_cam' as a column of cells, one for each camera (it "
            f"holds: {names}). Use the file that came with the data set."
        )
    return Permutations(cells, path)
