"""The evaluation on validation identities that `train` runs between epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset
    from vireid.methods import Method


def validation(
    data: Dataset, store: PixelStore, *, precision: str
) -> Callable[[Method, int], dict[str, float]]:
    """A function of (method, finished epochs) that returns named fractions on the validation
    identities: Rank-1, mAP and mINP of each test embedding.

    Raises:
        InputError: the data set has no validation identities.
    """
    if not len(data.parts["val"]):
        raise InputError(
            f"'{data.root}' has no validation identities, which --eval-every and "
            "--select val need. Leave these flags out."
        )
    import numpy as np

    from vireid.data import ProtocolOptions, trials
    from vireid.embed import Embedder
    from vireid.evaluation import evaluate

    options = ProtocolOptions(part="val")
    drawn = trials(data, options)
    rows = np.unique(np.concatenate([np.concatenate([t.query, t.gallery]) for t in drawn]))

    def run(method: Method, epoch: int) -> dict[str, float]:
        embedder = Embedder(method, {"size": list(store.size)}, precision=precision)
        report = evaluate(data, options, embedder.embed_store(store, data, rows), rows, context={})
        plain = report.to_plain()
        return {
            f"{which}_{metric}": plain[which][metric]["mean"]
            for which in method.test_embeddings
            for metric in ("rank1", "mean_ap", "mean_inp")
        }

    return run
