"""What the docs say of numbers and of the public interface is what files and code say."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_numbers_in_pages_are_those_of_the_files() -> None:
    numbers = tool("result_numbers")
    marks = 0
    for page in numbers.pages():
        text = page.read_text(encoding="utf-8")
        marks += len(numbers.MARK.findall(text))
        assert numbers.filled(text, page) == text, f"{page}: run tools/result_numbers.py"
    assert marks > 20


def test_numbers_change_with_the_file(tmp_path: Path, monkeypatch) -> None:
    numbers = tool("result_numbers")
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    monkeypatch.setattr(numbers, "RESULTS", tmp_path)
    for date, ms in (("2026-01-01", 1.0), ("2026-01-02", 13.671)):
        runs = [{"gpus": 1, "ms": ms, "img/s": 7}, {"gpus": 2, "ms": 0.5}]
        (tmp_path / f"step-{date}-x.json").write_text(json.dumps({"results": {"runs": runs}}))
    page = tmp_path / "docs" / "page.md"
    one, two = (
        "<!--n step;runs/gpus=1/ms;.1f-->9<!--/n-->",
        "<!--n step@x;runs/gpus=2/ms;100*.0f-->",
    )
    now = numbers.filled(f"a {one} b {two}<!--/n-->", page)
    assert "-->13.7<!--/n--> b" in now and now.endswith("-->50<!--/n-->")
    assert numbers.filled(now, page) == now
    assert "-->7<" in numbers.filled(r"<!--n step;runs/gpus=1/img\/s;d--><!--/n-->", page)
    linked = numbers.filled("<!--n step;link;file--><!--/n-->", page)
    assert "[file](../step-2026-01-02-x.md)" in linked
    for before, after in (
        ("one two\n", "one\ntwo "), (f"- one,\n  {linked}\n  ", f"- one, {linked} "),
    ):  # fmt: skip
        assert numbers.filled(f"{before}{linked} `x`", page) == f"{after}{linked} `x`"
    with pytest.raises(numbers.NoNumber, match="begins a paragraph"):
        numbers.filled(f"one\n\n{linked}", page)
    for wrong in ("step;runs/gpus=3/ms;", "step;walks;", "stop;runs;", "step@h100;runs;",
                  "step|runs/gpus=1/ms|.1f", "step;link"):  # fmt: skip
        with pytest.raises(numbers.NoNumber):
            numbers.filled(f"<!--n {wrong}--><!--/n-->", page)


def prose() -> Iterator[tuple[Path, list[str]]]:
    """Every page that is shown, as its lines."""
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"),
                 *(ROOT / "src").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")):  # fmt: skip
        yield page, page.read_text(encoding="utf-8").splitlines()


def test_rows_of_tables_have_as_many_cells_as_their_head() -> None:
    """A `|` ends a cell wherever it stands, also in a comment or in code."""
    border = re.compile(r"\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?)?")
    found, wrong = 0, []
    for page, lines in prose():
        head = cells = 0
        for line in lines:
            before, cells = cells, len(re.split(r"(?<!\\)\|", line.strip().strip("|")))
            if border.fullmatch(line.strip()):
                found, head = found + 1, before
            elif not line.strip().startswith("|"):
                head = 0
            if head and cells != head:
                wrong.append(f"{page.relative_to(ROOT)}: {line[:80]}")
    assert found > 150 and not wrong, wrong


def test_lists_and_paragraphs_are_set_off() -> None:
    """The site's Markdown, unlike GitHub's, takes a list that follows a line of text, or a line
    that follows code, for more of the same paragraph, and wants a list's second paragraph four
    spaces in."""
    item, wrong = re.compile(r"([-*+]|\d+\.) +\S"), []
    for page, lines in prose():
        code = inside = second = False  # within code, a list, the second paragraph of its item
        before = end = ""  # the line before; that which ended the code before this line
        for line in lines:
            if fence := line.lstrip().startswith("```"):
                code = not code
            is_item = bool(item.match(line))
            indented = len(line) - len(line.lstrip())
            faults = (
                line.strip() and end,
                is_item and before.strip() and before[0] != "#" and not inside,
                is_item and second,
                inside and 0 < indented < 4 and not before.strip() and line.strip(),
            )
            if not code and not fence and any(faults):
                wrong.append(f"{page.relative_to(ROOT)}: {line[:80]}")
            end = line if fence and not code else ""
            if is_item and not code:
                inside = True
            elif line.strip() and not indented and not before.strip():
                inside = False
            second = inside and indented > 3 and (second or not before.strip())
            before = line
    assert not wrong, wrong


def test_every_public_name_has_its_place_in_the_reference() -> None:
    site = tool("docs_site")
    stubs = {
        ".".join(p.parent.relative_to(ROOT / "src").parts)
        for p in (ROOT / "src" / "vireid").rglob("__init__.pyi")
    }
    inner = {
        "vireid.index.local",
        "vireid.index.milvus",
        "vireid.bench",
        "vireid.testing",
    }  # not for users
    assert stubs - inner == set(site.PACKAGES)
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for package in site.PACKAGES:
        assert f"docs/api/{package}.md" in nav
        public = importlib.import_module(package)
        for name in site.public_names(package):
            if name != "__version__":
                module, _, last = site.home(package, name).rpartition(".")
                assert getattr(importlib.import_module(module), last) is getattr(public, name)


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT).as_posix() in nav, page
