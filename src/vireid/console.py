"""What a person sees while something runs: progress bars and tables, on standard error.

Standard output is kept for results that scripts read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from vireid.types import InputError

console = Console(stderr=True, highlight=False, soft_wrap=True)


def progress(unit: str = "img") -> Progress:
    """A progress bar with count, rate and time left; use as a context manager, then
    `task = bar.add_task(text, total=n, rate="")` and `bar.advance(task)`."""
    class _Rate(TextColumn):
        def render(self, task):  # type: ignore[override]
            speed = task.finished_speed or task.speed
            self.text_format = f"{speed:,.0f} {unit}/s" if speed else ""
            return super().render(task)

    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(),
        _Rate(""), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table for `console.print`; every column but the first is right-aligned."""
    out = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        out.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        out.add_row(*[str(cell) for cell in row])
    return out


def choose(what: str, given: str, legal: Sequence[str], *,
           aliases: dict[str, str] | None = None) -> str:
    """The legal name that a user's word stands for: case, hyphens and underscores don't matter.

    Args:
        what: what is chosen, for the message ("method").
        given: the user's word.
        legal: the legal names.
        aliases: other words → legal names.

    Raises:
        InputError: no legal name fits; the message lists them and the nearest one.
    """
    def plain(word: str) -> str:
        return word.strip().lower().replace("-", "").replace("_", "")

    names = {plain(name): name for name in legal}
    for alias, name in (aliases or {}).items():
        names.setdefault(plain(alias), name)
    found = names.get(plain(str(given)))
    if found is not None:
        return found
    near = difflib.get_close_matches(plain(str(given)), names, n=1, cutoff=0.6)
    hint = f" Did you mean '{names[near[0]]}'?" if near else ""
    raise InputError(f"There is no {what} '{given}'. Legal: {', '.join(legal)}.{hint}")
