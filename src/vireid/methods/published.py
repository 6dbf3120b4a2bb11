"""Published checkpoints as methods of ours, and back."""

from __future__ import annotations

from pathlib import Path

from vireid.methods import method_class
from vireid.methods.base import Method, Sizes
from vireid.methods.options import MCLOptions
from vireid.models.published import read_published, write_published
from vireid.types import InputError


def import_published(path: str | Path, method: str | None = None) -> Method:
    """A method of ours with the network of a published MCLNet or AGW checkpoint.

    Args:
        path: the published file.
        method: "mcl" or "agw" for a network with non-local blocks (both codes write the same
            tensors; "mcl" if not said), "base" for one without.

    What the published file does not hold (discriminator, centers) is left out: the method has
    confusion and center losses switched off.

    Raises:
        InputError: the file is not such a checkpoint, or does not fit the method.
    """
    published = read_published(path)
    name = method or published.method
    if (published.method == "base") != (name == "base"):
        blocks = "no non-local blocks" if published.method == "base" else "non-local blocks"
        raise InputError(
            f"The network in '{path}' has {blocks}; that is not the method {name}. "
            f"Import it as {'base' if published.method == 'base' else 'mcl or agw'}."
        )
    options = None
    if name == "mcl":
        options = MCLOptions(
            confusion=False, identity_centers=False, camera_centers=False, triplet="published"
        )
    imported = method_class(name)(
        published.model_options, Sizes(num_pids=published.num_pids), options
    )
    try:
        imported.load_state_dict(published.state, strict=True)
    except RuntimeError as error:
        problem = str(error).strip().split("\n")[1].strip()
        raise InputError(
            f"The tensors in '{path}' are not those of the published ResNet-50 networks: {problem}"
        ) from error
    return imported


def export_published(method: Method, path: str | Path, *, epoch: int = 0) -> None:
    """Write a method's network as a checkpoint of the published code; see `write_published`."""
    write_published(method, path, epoch=epoch)
