"""Constants of light and heat stand in the relations that their docstrings state."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.people.material import (
    CLOTH_HEAT,
    FACE_HEAT,
    HAIR,
    INSULATION_COOLS,
    OUTER,
    SKIN,
    TOP,
    material_table,
)
from vireid.synthetic.pictures.shading import AIR_AT_MEASURING

SKIN_TEMPERATURE = 33.5
STILL_AIR = 0.6  # clo


def test_cloth_is_as_warm_as_resistances_in_a_row_say() -> None:
    insulation = np.linspace(0.35, 1.2, 20)
    ours = CLOTH_HEAT - INSULATION_COOLS * insulation
    share = STILL_AIR / (STILL_AIR + insulation)
    expected = AIR_AT_MEASURING + (SKIN_TEMPERATURE - AIR_AT_MEASURING) * share
    assert np.abs(ours - expected).max() < 2


def test_a_person_is_warmest_at_the_skin() -> None:
    for pid in range(1, 40):
        table, _ = material_table(sample_person(3, pid))
        warm = {part: float(table[part]["heat"]) for part in (SKIN, TOP, OUTER, HAIR)}
        assert FACE_HEAT > warm[SKIN] > warm[HAIR] > AIR_AT_MEASURING
        assert warm[SKIN] > max(warm[TOP], warm[OUTER]) and min(warm.values()) > AIR_AT_MEASURING
