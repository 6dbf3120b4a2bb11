"""What a person sees: progress, notes and next steps on standard error, results on standard
output, where they can be piped on.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vireid.types import InputError, shown

LINE_EVERY = 30.0  # seconds between lines of progress where there is no terminal
_ENDLESS = 10**6  # columns where there is no terminal to end a line
_COMMAND = re.compile("`vireid [^`]*`")
_LISTED = 30  # valid names that a message lists beside the nearest one
_BESIDE = 2000  # names of a folder among which a mistyped one is sought
_REFUSED = 9  # unknown names that one message tells of
# What a terminal obeys instead of showing it (a file may be called so): control characters but
# line ends and tabs, marks that reverse text, separators of lines, halves of surrogate pairs.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """A text for a terminal or for JSON: what a terminal would obey is written as `\\u001b`."""
    return _OBEYED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def shortened(text: str, most: int) -> str:
    """A text of at most about `most` characters, cut in its middle."""
    if len(text) <= most:
        return text
    head, tail = text[: most * 2 // 3], text[-(most // 3) :]
    return f"{head} [… {len(text) - len(head) - len(tail):,} characters …] {tail}"


class _Harmless(Console):
    """All that is printed goes through `harmless`; rich's own colours and cursor movements stay.
    In a file or a pipe, a line may have any length: nothing in a table is wrapped."""

    @property
    def options(self) -> ConsoleOptions:
        options = super().options
        return options if _ends_lines(self.file) else options.update(max_width=_ENDLESS)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def _ends_lines(file: IO[str]) -> bool:
    """Whether a file is a terminal; rich also takes it for one where it is only to have colours
    (FORCE_COLOR)."""
    try:
        return file.isatty()
    except (AttributeError, ValueError):  # something like a file; closed
        return False


class _Results(_Harmless):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # the reader went away, as with `| head`; the command line ends


console = _Harmless(stderr=True, highlight=False, soft_wrap=True)
results = _Results(highlight=False, soft_wrap=True)


class _Progress(Progress):
    """Where there is no terminal, such as in a service's log: a line every half minute, and, of
    what had such a line, one at its end."""

    unit = "img"
    lines = False
    _next = 0.0
    _told = False

    def start_task(self, task_id: TaskID) -> None:
        super().start_task(task_id)
        self._next, self._told = self.get_time() + LINE_EVERY, False

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        now = self.get_time()
        task = self.tasks[self.task_ids.index(task_id)]
        if not self.lines or (now < self._next and not (self._told and task.finished)):
            return
        self._next, self._told = now + LINE_EVERY, True
        seconds = task.time_remaining
        left = f", {timedelta(seconds=int(seconds))} left" if seconds else ""
        speed = f", {task.speed:,.0f} {self.unit}/s" if task.speed else ""
        done = f"{task.completed:,.0f} of {task.total:,.0f} {self.unit}"
        say(f"{task.description}: {done}{speed}{left}")


def progress(unit: str = "img", *, shown: bool = True) -> Progress:
    """A progress bar with count, rate and time left, or lines where there is no terminal; use as
    a context manager, then `task = bar.add_task(text, total=n, rate="")` and
    `bar.advance(task)`."""

    class _Rate(TextColumn):
        def render(self, task):  # type: ignore[override]
            speed = task.finished_speed or task.speed
            self.text_format = f"{speed:,.0f} {unit}/s" if speed else ""
            return super().render(task)

    bar = _Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _Rate(""),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=120,  # slow steps have a rate, too
        disable=not (shown and console.is_terminal),
    )
    bar.unit, bar.lines = unit, shown and not console.is_terminal
    return bar


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table for `console.print`; every column but the first is right-aligned."""
    out = Table(title=Text(title), title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        if number == 0:
            out.add_column(column, overflow="fold")  # a path, which is shown whole
        else:
            out.add_column(column, justify="right")
    for row in rows:
        out.add_row(*map(_cell, row))
    return out


def facts_table(title: str, facts: Mapping[str, object]) -> Table:
    """Names and values, for `results.print`."""
    out = Table(title=Text(title), title_justify="left", show_header=False)
    out.add_column(overflow="fold")
    out.add_column(overflow="fold")
    for name, value in facts.items():
        out.add_row(Text(name), _cell(value))
    return out


def _cell(value: object) -> Text:
    """One line of text: a path may look like markup, or hold line ends."""
    return Text(harmless(str(value).replace("\n", "\\n")))  # here, so that widths are right


def say(text: str) -> None:
    """Print a sentence on standard error as it is (brackets in it aren't markup), but for commands
    in backticks, which can be typed here, and for options, which a command names as its flags."""
    text = _spelled[-1](text)
    console.print(_COMMAND.sub(lambda command: typed(command[0]), text), markup=False)


_spelled: list[Callable[[str], str]] = [str]


@contextlib.contextmanager
def spelling(options: Callable[[str], str]) -> Iterator[None]:
    """Say all sentences as `options` rewrites them: a room names fields in backticks, a command
    alone knows its flags."""
    _spelled.append(options)
    try:
        yield
    finally:
        _spelled.pop()


def warn(text: str) -> None:
    """Print a sentence on standard error that the user should not overlook."""
    console.print("[bold yellow]Warning:[/] ", end="")
    say(text)


def typed(command: str) -> str:
    """A command with `vireid` as it can be typed here: as its path where a shell wouldn't find it,
    as after `make demo`, whose environment nobody has activated."""
    program = Path(sys.argv[0])
    if program.stem != "vireid" or not program.is_file():
        return command  # within Python
    found = shutil.which("vireid")
    if found and os.path.samefile(found, program):
        return command
    path = os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)
    return re.sub(r"\bvireid (?=[a-z])", lambda _: f"{quoted(path)} ", command)


def quoted(name: object) -> str:
    """A path or another name as it is typed in a command: in quotation marks if it needs them."""
    return shlex.quote(str(name))


def first_line(error: Exception) -> str:
    """The first line of an error, as part of a sentence: those of compilers are long."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:160]}"


def count_text(count: int, one: str, many: str) -> str:
    """'1 identity', '3 identities'."""
    return f"{count:,} {one if count == 1 else many}"


def did_you_mean(
    word: str, valid: Iterable[str], *, written: Mapping[str, str] | None = None
) -> str:
    """The hint, " Did you mean 'that'?", at the valid word that is nearest to a mistyped one; ""
    where none is near.

    Args:
        written: valid word → how it is written, where that is otherwise.
    """
    near = _nearest_word(word, valid)
    return f" Did you mean '{(written or {}).get(near, near)}'?" if near else ""


def _nearest_word(word: str, valid: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word[:80], [*valid], n=1)), "")


def path_meant(path: str | Path, fits: Callable[[Path], bool] = os.path.exists) -> str:
    """The hint, " Did you mean 'runs/mcl-0'?", at what lies under the names nearest to those of a
    path where nothing lies; "" where something does, or none is near.

    Args:
        fits: whether what lies there is of the kind that was expected.
    """
    if os.path.exists(path) or (found := _nearest(Path(path), fits)) is None:
        return ""
    return f" Did you mean '{found}'?"


def _nearest(path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """See `path_meant`; also folders on the way may be mistyped."""
    folder = path.parent
    try:
        if folder != path and not folder.is_dir():
            folder = _nearest(folder, Path.is_dir) or folder
        names = [there.name for there in itertools.islice(folder.iterdir(), _BESIDE)]
    except (OSError, ValueError):  # such as a zero byte in a name
        return None
    hidden = path.name.startswith(".")
    beside = {name.lower(): name for name in names if hidden or not name.startswith(".")}
    asked = path.name.lower()[:255]
    near = difflib.get_close_matches(asked, beside, n=3)
    for name in (name for name in near if _same_kind_of_name(asked, name)):
        with contextlib.suppress(OSError):  # a folder that may not be looked into
            if fits(there := folder / beside[name]):
                return there
    return None


def _same_kind_of_name(asked: str, name: str) -> bool:
    """Whether one may be the other mistyped: "nofile.toml" isn't "NOTICE.md", nor is "9.jpg"
    "0047.jpg", though they end alike."""
    (stem, ending), (other, its_ending) = os.path.splitext(asked), os.path.splitext(name)
    return likeness(stem, other) >= (0.6 if ending == its_ending else 0.8)


def held_in(folder: Path, fits: Callable[[Path], bool]) -> list[Path]:
    """What lies in a folder and is of the kind that was expected, by name."""
    found = []
    with contextlib.suppress(OSError):  # it may not be looked into
        for there in sorted(itertools.islice(folder.iterdir(), _BESIDE)):
            with contextlib.suppress(OSError):
                if not there.name.startswith(".") and fits(there):
                    found.append(there)
    return found


def inside_meant(folder: Path, fits: Callable[[Path], bool]) -> str:
    """The hint, " Did you mean 'runs/mcl-0'?", at what a folder holds, where it was given instead
    of one of these; "" where it holds nothing of the kind that was expected."""
    found = held_in(folder, fits)
    if len(found) < 2:
        return f" Did you mean '{found[0]}'?" if found else ""
    return f" Did you mean one in it, such as '{found[0]}'?"


def around(path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """The folder that a path lies in, or the one around that, if it is of the kind that was
    expected."""
    for folder in path.parents[:2]:
        with contextlib.suppress(OSError):
            if fits(folder):
                return folder
    return None


def folder_meant(folder: Path, fits: Callable[[Path], bool]) -> str:
    """The hint, " Did you mean 'runs/mcl-0'?", where a folder isn't of the kind that was expected:
    at one of that kind with a near name, in it or around it; "" where there is none."""
    if hint := path_meant(folder, fits) or inside_meant(folder, fits):
        return hint
    found = around(folder, fits)
    return f" Did you mean '{found}', which it lies in?" if found else ""


def choose(
    what: str, text: str, valid: Sequence[str], *,
    aliases: dict[str, str] | None = None, option: bool = False,
) -> str:  # fmt: skip
    """The valid name that a user means: case, hyphens and underscores don't matter.

    Args:
        what: what is chosen, for the message ("method").
        text: what the user wrote.
        valid: the valid names.
        aliases: other names → valid names.
        option: `what` is the name of the option, which need be no singular noun ("kernels").

    Raises:
        InputError: it is none of them; the message lists them and the nearest one; where they are
            many, it names the nearest one alone.
    """
    names = {folded(name): name for name in valid}
    for alias, name in (aliases or {}).items():
        if name in valid:
            names.setdefault(folded(alias), name)
    key = folded(str(text))
    if key in names:
        return names[key]
    sentence = f"`{what}` is " if option else f"There is no {what} "
    raise refusals(sentence, [text], valid, names=names)[0]


def unknown(
    sentence: str, words: Iterable[object], valid: Collection[str], *, again: str = ""
) -> str:
    """The sentences of `refusals` as one text."""
    return " ".join(map(str, refusals(sentence, words, valid, again=again)))


def refusals(
    sentence: str, words: Iterable[object], valid: Collection[str], *,
    again: str = "", names: Mapping[str, str] | None = None,
) -> list[InputError]:  # fmt: skip
    """Errors that refuse words, all of them at once: each with the valid one that is nearest, the
    last with the valid ones, unless these are many and each word has a near one.

    Args:
        sentence: what is said of each, up to the word ("There is no method ").
        again: the same of all but the first, if otherwise.
        names: folded valid word → the word, if other words are taken for it, too.
    """
    names = names or {folded(name): name for name in valid}
    given = [*map(str, words)]
    told = given[:_REFUSED]
    near = [_nearest_word(folded(word), names) for word in told]
    listed = f" Valid: {', '.join(valid)}." if not all(near) or len(valid) <= _LISTED else ""
    refused = []
    for number, (word, found) in enumerate(zip(told, near), 1):
        begin = sentence if number == 1 else again or sentence
        hint = did_you_mean(folded(word), names, written=names)
        last = number == len(given)
        refused.append(InputError(
            f"{begin}{shown(word)}.", hint + listed * last, likeness(word, found)
        ))  # fmt: skip
    if len(given) > len(told):
        refused.append(InputError(f"{len(given) - len(told):,} more are unknown.", listed))
    return refused


def likeness(word: str, other: str) -> float:
    """How alike two words are to `choose`, from 0 to 1."""
    return difflib.SequenceMatcher(None, folded(word)[:80], folded(other)).ratio()


def folded(name: str) -> str:
    """A name without what doesn't matter to `choose`."""
    return name.strip().lower().replace("-", "").replace("_", "")


def tell_broken(paths: Iterable[str]) -> None:
    """List the images that were left out because they can't be decoded."""
    for path in paths:
        say(f"skipped (cannot be decoded): {path}")
