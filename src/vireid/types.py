"""The types that all rooms share. Each object checks itself when it is made.

Nothing here imports PyTorch, so that `vireid --help` stays quick.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypedDict, get_args

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PrecisionName = Literal["auto", "bfloat16", "float16", "float32"]
PRECISION_ALIASES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
# Test-time augmentation. flip: the sum of the vectors of an image and its mirror image, of length 2
# at most; flip-mean: their mean, brought to length 1 again.
TtaName = Literal["none", "flip", "flip-mean"]
TTA = get_args(TtaName)


class InputError(Exception):
    """What a user gave cannot be used. The message is whole sentences for that user:
    what is wrong, what was given, what was expected, what to do. The command line prints it
    and ends with exit code 2.

    Attributes:
        fault: the message without its hint.
        hint: what may help, which can differ where the fault is the same.
        nearness: how alike what was given and what the hint names are, from 0 to 1.
    """

    def __init__(self, fault: str = "", hint: str = "", nearness: float = 0.0) -> None:
        super().__init__(f"{fault}{hint}")
        self.fault, self.hint, self.nearness = fault, hint, nearness


def shown(value: object, limit: int = 80) -> str:
    """A value as a message shows it: in quotation marks where it is text, and not too long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def check_no_zero_byte(paths: Iterable[str]) -> None:
    """Refuse names that no file can have, at which the system's functions fail.

    Raises:
        InputError: a path with a zero byte in it.
    """
    if odd := next((path for path in paths if "\0" in path), None):
        raise InputError(f"The path {shown(odd)} has a zero byte in it, so no file can be there.")


LAST_MOMENT = 7_258_118_400.0  # 2200-01-01
LAST_NUMBER = 2**63 - 1  # of identities and cameras
FIRST_NAME, _LAST_NAME = 10**15, 2**53  # of identities; a browser's numbers end there
_FINER = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
_YEAR, _MONTH, _DAY = r"(?:19|20|21)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATE_DIGITS = (  # dates without a separator; pandas makes 2026.0 of a year beside empty cells
    re.compile(
        rf"({_YEAR})(?:({_MONTH})(?:({_DAY})(?:([01]\d|2[0-3])([0-5]\d)(?:([0-5]\d)\d*)?)?)?)?"
        r"(?:\.0*)?",
        re.ASCII,
    ),
    re.compile(rf"(?:{_DAY}{_MONTH}|{_MONTH}{_DAY})({_YEAR})(?:\.0*)?", re.ASCII),
)
_SHEET_BEGINS, _SHEET_DAYS = -2_209_161_600, (36_526, 73_051)  # 1899-12-30; 2000 to 2100
_MISSING = {"", "-1", "-1.0", "nan", "nat", "none", "null", "na", "n/a", "<na>"}


def is_missing(text: str) -> bool:
    """Whether a cell says that its value is unknown: empty, -1, or as pandas and databases do."""
    return text.strip().lower() in _MISSING


def parse_pid(text: str | int) -> int:
    """The number of an identity that a user wrote; the same text is the same number everywhere.

    Args:
        text: a whole number (7, 007, 7.0), -1 or another word for unknown, or any name. A number
            of more than 18 digits is a name.

    Returns:
        The number; -1 where unknown; for a name a hash of it, from 10**15 to 2**53.

    Raises:
        InputError: a number that a spreadsheet has rounded, such as 1.2E+19.
    """
    name = unicodedata.normalize("NFC", str(text).strip())  # folders on a Mac are decomposed
    if is_missing(name):
        return -1
    if number := re.fullmatch(r"0*(\d+?)(?:\.0*)?", name, re.ASCII):
        name = number[1]
        if len(name) <= 18:
            return int(name)
    if re.fullmatch(r"\d(?:[.,]\d+)?e\+\d+", name, re.ASCII | re.IGNORECASE):
        raise InputError(
            f"The identity '{name[:40]}' has been rounded, so that several people may share it. "
            "Write the column as text, with all of its digits."
        )
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return FIRST_NAME + int.from_bytes(digest, "big") % (_LAST_NAME - FIRST_NAME)


def parse_time(text: str | float) -> float:
    """Seconds since 1970 of a moment that a user gave.

    Args:
        text: seconds since 1970, or ISO 8601 ("2026-03-01 18:00", "2026-03-01T18:00:00+08:00");
            UTC where no zone is given. A float is seconds; of text and whole numbers, those that
            may be a date are refused: 2026, 202603, 20260301, a spreadsheet's 46082.75.

    Raises:
        InputError: neither of both, or not from 1970 to the year 2200; milliseconds and the like;
            a number that may be a date.
    """
    word = str(text).strip()
    if not isinstance(text, float) and (date := _date_in(word)):
        raise InputError(
            f"The time is '{word[:40]}', which may be a date or seconds since 1970. Write a date "
            f"as {date}{_as_seconds(float(word))}."
        )
    try:
        seconds = float(word.replace("_", "?"))  # Python's numbers may have underscores
    except ValueError:
        try:
            moment = datetime.fromisoformat(word)
        except ValueError:
            raise InputError(
                f"The time is {shown(word)}; seconds since 1970 or a date such as "
                "'2026-03-01 18:00' (UTC) was expected."
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp()
    if not 0 <= seconds < LAST_MOMENT:
        finer = next((name for n, name in _FINER.items() if 0 < seconds / n < LAST_MOMENT), None)
        looks = f"; it looks like {finer}" if finer and "-" not in word else ""
        raise InputError(
            f"The time {shown(word)} is not between 1970 and 2200{looks}. Give seconds since 1970, "
            "or a date."
        )
    return seconds


def _date_in(word: str) -> str:
    """The date that a number may be, as ISO 8601; "" if it can't be one."""
    for form in _DATE_DIGITS:
        if found := form.fullmatch(word):
            year, month, day, hour, minute, second = (*found.groups(), *[None] * 5)[:6]
            if month is None and len(word) > 7:
                return f"{year}-MM-DD"  # which of the two is the day is unknown
            date = f"{year}-{month or '01'}-{day or '01'}"
            return date if hour is None else f"{date} {hour}:{minute}:{second or '00'}"
    if re.fullmatch(r"\d{5}(?:\.\d*)?", word, re.ASCII):
        low, high = _SHEET_DAYS
        if low <= (days := float(word)) < high:
            moment = datetime.fromtimestamp(_SHEET_BEGINS + round(days * 86_400), UTC)
            return moment.strftime("%Y-%m-%d %H:%M:%S")
    return ""


def _as_seconds(seconds: float) -> str:
    """How to write what was meant as seconds since 1970, where it can't be read as that."""
    if seconds >= LAST_MOMENT:
        return ""
    return f", those seconds as {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


class Modality(IntEnum):
    """The sensor that took one image."""

    VISIBLE = 0
    INFRARED = 1

    @classmethod
    def parse(cls, text: str | int) -> Modality:
        """Read a modality that a user wrote, in any case: visible, rgb, vis, v, 0 or
        infrared, ir, nir, thermal, i, 1.

        Raises:
            InputError: for anything else.
        """
        name = str(text).strip().lower()
        if name in {"visible", "rgb", "vis", "v", "0", "0.0"}:
            return cls.VISIBLE
        if name in {"infrared", "ir", "nir", "thermal", "i", "1", "1.0"}:
            return cls.INFRARED
        raise InputError(f"The modality is {shown(str(text))}; it must be 'visible' or 'infrared'.")

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image on disk and what is known of it.

    Attributes:
        path: relative to the data root, with forward slashes.
        pid: identity as the data set numbers it; -1 if unknown.
        camid: camera number as the data set counts (from 1); -1 if unknown.
        modality: the sensor.
        time: seconds since 1970 when the image was taken, or None.
    """

    path: str
    pid: int
    camid: int
    modality: Modality
    time: float | None = None


class Batch(NamedTuple):
    """One training batch, on one device. Rows are visible images first, then infrared ones.

    Attributes:
        image: (B, 3, H, W) float, augmented and normalised.
        pid_label: (B,) int64 dense training label of the identity, from 0.
        camera_label: (B,) int64 dense camera label, from 0.
        modality: (B,) int64, values of `Modality`.
        num_visible: rows [0, num_visible) are visible; a host number, so that nothing waits
            for the device.
    """

    image: Tensor
    pid_label: Tensor
    camera_label: Tensor
    modality: Tensor
    num_visible: int


class Stripe(NamedTuple):
    """What a network says of one horizontal stripe of each image.

    Attributes:
        pooled: (B, D) mean of the last map over the stripe.
        embedding: (B, D) features after the stripe's own neck.
        logits: (B, num_pids) scores of the stripe's own classifier.
    """

    pooled: Tensor
    embedding: Tensor
    logits: Tensor


class Output(NamedTuple):
    """What a network says of a batch.

    Attributes:
        pooled: (B, D) features before the neck.
        embedding: (B, D) features after the neck.
        logits: (B, num_pids) scores of the classifier on `embedding`.
        feature_map: (B, D, h, w) last map of the backbone.
        stripes: of the map, from the top; none where the network has no stripes.
    """

    pooled: Tensor
    embedding: Tensor
    logits: Tensor
    feature_map: Tensor
    stripes: tuple[Stripe, ...] = ()


class Limits(NamedTuple):
    """Limits of a number in an `Annotated` type; `vireid.config.convert` checks them."""

    at_least: float
    at_most: float


Side = Annotated[int, Limits(1, 8192)]
"""Height or width of images, in pixels."""


class Preprocessing(TypedDict, total=False):
    """What was done to images before the network saw them, as plain values; what is stored beside
    vectors, so that queries are treated alike. Other keys may be there.

    Attributes:
        size: (height, width).
        resize: the filter.
        mean, std: of the normalisation.
        tta: test-time augmentation, "none" or its name.
        search_with: the test embedding that the weights recommend.
        intensity_range, orientation: as in `vireid.data.Decoding`.
    """

    size: tuple[Side, Side]
    resize: str
    mean: list[float]
    std: list[float]
    tta: str | None
    search_with: str
    intensity_range: str | None
    orientation: Literal["upright", "stored"]


def usual_embedding(names: Sequence[str]) -> str:
    """The test embedding to search with and to draw, where the weights recommend none."""
    return "embedding" if "embedding" in names else names[0]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Vectors of N images, and what is known of the images.

    Attributes:
        vectors: name of the test embedding ("pooled", "embedding", for DDAG also "part") →
            (N, D) float32 or float16, each row of length 1 (with the test-time augmentation
            "flip" the sum of two such rows).
        paths: N image paths as given ("" where an array was given).
        base: the folder that relative paths start from; "" if unknown.
        root: the folder whose images were embedded; "" if unknown.
        pids, camids: (N,) int64; -1 where unknown.
        modality: (N,) int64.
        times: (N,) float64 seconds since 1970; NaN where unknown.
        weights_hash: hash of the weights that made the vectors.
        preprocessing: size, normalisation and test-time augmentation, as plain values.
    """

    vectors: dict[str, np.ndarray]
    paths: Sequence[str]
    pids: np.ndarray
    camids: np.ndarray
    modality: np.ndarray
    times: np.ndarray
    weights_hash: str
    preprocessing: dict = field(default_factory=dict)
    base: str = ""
    root: str = ""

    def __post_init__(self) -> None:
        n = len(self.paths)
        columns = {
            "pids": self.pids,
            "camids": self.camids,
            "modality": self.modality,
            "times": self.times,
        }
        for name, column in columns.items():
            if column.shape != (n,):
                raise ValueError(f"Embeddings.{name} has shape {column.shape}, expected ({n},).")
        if not self.vectors:
            raise ValueError("Embeddings.vectors is empty; expected at least one named array.")
        for name, array in self.vectors.items():
            if array.ndim != 2 or len(array) != n:
                raise ValueError(
                    f"Embeddings.vectors['{name}'] has shape {array.shape}, expected ({n}, D)."
                )

    def check_values(self) -> None:
        """Check what is known of the images, row by row.

        Raises:
            InputError: a path, modality, identity, camera or time that can't be; names the first
                image.
        """
        import numpy as np

        check_no_zero_byte((self.base, self.root, *self.paths))
        columns = {"pid": self.pids, "camid": self.camids, "modality": self.modality}
        for name, column in (*columns.items(), ("time", self.times)):
            if column.dtype.kind not in ("f" if name == "time" else "iu"):
                raise InputError(
                    f"The {name} of the images is of type {column.dtype}; "
                    f"{'float64' if name == 'time' else 'int64'} was expected."
                )
        times = self.times
        known = ~np.isnan(times)
        checks = {
            "pid": ((self.pids >= -1) & (self.pids <= LAST_NUMBER), "-1 (unknown) or more"),
            "camid": ((self.camids >= -1) & (self.camids <= LAST_NUMBER), "-1 (unknown) or more"),
            "modality": (np.isin(self.modality, list(Modality)), "0 (visible) or 1 (infrared)"),
            "time": (
                ~known | ((times >= 0) & (times < LAST_MOMENT)),
                "seconds from 1970 to 2200, or NaN where unknown,",
            ),
        }
        for name, (fits, expected) in checks.items():
            if not fits.all():
                row = int(np.argmin(fits))
                value = (times if name == "time" else columns[name])[row]
                raise InputError(
                    f"The {name} of {shown(self.paths[row])} is {value}; {expected} was expected "
                    f"({int((~fits).sum())} such rows). Embed the images again."
                )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def pooled(self) -> np.ndarray:
        """(N, D) vectors before the neck."""
        return self.vectors["pooled"]

    @property
    def embedding(self) -> np.ndarray:
        """(N, D) vectors after the neck."""
        return self.vectors["embedding"]
