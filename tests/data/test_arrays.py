"""Damaged NumPy files are refused in words for whoever has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vireid.data.arrays import map_array, read_arrays
from vireid.types import InputError


def test_what_is_wrong_with_a_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "train_rgb_resized_label.npy"
    np.save(path, np.arange(1000).reshape(10, 100))
    good = path.read_bytes()
    damaged, short = "its header is damaged or of a newer version (", "it is cut short"
    for content, wrong in {
        b"": "it is empty",
        b"pid,camid": "it doesn't begin as one",
        good[:3]: short,
        good[:60]: f"{damaged}EOF: reading array header",
        good[:1000]: "it is cut short (1,000 of 8,128 bytes)",
        good.replace(b"(10,", b"(99,"): "it is cut short (8,128 of 79,328 bytes)",
        good.replace(b"(10,", b"(-1,"): damaged,
        good.replace(b"}", b" "): damaged,
        good.replace(b"shape", b"shope"): damaged,
        good.replace(b"<i8", b"<q9"): f"{damaged}descr is not a valid dtype descriptor: '<q9'",
        good[:40] + b"\0" * 20 + good[60:]: damaged,
        good[:6] + b"\x09" + good[7:]: damaged,
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            map_array(path)
        told, begins = str(error.value), f"'{path}' is not a readable NumPy array: {wrong}"
        after = (
            ". An array of numbers in NumPy's format (.npy) was expected. Write the file again, or "
            "remove it."
        )
        if damaged in wrong:  # the rest is NumPy's
            assert told.startswith(begins) and told.endswith(f"){after}")
        else:
            assert told == f"{begins}{after}"


@pytest.mark.parametrize("read", [map_array, read_arrays])
def test_a_file_that_does_not_open_is_not_called_damaged(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queries.npz").touch()
    with pytest.raises(InputError) as error:
        read(tmp_path / "querys.npz")
    told = str(error.value)
    assert told.startswith(
        f"There is no file '{tmp_path / 'querys.npz'}'. Did you mean '{tmp_path / 'queries.npz'}'? "
    )
    assert told.endswith(" was expected. Correct the path, or write the file again.")
    with pytest.raises(InputError, match=r"can't be read: Is a directory\. An a.* was expected\."):
        read(tmp_path)

    def refuse(*args, **options):  # root, whom tests may run as, may read all
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    with pytest.raises(InputError, match=r"queries\.npz' can't be read: Permission denied\."):
        read(tmp_path / "queries.npz")
