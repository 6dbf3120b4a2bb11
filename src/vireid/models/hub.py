"""Weights that a word names: the package's (`synth`) and the Hugging Face Hub's (`hf://USER/NAME`),
and timm's.

A file is fetched, never code: what it holds is read as any other file is.
"""

from __future__ import annotations

import functools
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from vireid.console import did_you_mean, path_meant
from vireid.models.options import ENDINGS, STARTS
from vireid.types import InputError, shown

WEIGHTS = "weights.safetensors"  # in a repository of the hub, as in a run's folder
WEIGHTS_EMA = "weights_ema.safetensors"  # beside them, where the recipe averages
_SCHEME = "hf://"
_NAMED = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?", re.ASCII)


def is_shipped(source: str | Path) -> bool:
    """Whether `source` is the word `synth`, whatever lies beside the command.

    A folder of that name is "./synth", or a `Path`.
    """
    return isinstance(source, str) and source.strip().lower() == "synth"


def shipped_meant(source: str | Path) -> str:
    """A hint where a name that stands for nothing may be `synth`, mistyped; else ""."""
    return did_you_mean(str(source).strip().lower(), ["synth"])


def on_hub(source: object) -> bool:
    """Whether `source` names a repository of the hub, rightly or not: a text that begins with
    "hf://"."""
    return isinstance(source, str) and source.strip().lower().startswith(_SCHEME)


def names_file(source: str) -> bool:
    """Whether `source` is written as a file's name, be there a file or not; the hub's aren't."""
    return not on_hub(source) and (os.sep in source or source.lower().endswith(ENDINGS))


def check_file(source: str) -> None:
    """Refuse a `pretrained` that names a file which isn't there.

    Raises:
        InputError: it does, or names a folder.
    """
    if source in STARTS or on_hub(source) or Path(source).is_file():
        return
    if Path(source).is_dir():
        raise InputError(
            f"`pretrained` names the folder '{source}'; a file was expected. Of a run, name "
            "its weights.safetensors."
        )
    if names_file(source):
        raise InputError(
            f"`pretrained` names the file '{source}', which does not exist."
            f"{path_meant(source, Path.is_file)} Give a file that does, imagenet, another timm "
            "tag, synth or none."
        )


def repository_of(source: str) -> tuple[str, str | None]:
    """The repository and the revision that "hf://USER/NAME" or "hf://USER/NAME@REVISION" names.

    Raises:
        InputError: it names none.
    """
    named = _NAMED.fullmatch(source.strip()[len(_SCHEME) :])
    if named is None:
        raise InputError(
            f"{shown(source)} names no repository of the Hugging Face Hub. Write hf://USER/NAME, "
            "or hf://USER/NAME@REVISION for a branch, a tag or a commit."
        )
    return named[1], named[2]


def fetch_weights(source: str) -> Path:
    """The weights file of the repository that `source` names.

    Raises:
        InputError: it names none, or its weights can't be had.
    """
    repository, revision = repository_of(source)
    return fetch(repository, WEIGHTS, revision)


def cached_weights(source: str) -> Path | None:
    """As `fetch_weights`, of what was fetched before; nothing is asked of the hub.

    Raises:
        InputError: `source` names no repository.
    """
    import huggingface_hub as hub

    repository, revision = repository_of(source)
    cached = hub.try_to_load_from_cache(repository, WEIGHTS, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


@functools.cache  # a branch that moves is the same throughout a process
def fetch(
    repository: str,
    file: str,
    revision: str | None = None,
    *,
    changes: bool = True,
    instead: str = "name that file instead",
) -> Path:
    """A file of a repository, downloaded into the hub's cache.

    Args:
        revision: branch, tag or commit; None for the main branch.
        changes: ask whether there is a newer one before one in the cache is taken.
        instead: what to do with the file once it was fetched elsewhere, for the message.

    Raises:
        InputError: there is no such repository, revision or file, or the hub can't be reached and
            the cache hasn't it.
    """
    import huggingface_hub as hub
    from huggingface_hub.utils import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"'{repository}'"
    try:
        cached = hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str) and (not changes or _unreachable()):
            return Path(cached)
        url = hub.hf_hub_url(repository, file, revision=revision)
        if why := _unreachable():
            raise LocalEntryNotFoundError(why)
        return Path(hub.hf_hub_download(repository, file, revision=revision))
    except HFValidationError as error:
        raise InputError(f"The hub has no repository of the name {name}: {error}") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"The weights {name} could not be fetched ({error}). Fetch {url} on a machine with "
            f"internet access and {instead}."
        ) from error
    except GatedRepoError as error:
        raise InputError(
            f"The repository {name} is open to those only whom its owner has admitted. Ask for "
            "access on its page, then `hf auth login` or set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"The hub shows you no repository {name}. Correct the name; if it is private, "
            "`hf auth login` first or set HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"The repository {name} has no revision '{revision}'. Name a branch, a tag or a commit "
            "of it, or leave @ and what follows out."
        ) from error
    except EntryNotFoundError as error:
        raise InputError(
            f"The repository {name} holds no file {file}. Name one with weights that vireid wrote."
        ) from error
    except OSError as error:  # also what else the hub answers
        raise InputError(
            f"The weights {name} could not be fetched ({error}). Fetch {url} on a machine with "
            f"internet access and {instead}."
        ) from error


def _unreachable() -> str:
    """Why the hub can't be asked; "" if it can. Its own client tries for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        head = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(head, timeout=10).close()
    except urllib.error.HTTPError:
        return ""  # that is an answer
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error)
    return ""
