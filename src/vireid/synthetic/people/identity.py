"""Draws who a synthetic person is: body, clothes, hair, things carried, way of walking.

A person is a pure function of (seed, pid, generator version). How frequent garments are stands in
`wardrobe`, colours and patterns in `cloth`, the rest in the tables below.
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.people.body import BodyShape, load_body
from vireid.synthetic.people.cloth import linear, sample_cloth
from vireid.synthetic.people.person import Person
from vireid.synthetic.people.wardrobe import Bag, Hat, Lower, Neck, Outer, garment, odds
from vireid.synthetic.places.scene import triple
from vireid.synthetic.versions import GENERATOR_VERSION, Version

STATURE = (1.45, 2.05)
"""Shortest and tallest person in metres."""

HAIR = {
    True: {"long": 0.32, "bob": 0.20, "pony": 0.19, "bun": 0.11, "short": 0.10, "curly": 0.08},
    False: {"short": 0.42, "buzz": 0.17, "bald": 0.09, "mid": 0.18, "afro": 0.05, "bob": 0.04,
            "bun": 0.02, "pony": 0.03},
}  # fmt: skip
"""Odds of hair, of women (True) and men."""
BEARD = {"none": 0.66, "stubble": 0.16, "full": 0.18}
"""Odds for men; women have none."""
SLEEVE = {0.02: 0.10, 0.15: 0.38, 0.24: 0.10, 0.44: 0.42}
"""Sleeve end in metres from the shoulder → odds."""
HOOD_SHARE, LEGGINGS_SHARE = 0.35, 0.30
"""Hoods are of those who wear an outer piece, leggings of those who wear a skirt."""
GLASSES_SHARE, UMBRELLA_SHARE, PHONE_SHARE = 0.18, 0.05, 0.12


def _pick(rng: np.random.Generator, table: dict):
    """A key of a table of odds."""
    p = np.array(list(table.values()))
    return list(table)[rng.choice(len(table), p=p / p.sum())]


def _shape(rng: np.random.Generator, female: bool) -> BodyShape:
    base = 0.0 if female else 1.0
    return BodyShape(
        gender=float(np.clip(base + rng.uniform(-0.15, 0.15), 0, 1)),
        age=float(np.clip(rng.normal(0.2, 0.25), 0, 0.9)),
        muscle=float(np.clip(rng.normal(0.42, 0.16), 0.1, 0.8)),
        weight=float(np.clip(rng.normal(0.45, 0.21), 0.1, 0.9)),
        height=float(np.clip(rng.normal(0, 0.22), -0.45, 0.45)),
        proportions=float(rng.uniform(-0.2, 0.8)),
        ancestry=triple(rng.dirichlet([0.7, 0.9, 0.9])),
    )


def sample_person(seed: int, pid: int, *, version: Version = GENERATOR_VERSION) -> Person:
    """Person `pid` of the population `seed`, as a version of the generator draws it."""
    rng = np.random.default_rng([11, seed, pid])
    female = bool(rng.random() < 0.5)
    body = load_body()
    while True:  # rare: a body outside human sizes is drawn again
        shape = _shape(rng, female)
        stature = body.stature(shape)
        if STATURE[0] <= stature <= STATURE[1]:
            break
    dark, asian, _ = shape.ancestry
    skin = np.array([0.75, 0.52, 0.40]) * (1 - 0.72 * dark) * (1 - 0.12 * asian)
    skin = skin * rng.uniform(0.85, 1.1)
    lower = garment(Lower, _pick(rng, odds(Lower, female, version)))
    outer_kind = _pick(rng, odds(Outer, female, version))
    sleeve = _pick(rng, SLEEVE)
    if outer_kind != "none" and rng.random() < 0.85:
        sleeve = 0.44
    leg_end = float(rng.uniform(*lower.end))
    return Person(
        seed=seed,
        pid=pid,
        version=version,
        female=female,
        shape=shape,
        stature=stature,
        skin=triple(skin),
        top=sample_cloth(rng, "upper"),
        bottom=sample_cloth(rng, lower.cloth),
        outer=sample_cloth(rng, "outer"),
        shoe=sample_cloth(rng, "shoe"),
        bag_cloth=sample_cloth(rng, "thing"),
        hat_cloth=sample_cloth(rng, "thing"),
        scarf=sample_cloth(rng, "upper"),
        lower=lower.name,
        outer_kind=outer_kind,
        sleeve=sleeve,
        neckline=float(rng.uniform(0, 0.07)),
        hem=float(rng.choice([0.06, 0.0, -0.06, -0.14], p=[0.25, 0.4, 0.25, 0.1])),
        leg_end=leg_end,
        skirt_end=float(rng.uniform(-0.62, -0.16)),
        coat_end=float(rng.uniform(-0.62, -0.3)),
        flare=float(rng.uniform(0.05, 0.4)),
        folds=float(rng.uniform(0.2, 1.0)),
        fold_count=int(rng.integers(7, 15)),
        leggings=bool(rng.random() < LEGGINGS_SHARE),
        hood=bool(rng.random() < HOOD_SHARE),
        loose=float(rng.uniform(0.004, 0.024)),
        hair=_pick(rng, HAIR[female]),
        hair_colour=triple(
            linear(
                rng.uniform(0.04, 0.10),
                rng.uniform(0.2, 0.6),
                rng.choice([0.08, 0.14, 0.25, 0.5, 0.75], p=[0.38, 0.27, 0.17, 0.1, 0.08]),
            )
        ),
        hair_nir=float(rng.uniform(0.15, 0.5)),
        hair_thickness=float(rng.uniform(0.012, 0.03)),
        hairline=float(rng.uniform(-0.01, 0.02)),
        hair_length=float(rng.uniform(0.25, 0.5)),
        beard="none" if female else _pick(rng, BEARD),
        glasses=bool(rng.random() < GLASSES_SHARE),
        hat=_pick(rng, odds(Hat, female, version)),
        bag=_pick(rng, odds(Bag, female, version)),
        bag_size=float(rng.uniform(0.8, 1.25)),
        bag_side=int(rng.choice([-1, 1])),
        neck=_pick(rng, odds(Neck, female, version)),
        umbrella=bool(rng.random() < UMBRELLA_SHARE),
        phone=bool(rng.random() < PHONE_SHARE),
        pale_sole=bool(rng.random() < 0.5),
        lean=float(rng.normal(0.03, 0.04)),
        stance=float(rng.uniform(0, 0.07)),
        toe_out=float(rng.uniform(0, 0.25)),
        arm_swing=float(rng.uniform(0.35, 0.9)),
        arm_out=float(rng.uniform(0.1, 0.2)),
        stride=float(rng.uniform(0.6, 1.1)),
        sweat=float(rng.uniform(0, 1)),
        offset=float(rng.random()),
    )


def attributes(person: Person) -> dict[str, str | int]:
    """A person's row of `attributes.csv`."""
    p = person
    row: dict[str, str | int] = {
        "pid": p.pid,
        "seed": p.seed,
        "gender": "female" if p.female else "male",
        "age": f"{p.shape.age:.3f}",
        "stature": f"{p.stature:.3f}",
        "weight": f"{p.shape.weight:.3f}",
        "muscle": f"{p.shape.muscle:.3f}",
        "hair": p.hair,
        "beard": p.beard,
        "glasses": int(p.glasses),
        "hat": p.hat,
        "neck": p.neck,
        "sleeve": f"{p.sleeve:.2f}",
        "lower": p.lower,
        "outer": p.outer_kind,
        "hood": int(p.hood and p.outer_kind != "none"),
        "leggings": int(p.leggings and garment(Lower, p.lower).is_skirt),
        "bag": p.bag,
        "umbrella": int(p.umbrella),
    }
    for name, cloth in (
        ("top", p.top),
        ("bottom", p.bottom),
        ("outer", p.outer),
        ("shoe", p.shoe),
        ("bag", p.bag_cloth),
    ):
        row |= {
            f"{name}_colour": cloth.colour_name,
            f"{name}_pattern": cloth.pattern,
            f"{name}_nir": f"{cloth.nir:.3f}",
            f"{name}_nir2": f"{cloth.nir2:.3f}",
        }
    return row
