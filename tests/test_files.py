"""Damaged safetensors files are refused in words for whoever has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vireid.embed import load_embeddings
from vireid.models.foreign import load_foreign
from vireid.types import InputError


def test_what_is_wrong_with_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "people.safetensors"
    save_file({"a": np.zeros((5, 5), np.float32)}, path)
    good = path.read_bytes()
    damaged = "its header is damaged"
    for content, wrong in {
        b"": "it is empty",
        good[:5]: "it is cut short",
        good[:30]: "it is cut short",
        good[:-10]: f"it is cut short ({len(good) - 10} of {len(good)} bytes)",
        b"\x89" * 99: "it doesn't begin as one",
        good[:9] + b"\xff" + good[10:]: damaged,
        good.replace(b"[5,5]", b"[5,6]"): damaged,
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            load_embeddings(path)
        assert str(error.value) == (
            f"'{path}' is not a whole embeddings file: {wrong}. Write it again with `vireid embed`."
        )
        with pytest.raises(InputError, match=r"safetensors|Pointer|readable"):
            load_foreign(path)
