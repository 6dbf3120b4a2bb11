"""All scenes, numbered: indoors first."""

from __future__ import annotations

from vireid.synthetic.scenes_indoor import INDOOR_SCENES
from vireid.synthetic.scenes_outdoor import OUTDOOR_SCENES

SCENES = INDOOR_SCENES + OUTDOOR_SCENES
INDOOR = tuple(range(len(INDOOR_SCENES)))
OUTDOOR = tuple(range(len(INDOOR_SCENES), len(SCENES)))
