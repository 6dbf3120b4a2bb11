"""The command `vireid`: words on a command line → one plain function, errors → sentences.

Each command is a function of `vireid.commands`; `commands.flags` makes flags of its parameters
and help of its docstring.
"""

from __future__ import annotations

import errno
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence

import vireid
from vireid.commands import COMMANDS, INDEX_COMMANDS, load
from vireid.console import console, did_you_mean, harmless, say, shortened
from vireid.files import NoPermission
from vireid.own_code import HOW_TO_DEBUG, failure
from vireid.runtime.signals import Terminated, signals_raise
from vireid.types import InputError
from vireid.version import __version__

log = logging.getLogger(__name__)
USER_ERROR = 2
INTERRUPTED, TERMINATED = 130, 143  # by Ctrl-C, by SIGTERM; as of a shell: 128 + its number
LONGEST_COMPLAINT = 2000  # characters; what was given may be of any length
# Objects more than before, when Python looks for garbage. PyTorch's modules and its compiler make
# millions that stay, and looking among them again and again makes a command start later.
COLLECT_AFTER = 10_000


def begin() -> None:
    """Set what a process that is a command has to have before PyTorch is imported."""
    gc.set_threshold(COLLECT_AFTER)
    # PyTorch has as many threads as there are cores, and those that have nothing to do spin, unless
    # told otherwise. Several commands on one machine then take each other's cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the process's) name, and exit.

    Exit codes: 0 done; 2 the user gave something that cannot be used (a sentence on standard
    error says what); 130 interrupted by Ctrl-C, 143 by SIGTERM; 1 a sweep is not complete, or a
    bug, with its traceback.
    """
    begin()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without some sign shows "?" for it
    level = os.environ.get("VIREID_LOG", "WARNING").upper()
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(levelname)s: %(message)s"))
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "WARNING", handlers=[handler]
    )
    try:
        with signals_raise() as raised:
            try:
                code = _dispatch(words)
                sys.stdout.flush()
            except Exception as error:
                if raised:  # and lost in code in C, of which this is the answer
                    raise raised[0] from error
                raise
    except InputError as error:
        _complain(str(error))
        code = USER_ERROR
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's last flush
        code = 0
    except Exception as error:
        if where := failure(error):
            log.debug("code of the user's own failed", exc_info=True)
            _complain(f"Code of your own failed {where}. {HOW_TO_DEBUG}")
        elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _complain(f"The file name '{error.filename}' is longer than this system allows.")
        elif isinstance(error, PermissionError) and error.filename is not None:
            _complain(str(NoPermission(error.filename, error)))
        else:
            raise
        code = USER_ERROR
    except KeyboardInterrupt as error:
        if error.args and os.environ.get("RANK", "0") == "0":
            say(str(error))  # how to go on
        _complain("interrupted.")
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    sys.exit(code)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


def _complain(text: str) -> None:
    console.print("[bold red]vireid:[/] ", end="")
    say(shortened(text, LONGEST_COMPLAINT))


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
        raise InputError(
            f"There is no command '{prog} {name}'.{did_you_mean(name, table)} "
            f"Valid: {', '.join(table)}. See `{prog} --help`."
        )
    from vireid.commands.flags import Flags

    return Flags(f"{prog} {name}", load(table[name]), rest).call()


def _overview(prog: str, table: dict[str, str]) -> str:
    lines = [f"usage: {prog} COMMAND [flags]", ""]
    if prog == "vireid":
        lines += [vireid.__doc__ or "", ""]
    width = max(map(len, table)) + 2
    for name, target in table.items():
        summary = f"Make or change an index to search: {', '.join(INDEX_COMMANDS)}."
        if ":" in target:
            summary = (load(target).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<{width}}{summary}")
    lines += ["", f"`{prog} COMMAND --help` explains the flags of one command."]
    return "\n".join(lines) + "\n"
