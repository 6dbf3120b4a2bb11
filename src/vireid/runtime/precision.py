"""Which number format a step computes in, and why. PyTorch is imported only where it is asked for
something: names are checked without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vireid.types import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A number format for convolutions and matrix products; weights stay in float32.

    Attributes:
        name: "bfloat16", "float16" or "float32".
        dtype: what autocast computes in.
        scaled: losses are scaled so that small float16 gradients don't vanish.
        why: a sentence for the user.
    """

    name: str
    dtype: torch.dtype
    scaled: bool
    why: str

    def autocast(self, device: torch.device) -> torch.autocast:
        """A context in which the network computes in this format. Its weight cache is off: a
        cache would outlive one capture of a graph."""
        import torch

        return torch.autocast(
            device.type,
            dtype=self.dtype if self.dtype != torch.float32 else None,
            enabled=self.dtype != torch.float32,
            cache_enabled=False,
        )

    @contextmanager
    def convolutions(self) -> Iterator[None]:
        """A context in which float32 means float32: PyTorch's convolutions round to TF32 on a
        GPU unless told otherwise."""
        import torch

        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = before and self.name != "float32"
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name on `device`: "bfloat16", "float16", "float32", or "auto".

    Raises:
        InputError: float16 without a GPU.
    """
    import torch

    check_precision(name, device)
    native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    why = "as asked"
    if name == "auto":
        if native:
            name, why = "bfloat16", "the GPU computes it natively"
        elif device.type == "cuda":
            name, why = "float16", "the GPU has no native bfloat16; losses are scaled"
        else:
            name, why = "float32", f"the device is {device.type}"
    types = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    return Precision(
        name=name, dtype=types[name], scaled=name == "float16", why=f"precision {name}: {why}"
    )


def check_precision(name: str, device: torch.device | str) -> None:
    """Refuse a precision that `device` doesn't compute in; needs no network and leaves a GPU alone.

    Raises:
        InputError: float16 without a GPU.
    """
    if name == "float16" and str(device).partition(":")[0] != "cuda":
        raise InputError(
            f"Precision float16 needs a CUDA GPU; the device is '{device}'. Use `precision` "
            "float32."
        )
