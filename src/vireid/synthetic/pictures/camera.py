"""The cameras of each layout.

Scenes are shared in a stated way: of the 13 scenes of its kind (indoors or outdoors), a camera sees
nine in a row from its own start in the list (SYSU's cameras 2 and 3, which are in the same places,
see all 13), so every scene is seen by at least two cameras. Each view draws its scene independently
of the person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vireid.synthetic.places.scenes import INDOOR, OUTDOOR, SCENES
from vireid.synthetic.versions import VERSIONS, Version, is_drawn


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One camera.

    Attributes:
        camid: its number; sensor: "visible", "nir" or "pair" (visible and thermal).
        height: of the lens, metres; distance: nearest and farthest person, metres.
        scenes: numbers of the scenes of the first generator version that it sees.
        cast: colour of its white balance; exposure: factor.
        resolution: heights in pixels of the farthest and nearest person's image.
        noise: of the sensor; blur: of the lens, pixels.
        night: share of its visible images that are taken in low light.
    """

    camid: int
    sensor: str
    height: float
    distance: tuple[float, float]
    scenes: tuple[int, ...]
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    resolution: tuple[int, int] = (120, 270)
    noise: float = 0.012
    blur: float = 0.45
    night: float = 0.04

    def scenes_of(self, version: Version) -> tuple[int, ...]:
        """Numbers of the scenes it sees in a generator version: its own and later ones."""
        kinds = {SCENES[number].indoor for number in self.scenes}
        return self.scenes + tuple(
            number
            for number, scene in enumerate(SCENES)
            if scene.since != VERSIONS[0]
            and scene.indoor in kinds
            and is_drawn(scene.since, version)
        )


def _nine(scenes: tuple[int, ...], start: int) -> tuple[int, ...]:
    return tuple(scenes[(start + k) % len(scenes)] for k in range(9))


# fmt: off
SYSU_CAMERAS = (
    Camera(camid=1, sensor="visible", height=2.6, distance=(4, 8), scenes=_nine(INDOOR, 0),
           cast=(1.04, 1.0, 0.92), resolution=(150, 288), noise=0.010, blur=0.40),
    Camera(camid=2, sensor="visible", height=3.1, distance=(5, 9), scenes=INDOOR,
           cast=(0.93, 1.0, 1.09), exposure=0.92, resolution=(120, 250), noise=0.016, blur=0.55),
    Camera(camid=3, sensor="nir", height=2.4, distance=(3, 7), scenes=INDOOR, resolution=(140, 270),
           noise=0.010, blur=0.50),
    Camera(camid=4, sensor="visible", height=3.4, distance=(7, 13), scenes=_nine(OUTDOOR, 0),
           cast=(1.0, 1.0, 0.97), exposure=1.08, resolution=(110, 240), noise=0.010, blur=0.45),
    Camera(camid=5, sensor="visible", height=2.2, distance=(6, 12), scenes=_nine(OUTDOOR, 4),
           cast=(0.96, 1.03, 0.96), exposure=0.96, resolution=(120, 260), noise=0.013, blur=0.40),
    Camera(camid=6, sensor="nir", height=2.9, distance=(4, 9), scenes=_nine(OUTDOOR, 9),
           resolution=(115, 240), noise=0.016, blur=0.60),
)

REGDB_CAMERA = Camera(camid=1, sensor="pair", height=3.0, distance=(5, 9),
                      scenes=OUTDOOR + INDOOR[:5], resolution=(128, 128), noise=0.012, blur=0.4)
# fmt: on

_LLCM = (  # height, distance, indoor, start, resolution, noise, night share
    (2.6, (4, 8), True, 0, (130, 260), 0.012, 0.25),
    (3.0, (5, 10), False, 0, (110, 240), 0.014, 0.35),
    (3.4, (6, 12), False, 3, (100, 220), 0.016, 0.35),
    (2.4, (4, 8), True, 3, (130, 270), 0.012, 0.25),
    (2.8, (5, 10), False, 6, (120, 250), 0.015, 0.35),
    (3.2, (5, 11), False, 9, (110, 230), 0.018, 0.45),
    (2.5, (4, 9), True, 6, (120, 260), 0.014, 0.25),
    (2.9, (4, 9), True, 9, (120, 240), 0.016, 0.30),
    (3.5, (6, 12), False, 11, (100, 220), 0.016, 0.40),
)
LLCM_CAMERAS = tuple(
    Camera(
        camid=i + 1,
        sensor="visible",
        height=h,
        distance=d,
        scenes=_nine(INDOOR if indoor else OUTDOOR, start),
        resolution=r,
        noise=n,
        night=night,
    )
    for i, (h, d, indoor, start, r, n, night) in enumerate(_LLCM)
)
LLCM_NIR_CAMERAS = tuple(replace(c, sensor="nir") for c in LLCM_CAMERAS if c.camid != 3)
"""Camera 3 of LLCM has no infrared images in its test part, so it has none here."""
