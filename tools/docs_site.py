"""The documentation site: pages of the repository and an API reference made from docstrings.

    python tools/docs_site.py [--out build/site]

Lays the pages out under build/pages as they lie in the repository, so that a link means the same
on the site as in a clone, writes one page for each public package, and lets Zensical build them;
every warning (a link without a target, say) is an error.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES, SOURCES = ROOT / "build" / "pages", ROOT / "build" / "src"
SHOWN = (
    "docs", "benchmarks/README.md", "benchmarks/runs-to-make.md", "benchmarks/results",
    "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "NOTICE.md", "LICENSE", "README.md",
)  # fmt: skip
PACKAGES = {
    "vireid": "What most programs need.",
    "vireid.data": "Data sets, image stores, samplers, augmentation.",
    "vireid.losses": "Losses: features (B, D) and labels (B,) in, a 0-d tensor out.",
    "vireid.models": "Networks and their parts.",
    "vireid.methods": "Methods: a network, its loss terms, parameter groups and recipes.",
    "vireid.training": "Training runs.",
    "vireid.evaluation": "Protocols, scores, reports and their comparison.",
    "vireid.embed": "From images to embeddings.",
    "vireid.index": "Indexes of embeddings and searching them.",
    "vireid.server": "The search server.",
    "vireid.synthetic": "Synthetic people.",
    "vireid.figures": "Figures from arrays.",
    "vireid.runtime": "Devices, ranks and where a number came from.",
}


def public_names(package: str) -> dict[str, str]:
    """Public name → the module that defines it, as the package's stub says."""
    folder = ROOT / "src" / Path(*package.split("."))
    stub = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    found = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{package}.{node.module}"
    return found


def home(package: str, name: str) -> str:
    """The dotted name where `name` is defined, through packages that only pass it on."""
    module = public_names(package)[name]
    while (ROOT / "src" / Path(*module.split(".")) / "__init__.pyi").is_file():
        passed = public_names(module)
        if name not in passed:
            break
        module = passed[name]
    return f"{module}.{name}"


def api_page(package: str, what: str) -> str:
    """The reference page of one package, in Markdown with mkdocstrings' directives."""
    lines = [f"# {package}", "", what, ""]
    for name in sorted(public_names(package), key=str.lower):
        if name != "__version__":
            lines += [f"::: {home(package, name)}", ""]
    return "\n".join(lines)


def lay_out() -> None:
    """Fill build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for name in SHOWN:
        source, target = ROOT / name, PAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("*.npz", "*.py", "*.json")
            )
        else:
            shutil.copy(source, target)
    for folder, pattern in (("examples", "*.py"), ("notebooks", "*.ipynb")):  # linked from pages
        (PAGES / folder).mkdir(exist_ok=True)
        for path in (ROOT / folder).glob(pattern):
            shutil.copy(path, PAGES / folder)
    for path in (ROOT / "benchmarks").glob("*.py"):
        shutil.copy(path, PAGES / "benchmarks")
    (PAGES / "docs" / "api").mkdir()
    for package, what in PACKAGES.items():
        page = PAGES / "docs" / "api" / f"{package}.md"
        page.write_text(api_page(package, what), encoding="utf-8")


def fill_in() -> None:
    """Fill build/src, where docstrings of options have their choices in place of `{name}`, as the
    help of commands has."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    shutil.copytree(ROOT / "src", SOURCES, ignore=shutil.ignore_patterns("__pycache__"))
    for path in SOURCES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "choices=" not in text:
            continue
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        for cls in vars(importlib.import_module(name)).values():
            if dataclasses.is_dataclass(cls) and cls.__module__ == name:
                for one in dataclasses.fields(cls):
                    if choices := one.metadata.get("choices"):
                        text = text.replace(f"{{{one.name}}}", choices())
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Build the site; the exit code is Zensical's."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--pages-only", action="store_true", help="lay the pages out, no site")
    arguments = parser.parse_args()
    lay_out()
    fill_in()
    if arguments.pages_only:
        return 0
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code == 0:
        site = ROOT / "build" / "site"
        print(f"The site is in {site}: open index.html. Its search needs a server:")
        print(f"python -m http.server --directory {shlex.quote(str(site))}")
    return code


if __name__ == "__main__":
    sys.exit(main())
