"""The one form of every error that the server answers with."""

from __future__ import annotations

import math
from typing import Any

from vireid.console import shortened

LONGEST = 600  # characters of a sentence, which may repeat what was sent


class Refusal(Exception):
    """A request that is refused, and what the client is told.

    Attributes:
        status, code, sentence: the answer.
        retry_after: seconds for the Retry-After header, or None.
    """

    def __init__(
        self, status: int, code: str, sentence: str, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Extra headers of the answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="vireid"'
        return headers

    def body(self) -> dict[str, Any]:
        """The JSON body of every error of this server."""
        sentence = shortened(self.sentence, LONGEST)
        return {"error": {"code": self.code, "sentence": sentence}}
