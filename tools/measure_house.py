"""Measure how the code is laid: its size, circles, and how many places know one fact.

    python tools/measure_house.py CHECKOUT [CHECKOUT ...] [--json]

Prints a Markdown table with a column for each checkout. Only src/vireid/**/*.py is read (and
parsed, never imported). Each row is one function below; its docstring says how it counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

DATASETS = {"sysu", "regdb", "llcm"}  # "folder" also means a folder
FACTS_OF_DATASETS = {
    *("data/sysu_mm01.py", "data/regdb.py", "data/llcm.py", "data/folder.py"),
    *("data/registry.py", "data/__init__.py", "synthetic/layouts.py"),
}
OPTION = "rho"
LONG = 60
LAYOUT_TOKENS = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class House:
    """The parsed modules of one checkout.

    Attributes:
        files: path below src/vireid, with forward slashes → source.
        trees: the same paths → syntax tree.
    """

    def __init__(self, checkout: Path) -> None:
        package = checkout / "src" / "vireid"
        paths = sorted(package.rglob("*.py"))
        if not paths:
            raise SystemExit(f"'{package}' holds no Python files; name the root of a checkout.")
        self.files = {p.relative_to(package).as_posix(): p.read_text("utf-8") for p in paths}
        self.trees = {name: ast.parse(source) for name, source in self.files.items()}
        self.stubs = {
            p.parent.relative_to(package).as_posix(): ast.parse(p.read_text("utf-8"))
            for p in package.rglob("__init__.pyi")
        }


def code_lines(house: House) -> int:
    """Lines that are neither blank, comment nor docstring."""
    return sum(len(code_of(source)) for source in house.files.values())


def code_lines_with_field_docstrings(house: House) -> int:
    """The same, with docstrings under fields and constants counted as code."""
    return sum(len(code_of(source, fields=True)) for source in house.files.values())


def docstring_lines(house: House) -> int:
    """Lines of docstrings that aren't blank, with those under fields and constants."""
    return sum(
        1
        for source in house.files.values()
        for number in docstrings_of(source)
        if source.splitlines()[number - 1].strip()
    )


def python_files(house: House) -> int:
    """Python files."""
    return len(house.files)


def largest_file(house: House) -> str:
    """Lines of code of the largest file, and its name."""
    size, name = max((len(code_of(source)), name) for name, source in house.files.items())
    return f"{size} ({name})"


def long_functions(house: House) -> int:
    """Functions over 60 lines, first to last, less the docstring."""
    return len(list(functions_over(house, LONG)))


def circles(house: House) -> int:
    """Groups of modules that import each other, at the top, within functions or for types.

    A name taken from a package counts as an import of the module that defines it.
    """
    return len(circles_of(house))


def back_to_root(house: House) -> int:
    """Modules that import the package `vireid` itself (as for `__version__`); cli may."""
    return sum(
        "" in imports_of(house, name)
        for name in house.files
        if name not in {"__init__.py", "__main__.py", "cli.py"}
    )


def homes_of_option(house: House) -> int:
    """Places that declare or describe the method option `rho`, outside the loss: fields,
    parameters, strings that are its name, docstrings that explain it (`rho: ...` or the one under
    the field)."""
    return len(list(option_homes(house)))


def dataset_strings(house: House) -> int:
    """Lines with a string "sysu", "regdb" or "llcm", outside the data sets' modules, their
    registry and the synthetic layouts."""
    return len(list(lines_with_datasets(house, ast.Constant)))


def dataset_comparisons(house: House) -> int:
    """Those of them that compare the name (`==`, `in`), also where it names a rule."""
    return len(list(lines_with_datasets(house, ast.Compare)))


def time_parsers(house: House) -> int:
    """Functions that call `fromisoformat` or `strptime`."""
    calls = {"fromisoformat", "strptime"}
    return sum(
        any(isinstance(n, ast.Attribute) and n.attr in calls for n in ast.walk(node))
        for tree in house.trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def posix_imports(house: House) -> int:
    """Modules that import a POSIX-only module at the top."""
    return sum(
        bool(top_imports(tree) & {"resource", "fcntl", "termios", "tty", "pty", "pwd", "grp"})
        for tree in house.trees.values()
    )


ROWS: dict[str, Callable[[House], object]] = {
    "lines of code": code_lines,
    "lines of code and of field docstrings": code_lines_with_field_docstrings,
    "lines of docstrings": docstring_lines,
    "Python files": python_files,
    "largest file": largest_file,
    "functions over 60 lines": long_functions,
    "import circles": circles,
    "imports of the root package": back_to_root,
    "homes of one method option": homes_of_option,
    "lines that name a data set": dataset_strings,
    "comparisons with a data set's name": dataset_comparisons,
    "parsers of times": time_parsers,
    "modules with a POSIX-only import": posix_imports,
}


# -- how it is counted


@cache
def docstrings_of(source: str, proper: bool = False) -> frozenset[int]:
    """Numbers of the lines of docstrings: those of modules, classes and functions and, unless
    only `proper` ones are asked for, those under fields and constants."""
    tree = ast.parse(source)
    if proper:
        nodes = [n.body[0] for n in ast.walk(tree) if isinstance(n, Documented) and n.body]
    else:
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Expr)]
    return frozenset(
        number
        for node in nodes
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    )


@cache
def code_of(source: str, fields: bool = False) -> frozenset[int]:
    """Numbers of the lines with code, and with docstrings under `fields`; blank lines within a
    string aren't code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT_TOKENS:
            lines.update(range(token.start[0], token.end[0] + 1))
    text = source.splitlines()
    return frozenset(n for n in lines - docstrings_of(source, fields) if text[n - 1].strip())


def functions_over(house: House, limit: int) -> Iterator[tuple[str, int]]:
    """(file:name, lines) of functions longer than `limit`, longest first."""
    sizes = []
    for name, tree in house.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if ast.get_docstring(node):
                    size -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                sizes.append((size, f"{name}:{node.name}"))
    yield from ((name, size) for size, name in sorted(sizes, reverse=True) if size > limit)


def option_homes(house: House) -> Iterator[str]:
    """file:line of each place that declares or describes OPTION."""
    for name, tree in house.trees.items():
        if name.startswith("losses/"):
            continue
        for node in ast.walk(tree):
            names = (
                isinstance(node, ast.AnnAssign) and getattr(node.target, "id", ""),
                isinstance(node, ast.arg) and node.arg,
                isinstance(node, ast.Constant) and node.value,
            )
            if OPTION in names:
                yield f"{name}:{node.lineno}"
            if isinstance(node, ast.ClassDef):
                for field, after in zip(node.body, node.body[1:], strict=False):
                    ours = (
                        isinstance(field, ast.AnnAssign)
                        and getattr(field.target, "id", "") == OPTION
                    )
                    if ours and isinstance(after, ast.Expr):
                        yield f"{name}:{after.lineno} (docstring)"
            if isinstance(node, Documented) and f"{OPTION}:" in (ast.get_docstring(node) or ""):
                yield f"{name}:{getattr(node, 'lineno', 1)} (docstring)"


def lines_with_datasets(house: House, kind: type[ast.expr]) -> Iterator[str]:
    """file:line of nodes of `kind` that are, or hold, the name of a data set."""
    for name, tree in house.trees.items():
        if name not in FACTS_OF_DATASETS:
            numbers = {
                inner.lineno
                for node in ast.walk(tree)
                if isinstance(node, kind)
                for inner in ast.walk(node)
                if isinstance(inner, ast.Constant) and inner.value in DATASETS
            }
            yield from (f"{name}:{number}" for number in sorted(numbers))


def top_imports(tree: ast.Module) -> set[str]:
    """First names of the modules that importing this one imports."""
    names: set[str] = set()
    statements: list[ast.AST] = list(tree.body)
    while statements:
        node = statements.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            statements += ast.iter_child_nodes(node)
    return names


def exports(house: House, package: str) -> dict[str, str]:
    """Lazily exported name of a package (a stub, or a table `_EXPORTS`) → its module, dotted."""
    table: dict[str, str] = {}
    before = package.replace("/", ".")
    for node in ast.walk(house.stubs.get(package or ".", ast.Module([], []))):
        if isinstance(node, ast.ImportFrom):
            table |= {a.name: f"{before}.{node.module}".strip(".") for a in node.names}
    path = f"{package}/__init__.py".removeprefix("/")
    for node in ast.walk(house.trees.get(path, ast.Module([], []))):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                module = value.value if isinstance(value, ast.Constant) else None
                if isinstance(key, ast.Constant) and str(module).startswith("vireid."):
                    table[str(key.value)] = str(module).removeprefix("vireid.").split(":")[0]
    return table


def imports_of(house: House, name: str) -> set[str]:
    """Dotted modules of ours that a file imports; "" is the package itself."""
    modules = {module_name(path) for path in house.files}
    names: set[str] = set()
    for node in ast.walk(house.trees[name]):
        if isinstance(node, ast.Import):
            names |= {
                alias.name.removeprefix("vireid").strip(".")
                for alias in node.names
                if alias.name.split(".")[0] == "vireid"
            }
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "vireid":
            package = str(node.module).removeprefix("vireid").strip(".")
            table = exports(house, package.replace(".", "/"))
            for alias in node.names:
                inner = f"{package}.{alias.name}".strip(".")
                names.add(inner if inner in modules else table.get(alias.name, package))
    return names


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")


def circles_of(house: House) -> list[list[str]]:
    """Modules that reach each other by imports, in groups."""
    graph = {module_name(path): imports_of(house, path) for path in house.files}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ways = [start]
        while ways:
            for other in graph.get(ways.pop(), set()) - seen:
                seen.add(other)
                ways.append(other)
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {
        tuple(sorted(other for other in reach[name] if name in reach.get(other, set())))
        for name in graph
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def main() -> None:
    """Print the table, and what is behind the counts of the last checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="+", type=Path, metavar="CHECKOUT")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    arguments = parser.parse_args()
    houses = [House(path) for path in arguments.checkouts]
    table = {label: [count(house) for house in houses] for label, count in ROWS.items()}
    if arguments.json:
        print(json.dumps(table, indent=1))
        return
    heads = [path.resolve().name for path in arguments.checkouts]
    print(f"| what | {' | '.join(heads)} | how it is counted |")
    print(f"|---|{'---:|' * len(heads)}---|")
    for label, values in table.items():
        how = " ".join((ROWS[label].__doc__ or "").split("\n\n")[0].split())
        print(f"| {label} | {' | '.join(format_value(v) for v in values)} | {how} |")
    last = houses[-1]
    print(f"\nIn {heads[-1]}:")
    print("circles:", "; ".join(", ".join(group) for group in circles_of(last)) or "none")
    print("long functions:", ", ".join(f"{n} {size}" for n, size in functions_over(last, LONG)))
    print(f"homes of {OPTION}:", ", ".join(option_homes(last)))
    print("data sets compared:", ", ".join(lines_with_datasets(last, ast.Compare)))


def format_value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
