"""One synthetic person as plain data: `identity` draws it, `garments` and `material` show it."""

from __future__ import annotations

from dataclasses import dataclass

from vireid.synthetic.people.body import BodyShape
from vireid.synthetic.people.cloth import Cloth
from vireid.synthetic.versions import Version


@dataclass(frozen=True, kw_only=True)
class Person:
    """One synthetic identity.

    Lengths are metres. Heights of hems are in template coordinates, where the hip is near 0 and
    the sole near -0.82.

    Attributes:
        seed, pid, version: what the person is a function of; `version` is the generator's.
        female: whether the odds of women were used.
        stature: from sole to crown.
        skin: linear RGB albedo; hair_colour likewise.
        top, bottom, outer, shoe, bag_cloth, hat_cloth, scarf: the cloths.
        sleeve: end of the sleeve from the shoulder; neckline: depth of the neck cut.
        hem: end of the top; leg_end: end of the trousers; skirt_end, coat_end: of those.
        flare: of the skirt; folds: amplitude of its free folds; fold_count.
        loose: distance of the top from the body.
        lower, outer_kind, hat, bag, neck: names of garments in `wardrobe`.
        offset: where the person's cloth is read from the noise textures, 0 to 1.
    """

    seed: int
    pid: int
    version: Version
    female: bool
    shape: BodyShape
    stature: float
    skin: tuple[float, float, float]
    top: Cloth
    bottom: Cloth
    outer: Cloth
    shoe: Cloth
    bag_cloth: Cloth
    hat_cloth: Cloth
    scarf: Cloth
    lower: str
    outer_kind: str
    sleeve: float
    neckline: float
    hem: float
    leg_end: float
    skirt_end: float
    coat_end: float
    flare: float
    folds: float
    fold_count: int
    leggings: bool
    hood: bool
    loose: float
    hair: str
    hair_colour: tuple[float, float, float]
    hair_nir: float
    hair_thickness: float
    hairline: float
    hair_length: float
    beard: str
    glasses: bool
    hat: str
    bag: str
    bag_size: float
    bag_side: int
    neck: str
    umbrella: bool
    phone: bool
    pale_sole: bool
    lean: float
    stance: float
    toe_out: float
    arm_swing: float
    arm_out: float
    stride: float
    sweat: float
    offset: float
