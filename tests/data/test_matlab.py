"""MATLAB files are read as SciPy reads them, and damaged ones end in a sentence."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from fuzz.mutations import of_bytes
from scipy.io import loadmat, savemat

from vireid.data.matlab import read_variables
from vireid.types import InputError


def write(path: Path, *, compressed: bool = False) -> Path:
    kinds = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
    cells = np.empty((5, 3), object)
    for n, place in enumerate(np.ndindex(5, 3)):
        cells[place] = np.arange(2 * n).reshape(2, n).astype(kinds[n % len(kinds)])
    cells[4, 2] = cells[:2].copy()
    savemat(
        path,
        {"cells": cells, "flags": np.array([True, False]), "few": np.uint8([1, 2, 3]),
         "text": "abc", "complex": np.array([1j]), "record": {"a": 1}},
        do_compression=compressed,
    )  # fmt: skip
    return path


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    if expected.dtype == object:
        for one, other in zip(found.ravel(), expected.ravel(), strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_as_scipy_reads_them(tmp_path: Path, compressed: bool) -> None:
    path = write(tmp_path / "a.mat", compressed=compressed)
    found, expected = read_variables(path), loadmat(path)
    assert set(found) == {name for name in expected if not name.startswith("__")}
    for name in ("cells", "flags", "few"):
        assert_same(found[name], expected[name])
    assert found["text"] is found["complex"] is found["record"] is None


def test_other_byte_order(tmp_path: Path) -> None:
    """As old workstations wrote them."""
    values = struct.pack(">II2d", 9, 16, 1.5, -2.0)
    head = struct.pack(">4I2I2i2I4s4x", 6, 8, 6, 0, 5, 8, 1, 2, 1, 1, b"x")
    content = struct.pack(">II", 14, len(head + values)) + head + values
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB".ljust(124) + b"\x01\x00MI" + content)
    np.testing.assert_array_equal(read_variables(path)["x"], [[1.5, -2.0]])


def test_damaged_ones(tmp_path: Path) -> None:
    """A number's type that is none, at which SciPy's reader crashes, and 300 mutations."""
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(3.0)})
    content = path.read_bytes()
    path.write_bytes(content[:-32] + struct.pack("<I", 8) + content[-28:])
    with pytest.raises(InputError, match="is not a readable MATLAB file"):
        read_variables(path)
    whole, r, refused = write(path).read_bytes(), random.Random(0), 0
    for _ in range(300):
        path.write_bytes(of_bytes(r, whole))
        try:
            read_variables(path)
        except InputError:
            refused += 1
    assert refused > 100
