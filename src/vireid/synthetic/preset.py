"""How hard a data set is: the stated knobs of `easy`, `standard` and `hard`."""

from __future__ import annotations

from dataclasses import dataclass

from vireid.console import choose


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Knobs of difficulty. Shares are probabilities per image.

    Attributes:
        occlusion: something is between camera and person.
        passers: another person is in the image.
        props: each item that a scene may hold is in it.
        motion: the image is blurred by motion.
        night: factor on each camera's share of low-light images.
        noise: factor on the sensor's noise.
        resolution: factor on the image's height.
        quality: lowest and highest JPEG quality.
        pose: factor on the turning of the head.
    """

    occlusion: float
    passers: float
    props: float
    motion: float
    night: float
    noise: float
    resolution: float
    quality: tuple[int, int]
    pose: float


# fmt: off
PRESETS: dict[str, Preset] = {
    "easy": Preset(occlusion=0.0, passers=0.0, props=0.25, motion=0.0, night=0.0, noise=0.6,
                   resolution=1.1, quality=(85, 96), pose=0.7),
    "standard": Preset(occlusion=0.09, passers=0.05, props=0.4, motion=0.10, night=0.7, noise=1.0,
                       resolution=1.0, quality=(65, 93), pose=1.0),
    "hard": Preset(occlusion=0.28, passers=0.20, props=0.8, motion=0.25, night=4.0, noise=1.8,
                   resolution=0.75, quality=(40, 80), pose=1.5),
}
# fmt: on


def preset_named(name: str) -> tuple[str, Preset]:
    """The name, as we spell it, and the knobs of a preset.

    Raises:
        InputError: no such preset.
    """
    name = choose("preset", name, tuple(PRESETS))
    return name, PRESETS[name]
