"""Where compiled code is kept, and that another processor draws the same images."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from vireid.synthetic import jit


@pytest.fixture(autouse=True)
def _afresh():
    jit.cache_folder.cache_clear()
    yield
    jit.cache_folder.cache_clear()


def test_a_folder_that_the_user_gave_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "here"))
    assert jit.cache_folder().parent == tmp_path / "here"


def test_unwritable_places_fall_back(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert jit.cache_folder().parent.name == "__pycache__"
    jit.cache_folder.cache_clear()
    monkeypatch.setattr(jit, "_is_writable", lambda folder: False)
    assert jit.cache_folder().is_relative_to(tempfile.gettempdir())


def test_the_folder_is_named_after_the_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "_HERE", tmp_path)
    names = set()
    for text in ("a = 1\n", "a = 2\n"):
        (tmp_path / "people").mkdir(exist_ok=True)
        (tmp_path / "people/one.py").write_text(text)
        jit.cache_folder.cache_clear()
        names.add(jit.cache_folder().name)
    assert len(names) == 2


WRITE = """
import sys
from vireid.synthetic import write_dataset
write_dataset(sys.argv[1], identities=4, images=2, workers=1, progress=False, seed=9)
"""


@pytest.mark.long
def test_another_processor_draws_nearly_the_same(tmp_path):
    """An older processor is played by switching off what newer ones can do."""
    older = {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX AVX512_ICL X86_V3 X86_V4",
        "OPENCV_CPU_DISABLE": "AVX,AVX2,FMA3",
    }
    for name, extra in (("new", {}), ("old", older)):
        command = [sys.executable, "-c", WRITE, str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, **extra}, check=True, capture_output=True)
    pixels = beyond = 0
    for path in sorted((tmp_path / "new").glob("cam*/*/*.jpg")):
        other = tmp_path / "old" / Path(path).relative_to(tmp_path / "new")
        a, b = (cv2.imread(str(p)).astype(int) for p in (path, other))
        difference = np.abs(a - b).max(2)
        pixels += difference.size
        beyond += int((difference > 2).sum())
    assert pixels > 0
    assert beyond / pixels < 0.001
