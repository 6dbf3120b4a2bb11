"""import-weights, export-weights: to and from the published code's checkpoints."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step
from vireid.console import choose, say
from vireid.files import check_folder
from vireid.methods import ALIASES
from vireid.types import InputError


def import_weights(file: Path, /, *, method: str | None = None, out: Path | None = None) -> int:
    """Turn a checkpoint of the published MCLNet or AGW code into weights of vireid.

    No code in the file is run. The two unused copies of ResNet-50 in it are dropped.

    Args:
        file: the published checkpoint (.t or .pth).
        method: mcl, agw or base: what reports call these weights (default: mcl where the network
            has non-local blocks, since the MCLNet and AGW codes write the same tensors; else
            base).
        out: file to write (default: beside it, ending in .safetensors).
    """
    from vireid.embed import Embedder
    from vireid.methods.published import import_published

    target = out or file.with_suffix(".safetensors")
    _check_new(target)
    name = None
    if method is not None:
        name = choose("method", method, ("base", "agw", "mcl"), aliases=ALIASES)
    imported = import_published(file, name).eval()
    Embedder(imported, {}, device="cpu").save(target)
    count = sum(p.numel() for p in imported.model.parameters()) / 1e6
    say(f"Method {imported.name}, {count:.1f} M parameters.")
    next_step(target, f"vireid test --resume {target} --dataset sysu --data-root DIR")
    return 0


def export_weights(
    run: Path,
    /,
    *,
    format: str = "published",
    method: str | None = None,
    out: Path | None = None,
) -> int:
    """Write a run's weights in another program's format.

    Args:
        run: a run's folder or a weights file.
        format: published (a checkpoint that the published MCLNet or AGW code loads).
        method: path/to/my.py:MyMethod, where the weights are of a method of your own.
        out: file to write (default: published.t in the run's folder).
    """
    from vireid.methods.published import export_published
    from vireid.weights import load_weights

    choose("format", format, ("published",))
    built, _ = load_weights(run, method)
    target = out or (run if run.is_dir() else run.parent) / "published.t"
    _check_new(target)
    export_published(built, target)
    next_step(target, f"vireid import-weights {target} --out FILE   (reads it back)")
    return 0


def _check_new(target: Path) -> None:
    if target.exists():
        raise InputError(f"'{target}' exists already. Remove it or name another with --out.")
    check_folder(target.parent, f"'{target.name}'")
