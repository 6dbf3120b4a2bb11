"""import-weights, export-weights: to and from checkpoints, and to networks for other programs."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step
from vireid.console import choose, say
from vireid.files import check_folder
from vireid.methods import ALIASES
from vireid.types import InputError


def import_weights(file: Path, /, *, method: str | None = None, out: Path | None = None) -> int:
    """Convert a checkpoint of a method's published code, or of a run, to weights.

    No code in the file is run. The unused copies of ResNet-50 in a published one are dropped.

    Args:
        file: The published checkpoint (.t or .pth), or a file in RUN/checkpoints.
        method: What reports call these weights: mcl, agw or caj where the network has non-local
            blocks, since the MCLNet, AGW and CAJ codes write the same tensors (default: mcl; the
            networks of base, ddag, dns, deen and rle are told by their tensors).
        out: File to write (default: beside the checkpoint, ending in .safetensors).
    """
    from vireid.embed import Embedder
    from vireid.methods.published import IMPORTED, read_published
    from vireid.training.epoch import find_checkpoint, load_epoch

    target = out or file.with_suffix(".safetensors")
    if target == file and file.exists():
        raise InputError(f"'{file}' has the ending of what is written. Name the new file by --out.")
    _check_new(target)
    name = None if method is None else choose("method", method, IMPORTED, aliases=ALIASES)
    more = ""
    if find_checkpoint(file) is not None:
        if name is not None:
            raise InputError(
                f"'{file}' is a checkpoint of a run, which has its method already. Leave --method "
                "out; it is for published checkpoints."
            )
        embedder = load_epoch(file, device="cpu")
    else:
        published = read_published(file)
        embedder = Embedder(published.build(name).eval(), {}, device="cpu")
        more = f", {published.num_pids} identities"
        if published.epoch >= 0:
            more += f"; the file says epoch {published.epoch}"
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
    format: str = "onnx",
    out: Path | None = None,
    licence: str | None = None,
) -> int:
    """Write a run's weights for other programs.

    onnx and torch write a network for each modality, visible and infrared, which takes raw images
    (B, H, W, 3) uint8 of the weights' size, any number at once, and returns the test embeddings.

    Args:
        run: A run's folder, a weights file, or synth.
        format: Format to write: onnx (runs in ONNX Runtime, also as --weights of our commands),
            torch (a program that torch.export.load reads), or published (a checkpoint that the
            method's published code loads).
        out: Folder to write, for published the file (default: exported, or published.t, in the
            run's folder).
        licence: Licence of the weights, for the file (default: not stated).
    """
    from vireid.weights import is_shipped

    choose("format", format, ("onnx", "torch", "published"))
    folder = Path("exported") if is_shipped(run) else Path(run)
    if not is_shipped(run) and not folder.is_dir():
        folder = folder.parent
    if format == "published":
        return _export_published(run, out or folder / "published.t")
    return _export_networks(run, out or folder / "exported", format, licence)


def _export_published(run: str, target: Path) -> int:
    from vireid.methods.published import export_published
    from vireid.weights import load_weights

    weights, _ = load_weights(run)
    _check_new(target)
    export_published(weights, target)
    next_step(target, f"vireid import-weights {target} --out FILE   (reads it back)")
    return 0


def _export_networks(run: str, target: Path, format: str, licence: str | None) -> int:
    from vireid.embed import Embedder, export
    from vireid.embed.exported import ENDINGS
    from vireid.types import Modality
    from vireid.weights import is_shipped, load_weights

    for modality in Modality:
        _check_new(target / f"{modality.word}{ENDINGS[format]}")
    method, metadata = load_weights(run)
    known = "Apache-2.0" if is_shipped(run) else "not stated"
    embedder = Embedder(method, metadata, device="cpu")
    files = export(embedder, target, format=format, licence=licence or known)
    size = f"{embedder.size[0]}x{embedder.size[1]}"
    say(f"Images of {size} in, {', '.join(embedder.test_embeddings)} out.")
    further = "vireid embed --images DIR --modality infrared --out FILE --weights "
    next_step(
        f"{files[0]} and {files[1].name}",
        further + str(target) if format == "onnx" else "torch.export.load(FILE).module()(images)",
    )
    return 0


def _check_new(target: Path) -> None:
    if target.exists():
        raise InputError(f"'{target}' exists already. Remove it or name another with --out.")
    check_folder(target.parent, f"'{target.name}'")
