r"""Puts numbers of result files into README and docs, where a mark names them.

    python tools/result_numbers.py [--check]

A mark is `<!--n FILE;PATH;FORMAT-->text<!--/n-->`; everything between the comments is replaced.
FILE is a name under benchmarks/results without its date, and after an @ a part of the machine's
name; the newest that fits is taken. PATH leads to the value: keys separated by `/` (one within a
key is written `\/`); in a list of objects `key=value,key=value` picks the one that has them. FORMAT
is Python's, with an optional factor before it, as in `100*.1f`. `<!--n FILE;link;TEXT-->` becomes a
link to the file itself. No mark has a `|`, which would end a table's cell. A mark at the start of a
line, where Markdown takes a comment for the start of a block, comes behind the word before it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# A mark at the start of a line, with the word before it, and the space before that where it follows
# another word (and no list's - or 1.).
AT_START = re.compile(r"((?<=[\w,;:)\]>`'*]) +)?(\S+)?[ ]*\n([ ]*)(?=<!--n )")
MARK = re.compile(r"<!--n ([^;|>]+);([^;|>]+);([^;|>]*?)-->.*?<!--/n-->", re.DOTALL)
BEGIN = re.compile(r"<!--n [^\n]{0,40}")


class NoNumber(Exception):
    """A mark that leads nowhere; the text says where it ends."""


@cache
def newest(name: str) -> Path:
    """The newest result file of a benchmark."""
    benchmark, _, machine = name.partition("@")
    pattern = re.compile(
        rf"{re.escape(benchmark)}-\d{{4}}-\d\d-\d\d-.*{re.escape(machine)}.*\.json"
    )
    found = sorted(p for p in RESULTS.glob("*.json") if pattern.fullmatch(p.name))
    if not found:
        raise NoNumber(f"benchmarks/results has no {benchmark}-DATE-…{machine}….json")
    return found[-1]


def value(plain: Any, path: str) -> Any:
    """What `path` leads to."""
    for written in re.split(r"(?<!\\)/", path):
        part = written.replace(r"\/", "/")
        if isinstance(plain, list) and "=" in part:
            # A value may hold commas.
            wanted = dict(pair.split("=", 1) for pair in re.split(r",(?=[^,=]*=)", part))
            fits = [o for o in plain if all(str(o.get(k)) == v for k, v in wanted.items())]
            if len(fits) != 1:
                raise NoNumber(f"'{part}' of '{path}' fits {len(fits)} objects")
            plain = fits[0]
        elif isinstance(plain, dict) and part in plain:
            plain = plain[part]
        else:
            raise NoNumber(f"there is no '{part}' of '{path}'")
    return plain


def filled(text: str, page: Path) -> str:
    """The text of a page with every mark's number as the files have it now."""

    def number(match: re.Match[str]) -> str:
        name, path, form = match.groups()
        file = newest(name)
        if path == "link":
            up = "../" * (len(page.relative_to(ROOT).parts) - 1)
            shown = f"[{form}]({up}{file.relative_to(ROOT).with_suffix('.md').as_posix()})"
        else:
            factor, _, spec = form.rpartition("*")
            found = value(json.loads(file.read_text(encoding="utf-8"))["results"], path)
            shown = format(found * float(factor) if factor else found, spec)
            shown = re.sub(r"^-(?=[0.]+$)", "", shown)  # -0.0
        return f"<!--n {name};{path};{form}-->{shown}<!--/n-->"

    def behind_a_word(match: re.Match[str]) -> str:
        space, word, indent = match.groups()
        if word is None:
            raise NoNumber("a mark begins a paragraph; put a word before it")
        alone = (
            space is None or "--" in word
        )  # on its line, or the end of a mark, which stays whole
        return f"{space or ''}{word} " if alone else f"\n{indent}{word} "

    placed = AT_START.sub(behind_a_word, text)
    if unread := BEGIN.search(MARK.sub("", placed)):
        raise NoNumber(f"'{unread[0]}…' is no mark")
    return MARK.sub(number, placed)


def pages() -> list[Path]:
    """README and every page of the docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    """Fill the marks, or say which pages are stale."""
    parser = argparse.ArgumentParser(description="Put numbers of result files into the docs.")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a page is stale")
    check = parser.parse_args().check
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        try:
            now = filled(text, page)
        except NoNumber as error:
            sys.exit(f"{page.relative_to(ROOT)}: {error}.")
        if now != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(now, encoding="utf-8")
    print("\n".join(stale) or "Nothing to change.")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
