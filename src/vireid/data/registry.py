"""From a data set's name and folder to a checked `Dataset`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

from vireid.console import choose
from vireid.data import published
from vireid.data.protocol import Dataset, check_usable
from vireid.types import InputError

# name → module with `load(root, *, trial, split_seed, camera_pattern) -> Dataset`
DATASETS = {
    "sysu": "vireid.data.sysu_mm01:load",
    "regdb": "vireid.data.regdb:load",
    "llcm": "vireid.data.llcm:load",
    "folder": "vireid.data.folder:load",
}
ALIASES = {"sysu-mm01": "sysu", "sysumm01": "sysu", "own": "folder", "csv": "folder"}


def find_root(name: str, root: str | Path | None) -> Path:
    """The folder of data set `name`: `root`, else `$VIREID_DATA/<name>`.

    Raises:
        InputError: neither is given, or the folder does not exist.
    """
    if root is None:
        base = os.environ.get("VIREID_DATA")
        if not base:
            raise InputError(
                f"No folder was given for the data set '{name}'. Pass --data-root FOLDER, or set "
                f"the environment variable VIREID_DATA to a folder that contains '{name}'."
            )
        root = Path(base) / name
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(
            f"The data root '{root}' does not exist. Expected the folder of the data set "
            f"'{name}'; pass it with --data-root."
        )
    return root


def recognise(root: str | Path) -> str:
    """The name of the data set that a folder is laid out as.

    Raises:
        InputError: the folder does not exist.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(f"There is no folder '{root}'. Give the folder of a data set.")
    if any((root / f"cam{n}").is_dir() for n in range(1, 7)) or published.exist(root):
        return "sysu"
    if (root / "idx" / "train_vis.txt").exists() or (root / "test_vis").is_dir():
        return "llcm"
    if (root / "idx").is_dir():
        return "regdb"
    return "folder"


def find_loader(name: str) -> tuple[str, Callable[..., Dataset]]:
    """A data set's legal name and its loader.

    Raises:
        InputError: there is no such data set.
    """
    name = choose("data set", name, list(DATASETS), aliases=ALIASES)
    module, function = DATASETS[name].split(":")
    return name, getattr(importlib.import_module(module), function)


def load_dataset(
    name: str,
    root: str | Path | None,
    *,
    trial: int = 1,
    split_seed: int = 0,
    camera_pattern: str | None = None,
) -> Dataset:
    """Read the list of images, identities, cameras and parts of a data set.

    Args:
        name: sysu, regdb, llcm or folder.
        root: its folder (for `folder` also a CSV table); None means `$VIREID_DATA/<name>`.
        trial: RegDB's split, 1 to 10; other data sets have one split.
        split_seed: `folder` only, fixes the split by identity where the data give none.
        camera_pattern: `folder` only, a regular expression with one group that finds the camera
            number in an image's file name.

    Raises:
        InputError: the folder is missing or is not laid out as expected, lists contradict each
            other, a modality has no image, or an identity is both trained on and tested.
    """
    name, load = find_loader(name)
    dataset = load(
        find_root(name, root), trial=trial, split_seed=split_seed, camera_pattern=camera_pattern
    )
    check_usable(dataset)
    return dataset
