"""How much of the modality is left in embeddings: a linear probe."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from vireid.types import InputError, Modality

_FOLDS = 5
_L2 = 1e-2  # on standardised features; vectors of length 1 are separable by chance otherwise


def modality_probe(vectors: np.ndarray, modality: np.ndarray, pids: np.ndarray) -> float:
    """Accuracy with which a linear probe tells visible from infrared vectors.

    A logistic regression on four fifths of the identities, tested on the others, in turn; both
    modalities weigh the same, so that guessing gives 0.5.

    Args:
        vectors: (N, D).
        modality, pids: (N,).

    Raises:
        InputError: fewer than five identities, or one modality only.
    """
    infrared = np.asarray(modality) == Modality.INFRARED
    people = np.unique(pids)
    if len(people) < _FOLDS or infrared.all() or not infrared.any():
        raise InputError(
            f"A probe of the modality needs both modalities and at least {_FOLDS} identities; "
            f"{len(people)} identities with {int(infrared.sum())} infrared and "
            f"{int((~infrared).sum())} visible images were given."
        )
    fold_of = dict(zip(people.tolist(), np.arange(len(people)) % _FOLDS))
    fold = np.array([fold_of[pid] for pid in np.asarray(pids).tolist()])
    told = np.zeros(len(infrared), dtype=bool)
    for number in range(_FOLDS):
        train, test = fold != number, fold == number
        x = vectors[train].astype(np.float64)
        mean, scale = x.mean(0), x.std(0) + 1e-12
        weights, bias = _logistic((x - mean) / scale, infrared[train])
        told[test] = ((vectors[test] - mean) / scale @ weights + bias > 0) == infrared[test]
    return float((told[infrared].mean() + told[~infrared].mean()) / 2)


def _logistic(x: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias of a logistic regression in which both classes weigh the same."""
    sign = np.where(positive, 1.0, -1.0)
    share = np.where(positive, 0.5 / max(positive.sum(), 1), 0.5 / max((~positive).sum(), 1))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = sign * (x @ weights + bias)
        slope = -sign * share / (1 + np.exp(np.clip(margin, -500, 500)))
        value = (share * np.logaddexp(0, -margin)).sum() + _L2 / 2 * weights @ weights
        return value, np.append(x.T @ slope + _L2 * weights, slope.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B")
    return found.x[:-1], float(found.x[-1])
