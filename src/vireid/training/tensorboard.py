"""Losses, rates, metrics, configuration and images of a run in TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vireid.extras import require
from vireid.training.callbacks import Callback


class TensorBoard(Callback):
    """Writes RUN/tensorboard.

    Raises:
        InputError: TensorBoard isn't installed.
    """

    def __init__(self) -> None:
        require("logging")
        self._shown: set[str] = set()

    def on_start(self, run: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run, self._count = run, 0
        self._writer = SummaryWriter(str(run / "tensorboard"))
        text = json.dumps(config, indent=2)
        self._writer.add_text("configuration", "    " + text.replace("\n", "\n    "))

    def on_step(self, line: Mapping[str, Any]) -> None:
        self._count = line["global_step"]
        for name, value in line["losses"].items():
            self._writer.add_scalar(f"loss/{name}", value, self._count)
        self._writer.add_scalar("lr", line["lr"], self._count)

    def on_epoch(self, line: Mapping[str, Any]) -> None:
        self.on_step(line)
        for name, value in (line.get("metrics") or {}).items():
            self._writer.add_scalar(f"validation/{name}", value, self._count)
        self._writer.add_scalar("images_per_second", line["images_per_second"], self._count)
        self._add_image("batch")

    def on_end(self, state: str) -> None:
        self._add_image("curves")
        self._writer.close()

    def _add_image(self, name: str) -> None:
        """Show an image of the run's folder, once."""
        path = self._run / f"{name}.png"
        if name in self._shown or not path.is_file():
            return
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, self._count, dataformats="HWC")
        self._shown.add(name)
