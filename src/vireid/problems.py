"""Several things that are wrong at once."""

from __future__ import annotations

from collections.abc import Sequence

from vireid.types import InputError


class Problems:
    """What is wrong with several values, so that the user is told of all at once.

    Errors within `with problems:` are kept; `tell` raises them before what they spoiled is used.
    """

    def __init__(self) -> None:
        self._found: list[InputError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, InputError):
            self._found += each(error)
            return True
        return False

    def __bool__(self) -> bool:
        return bool(self._found)

    def sentences(self) -> list[str]:
        """What was found, each once."""
        return list(dict.fromkeys(map(str, self._found)))

    def tell(self) -> None:
        """
        Raises:
            InputError: what was found, if anything; each sentence once.
        """
        if len(self._found) == 1:
            raise self._found[0]  # of its own class
        if self._found:
            several = _Several(" ".join(self.sentences()))
            several.found = tuple(self._found)
            raise several


class _Several(InputError):
    """What `Problems` tells of."""

    found: Sequence[InputError]


def each(error: InputError) -> Sequence[InputError]:
    """The errors that `Problems` told of at once; of another error itself."""
    return error.found if isinstance(error, _Several) else [error]
