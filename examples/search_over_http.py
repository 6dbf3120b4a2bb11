"""Search a running server (`vireid serve`) from a program, with nothing but httpx.

    python examples/search_over_http.py http://127.0.0.1:8000 IMAGE infrared

Set VIREID_TOKEN if the server asks for one. A busy server says when to come back.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import httpx


def search(server: str, image: Path, modality: str, *, top: int = 10, tries: int = 5) -> dict:
    """The server's answer: `hits`, best first, each with similarity, camid, time, pid, row_id."""
    token = os.environ.get("VIREID_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for _ in range(tries):
        answer = httpx.post(
            f"{server}/api/search",
            headers=headers,
            files={"image": image.read_bytes()},
            data={"modality": modality, "top": top},
            timeout=60,
        )
        if answer.status_code not in (429, 503):
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if answer.is_error:
        raise SystemExit(answer.json()["error"]["sentence"])
    return answer.json()


if __name__ == "__main__":
    address, file, sensor = sys.argv[1:4]
    for hit in search(address, Path(file), sensor)["hits"]:
        print(f"{hit['rank']:3} {hit['similarity']:.3f} camera {hit['camid']} {hit['name']}")
