"""What a file is by its content, where one of weights was expected; without PyTorch."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Literal

from vireid.models.options import ENDINGS

# What PyTorch raises on files that are damaged or something else.
DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, OSError, TypeError, AttributeError,
    AssertionError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def describe_file(path: Path) -> str:
    """What a file is that should have been weights of ours, as the rest of a sentence on it; ""
    if that can't be told."""
    try:
        kind, sentence = recognise(path)
    except DAMAGED:
        return ""
    if kind == "torch":
        return (
            "is a PyTorch file, not weights of vireid. `vireid import-weights FILE` makes them of "
            "a checkpoint of the published codes, and of one in a run's folder."
        )
    return sentence


# What a file begins with → what it is.
_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
}  # fmt: skip
_OTHERS = {b"\x89HDF": "an HDF5 file, as Keras writes them", b"\x93NUMPY": "a NumPy array"}
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
_MOST_COMPRESSED = 2**28  # bytes by which a PyTorch file may grow when it is read
_POINTER = b"version https://git-lfs"


def recognise(path: Path) -> tuple[Literal["torch", "safetensors", ""], str]:
    """What a file is by its content: what reads it, or the rest of a sentence on what it is."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        return "", (
            "is a saved web page, not weights: the download led to a page, such as a warning or a "
            "login. Open the link in a browser, fetch the file itself and compare its size."
        )
    if head.startswith(_POINTER):
        size = re.search(rb"\nsize (\d{1,15})", head)
        mebibytes = f" ({int(size[1]) / 2**20:,.0f} MiB)" if size else ""
        return "", (
            f"is a Git-LFS pointer: a few lines of text in the place of the file itself{mebibytes}."
            " Run `git lfs pull` in its repository, or fetch the file from its web page."
        )
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive or head[257:262] == b"ustar":
        return "", f"is {archive or 'a tar archive'}. Unpack it and name the file of weights in it."
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return "", f"is {name}. A PyTorch or safetensors file was expected."
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        return _recognise_zip(path)
    if head.startswith(b"\x80"):  # a pickle
        return "torch", ""
    if _is_text(head):
        return "", "is text, not weights. A PyTorch or safetensors file was expected."
    return ("safetensors" if head[8:9] == b"{" or path.suffix == ".safetensors" else ""), ""


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so is one of words; a character may be cut in two at the end."""
    text = head.decode("utf-8", "ignore")
    whole = len(head) - len(text.encode()) < 4
    return bool(text) and whole and all(c.isprintable() or c.isspace() for c in text)


def _recognise_zip(path: Path) -> tuple[Literal["torch", ""], str]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        unpacked = sum(entry.file_size for entry in archive.infolist())
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner:
        return "", (
            "is a TorchScript program, which is code. Save its state dict with the code that made "
            "it."
        )
    if "data.pkl" in inner:
        if unpacked > path.stat().st_size + _MOST_COMPRESSED:  # PyTorch itself compresses nothing
            return "", (
                f"is a PyTorch file that somebody has compressed, and unpacks to "
                f"{unpacked / 2**30:,.1f} GiB. Take the file as it was."
            )
        return "torch", ""
    names.sort(key=lambda name: not name.lower().endswith(ENDINGS))
    listed = ", ".join(name[:120] for name in names[:3]) + (" …" if len(names) > 3 else "")
    return "", (
        f"is a zip archive that is no checkpoint; it holds {listed or 'nothing'}. Unpack it and "
        "name the file of weights in it."
    )
