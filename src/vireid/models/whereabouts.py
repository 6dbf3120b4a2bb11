"""Where weights lie that a user names: in a run's folder, in a file, in the package or on the hub.
Nothing here imports PyTorch, so that a wrong name is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vireid.console import folder_meant, path_meant
from vireid.files import safetensors_fault
from vireid.models.hub import (
    WEIGHTS,
    fetch_weights,
    is_shipped,
    on_hub,
    repository_of,
    shipped_meant,
)
from vireid.models.recognise import describe_file
from vireid.models.shipped import shipped_weights
from vireid.types import InputError, Modality


def on_disk(source: str | Path) -> bool:
    """Whether `source` names weights by a place of the user's, and not `synth` or the hub's."""
    return not (is_shipped(source) or on_hub(source))


def is_exported(source: str | Path) -> bool:
    """Whether `source` is an ONNX file, or a folder that holds those of both modalities."""
    path = Path(source)
    if path.is_dir():
        return all((path / f"{modality.word}.onnx").is_file() for modality in Modality)
    return path.suffix.lower() == ".onnx"


def find_weights(source: str | Path) -> Path:
    """The weights file that a run's folder, a file's name, the word `synth` or the name of a
    repository of the hub, "hf://USER/NAME", stands for.

    Raises:
        InputError: there is none, or the hub's can't be had.
    """
    if on_hub(source):
        return fetch_weights(str(source))
    if is_shipped(source):
        shipped = shipped_weights()
        if shipped is None:
            raise InputError(
                "The weights 'synth' aren't in this installation. Name a run's folder "
                "or a .safetensors file; `vireid train` writes one."
            )
        return shipped
    path = Path(source)
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            raise InputError(
                f"'{source}' holds no {WEIGHTS}: it is not a run's folder, or its first epoch is "
                f"not finished.{folder_meant(path.parent, lambda run: (run / WEIGHTS).is_file())} "
                "Name a finished run or a .safetensors file."
            )
    if not path.is_file():
        raise InputError(
            f"There are no weights '{source}'.{shipped_meant(source) or path_meant(source)} Name a "
            "run's folder or a .safetensors file that vireid wrote."
        )
    return path


def check_weights(source: str | Path) -> None:
    """Refuse what `vireid.load` would refuse without reading tensors; nothing is fetched.

    Raises:
        InputError: there are no such weights, the file is of another kind, or the name is of no
            repository of the hub.
    """
    if on_hub(source):
        repository_of(str(source))
    elif is_shipped(source) or not is_exported(source) or not Path(source).exists():
        path = find_weights(source)
        if path.suffix != ".pt":  # perhaps a run's checkpoint, which some commands take
            with reading_weights(path), safe_open(path, framework="np"):
                pass


def check_has_epochs(source: str | Path, epoch: int) -> None:
    """Refuse weights of which no epoch can be chosen, as they aren't a run's.

    Raises:
        InputError: `source` isn't a run's folder.
    """
    if not on_disk(source) or not Path(source).is_dir():
        raise InputError(
            f"`epoch` is {epoch}, which chooses among a run's checkpoints; '{source}' is not a "
            f"run's folder.{path_meant(source, Path.is_dir)} Name the folder, or leave `epoch` out."
        )


@contextmanager
def reading_weights(path: Path) -> Iterator[None]:
    """Give errors of reading a weights file a sentence on what it is.

    Raises:
        InputError: it is no whole safetensors file.
    """
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        what = describe_file(path) or (
            f"is not a whole safetensors file: {safetensors_fault(path, error)}. Train or copy it "
            "again."
        )
        raise InputError(f"'{path}' {what}") from error


def check_file_there(path: str | Path) -> None:
    """Refuse a file of weights, of whatever program, that isn't one.

    Raises:
        InputError: it is a folder, or isn't there.
    """
    if Path(path).is_dir():
        raise InputError(f"'{path}' is a folder. Name the file of weights in it.")
    if not Path(path).is_file():
        raise InputError(f"There is no file '{path}'.{path_meant(path, Path.is_file)}")
