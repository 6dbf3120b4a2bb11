"""Statistics over 2,000 people: what the data sheet says of them."""

import dataclasses

import numpy as np
import pytest

from vireid.synthetic.people import identity, wardrobe
from vireid.synthetic.people.cloth import _PATTERN_ODDS, NIR_BRIGHT_SHARE, PALETTE, PATTERNS
from vireid.synthetic.people.identity import attributes, sample_person
from vireid.synthetic.people.wardrobe import Bag, Hat, Lower, Neck, Outer

COUNT = 2000


@pytest.fixture(scope="module")
def people():
    return [sample_person(5, pid) for pid in range(1, COUNT + 1)]


def circular_linear(angle: np.ndarray, value: np.ndarray) -> float:
    """Correlation of an angle with a number (Mardia): 0 to 1."""
    c, s = np.cos(angle), np.sin(angle)
    a, b, ab = (np.corrcoef(*pair)[0, 1] for pair in ((value, c), (value, s), (c, s)))
    return float(np.sqrt(max(0, (a * a + b * b - 2 * a * b * ab) / (1 - ab * ab))))


@pytest.mark.parametrize("piece", ["top", "bottom", "outer", "bag_cloth"])
def test_hue_tells_nothing_of_near_infrared_albedo(people, piece):
    cloths = [getattr(p, piece) for p in people]
    angle = np.array([2 * np.pi * c.hue for c in cloths])
    nir = np.array([c.nir for c in cloths])
    found = circular_linear(angle, nir)
    assert found < 0.06
    rng = np.random.default_rng(0)
    by_chance = [circular_linear(angle, rng.permutation(nir)) for _ in range(400)]
    assert np.mean(np.array(by_chance) >= found) > 0.01


def test_brightness_tells_nothing_of_near_infrared_albedo(people):
    visible = [np.mean(p.top.colour) for p in people]
    assert abs(np.corrcoef(visible, [p.top.nir for p in people])[0, 1]) < 0.06


def test_statures_are_human(people):
    statures = np.array([p.stature for p in people])
    assert statures.min() >= 1.45
    assert statures.max() <= 2.05
    assert 1.62 < statures.mean() < 1.78
    men = np.array([not p.female for p in people])
    assert statures[men].mean() > statures[~men].mean() + 0.05


def close(found: float, stated: float, count: int) -> bool:
    """Within four deviations of a share among `count` people."""
    return abs(found - stated) < 4 * np.sqrt(stated * (1 - stated) / count) + 1e-9


@pytest.mark.parametrize(
    ("name", "kind"), [("outer_kind", Outer), ("hat", Hat), ("bag", Bag), ("neck", Neck)]
)
def test_garments_are_as_frequent_as_stated(people, name, kind):
    for value, share in wardrobe.odds(kind, True, 1).items():
        found = np.mean([getattr(p, name) == value for p in people])
        assert close(found, share, COUNT), (name, value, found)


@pytest.mark.parametrize("female", [True, False])
def test_attributes_that_depend_on_gender(people, female):
    some = [p for p in people if p.female == female]
    assert close(len(some) / COUNT, 0.5, COUNT)
    for name, table in (
        ("lower", wardrobe.odds(Lower, female, 1)),
        ("hair", identity.HAIR[female]),
    ):
        for value, share in table.items():
            found = np.mean([getattr(p, name) == value for p in some])
            assert close(found, share, len(some)), (name, value, found)
    beards = [p.beard for p in some]
    if female:
        assert set(beards) == {"none"}
    else:
        for value, share in identity.BEARD.items():
            assert close(np.mean([b == value for b in beards]), share, len(some))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("hood", identity.HOOD_SHARE),
        ("glasses", identity.GLASSES_SHARE),
        ("umbrella", identity.UMBRELLA_SHARE),
        ("leggings", identity.LEGGINGS_SHARE),
        ("phone", identity.PHONE_SHARE),
    ],
)
def test_yes_or_no_attributes(people, name, share):
    assert close(np.mean([getattr(p, name) for p in people]), share, COUNT)


def test_sleeves_of_those_who_wear_nothing_over_them(people):
    some = [p for p in people if p.outer_kind == "none"]
    for sleeve, share in identity.SLEEVE.items():
        assert close(np.mean([p.sleeve == sleeve for p in some]), share, len(some)), sleeve


@pytest.mark.parametrize(("piece", "column"), [("top", 0), ("outer", 2), ("shoe", 4)])
def test_colours_are_as_frequent_as_stated(people, piece, column):
    total = sum(odds[column] for _, odds in PALETTE.values())
    for name, (_, odds) in PALETTE.items():
        found = np.mean([getattr(p, piece).colour_name == name for p in people])
        assert close(found, odds[column] / total, COUNT), (name, found)


@pytest.mark.parametrize(("piece", "kind"), [("top", "upper"), ("outer", "outer")])
def test_patterns_are_as_frequent_as_stated(people, piece, kind):
    total = sum(_PATTERN_ODDS[kind])
    for name, odds in zip(PATTERNS, _PATTERN_ODDS[kind]):
        found = np.mean([getattr(p, piece).pattern == name for p in people])
        assert close(found, odds / total, COUNT), (name, found)


def test_near_infrared_is_mostly_bright(people):
    assert close(np.mean([p.top.nir > 0.4 for p in people]), NIR_BRIGHT_SHARE, COUNT)


def test_a_person_is_a_function_of_seed_and_pid(people):
    assert sample_person(5, 7) == people[6]
    assert sample_person(6, 7) != people[6]


def test_every_pattern_and_colour_occurs_and_tables_are_flat(people):
    rows = [attributes(p) for p in people]
    assert {row["top_pattern"] for row in rows} | {row["outer_pattern"] for row in rows} == set(
        PATTERNS
    )
    assert {row["top_colour"] for row in rows} == set(PALETTE)
    assert all(isinstance(value, str | int) for row in rows for value in row.values())
    assert dataclasses.is_dataclass(people[0])
