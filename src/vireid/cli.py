"""The command `vireid`: words on a command line → one plain function, errors → sentences.

This is the only file that knows the command-line library (tyro). Each command is a function of
`vireid.commands`; its parameters are the flags, its docstring is the help.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import os
import sys
import typing
from collections.abc import Callable, Sequence

import vireid
from vireid.commands import COMMANDS, INDEX_COMMANDS, load
from vireid.console import console
from vireid.types import InputError

USER_ERROR = 2
INTERRUPTED = 130
METAVARS = {str: "TEXT", int: "N", float: "X"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the process's) name, and exit.

    Exit codes: 0 done; 2 the user gave something that cannot be used (a sentence on standard
    error says what); 130 interrupted; any other code is a bug, with its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=os.environ.get("VIREID_LOG", "WARNING").upper(),
                        format="%(levelname)s %(name)s: %(message)s")
    try:
        code = _dispatch(words)
    except InputError as error:
        console.print(f"[bold red]vireid:[/] {_escape(str(error))}")
        code = USER_ERROR
    except KeyboardInterrupt:
        console.print("[bold]vireid:[/] interrupted.")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's last flush
        code = 0
    sys.exit(code)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_overview("vireid", COMMANDS))
        return 0 if words else USER_ERROR
    if words[0] in {"--version", "version"}:
        sys.stdout.write(f"vireid {vireid.__version__}\n")
        return 0
    prog, table, name, rest = "vireid", COMMANDS, words[0], words[1:]
    if name == "index":
        if not rest or rest[0] in {"-h", "--help"}:
            sys.stdout.write(_overview("vireid index", INDEX_COMMANDS))
            return 0 if rest else USER_ERROR
        prog, table, name, rest = "vireid index", INDEX_COMMANDS, rest[0], rest[1:]
    name = name.replace("_", "-")
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(f"There is no command '{prog} {name}'.{hint} "
                         f"Legal: {', '.join(table)}. See `{prog} --help`.")
    return _call(f"{prog} {name}", load(table[name]), rest)


def _call(prog: str, function: Callable[..., int | None], words: list[str]) -> int:
    import tyro

    return tyro.cli(_plainly_typed(function), prog=prog, args=words) or 0


def _plainly_typed(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function with quieter help: "PATH" instead of "{None}|PATH … (default: None)"."""
    import tyro

    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is None:
            kinds = [kind for kind in typing.get_args(hints[name]) if kind is not type(None)]
            metavar = METAVARS.get(kinds[0], kinds[0].__name__.upper())
            quiet = tyro.conf.arg(metavar=metavar, help_behavior_hint="")
            hints[name] = typing.Annotated[hints[name], quiet]

    @functools.wraps(function)
    def called(*args: typing.Any, **kwargs: typing.Any) -> int | None:
        return function(*args, **kwargs)

    called.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    del called.__wrapped__  # tyro would look behind it
    called.__annotations__ = hints
    return called


def _overview(prog: str, table: dict[str, str]) -> str:
    lines = [f"usage: {prog} COMMAND [flags]", ""]
    if prog == "vireid":
        lines += [vireid.__doc__ or "", ""]
    width = max(map(len, table)) + 2
    for name, target in table.items():
        summary = (load(target).__doc__ or "").strip().splitlines()[0] if ":" in target else ""
        lines.append(f"  {name:<{width}}{summary or 'See `vireid index --help`.'}")
    lines += ["", f"`{prog} COMMAND --help` explains the flags of one command."]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
