"""What a data set states about itself; commands, protocols and reports ask for it here.

Nothing here imports PyTorch or NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vireid.types import InputError

Direction = Literal["infrared_to_visible", "visible_to_infrared"]
DIRECTIONS: tuple[Direction, ...] = ("infrared_to_visible", "visible_to_infrared")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the values in an image file become RGB with 8 bits; kept wherever pixels or vectors are.

    Attributes:
        intensity_range: what is done with more than 8 bits per channel, as thermal cameras write
            them. None refuses such images; "LOW:HIGH" makes LOW black and HIGH white and cuts off
            what lies beyond; "minmax" takes LOW and HIGH from each image, so that one temperature
            looks different from frame to frame. Images with 8 bits are never changed by it.
        orientation: "upright" turns an image as the camera's orientation tag says, "stored"
            ignores the tag, as the published preprocessing does.

    Raises:
        InputError: `intensity_range` is something else.
    """

    intensity_range: str | None = None
    orientation: Literal["upright", "stored"] = "upright"

    def __post_init__(self) -> None:
        text = (self.intensity_range or "none").strip().lower()
        if text == "none":
            object.__setattr__(self, "intensity_range", None)
        elif text == "minmax":
            object.__setattr__(self, "intensity_range", text)
        else:
            low, high = _limits(text)
            object.__setattr__(self, "intensity_range", f"{low:.10g}:{high:.10g}")

    @property
    def limits(self) -> tuple[float, float] | None:
        """LOW and HIGH where they are fixed."""
        if self.intensity_range in (None, "minmax"):
            return None
        return _limits(str(self.intensity_range))

    def as_preprocessing(self) -> dict[str, Any]:
        """The entries of `Embeddings.preprocessing` that say how images were decoded."""
        return {"intensity_range": self.intensity_range, "orientation": self.orientation}

    @classmethod
    def of(cls, preprocessing: Mapping[str, Any]) -> Decoding:
        """From `Embeddings.preprocessing`; files of earlier versions say nothing of it."""
        return cls(
            intensity_range=preprocessing.get("intensity_range"),
            orientation="stored" if preprocessing.get("orientation") == "stored" else "upright",
        )


def _limits(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"`intensity_range` is '{text[:40]}'; minmax, or LOW:HIGH with two numbers, the "
            "smaller first, such as 28000:31000, was expected."
        )
    return low, high


UPRIGHT = Decoding()
AS_PUBLISHED = Decoding(orientation="stored")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which gallery images a query ignores, and what its ranks count.

    It knows an image by its identity and its camera number. A rule about anything else (the
    day, the place) is written by numbering that as the camera.

    Attributes:
        skip_pairs: (query camid, gallery camid): queries of the first camera ignore all gallery
            images of the second.
        skip_same_camera: a query ignores the gallery images of its own identity that its own
            camera took.
        collapse_identities: the CMC counts distinct identities, not images. Average precision
            and inverse negative penalty count images always.
    """

    skip_pairs: tuple[tuple[int, int], ...] = ()
    skip_same_camera: bool = False
    collapse_identities: bool = False

    @property
    def needs_cameras(self) -> bool:
        """Whether the rule can't be applied without camera numbers."""
        return bool(self.skip_pairs) or self.skip_same_camera

    def skips_cameras(self, camid: int, gallery_camid: int) -> bool:
        """Whether no match of a query of one camera counts among images of the other."""
        same = self.skip_same_camera and camid == gallery_camid
        return same or (camid, gallery_camid) in self.skip_pairs

    def skips(self, pid: int, camid: int, gallery_pid: int, gallery_camid: int) -> bool:
        """Whether a query ignores a gallery image."""
        same = self.skip_same_camera and (pid, camid) == (gallery_pid, gallery_camid)
        return same or (camid, gallery_camid) in self.skip_pairs

    def __str__(self) -> str:
        words = [f"camera {q} skips camera {g}" for q, g in self.skip_pairs]
        if self.skip_same_camera:
            words.append("same identity and camera skipped")
        counted = "identities" if self.collapse_identities else "images"
        return ", ".join([*words, f"ranks count {counted}"])


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Another way in which others search a data set.

    Attributes:
        direction: the search in which it differs from the standard protocol.
        swap: the drawn images are the queries there, and all images of the query's modality the
            gallery.
        note: a sentence for each report.
    """

    direction: Direction
    swap: bool = False
    note: str


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A data set: how its folder is read and recognised, and which searches it defines.

    Attributes:
        name: the word for `dataset`, in lower case.
        title: its name in reports.
        load: (root, *, trial, split_seed, camera_pattern) → `vireid.data.Dataset`. It names those
            of the last two that it uses, as users are refused the others; `**_` takes the rest.
        rule: how a search is scored.
        layout: which images of a folder are read, in words.
        cameras: camids of which a whole copy has images; () if that isn't known.
        aliases: other words for `dataset`.
        is_layout: whether a folder is laid out as this data set; None if that can't be told.
        scopes: scope → camids of its queries and of its gallery, None for all cameras; the first
            scope is the default.
        shots: numbers of gallery images for each identity and camera that may be asked for; the
            first is the default.
        permutations: MATLAB file of the official gallery draw in SYSU-MM01's form, relative to
            the root, where there is one; see `vireid.data.permutation`.
        whole_gallery: no gallery is drawn, all images are searched, in one trial.
        directions: those that are defined; the first is the default.
        every_direction: where no direction is asked for, all of them are tested, not the first.
        variants: variant → how it differs from the standard protocol.
        orientation: whether images are turned as their tags say; see `Decoding`.
        published_numbers: whether an identity's number is the same person in every copy of the data
            set; where it isn't, copies are told apart by their images.
        splits: divisions of the identities into training and testing, each with a model of its
            own; `trial` counts them from 1.

    Raises:
        InputError: no scope, no number of shots, no direction or no split, or one that can't be.
    """

    name: str
    title: str
    load: Callable[..., Any]
    rule: Rule
    layout: str = "what its loader takes"
    cameras: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    is_layout: Callable[[Path], bool] | None = None
    scopes: Mapping[str, tuple[int, ...] | None] = field(default_factory=lambda: {"all": None})
    shots: tuple[int, ...] = (1,)
    permutations: str | None = None
    whole_gallery: bool = False
    directions: tuple[Direction, ...] = DIRECTIONS
    every_direction: bool = False
    variants: Mapping[str, Variant] = field(default_factory=dict)
    orientation: Literal["upright", "stored"] = "upright"
    published_numbers: bool = False
    splits: int = 1

    def __post_init__(self) -> None:
        named = {*self.directions, *(variant.direction for variant in self.variants.values())}
        for problem, found in (
            ("no scope, as scopes={'all': None}", not self.scopes),
            (f"the shots {self.shots}; whole numbers from 1 on were expected",
             not self.shots or min(self.shots) < 1),
            ("no direction", not self.directions),
            (f"the directions {', '.join(sorted(named))}; {' and '.join(DIRECTIONS)} exist",
             not named <= {*DIRECTIONS}),
            ("a variant of a direction that is not among its directions",
             not named <= {*self.directions}),
            (f"{self.splits} splits; at least one was expected", self.splits < 1),
        ):  # fmt: skip
            if found:
                raise InputError(f"The data set '{self.name}' has {problem}. Correct its facts.")

    @property
    def tested_directions(self) -> tuple[Direction, ...]:
        """Those that are tested where no direction is asked for."""
        return self.directions if self.every_direction else self.directions[:1]

    @property
    def draws(self) -> tuple[str, ...]:
        """Ways to draw a gallery; the first is the default."""
        return ("seeded",) if self.permutations is None else ("seeded", "official")

    @property
    def variant_names(self) -> tuple[str, ...]:
        """ "standard", then the variants."""
        return ("standard", *self.variants)
