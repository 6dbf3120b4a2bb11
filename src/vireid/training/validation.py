"""The evaluation on validation identities that `train` runs between epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset
    from vireid.methods import Method


def check_validation(data: Dataset) -> None:
    """Find out before the first epoch whether there is anything to evaluate.

    Raises:
        InputError: the data set has no validation identities, or no query of them has a match.
    """
    from vireid.data import ProtocolOptions
    from vireid.data.matches import count_matches

    if not len(data.parts["val"]):
        raise InputError(
            f"'{data.root}' has no validation identities, which `eval_every` and `select` val "
            "need. Leave them out."
        )
    found = count_matches(data, ProtocolOptions(part="val"))
    if not found.matched:
        raise InputError(
            f"`eval_every` and `select` val need validation queries with a match. {found}"
        )


def validation(
    data: Dataset, store: PixelStore, *, precision: str
) -> Callable[[Method, int], dict[str, float]]:
    """A function of (method, finished epochs) that returns named fractions on the validation
    identities: the metrics that are `in_brief`, of each test embedding.

    Raises:
        InputError: see `check_validation`.
    """
    check_validation(data)
    import numpy as np

    from vireid.data import ProtocolOptions, rows_of, trials
    from vireid.embed import Embedder
    from vireid.evaluation import METRICS, search_trials
    from vireid.evaluation.measures import PERCENT

    drawn = trials(data, ProtocolOptions(part="val"))
    rows = rows_of(drawn)
    metrics = {name: m for name, m in METRICS.items() if m.in_brief and m.unit == PERCENT}

    def run(method: Method, epoch: int) -> dict[str, float]:
        embedder = Embedder(method, {"size": list(store.size)}, precision=precision)
        values: dict[str, list[float]] = {}
        embeddings = embedder.embed_store(store, data, rows)
        for search in search_trials(data, drawn, embeddings, rows):
            for name, metric in metrics.items():
                value = metric.of(search.scores)
                values.setdefault(f"{search.name}_{name}", []).append(value)
        return {name: float(np.mean(of_trials)) for name, of_trials in values.items()}

    return run
