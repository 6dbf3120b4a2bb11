"""Checks of what a method of the user's own returns, each answered with a sentence."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vireid.methods.base import Method
from vireid.types import Batch, InputError

# What `.item()`, `float(…)`, `if loss > 0` and shapes that depend on values come down to.
_READS = (
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
)

TRIED = 4  # images that are embedded on trial


def check_terms(terms: Any, method: Method) -> None:
    """Check that a method's loss terms are named 0-d tensors that train something.

    Raises:
        InputError: they are something else.
    """
    name = method.name
    if not isinstance(terms, Mapping) or not terms:
        tensor = f"a tensor of shape {tuple(terms.shape)}" if isinstance(terms, Tensor) else ""
        raise InputError(
            f"`terms` of method '{name}' returned {tensor or repr(terms)}; a dict of named loss "
            "terms was expected, such as {'identity': loss}."
        )
    for term, value in terms.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            what = f"tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            problem = f"is a {what}; a 0-d floating tensor was expected"
        elif value.dim():
            problem = f"has shape {tuple(value.shape)}; a 0-d tensor was expected. Take its mean"
        elif not value.requires_grad:
            problem = (
                "has no gradient, so it trains nothing: it is detached, or depends on no parameter "
                "that is trained. Leave it out or remove the `detach`"
            )
        else:
            continue
        raise InputError(f"The loss term '{term}' of method '{name}' {problem}.")


class HostReads(TorchDispatchMode):
    """Notes where a file's code first reads values of tensors on the host."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.place = file, ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in _READS and not self.place:
            line = _last_line(traceback.extract_stack(), self.file)
            self.place = f"line {line.lineno}: {line.line}" if line else "in code that it calls"
        return func(*args, **(kwargs or {}))


def try_method(
    method: Method,
    labels: tuple[Tensor, Tensor, Tensor],
    size: tuple[int, int],
    autocast: AbstractContextManager,
    num_visible: int,
) -> str:
    """Run a method once on a batch of random images, undo that, and check what it returned.

    Args:
        method: in training mode, on its device.
        labels: pid, camera and modality (B,) of a batch as in training, on the device.
        size: (height, width) of the images.
        autocast: sets the number format of the forward pass.
        num_visible: the first so many rows are visible.

    Returns:
        Where its losses read values on the host, which no captured step can do; "" if nowhere.

    Raises:
        InputError: it fails, or breaks the contract of `Method`.
    """
    pid, camera, modality = labels
    device, file = pid.device, inspect.getfile(type(method))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    reads = HostReads(file)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        image = torch.rand(len(pid), 3, *size, device=device)
        try:
            method.epoch_started(0, None)
            with autocast, reads:
                terms = method(Batch(image, pid, camera, modality, num_visible))
            with torch.no_grad():
                vectors = method.eval().embed(image[:TRIED], TRIED // 2)
        except (InputError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            line = _last_line(traceback.extract_tb(error.__traceback__), file)
            where = f" (line {line.lineno} of '{file}')" if line else ""
            raise InputError(
                f"Method '{method.name}' fails on a batch of {len(pid)} images{where}: "
                f"{type(error).__name__}: {error}."
            ) from error
    with torch.no_grad():
        for name, tensor in method.train().state_dict().items():
            tensor.copy_(before[name])
    check_terms(terms, method)
    _check_embeddings(vectors, method)
    return reads.place


def _check_embeddings(vectors: Any, method: Method) -> None:
    names = method.test_embeddings
    if not isinstance(vectors, Mapping) or set(vectors) != set(names):
        what = ", ".join(vectors) if isinstance(vectors, Mapping) else type(vectors).__name__
        raise InputError(
            f"Method '{method.name}' has the test_embeddings {', '.join(names)}, but its `embed` "
            f"returns {what}. Make them the same; `embed` returns a dict of (B, D) tensors."
        )
    for name, value in vectors.items():
        if not isinstance(value, Tensor) or value.dim() != 2 or len(value) != TRIED:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"The embedding '{name}' of method '{method.name}' is {shape} for {TRIED} images; "
                f"a ({TRIED}, D) tensor was expected."
            )


def _last_line(stack: traceback.StackSummary, file: str) -> traceback.FrameSummary | None:
    """The innermost line of `file` in a stack."""
    lines = [frame for frame in stack if Path(frame.filename) == Path(file)]
    return lines[-1] if lines else None
