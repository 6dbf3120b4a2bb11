"""All scenes, numbered: indoors first."""

from __future__ import annotations

from vireid.synthetic.places.indoor import INDOOR_SCENES
from vireid.synthetic.places.outdoor import OUTDOOR_SCENES

SCENES = INDOOR_SCENES + OUTDOOR_SCENES
INDOOR = tuple(range(len(INDOOR_SCENES)))
OUTDOOR = tuple(range(len(INDOOR_SCENES), len(SCENES)))
