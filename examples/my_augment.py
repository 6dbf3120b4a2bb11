"""An augmentation of your own, in one file and without a fork.

    vireid train --augment examples/my_augment.py:Haze ...

It comes on top of the recipe's own, before erasing. Here: haze or a dirty lens, which pulls an
image towards grey, stronger from left to right or from right to left. The second view of visible
images (`--second-view`) gets twice as much, so the same class is an extra view as well.

What is random is drawn in `draw`, for a whole epoch, from the generator alone: the same seed gives
the same images on a processor, a GPU, in a captured graph, on every rank and after a resumption.
`forward` is tensor operations only; no `.item()`, no branch on values.
"""

import numpy as np
import torch
from torch import Tensor

from vireid.data import OwnAugment, Rows

PROBABILITY = 0.5
STRONGEST = 0.4  # share of grey


class Haze(OwnAugment):
    """Grey that grows from one side to the other, on half of the images."""

    columns = 2  # share of grey on the left and on the right

    def draw(self, generator: np.random.Generator, steps: int, rows: Rows) -> np.ndarray:
        shape = (steps, len(rows.visible))
        strength = generator.uniform(0, STRONGEST, shape) * (1 + rows.second_view)
        strength *= generator.random(shape) < PROBABILITY
        from_left = generator.random(shape) < 0.5
        return np.stack([strength * from_left, strength * ~from_left], axis=2)

    def forward(self, image: Tensor, draws: Tensor) -> Tensor:
        left, right = draws[:, 0, None], draws[:, 1, None]
        x = torch.linspace(0, 1, image.shape[3], device=image.device)
        share = (left * (1 - x) + right * x)[:, None, None]  # (B, 1, 1, W)
        return image * (1 - share) + 0.5 * share
