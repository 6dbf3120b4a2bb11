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
import re
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import vireid
from vireid.commands import COMMANDS, INDEX_COMMANDS, load
from vireid.console import console, say
from vireid.types import InputError
from vireid.version import __version__

USER_ERROR = 2
INTERRUPTED = 130
# kind of a flag → (what stands for its value in the help, what was expected)
VALUES = {
    str: ("TEXT", "a word"),
    int: ("N", "a whole number"),
    float: ("X", "a number"),
    Path: ("PATH", "a path"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the process's) name, and exit.

    Exit codes: 0 done; 2 the user gave something that cannot be used (a sentence on standard
    error says what); 130 interrupted; any other code is a bug, with its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    level = os.environ.get("VIREID_LOG", "WARNING").upper()
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "WARNING",
        format="%(levelname)s: %(message)s",
    )
    try:
        code = _dispatch(words)
        sys.stdout.flush()
    except InputError as error:
        _complain(str(error))
        code = USER_ERROR
    except KeyboardInterrupt:
        _complain("interrupted.")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's last flush
        code = 0
    sys.exit(code)


def _complain(text: str) -> None:
    console.print("[bold red]vireid:[/] ", end="")
    say(text)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_overview("vireid", COMMANDS))
        return 0 if words else USER_ERROR
    if words[0] in {"--version", "version"}:
        sys.stdout.write(f"vireid {__version__}\n")
        return 0
    prog, table, name, rest = "vireid", COMMANDS, words[0], words[1:]
    if name == "index":
        if not rest or rest[0] in {"-h", "--help", "help"}:
            sys.stdout.write(_overview("vireid index", INDEX_COMMANDS))
            return 0 if rest else USER_ERROR
        prog, table, name, rest = "vireid index", INDEX_COMMANDS, rest[0], rest[1:]
    name = name.replace("_", "-").lower()
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"There is no command '{prog} {name}'.{hint} "
            f"Legal: {', '.join(table)}. See `{prog} --help`."
        )
    return _call(f"{prog} {name}", load(table[name]), rest)


def _call(prog: str, function: Callable[..., int | None], words: list[str]) -> int:
    import tyro

    _check_flags(prog, function, words)
    return tyro.cli(_plainly_typed(function), prog=prog, args=words) or 0


def _check_flags(prog: str, function: Callable[..., int | None], words: list[str]) -> None:
    """Answer a mistyped or a forgotten flag with a sentence.

    Raises:
        InputError: a flag that the command does not have, or none where one is needed.
    """
    given = [word.split("=", 1)[0].replace("_", "-") for word in words if word.startswith("--")]
    legal, needed = ["--help"], []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            flag = name.replace("_", "-")
            legal += [f"--{flag}"] + ([f"--no-{flag}"] if parameter.default is True else [])
            needed += [f"--{flag}"] if parameter.default is parameter.empty else []
    see = f"`{prog} --help` explains all of them."
    for flag in given:
        if flag not in legal and not flag.startswith("--tyro-"):  # tyro's own, for shells
            near = difflib.get_close_matches(flag.lower(), legal, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise InputError(f"`{prog}` has no flag '{flag}'.{hint} {see}")
    missing = [flag for flag in needed if flag not in given]
    if missing and not {"-h", "--help"} & set(words):
        raise InputError(f"`{prog}` needs {' and '.join(missing)}, not given here. {see}")


def _plainly_typed(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function with types that tyro explains in plain words."""
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in hints:
            hints[name] = _plain_flag(hints[name], parameter.default)

    @functools.wraps(function)
    def called(*args: typing.Any, **kwargs: typing.Any) -> int | None:
        return function(*args, **kwargs)

    called.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    del called.__wrapped__  # tyro would look behind it
    called.__annotations__ = hints
    called.__doc__ = _unwrapped(inspect.getdoc(function) or "")
    return called


def _unwrapped(text: str) -> str:
    """A docstring whose arguments stand on one line each, for the terminal to wrap."""
    return re.sub(r"\n {8,}", " ", text)


def _plain_flag(hint: typing.Any, default: typing.Any) -> typing.Any:
    """A flag's type with a short name for its value, and a sentence for a wrong one."""
    import tyro
    from tyro.constructors import PrimitiveConstructorSpec

    silent = tyro.conf.arg(help_behavior_hint="")
    if hint is bool:  # one that is off needs no second flag to say so
        return typing.Annotated[hint, tyro.conf.FlagCreatePairsOff, silent] if not default else hint
    if typing.get_origin(hint) is tuple:
        metavar = f"{VALUES[typing.get_args(hint)[0]][0]} ..."
        return typing.Annotated[hint, tyro.conf.arg(metavar=metavar, help_behavior_hint="")]
    kinds = [kind for kind in (*typing.get_args(hint), hint) if kind in VALUES]
    metavar, expected = VALUES[kinds[0]]

    def parse(words: list[str]) -> typing.Any:
        try:
            return kinds[0](words[0])
        except ValueError:
            raise ValueError(f"'{words[0]}' was given, {expected} was expected.") from None

    spec: PrimitiveConstructorSpec[typing.Any] = PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )
    if default is None:
        return typing.Annotated[hint, spec, silent]
    return typing.Annotated[hint, spec]


def _overview(prog: str, table: dict[str, str]) -> str:
    lines = [f"usage: {prog} COMMAND [flags]", ""]
    if prog == "vireid":
        lines += [vireid.__doc__ or "", ""]
    width = max(map(len, table)) + 2
    for name, target in table.items():
        summary = f"{', '.join(INDEX_COMMANDS)}: what `search` and `serve` look into."
        if ":" in target:
            summary = (load(target).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<{width}}{summary}")
    lines += ["", f"`{prog} COMMAND --help` explains the flags of one command."]
    return "\n".join(lines) + "\n"
