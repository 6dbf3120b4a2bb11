"""A set as other cameras would have taken it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

from vireid.data import load_dataset
from vireid.synthetic import write_as_other_cameras
from vireid.types import InputError


def test_every_image_is_another_of_the_same_size_and_the_rest_is_kept(
    sysu_root: Path, tmp_path: Path
) -> None:
    marker = ".vireid-synthetic.json"
    source = tmp_path / "source"
    shutil.copytree(sysu_root, source, ignore=shutil.ignore_patterns(".vireid"))
    (source / marker).write_text('{"seed": 5}')
    data = load_dataset("sysu", source)
    write_as_other_cameras(source, tmp_path / "out")
    other = load_dataset("sysu", tmp_path / "out")
    assert [s.path for s in other.samples] == [s.path for s in data.samples]
    assert json.loads((tmp_path / "out" / marker).read_text()) == {"seed": 5, "cameras": "others"}
    for sample in data.samples[::20]:
        before, after = (Image.open(root / sample.path) for root in (source, tmp_path / "out"))
        assert before.size == after.size
        assert np.abs(np.asarray(before, float) - np.asarray(after, float)).mean() > 2
    # Made by another program meanwhile: kept, and nothing is left beside it.
    with pytest.raises(InputError, match=r"out' can't be written: .* Is another program writing"):
        write_as_other_cameras(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
