"""Whether weights, or those that they started from, have seen people whom they are tested on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from vireid.console import count_text
from vireid.data import Dataset
from vireid.data.identities import trained_on
from vireid.data.protocol import read_marker
from vireid.models.hub import cached_weights, on_hub
from vireid.models.pretrained import weights_file
from vireid.types import InputError
from vireid.weights import read_weights


def refuse_seen_people(trained: dict[str, Any], data: Dataset, part: str, *, own: bool) -> None:
    """Numbers on people that were trained on mean nothing.

    Synthetic people of one seed are the same people in every set made with it.

    Args:
        trained: the options and metadata of the weights.
        part: of the data that is to be searched.
        own: the data set is the one that the weights were trained on.

    Raises:
        InputError: they saw some of those people.
    """
    if own:
        refuse_fitted_part(trained.get("part", "fit"), part)
    for number, training in enumerate(trained_on(trained)):
        if seen := training.seen_in(data, part):
            whose = "These weights" if number == 0 else "The weights that these started from"
            raise InputError(
                f"{whose} were trained on {count_text(len(seen), 'identity', 'identities')} of "
                f"those that would be searched for in '{data.root}': {data.names_of(seen)}. Their "
                "numbers would be too high. Test on the split that was trained on, or on people "
                "that the weights haven't seen."
            )
    made = data.synthetic
    if made is None or made == _trained_set(trained):
        return  # real people; or the set that was trained on, whose test people were left out
    if made["seed"] in _seen_seeds(trained):
        raise InputError(
            f"'{data.root}' was made with the seed {made['seed']}, and so were the people that "
            "these weights were trained on, or those that they started from. Make a set with "
            "another seed."
        )


def refuse_fitted_part(trained: str, part: str) -> None:
    """The validation identities are searched only where they weren't trained on.

    Args:
        trained: "train" or "fit", the part of a data set that weights were trained on.
        part: of the same data set, that is to be searched.

    Raises:
        InputError: they were trained on.
    """
    if part == "val" and trained != "fit":
        raise InputError(
            "These weights were trained on the validation identities too, so `part` val would "
            "test people that they have seen. Train with `select` val or held-out."
        )


def _trained_set(trained: dict[str, Any]) -> dict[str, Any] | None:
    """The parameters of the synthetic set that weights were trained on, if it was one."""
    if trained.get("synthetic") is not None or not trained.get("data_root"):
        return trained.get("synthetic")
    return read_marker(Path(trained["data_root"]))


def _seen_seeds(trained: dict[str, Any], before: tuple[Path, ...] = ()) -> set[int]:
    """Seeds of all synthetic people that weights, or those they started from, were trained on.

    Args:
        before: the files on the way to these weights, should one have started from itself.
    """
    own = _trained_set(trained)
    sets = [own] if own else []
    sets += trained.get("trained_on", {}).values()  # the shipped network names several
    seeds = {one["seed"] for one in sets}
    start = trained.get("model", {}).get("pretrained", "none")
    with contextlib.suppress(InputError):  # gone, or of another program: saw none of our people
        # What a file names is not fetched for it.
        source = cached_weights(start) if on_hub(start) else weights_file(start)
        if source is not None and source.suffix == ".safetensors" and source not in before:
            seeds |= _seen_seeds(read_weights(source)[1], (*before, source))
    return seeds
