"""Files that are whole or absent: temporary file beside the target, flush, rename."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vireid.types import InputError

_LONGEST_HEADER = 100_000_000  # bytes, of a safetensors file; the library reads no longer one
_LONGEST_REASON = 160  # characters of a library's message


class NotWritten(InputError):
    """A file couldn't be written, perhaps for want of space."""


class NoPermission(InputError):
    """A file or a folder that the user may not use; what is in it can't be at fault."""

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"'{error.filename or path}' can't be used: {error.strerror or error}. Change its "
            "permissions or those of the folders it is in, or name another one."
        )


@contextmanager
def permitted(path: str | Path) -> Iterator[None]:
    """Give what the system forbids while `path` is read the same sentence everywhere.

    Raises:
        NoPermission: names what may not be read.
    """
    try:
        yield
    except PermissionError as error:
        raise NoPermission(path, error) from error


@contextmanager
def atomic_write(target: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `target`; it becomes `target` only if the block succeeds.

    Data are flushed to the disk before the rename, so that after a power cut the target is
    the old file or the new one, never half of either. On any error the temporary file is
    removed and the old target is untouched.

    Raises:
        NotWritten: the folder cannot be written or the disk is full.
    """
    target = Path(target)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
        )
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename not in (
            None,
            str(target),
            str(target.parent),
            temporary,
        ):
            raise  # of another file that the block opens
        raise _unwritable(target, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Give errors of writing without `atomic_write` the same sentence as with it.

    Raises:
        NotWritten: the folder cannot be written or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: str | Path, error: OSError) -> NotWritten:
    return NotWritten(
        f"The file '{target}' could not be written: {error.strerror or error}. What was there "
        "before is untouched. Free some space or name a folder you may write to."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: str | Path) -> None:
    """Make renames in `folder` survive a power cut (a no-op where folders cannot be synced)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse this; the rename itself is still atomic
    finally:
        os.close(handle)


def write_text(target: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(target, "w") as file:
        file.write(text)


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV, with every text made harmless by `csv_cell`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> object:
    """A value that a spreadsheet doesn't take for a formula: a text that begins like one (a file
    may be called `=cmd|…`), perhaps after blanks or in signs of full width, gets an apostrophe
    before it. Numbers stay as they are."""
    if not isinstance(value, str):
        return value
    # what isn't seen before the first sign: blanks, control characters, spaces of no width
    seen = re.sub(r"^[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]+", "", value)
    if not seen.startswith(tuple("=+-@＝＋－＠")) and not value.startswith(("\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_json(target: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    return parse_json(content_of(path), f"The file '{path}'")


def content_of(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: it is missing or can't be read.
    """
    try:
        with permitted(path):
            return Path(path).read_bytes()
    except FileNotFoundError as error:
        from vireid.console import path_meant

        raise InputError(f"There is no file '{path}'.{path_meant(path, Path.is_file)}") from error
    except OSError as error:
        raise InputError(f"The file '{path}' can't be read: {error.strerror or error}.") from error


def parse_json(content: str | bytes, what: str) -> Any:
    """The value of a JSON text, whose numbers are finite and of 64 bits.

    Args:
        content: as text, or as UTF-8.
        what: what holds it, for the message ("The file 'a.json'").

    Raises:
        InputError: it isn't such JSON.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{what} is not readable JSON: {why}.") from error


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"the number {digits[:24]} has more than 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:24]} is not finite")
    return number


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cut_short(size: int, whole: int | None = None) -> str:
    """What is wrong with a file that ends too early.

    Args:
        size: its bytes.
        whole: how many it should have, where that is known.
    """
    if not size:
        return "it is empty"
    return "it is cut short" + (f" ({size:,} of {whole:,} bytes)" if whole else "")


def refused_header(error: Exception) -> str:
    """What is wrong with a file whose header its library refuses, as `error` says."""
    line = str(error).partition("\n")[0].replace("`", "'")  # in ours, backticks mark flags
    if len(line) > _LONGEST_REASON:
        line = f"{line[:_LONGEST_REASON]}…"
    return f"its header is damaged or of a newer version ({line})"


def safetensors_fault(path: Path, error: Exception) -> str:
    """What is wrong with a file that `safetensors` couldn't read, in words for whoever has it; the
    library's are for programmers.

    Raises:
        NoPermission: the user may not read it.
    """
    try:
        with permitted(path):  # the library's doesn't tell why a file can't be opened
            return _safetensors_fault(path, error)
    except OSError as own:
        return own.strerror or str(own)


def _safetensors_fault(path: Path, error: Exception) -> str:
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(9)
        length = int.from_bytes(head[:8], "little")
        text = head.isascii() and head.decode().strip().isprintable()  # not so is a length
        if head[8:] not in (b"", b"{") or (head and text):
            return "it doesn't begin as one"
        if size < 9 or size < 8 + length:
            return cut_short(size)
        if length > _LONGEST_HEADER:
            return refused_header(error)
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in header.items() if name[0] != "_"]
            whole = 8 + length + max(ends)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return refused_header(error)
    if size > whole:
        return f"it goes on after its last array ({size:,} bytes instead of {whole:,})"
    return cut_short(size, whole) if size < whole else refused_header(error)


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that can't be written to before long work is done for it.

    Args:
        folder: it need not exist yet.
        what: what will be written there, for the message ("the run").

    Raises:
        InputError: it is a file, lies in a file, or may not be written to.
    """
    nearest = nearest_there(folder)
    if not nearest.is_dir():
        raise InputError(
            f"'{nearest}' is a file; a folder for {what} was expected. Name another one."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(
            f"The folder '{nearest}' may not be written to, so {what} can't be kept in "
            f"'{folder}'. Name a folder you may write to."
        )


def nearest_there(folder: Path) -> Path:
    """`folder`, or the nearest one around it that exists and that the user may look up."""

    def there(place: Path) -> bool:
        try:
            return place.exists()
        except PermissionError:  # it is in a folder that may not be looked into
            return False

    return next(place for place in (folder, *folder.absolute().parents) if there(place))
