"""What a run reports while it runs: `log.jsonl`, curves, one augmented batch, progress."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from vireid.config import convert
from vireid.console import console, progress, say
from vireid.figures import save_figure, training_curves
from vireid.files import parse_json, write_text
from vireid.types import InputError, Limits

REDRAW = 20.0  # seconds between drawings of the curves


class _LogLine(TypedDict):
    kind: Literal["step", "epoch"]
    epoch: Annotated[int, Limits(0, 2**31)]
    step: Annotated[int, Limits(0, 2**31)]
    losses: dict[str, float]
    lr: float


class LogLine(_LogLine, total=False):
    """What is read of a line of log.jsonl."""

    metrics: dict[str, float] | None
    best: bool


class Journal:
    """Writes the run's log and figures; does nothing unless `active`, on the first rank alone.

    `log.jsonl` has one object a line. `kind` is "step" (means since the epoch began) or "epoch"
    (means of the epoch, metrics if it was evaluated, `best` where they choose the epoch); both have
    epoch, step, losses, lr, images_per_second and seconds of training since the run began.
    """

    def __init__(self, run: Path, *, active: bool) -> None:
        self.run, self.path, self.active = run, run / "log.jsonl", active
        self._file: Any = None
        self._bar: Any = None
        self._drawn = time.monotonic()

    def open(self, epoch: int, step: int) -> None:
        """Begin, or go on before `step` of `epoch`: later lines of an earlier start are dropped."""
        if not self.active:
            return
        kept = [
            line
            for line in read_log(self.path)
            if (line["epoch"], line["step"]) <= (epoch, step)
            and not (line["kind"] == "epoch" and line["epoch"] >= epoch)
        ]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")

    def say(self, text: str) -> None:
        """Print a sentence as it is: a path may have brackets."""
        if self.active:
            say(text)

    def begin_epoch(self, epoch: int, epochs: int, steps: int, first: int, batch: int) -> None:
        if not self.active:
            return
        self.end_bar()
        self._title = f"epoch {epoch + 1}/{epochs}"
        self._bar = progress("img")
        self._bar.start()  # over the whole run, so that the time left is that of the run
        self._task = self._bar.add_task(
            self._title, total=epochs * steps * batch, completed=(epoch * steps + first) * batch
        )

    def advance(self, images: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, images)

    def line(self, facts: Mapping[str, Any]) -> None:
        """Append a line to the log and show its losses."""
        if not self.active:
            return
        self._file.write(json.dumps(facts) + "\n")
        self._file.flush()
        losses = "  ".join(f"{name} {value:.3f}" for name, value in facts["losses"].items())
        if self._bar is not None:  # all terms, where they leave room for the bar
            short = f"loss {sum(facts['losses'].values()):.3f}"
            shown = losses if len(losses) + 80 < console.width else short
            self._bar.update(self._task, description=f"{self._title}  {shown}")
        if facts["kind"] == "epoch":
            self.end_bar()
            metrics = "".join(
                f"  {name} {value:.3f}" for name, value in (facts.get("metrics") or {}).items()
            )
            console.print(
                f"{self._title}  {losses}  lr {facts['lr']:.4g}  "
                f"{facts['images_per_second']:,.0f} img/s{metrics}"
            )

    def curves(self, *, force: bool = False) -> None:
        """Draw `curves.png`, at most every 20 seconds unless forced."""
        now = time.monotonic()
        if not self.active or not (force or now - self._drawn > REDRAW):
            return
        figure = training_curves({self.run.name: read_log(self.path)})
        if figure is not None:
            save_figure(figure, self.run / "curves.png")
        self._drawn = time.monotonic()

    def end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        self.end_bar()
        if self._file is not None:
            self._file.close()


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's log; those that are none, such as a last one that was cut off while
    being written, are left out."""
    lines = []
    if Path(path).is_file():
        for text in Path(path).read_bytes().splitlines():
            with contextlib.suppress(InputError):
                lines.append(convert(LogLine, parse_json(text, "a line"), "a line"))
    return lines
