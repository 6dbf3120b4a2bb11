"""From the labels of a list to identities that are the same in every list of the data set."""

from __future__ import annotations

from pathlib import PurePosixPath

from vireid.data.listing import ListedImage
from vireid.types import InputError


def identities_of(images: list[ListedImage], where: str) -> dict[int, int]:
    """Label → identity, the number that names the images' folder.

    Each list numbers its identities from 0, so that a label means one person in the training list
    and another one in the test list; the folders' names are the same in both.

    Args:
        where: the list, for messages.

    Raises:
        InputError: an image's folder is not a number, or labels and folders disagree.
    """
    pid_of: dict[int, int] = {}
    label_of: dict[int, int] = {}
    for image in images:
        name = PurePosixPath(image.path).parent.name
        if not (name.isascii() and name.isdigit() and len(name) <= 9):
            raise InputError(
                f"{where}: the image '{image.path}' is not in a folder named by its identity's "
                "number. Expected paths such as 'Visible/17/name.bmp'."
            )
        pid = int(name)
        if pid_of.setdefault(image.label, pid) != pid:
            raise InputError(
                f"{where}: label {image.label} stands for the folders {pid_of[image.label]} and "
                f"{pid} ('{image.path}'). One label is one identity; correct the list."
            )
        if label_of.setdefault(pid, image.label) != image.label:
            raise InputError(
                f"{where}: folder {pid} has the labels {label_of[pid]} and {image.label} "
                f"('{image.path}'). One identity has one label; correct the list."
            )
    return pid_of
