"""A backbone of your own, in one file and without a fork.

    vireid train --arch examples/my_backbone.py:SmallNet --pretrained none --method agw ...

The name after the colon is a class or a function without arguments that makes a network, which is
either one of timm, put together as you like it, or any module with two attributes:

- `stem`: images (B, 3, H, W) → maps; each modality gets one of its own,
- `stages`: four modules from maps to maps (B, C, h, w), `nn.Sequential` of blocks where non-local
  blocks should come between them; `--private-stages` are doubled like the stem.

`mean` and `std` are what its input is normalised by (ImageNet's, if you leave them out). Everything
else, from the stride of the last stage to the sizes of neck and classifier, is found out by a trial
run. `--pretrained FILE` takes the state dict of the whole module.
"""

from torch import Tensor, nn


class Block(nn.Module):
    """Depthwise and pointwise convolution around a shortcut; `stride` 2 halves the map."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.space = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.mix = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.plain = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.mix(self.space(x)))
        return (x + y if self.plain else y).relu()


class SmallNet(nn.Module):
    """Four stages of two blocks, 0.3 million parameters."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 4, stride=4, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before = (widths[0], *widths)
        self.stages = nn.ModuleList(
            nn.Sequential(Block(a, b, 1 if k == 0 else 2), Block(b, b))
            for k, (a, b) in enumerate(zip(before, widths))
        )
