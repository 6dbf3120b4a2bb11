"""Reading folders of images and lists of identities, with every mistake as a sentence."""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vireid.types import InputError

# What the decoder reads (`vireid.data.decoding`), by the endings in use.
IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".avif",
)  # fmt: skip
# Images all the same, of phones, cameras and editors, which it doesn't read.
OTHER_ENDINGS = (
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".tga", ".psd", ".xcf", ".ico", ".pcx", ".pfm",
    ".exr", ".hdr", ".svg", ".eps", ".raw", ".dng", ".nef", ".arw", ".cr2", ".cr3", ".orf", ".raf",
    ".rw2", ".fff", ".seq", ".jps", ".mpo", ".ras", ".sgi", ".xpm",
)  # fmt: skip
# What stands behind an image's ending where the file itself isn't there: cloud drives, unfinished
# downloads, links of Windows.
_STAND_INS = (
    ".icloud", ".cloud", ".cloudf", ".placeholder", ".crdownload", ".part", ".partial", ".download",
    ".filepart", ".!ut", ".lnk", ".url", ".gdoc",
)  # fmt: skip
# What editors, downloads and compression put behind an image's ending.
_COPIES = ("~", ".bak", ".old", ".orig", ".tmp", "_original", ".1", ".gz", ".bz2", ".xz")
# What may hold many images.
_CONTAINERS = (
    ".zip", ".tar", ".tgz", ".rar", ".7z", ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mts",
    ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".h264", ".h265", ".dav",
)  # fmt: skip
# Folders that network drives, bins and archives leave beside images, full of copies.
_SYSTEM_FOLDERS = {
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "__macosx", "lost+found", "system volume information",
}  # fmt: skip
OUR_FOLDER = ".vireid"  # with decoded images


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image that isn't hidden."""
    return name.lower().endswith(IMAGE_ENDINGS) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or of the system: .git, ._0001.jpg, @eaDir."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name; nothing where it is absent.

    Raises:
        InputError: it can't be read, or a name can't be written to tables.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"The folder '{folder}' cannot be read: {error.strerror or error}. Check its rights."
        ) from error
    for entry in found:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The name {entry.name!r} in '{folder}' is not UTF-8 text. Rename the file."
            ) from error
    return found


def image_names(folder: Path) -> list[str]:
    """Sorted names of the images in `folder`; none where the folder is absent.

    Hidden files (.DS_Store, ._0001.jpg), Thumbs.db and other files that aren't images are
    skipped; endings may be upper-case.
    """
    return [e.name for e in scan(folder) if is_image_name(e.name) and _is_file(Path(e.path))]


def folder_names(folder: Path) -> list[str]:
    """Sorted names of the folders in `folder` that are not hidden; none where it is absent."""
    return [e.name for e in scan(folder) if not is_hidden(e.name) and _leads_to_folder(e)]


@dataclass(kw_only=True)
class Walk:
    """The images below a folder, and what was passed over.

    Attributes:
        images: paths relative to the folder, with forward slashes, sorted.
        passed_over: why → the files or folders, in order.
        again: linked folders that had been read by another path.
    """

    images: list[str] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence for each reason: how many, one of them, and why."""
        again = {"folders that a link leads to again, and are read once": self.again}
        reasons = (self.passed_over | again).items()
        return [left_out(reason, paths) for reason, paths in reasons if paths]


def left_out(reason: str, paths: list[str]) -> str:
    """A note on files that nobody reads."""
    return f"Left out: {reason} ({len(paths):,}), such as '{paths[0][:200]}'."


def walk(root: str | Path) -> Walk:
    """Every image in a folder and the folders below it; what is hidden is passed over.

    Linked folders are followed, each real folder once: links to a folder that is read anyway,
    also to one above, add nothing.

    Raises:
        InputError: there is no such folder, it can't be read, or a name isn't UTF-8.
    """
    if os.path.isfile(root):
        raise InputError(f"'{root}' is a file; a folder was expected.")
    if not os.path.isdir(root):
        from vireid.console import path_meant

        raise InputError(f"There is no folder '{root}'.{path_meant(root, Path.is_dir)}")
    found, start = Walk(), os.path.join(root, "")
    read: set[tuple[int, int]] = set()
    links = deque([""])
    while links:  # after all folders that are there without a link
        folders = [links.popleft()]
        while folders:
            folder = folders.pop()
            status = os.stat(start + folder)
            if (status.st_dev, status.st_ino) in read:
                found.again.append(folder[:-1])
                continue
            read.add((status.st_dev, status.st_ino))
            for entry in scan(start + folder):
                _sort_in(entry, folder + entry.name, found, folders, links)
    for paths in (found.images, found.again, *found.passed_over.values()):
        paths.sort()
    return found


def _sort_in(
    entry: os.DirEntry[str], path: str, found: Walk, folders: list[str], links: deque[str]
) -> None:
    """Put one entry of a folder where it belongs."""

    def pass_over(reason: str) -> None:
        found.passed_over.setdefault(reason, []).append(path)

    name = entry.name.lower()
    if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and _leads_to_folder(entry)):
        if is_hidden(name):
            if name != OUR_FOLDER:
                pass_over("hidden or system folders")
        else:
            (links if entry.is_symlink() else folders).append(path + "/")
    elif name.endswith(_STAND_INS):
        if name.rpartition(".")[0].endswith(IMAGE_ENDINGS + OTHER_ENDINGS):
            pass_over("placeholders and unfinished downloads of images")
    elif is_hidden(name):
        return
    elif entry.is_symlink() and not _is_file(Path(entry.path)):
        pass_over("links that lead nowhere")
    elif name.endswith(OTHER_ENDINGS):
        pass_over("images of a kind that isn't read")
    elif name.endswith(_CONTAINERS):
        pass_over("videos and archives, which aren't opened")
    elif (ending := next(filter(name.endswith, _COPIES), "")) and name.removesuffix(
        ending
    ).endswith(IMAGE_ENDINGS + OTHER_ENDINGS):
        pass_over("copies and compressed files of images")
    elif name.endswith(IMAGE_ENDINGS):
        found.images.append(path)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def identity_folders(folder: Path) -> Iterator[tuple[int, str]]:
    """(identity, name) of each folder in `folder` whose name is a number."""
    for name in folder_names(folder):
        if name.isascii() and name.isdigit():
            yield int(name), name


def read_text(path: Path, what: str) -> str:
    """A text file in UTF-8, or in UTF-16 as spreadsheets and PowerShell write it.

    Args:
        what: what the file is, for messages ("list of test identities").

    Raises:
        InputError: it is missing, unreadable, neither UTF-8 nor UTF-16, or empty.
    """
    try:
        content = path.read_bytes()
        text = content.decode(_encoding(content))
    except FileNotFoundError as error:
        raise InputError(
            f"The {what} '{path}' does not exist. Check that the data root is right and complete; "
            "docs/data.md shows the layout."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"The {what} '{path}' is not UTF-8 or UTF-16 text (byte {error.start}). Save it as "
            "UTF-8."
        ) from error
    except OSError as error:
        raise InputError(
            f"The {what} '{path}' cannot be read: {error.strerror or error}."
        ) from error
    if not text.strip():
        raise InputError(f"The {what} '{path}' is empty. Restore it from the data set.")
    return text


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [byte == 0 for byte in content[:4]]  # of the first two letters
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else "utf-8-sig"


def read_ids(path: Path, what: str) -> list[int]:
    """Identities from a file with one line of comma-separated numbers; sorted.

    Raises:
        InputError: the file is missing or empty, or an entry is not a number or is there twice.
    """
    ids = []
    for entry in re.split(r"[,\s]+", read_text(path, what).strip().strip(",")):
        if not (entry.isascii() and entry.isdigit() and len(entry) <= 9):
            raise InputError(
                f"The {what} '{path}' has the entry '{entry[:40]}'. Expected one line of identity "
                "numbers separated by commas, such as 6,10,17."
            )
        ids.append(int(entry))
    if len(set(ids)) != len(ids):
        twice = next(pid for pid in ids if ids.count(pid) > 1)
        raise InputError(f"The {what} '{path}' has identity {twice} twice. Remove one.")
    return sorted(ids)


class ListedImage(NamedTuple):
    """One line of a list: the image's path relative to the data root and its label."""

    path: str
    label: int


def check_path(path: str, where: str) -> str:
    """A relative path with forward slashes that stays inside its root.

    Args:
        where: file and line, for the message.

    Raises:
        InputError: backslashes, an absolute path, or one that leaves the root.
    """
    if "\\" in path:
        raise InputError(f"{where}: the path '{path}' has a backslash. Write forward slashes.")
    pure = PurePosixPath(path)
    if pure.is_absolute() or re.match(r"^[A-Za-z]:", path) or ".." in pure.parts:
        raise InputError(
            f"{where}: the path '{path}' leads out of the data root. Give paths relative to it."
        )
    if "\0" in path or not pure.parts:
        raise InputError(f"{where}: '{path[:60]!r}' is not a path to an image.")
    return str(pure)


def read_list(path: Path, what: str) -> list[ListedImage]:
    """A list of lines `path label`.

    Raises:
        InputError: the file is missing or empty, a line has another form, its path leads out of
            the root or is listed twice.
    """
    out: list[ListedImage] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path, what).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"Line {number} of '{path}'"
        fields = line.strip().rsplit(maxsplit=1)
        if len(fields) != 2 or not (
            fields[1].isascii() and fields[1].isdigit() and len(fields[1]) <= 9
        ):
            raise InputError(
                f"{where} is '{line[:80]}'. Expected a path and a label from 0, such as "
                "'Visible/1/v_00001.bmp 0'."
            )
        image = check_path(fields[0], where)
        if image in seen:
            raise InputError(
                f"{where} lists '{image}' again (first in line {seen[image]}). Remove one."
            )
        seen[image] = number
        out.append(ListedImage(image, int(fields[1])))
    return out


def check_labels(images: list[ListedImage], where: str) -> None:
    """Labels must be 0, 1, … without a gap.

    Raises:
        InputError: a number is skipped.
    """
    labels = sorted({image.label for image in images})
    missing = next((number for number, label in enumerate(labels) if number != label), None)
    if missing is not None:
        raise InputError(
            f"{where}: labels run to {labels[-1]} but {missing} is missing. Labels number the "
            "identities of the list from 0 without a gap."
        )


def check_exist(root: Path, paths: list[str], where: str) -> None:
    """Every listed image must be a file.

    Raises:
        InputError: some are not; names the first and says how many.
    """
    absent = [path for path in paths if not _is_file(root / path)]
    if absent:
        raise InputError(
            f"{where}: {len(absent)} of {len(paths)} listed images do not exist in '{root}', the "
            f"first is '{absent[0][:200]}'. Check that the data root is right and complete; paths "
            "are relative to it."
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that can't be a file's
        return False
