"""The recipes of README and docs: found in their pages, and played word for word."""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import command_kit
import httpx
import pytest
import uvicorn

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md")))
COMMANDS = ("vireid", "make", "torchrun", "curl", "echo", "chmod", "export", "python")
SHELL = ("curl", "echo", "chmod", "hf")


@dataclass(frozen=True)
class Recipe:
    """One fenced block of a page that somebody may copy.

    Attributes:
        name: page and number of the block among the page's recipes, such as "README.md 1".
        is_python: whether it is Python; commands otherwise.
        text: as it stands there.
    """

    name: str
    is_python: bool
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands, each as one line, without remarks and what is left open ("…")."""
        whole = re.sub(r"\s*\\\n\s*", " ", self.text)
        bare = [re.split(r"\s+#", line)[0].replace("…", "").strip() for line in whole.split("\n")]
        return [line for line in bare if line]


def _text(page: str) -> str:
    path = ROOT / page if (ROOT / page).is_file() else ROOT / "docs" / page
    return path.read_text("utf-8")


def mentions() -> list[tuple[str, str]]:
    """Page and command of each one that stands in a sentence, whole or in part."""
    found = []
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", _text(page), flags=re.M | re.S)
        for span in re.findall(r"`(vireid [a-z][^`]*)`", prose):
            found.append((page, " ".join(span.replace("…", "").split())))
    return sorted(set(found))


def recipes() -> dict[str, Recipe]:
    """Name → recipe, of all pages; blocks that are no commands (folders, drawings) are left out."""
    found = {}
    for page in PAGES:
        blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```", _text(page), re.M | re.S)
        number = 0
        for kind, text in blocks:
            if kind == "python" or text.split()[0] in COMMANDS:
                number += 1
                name = f"{page} {number}"
                found[name] = Recipe(name, kind == "python", dedent(text))
    return found


def words_of(line: str, instead: Mapping[str, str] = {}) -> list[str]:
    """A command's words, with others for some of them."""
    for word, other in instead.items():
        line = re.sub(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", other, line)
    return shlex.split(line)


class Served:
    """A server that a recipe has started, in a thread of this process."""

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        config, (listener,) = self.server.config, self.server.servers[0].sockets[:1]
        scheme = "https" if config.ssl_certfile else "http"
        return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    def client(self, token: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, timeout=60, headers=headers, verify=False)


@contextmanager
def serving(start: Callable[[], object]) -> Iterator[Served]:
    """`start()` serves until it is interrupted; it is, after the block."""
    served = Served()

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            served.server = self

    patch = pytest.MonkeyPatch()
    patch.setattr("uvicorn.Server", Server)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            start()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while served.server is None or not served.server.started:
        assert thread.is_alive(), failures
        time.sleep(0.02)
    try:
        yield served
    finally:
        served.server.should_exit = True
        thread.join(timeout=30)
        patch.undo()


def play(
    recipe: Recipe,
    *,
    instead: Mapping[str, str] | None = None,
    more: Mapping[str, Sequence[object]] | None = None,
) -> None:
    """Do what a recipe says, in the working folder; each of its commands must succeed.

    Args:
        recipe: what somebody copied.
        instead: word → what stands there in this test (a placeholder's value, a smaller number).
        more: command, such as "train" → words added to it.
    """
    if recipe.is_python:
        text = recipe.text
        for word, other in (instead or {}).items():
            text = text.replace(word, other)
        exec(compile(text, recipe.name, "exec"), {"__name__": "recipe"})
        return
    for line in recipe.lines:
        words = [
            found
            for word in words_of(line, instead or {})
            for found in (sorted(glob.glob(word)) or [word])  # as a shell would
        ]
        if words[0] in SHELL:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            bash = ["bash", "-c", line]
            subprocess.run(bash, check=True, env={**os.environ, "PATH": path}, timeout=120)
            continue
        assert words[0] == "vireid", line
        command = words[1]
        assert command_kit.run(*words[1:], *(more or {}).get(command, ())) == 0, line
