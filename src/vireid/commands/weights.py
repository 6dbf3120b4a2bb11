"""import-weights, export-weights: to and from checkpoints, the published code's and our own."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step
from vireid.console import choose, say
from vireid.files import check_folder
from vireid.methods import ALIASES
from vireid.types import InputError


def import_weights(file: Path, /, *, method: str | None = None, out: Path | None = None) -> int:
    """Convert a checkpoint of the published MCLNet, AGW or DDAG code, or of a run, to weights.

    No code in the file is run. The unused copies of ResNet-50 in a published one are dropped.

    Args:
        file: The published checkpoint (.t or .pth), or a file in RUN/checkpoints.
        method: What reports call these weights: mcl, agw, ddag or base (default: mcl where the
            network has non-local blocks, since the MCLNet and AGW codes write the same tensors;
            ddag where it has part attention; else base). For a run's checkpoint of a method of
            one's own: path/to/my.py:MyMethod.
        out: File to write (default: beside the checkpoint, ending in .safetensors).
    """
    from vireid.embed import import_published
    from vireid.methods.published import IMPORTED
    from vireid.training.epoch import find_checkpoint, load_epoch

    target = out or file.with_suffix(".safetensors")
    if target == file and file.exists():
        raise InputError(f"'{file}' has the ending of what is written. Name the new file by --out.")
    _check_new(target)
    more = ""
    if find_checkpoint(file) is not None:
        embedder = load_epoch(file, method=method, device="cpu")
    else:
        name = None if method is None else choose("method", method, IMPORTED, aliases=ALIASES)
        embedder = import_published(file, "cpu", method=name)
        more = f", {embedder.method.sizes.num_pids} identities"
        if "epoch" in embedder.metadata:
            more += f"; the file says epoch {embedder.metadata['epoch']}"
    embedder.save(target)
    network = embedder.method
    count = sum(p.numel() for p in network.model.parameters()) / 1e6
    say(f"Method {network.name}, {count:.1f} M parameters{more}.")
    next_step(target, f"vireid test --resume {target} --dataset sysu --data-root DIR")
    return 0


def export_weights(
    run: str,
    /,
    *,
    format: str = "published",
    method: str | None = None,
    out: Path | None = None,
) -> int:
    """Write a run's weights in another program's format.

    Args:
        run: A run's folder or a weights file.
        format: Format to write: published, a checkpoint that the published MCLNet, AGW or DDAG
            code loads.
        method: The method of one's own that the weights are of: path/to/my.py:MyMethod.
        out: File to write (default: published.t in the run's folder).
    """
    from vireid.methods.published import export_published
    from vireid.weights import is_shipped, load_weights

    choose("format", format, ("published",))
    weights, _ = load_weights(run, method)
    folder = Path(run)
    if is_shipped(run) or not folder.is_dir():
        folder = folder.parent
    target = out or folder / "published.t"
    _check_new(target)
    export_published(weights, target)
    next_step(target, f"vireid import-weights {target} --out FILE   (reads it back)")
    return 0


def _check_new(target: Path) -> None:
    if target.exists():
        raise InputError(f"'{target}' exists already. Remove it or name another with --out.")
    check_folder(target.parent, f"'{target.name}'")
