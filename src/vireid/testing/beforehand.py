"""The data of a test, listed and looked at before an image is decoded: of weights that are there,
and of runs that are still to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vireid.data.registry import load_dataset
from vireid.testing.options import TestOptions
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset, SearchOptions
    from vireid.testing.searches import Asked


def names_of_data(
    dataset: str, options: TestOptions, trial: int, trained: dict[str, Any]
) -> dict[str, Any]:
    """What `load_dataset` is given; the same names are the same data.

    Args:
        dataset: that is tested on, by its valid name.
        trained: what the weights say of their training; `options` go before it.
    """
    own = trained if dataset == trained.get("dataset") else {}
    return {
        "name": dataset, "root": options.data_root or own.get("data_root"), "trial": trial,
        "camera_pattern": options.camera_pattern or own.get("camera_pattern"),
        "intensity_range": options.intensity_range or own.get("intensity_range"),
        "junk": options.junk or tuple(own.get("junk", ())),
        "sensor_cameras": options.sensor_cameras or own.get("sensor_cameras", False),
    }  # fmt: skip


def list_data(dataset: str, options: TestOptions, asked: Asked, trained: dict[str, Any]) -> Dataset:
    """The data of a test of weights.

    Raises:
        InputError: data that can't be used, or people that the weights were trained on.
    """
    from vireid.training.seen import refuse_seen_people

    data = load_dataset(**names_of_data(dataset, options, asked.trial, trained))
    own = dataset == trained.get("dataset")
    refuse_seen_people(trained, data, asked.searches[0].part, own=own)
    return data


def check_searches(data: Dataset, searches: Sequence[SearchOptions]) -> None:
    """Refuse searches that would measure nothing.

    Raises:
        InputError: one has no queries, no gallery or no match, or its official draw can't be had.
    """
    from vireid.data import trials
    from vireid.data.matches import count_matches

    for search in searches:
        trials(data, search)
        found = count_matches(data, search)
        if not found.matched:
            raise InputError(str(found))
