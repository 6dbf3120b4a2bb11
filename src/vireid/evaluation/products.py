"""Similarities of rows on the processor, by the faster of two matrix products.

NumPy's library (OpenBLAS) is usually the faster one, but not where OPENBLAS_CORETYPE makes it run
the kernels of another processor; PyTorch's always looks at the processor itself.
"""

from __future__ import annotations

import os

import numpy as np
import torch


def product(left: np.ndarray, right: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`left @ right.T` in float32.

    Args:
        left: (n, D); right: (m, D): any float type; float32 is not copied.
        out: (n, m) float32 to write to, if given.

    Returns:
        (n, m) float32.
    """
    if _numpy_is_hindered():
        into = None if out is None else torch.from_numpy(out)
        return torch.mm(_tensor(left), _tensor(right).T, out=into).numpy()
    left, right = (side.astype(np.float32, copy=False) for side in (left, right))
    return np.matmul(left, right.T, out=out)


def _numpy_is_hindered() -> bool:
    return "OPENBLAS_CORETYPE" in os.environ


def _tensor(array: np.ndarray) -> torch.Tensor:
    # a memory-mapped part is copied: PyTorch has no tensors that must not be written
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
