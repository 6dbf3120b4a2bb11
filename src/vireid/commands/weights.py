"""import-weights, export-weights, card: to and from checkpoints, to networks for other programs, to
the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import next_step, words_of_test
from vireid.console import choose, quoted, say
from vireid.data import known
from vireid.files import check_folder
from vireid.methods import ALIASES
from vireid.models.hub import WEIGHTS, on_hub, repository_of
from vireid.models.whereabouts import check_file_there, check_weights, find_weights, on_disk
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.methods import Method


def import_weights(
    file: Path,
    /,
    *,
    method: str | None = None,
    arch: str | None = None,
    dataset: str | None = None,
    data_root: Path | None = None,
    trial: int | None = None,
    out: Path | None = None,
) -> int:
    """Convert a checkpoint of a method's published code, or of a run, to weights.

    No code in the file is run. The unused copies of ResNet-50 in a published one are dropped.

    Args:
        file: The published checkpoint (.t or .pth), or a file in RUN/checkpoints.
        method: What reports call these weights: mcl, agw or caj where the network has non-local
            blocks, since the MCLNet, AGW and CAJ codes write the same tensors (default: mcl; the
            networks of base, ddag, dns, deen and rle are told by their tensors). For a run's
            checkpoint, your own method: path/to/my.py:MyMethod.
        arch: For a run's checkpoint, your own backbone: path/to/my.py:MyNet.
        dataset: Data set that a published checkpoint was trained on: {dataset}. The weights then
            know their training identities, and are not tested on them.
        data_root: That data set's folder (default: $VIREID_DATA/NAME).
        trial: The split that it was trained on, where the data set has several: {trial}.
        out: File to write (default: beside the checkpoint, ending in .safetensors).
    """
    check_file_there(file)
    from vireid.embed import import_published
    from vireid.methods.published import IMPORTED
    from vireid.training.epoch import find_checkpoint, load_epoch

    target = out or file.with_suffix(".safetensors")
    if target == file and file.exists():
        raise InputError(f"'{file}' has the ending of what is written. Name the new file by --out.")
    _check_new(target)
    more = ""
    if find_checkpoint(file) is not None:
        given = {"dataset": dataset, "data-root": data_root, "trial": trial}
        for flag in (flag for flag, value in given.items() if value is not None):
            raise InputError(
                f"'{file}' is a checkpoint of a run, which has its {flag} already. Leave --{flag} "
                "out; it is for published checkpoints."
            )
        embedder = load_epoch(file, method=method, arch=arch, device="cpu")
    else:
        name = None if method is None else choose("method", method, IMPORTED, aliases=ALIASES)
        embedder = import_published(
            file, "cpu", method=name, dataset=dataset, data_root=data_root, trial=trial
        )
        more = f", {embedder.method.sizes.num_pids} identities"
        if (epoch := embedder.metadata.get("epoch")) is not None:
            more += f"; the file says epoch {epoch}"
    embedder.save(target)
    network = embedder.method
    count = sum(p.numel() for p in network.model.parameters()) / 1e6
    say(f"Method {network.name}, {count:.1f} M parameters{more}.")
    words = words_of_test(embedder.metadata.get("dataset"))
    next_step(target, f"vireid test --resume {quoted(target)}{words}")
    return 0


setattr(import_weights, "choices", {"dataset": known.datasets, "trial": known.splits})  # noqa: B010


def export_weights(
    run: str,
    /,
    *,
    format: str = "published",
    method: str | None = None,
    arch: str | None = None,
    out: Path | None = None,
    licence: str | None = None,
) -> int:
    """Write a run's weights for other programs.

    onnx and torch write a network for each modality, visible and infrared, which takes raw images
    (B, H, W, 3) uint8 of the weights' size, any number at once, and returns the test embeddings.

    Args:
        run: A run's folder, a weights file, synth, or hf://USER/NAME.
        format: Format to write: published (a checkpoint that the method's published code loads),
            onnx (runs in ONNX Runtime, also as --weights of our commands) or torch (a program
            that torch.export.load reads).
        method: Your own method, if the weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if the weights have one: path/to/my.py:MyNet.
        out: Folder to write, for published the file (default: exported, or published.t, in the
            run's folder).
        licence: Licence of the weights, for the file (default: not stated).
    """
    format = choose("format", format, ("published", "onnx", "torch"))
    check_weights(run)
    from vireid.runtime.checkpoints import tell_unfinished
    from vireid.weights import licence_of, load_weights

    weights, metadata = load_weights(run, method, arch)
    tell_unfinished(run)
    folder = Path(run if on_disk(run) else ".")
    if not folder.is_dir():
        folder = folder.parent
    if format == "published":
        return _export_published(weights, metadata, out or folder / "published.t")
    target = out or folder / "exported"
    return _export_networks(weights, metadata, target, format, licence_of(run, licence))


def _export_published(weights: Method, metadata: dict[str, Any], target: Path) -> int:
    from vireid.methods.published import export_published, read_back_as
    from vireid.weights import training_facts

    _check_new(target)
    export_published(weights, target, facts=training_facts(metadata))
    name = read_back_as(weights)
    if name != weights.name:
        say(f"note: no published code is {weights.name}'s; read back, these are weights of {name}.")
    back = target.with_suffix(".safetensors")  # where it goes by itself, unless that is there
    out = f" --out {quoted(target.with_suffix('.back.safetensors'))}" if back.exists() else ""
    again = f"vireid import-weights {quoted(target)} --method {name}{out}"
    next_step(target, f"{again}   # reads it back")
    return 0


def _export_networks(
    weights: Method, metadata: dict[str, Any], target: Path, format: str, licence: str
) -> int:
    from vireid.embed import Embedder, export
    from vireid.embed.exported import ENDINGS
    from vireid.types import Modality

    for modality in Modality:
        _check_new(target / f"{modality.word}{ENDINGS[format]}")
    embedder = Embedder(weights, metadata, device="cpu")
    files = export(embedder, target, format=format, licence=licence)
    size = f"{embedder.size[0]}x{embedder.size[1]}"
    say(f"Images of {size} in, {', '.join(embedder.test_embeddings)} out.")
    further = f"torch.export.load({str(files[0])!r}).module()(images)   # in Python"
    if format == "onnx":
        further = "vireid embed --images DIR --modality infrared --out FILE --weights "
        further += quoted(target)
    next_step(f"{files[0]} and {files[1].name}", further)
    return 0


def card(
    run: str,
    /,
    *,
    licence: str | None = None,
    name: str | None = None,
    out: Path | None = None,
) -> int:
    """Write a model card: the README.md with which the Hugging Face Hub shows weights.

    It says how they were trained, what they reach under which protocol (from the reports in
    RUN/test), and what they must not be used for. A card that is there already is replaced, but
    not one that was changed by hand, nor another README.md.

    Args:
        run: A run's folder, a weights file, synth, or hf://USER/NAME.
        licence: Licence of the weights, as an SPDX identifier such as CC-BY-NC-4.0 (default: the
            card says that none is stated).
        name: Name of the model (default: the run's).
        out: File to write (default: README.md beside the weights; for synth and hf://USER/NAME in
            the folder of their tests, synth or NAME).
    """
    weights = find_weights(run)
    from vireid.card import is_untouched, model_card
    from vireid.files import write_text
    from vireid.runtime.checkpoints import tell_unfinished
    from vireid.testing import run_of

    target = out or (weights.parent if on_disk(run) else run_of(run)) / "README.md"
    if target.exists() and not is_untouched(target):
        raise InputError(
            f"'{target}' is no card of vireid's, or was changed since. Name another with --out, or "
            "move it away."
        )
    check_folder(target.parent, f"'{target.name}'")
    write_text(target, model_card(run, licence=licence, name=name))
    tell_unfinished(run)
    repository = repository_of(run)[0] if on_hub(run) else "USER/NAME"
    upload = f"hf upload {repository} {quoted(target)} README.md"
    if on_disk(run):
        upload += f" && hf upload {repository} {quoted(weights)} {WEIGHTS}"
    next_step(target, upload)
    return 0


def _check_new(target: Path) -> None:
    if target.exists():
        raise InputError(f"'{target}' exists already. Name another with --out, or move it away.")
    check_folder(target.parent, f"'{target.name}'")
