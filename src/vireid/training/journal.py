"""What a run reports while it runs: `log.jsonl`, curves, one augmented batch, progress."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vireid.console import console, progress, say
from vireid.data.augment import MEAN, STD
from vireid.files import atomic_write, write_text
from vireid.types import InputError

REDRAW = 20.0  # seconds between drawings of the curves


class Journal:
    """Writes the run's log and figures; does nothing unless `active`, on the first rank alone.

    `log.jsonl` has one object a line. `kind` is "step" (means since the epoch began) or "epoch"
    (means of the epoch, metrics if it was evaluated); both have epoch, step, losses, lr,
    images_per_second and seconds of training since the run began.
    """

    def __init__(self, run: Path, *, active: bool, tensorboard: bool) -> None:
        self.run, self.path, self.active = run, run / "log.jsonl", active
        self.writer: Any = None
        self._file: Any = None
        self._bar: Any = None
        self._drawn = time.monotonic()
        if active and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError(
                    "TensorBoard isn't installed. Install it with `pip install 'vireid[logging]'`."
                ) from error
            self.writer = SummaryWriter(str(run / "tensorboard"))

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
        if console.is_terminal:
            self._bar = progress("img")
            self._bar.start()
            self._task = self._bar.add_task(
                f"epoch {epoch + 1}/{epochs}", total=steps * batch, completed=first * batch
            )
        self._title = f"epoch {epoch + 1}/{epochs}"

    def advance(self, images: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, images)

    def line(self, kind: str, **facts: Any) -> None:
        """Append a line to the log, show its losses, pass it to TensorBoard."""
        if not self.active:
            return
        self._file.write(json.dumps({"kind": kind, **facts}) + "\n")
        self._file.flush()
        losses = "  ".join(f"{name} {value:.3f}" for name, value in facts["losses"].items())
        if self._bar is not None:  # all terms, where they leave room for the bar
            short = f"loss {sum(facts['losses'].values()):.3f}"
            shown = losses if len(losses) + 80 < console.width else short
            self._bar.update(self._task, description=f"{self._title}  {shown}")
        if kind == "epoch":
            self.end_bar()
            metrics = "".join(
                f"  {name} {value:.3f}" for name, value in (facts.get("metrics") or {}).items()
            )
            console.print(
                f"{self._title}  {losses}  lr {facts['lr']:.4g}  "
                f"{facts['images_per_second']:,.0f} img/s{metrics}"
            )
        if self.writer is not None:
            count = facts["global_step"]
            for name, value in facts["losses"].items():
                self.writer.add_scalar(f"loss/{name}", value, count)
            self.writer.add_scalar("lr", facts["lr"], count)
            for name, value in (facts.get("metrics") or {}).items():
                self.writer.add_scalar(f"validation/{name}", value, count)

    def curves(self, *, force: bool = False) -> None:
        """Draw `curves.png`, at most every 20 seconds unless forced."""
        now = time.monotonic()
        if not self.active or not (force or now - self._drawn > REDRAW):
            return
        draw_curves(read_log(self.path), self.run / "curves.png")
        self._drawn = time.monotonic()

    def end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        self.end_bar()
        if self._file is not None:
            self._file.close()
        if self.writer is not None:
            self.writer.close()


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last line that was cut off while being written is left out."""
    lines = []
    if Path(path).is_file():
        for text in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines


def draw_curves(lines: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Losses, learning rate and, where there are some, validation metrics over epochs, as one
    picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not epochs:
        return
    seen = [line for line in epochs if line.get("metrics")]
    panels = 3 if seen else 2
    figure = Figure(figsize=(4.4 * panels, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels)
    x = [line["epoch"] + 1 for line in epochs]
    marker = "o" if len(epochs) < 10 else None
    for name in epochs[0]["losses"]:
        values = [line["losses"].get(name, math.nan) for line in epochs]
        axes[0].plot(x, values, marker=marker, label=name)
    axes[0].set(title="losses (mean of an epoch, weighted)")
    axes[1].plot(x, [line["lr"] for line in epochs], marker=marker)
    axes[1].set(title="learning rate at the epoch's end")
    for name in seen[0]["metrics"] if seen else ():
        values = [100 * line["metrics"].get(name, math.nan) for line in seen]
        axes[2].plot([line["epoch"] + 1 for line in seen], values, marker="o", label=name)
    if seen:
        axes[2].set(title="validation identities (%)")
    for panel in axes:
        panel.set(xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if panel.get_legend_handles_labels()[0]:
            # Below the panel, where it covers no line.
            panel.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    with atomic_write(target) as file:
        figure.savefig(file, format="png", dpi=110)


def draw_batch(image: Tensor, target: Path, *, columns: int = 16) -> None:
    """One augmented batch as a sheet: visible rows on top, infrared below.

    Args:
        image: (B, 3, H, W) normalised.
        target: PNG file.
        columns: pictures in a row.
    """
    from PIL import Image

    array = image.float().permute(0, 2, 3, 1).cpu().numpy() * np.array(STD) + np.array(MEAN)
    array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    count, height, width = array.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for i, picture in enumerate(array):
        top, left = (i // columns) * (height + 4) + 2, (i % columns) * (width + 4) + 2
        sheet[top : top + height, left : left + width] = picture
    with atomic_write(target) as file:
        Image.fromarray(sheet).save(file, format="PNG")
