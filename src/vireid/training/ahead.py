"""What of a run can be refused before there are data and a network. PyTorch and timm are imported
only to look for a GPU or for an unusual network's name, and to try weights and code of the user's
own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vireid.config import to_plain
from vireid.console import count_text
from vireid.extras import has_triton, require
from vireid.models.families import is_usual
from vireid.models.shipped import check_start
from vireid.own_code import code_in
from vireid.problems import Problems
from vireid.runtime.device import resolve_device
from vireid.runtime.precision import check_precision
from vireid.training.options import TrainOptions
from vireid.types import InputError

if TYPE_CHECKING:
    import torch

SHORT_RUN = 400  # steps below which preparing costs more than it saves


def check_ahead(
    options: TrainOptions,
    device: str,
    *,
    begun: bool = False,
    own: Literal["build", "run", "leave"] = "build",
) -> None:
    """Refuse what `training.assemble` or the trainer would refuse later.

    Args:
        device: "cpu", "cuda:N", "mps" or, where it isn't looked for yet, "auto".
        begun: the run only goes on, so it needs its first weights no more.
        own: what is done with the network, its first weights where they needn't be fetched, and
            code of the user's own: build them; also run the user's own method on a batch, as
            `Assembly` does later; or leave them, as they were tried before or will be.

    Raises:
        InputError: all that is wrong.
    """
    problems, arch = Problems(), options.model.arch
    with problems:
        if not is_usual(arch):
            from vireid.models.backbone import resolve_arch

            resolve_arch(arch)
    with problems:
        if not begun:
            check_start(options.model)
    with problems:
        if options.recipe.precision == "float16":
            check_precision(options.recipe.precision, _resolved(device))
    with problems:
        if options.engine == "graph" or options.kernels not in ("auto", "eager"):
            import torch

            check_engine(options.engine, options.kernels, torch.device(_resolved(device)))
    with problems:
        if options.tensorboard:
            require("logging")
    if own != "leave" and not problems:
        from vireid.training.own_ahead import check_network, check_own

        with problems:
            if not begun:
                check_network(options.method, options.model, options.method_options)
        with problems:
            if code_in(to_plain(options)):
                check_own(options, device, batch=own == "run")
    problems.tell()


def _resolved(device: str) -> str:
    return resolve_device(None, device) if device == "auto" else device


def check_engine(
    name: str, kernels: str, device: torch.device, *, steps: int = SHORT_RUN, host_reads: str = ""
) -> str:
    """Refuse an engine or kernels that can't be had on `device`; needs no network.

    Args:
        name, kernels, steps, host_reads: as in `build_engine`; what isn't known yet may be left
            out.

    Returns:
        Why the step runs eagerly, if that can be told without trying; else "".

    Raises:
        InputError: they can't.
    """
    reason = _why_eager(name, device, steps if kernels == "auto" else SHORT_RUN, host_reads)
    if kernels in ("auto", "eager"):
        return reason
    if reason or name == "compiled":
        instead = f"eagerly ({reason})" if reason else "compiled, as `engine` says"
        raise InputError(
            f"`kernels` {kernels} works only where the step is captured as a CUDA graph; here it "
            f"runs {instead}. Use `kernels` auto."
        )
    if not has_triton():
        raise InputError(
            f"`kernels` is {kernels}, which needs Triton, and that isn't installed. Install it, or "
            "use `kernels` auto."
        )
    return reason


def _why_eager(name: str, device: torch.device, steps: int, host_reads: str) -> str:
    """Why the step runs eagerly, if that can be told without trying; else "".

    Raises:
        InputError: "graph" was asked for and can't work.
    """
    if name == "eager":
        return "as asked"
    if name == "graph" and device.type != "cuda":
        raise InputError(
            f"Engine 'graph' needs a CUDA GPU; the device is '{device}'. Use `engine` auto."
        )
    reads = f"{host_reads}, which a captured step can't do"
    if name == "graph" and host_reads:
        raise InputError(
            f"Engine 'graph' doesn't work: {reads}. Replace that by operations on tensors, such "
            "as torch.where, or use `engine` auto."
        )
    if name != "auto":
        return ""
    if host_reads:
        return reads
    if device.type != "cuda":
        return f"the device is {device}"
    if steps >= SHORT_RUN:
        return ""
    return f"{count_text(steps, 'step is', 'steps are')} too few to pay for compiling"
