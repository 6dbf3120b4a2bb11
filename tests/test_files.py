"""Damaged safetensors files are refused in words for whoever has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vireid.data.decoding import ImageError, read_image
from vireid.embed import load_embeddings
from vireid.files import NoPermission, safetensors_fault
from vireid.models.foreign import load_foreign
from vireid.types import InputError


def test_what_is_wrong_with_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "people.safetensors"
    save_file({"a": np.zeros((5, 5), np.float32)}, path)
    good = path.read_bytes()
    refused = "its header is damaged or of a newer version (Error while deserializing header: "
    for content, wrong in {
        b"": "it is empty",
        good[:5]: "it is cut short",
        good[:30]: "it is cut short",
        good[:-10]: f"it is cut short ({len(good) - 10} of {len(good)} bytes)",
        b"\x89" * 99: "it doesn't begin as one",
        good[:9] + b"\xff" + good[10:]: f"{refused}invalid UTF-8",
        good.replace(b"[5,5]", b"[5,6]"): f"{refused}invalid shape",
        good.replace(b"F32", b"X32"): f"{refused}invalid JSON in header: unknown variant 'X32'",
        good + b"more": f"it goes on after its last array ({len(good) + 4} bytes instead of "
        f"{len(good)})",
    }.items():
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            load_embeddings(path)
        told, after = str(error.value), ". Write it again with `vireid embed`."
        begins = f"'{path}' is not a whole embeddings file: {wrong}"
        if refused in wrong:  # the rest is the library's
            assert told.startswith(begins) and told.endswith(f"){after}") and len(told) < 400
        else:
            assert told == f"{begins}{after}"
        with pytest.raises(InputError, match=r"safetensors|Pointer|readable"):
            load_foreign(path)


def test_a_safetensors_file_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library says of it that there is no such file."""

    def refuse(*args, **options):  # root, whom tests may run as, may read all
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(NoPermission, match=r"a\.safetensors' can't be used: Permission denied\."):
        safetensors_fault(tmp_path / "a.safetensors", FileNotFoundError("No such file"))
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("vireid.models.foreign.recognise", refuse)
    with pytest.raises(NoPermission):
        load_foreign(tmp_path / "a.safetensors")
    with pytest.raises(ImageError, match=r"a\.safetensors' can't be used: Permission denied\."):
        read_image(tmp_path / "a.safetensors")
