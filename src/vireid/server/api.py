"""Requests, answers and errors of the HTTP interface, which FastAPI describes as OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt

from vireid.index.entries import Entry, Filters, Hit
from vireid.types import InputError, Modality, parse_pid, parse_time

RowId = Field(
    pattern=r"^[0-9]{1,19}$",
    description="the entry's number, as text: it may exceed what JavaScript's numbers hold",
    examples=["1204"],
)
Pid = Field(
    description="identity, as text like row_id; null where unknown", examples=["17"], default=None
)
Format = Literal["json", "csv"]
TIME = "seconds since 1970, or ISO 8601 (UTC where no zone is given)"
Time = StrictInt | StrictFloat | str  # a whole number stays one: 2026 may be a year
ModalityWord = Literal["visible", "infrared"]


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="a short name for programs", examples=["too_many_pixels"])
    sentence: str = Field(description="what is wrong and what to do, for people")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not 2xx."""

    error: Problem


class Camera(BaseModel):
    """One camera of the index."""

    camid: int = Field(description="camera number; -1 where unknown")
    name: str | None = Field(description="what it is called, if it has a name")
    count: int = Field(description="entries")


class TimeRange(BaseModel):
    """Earliest and latest time, in seconds since 1970."""

    first: float
    last: float


class Limits(BaseModel):
    """What one search may ask."""

    upload_bytes: int = Field(description="of all images of a search together")
    pixels: int = Field(description="likewise")
    images: int
    top: int
    person_shape: tuple[float, float] = Field(
        description="how many times higher than wide an image of one person is; in others a box "
        "should be drawn"
    )
    grey: float = Field(
        description="mean spread of the colour channels, of 255, below which an image has no "
        "colour, as infrared ones"
    )


class InfoAnswer(BaseModel):
    """What the index holds and what the server allows."""

    version: str
    count: int = Field(description="entries in the index")
    identities: int = Field(description="distinct identities")
    cameras: list[Camera]
    modalities: dict[str, int] = Field(description="'visible' or 'infrared' → entries")
    time_range: TimeRange | None
    weights: str = Field(description="first 12 digits of the weights' hash")
    embedding: str
    dim: int
    mode: str = Field(description="how the index searches")
    images: bool = Field(description="whether gallery images can be shown")
    orientation: Literal["upright", "stored"] = Field(
        description="whether an upload is turned as its orientation tag says, before its box is cut"
    )
    limits: Limits
    user: str
    require_reason: bool
    audited: bool


class HitAnswer(BaseModel):
    """One entry of the index."""

    row_id: str = RowId
    rank: int = Field(description="rank in the answer, from 1")
    similarity: float = Field(description="cosine similarity to the query, in [-1, 1]")
    one_in: int | None = Field(
        description="one in so many pairs of strangers is as similar or more, as measured in this "
        "index; null if that has too few people to tell"
    )
    camid: int = Field(description="camera number; -1 where unknown")
    camera: str | None = Field(description="what the camera is called, if it has a name")
    pid: str | None = Pid
    modality: ModalityWord
    time: float | None = Field(description="seconds since 1970")
    name: str = Field(description="the image's file name, without folders")

    @classmethod
    def of(cls, hit: Hit, rank: int, names: Mapping[int, str]) -> HitAnswer:
        return cls(
            rank=rank,
            similarity=round(hit.similarity, 6),
            one_in=hit.one_in,
            **_columns(hit, names),
        )


class QueryAnswer(BaseModel):
    """What was searched for."""

    modality: ModalityWord
    images: int = Field(default=1, description="uploads; several are of one person")
    width: int | None = Field(default=None, description="pixels of the first upload, or of its box")
    height: int | None = None
    row_id: str | None = Field(default=None, description="the entry that was the query")
    pid: str | None = Field(default=None, description="its identity, as text")
    camid: int = -1
    camera: str | None = None
    time: float | None = None
    name: str = ""
    notes: list[str] = Field(
        default=[],
        description="why its hits may mean little, for people: it shows no person or not only one, "
        "or its colours aren't those of the sensor that it is said to be of",
    )


class SearchAnswer(BaseModel):
    """The most similar entries, best first."""

    query: QueryAnswer
    hits: list[HitAnswer]
    searched: int = Field(description="entries compared with: those that the filters leave")
    milliseconds: float = Field(description="time on the server, waiting included")


class SightingsAnswer(BaseModel):
    """Where and when the person of one entry was seen, in order of time.

    `basis` says what they have in common: "identity" (the same recorded identity) or "similarity"
    (the images only look alike; nobody has confirmed that it is one person).
    """

    basis: Literal["identity", "similarity"]
    pid: str | None = Pid
    sightings: list[HitAnswer]


class RowSearch(BaseModel):
    """Search with an entry of the index."""

    model_config = ConfigDict(extra="forbid")

    row_id: str = RowId
    top: int = Field(default=24, ge=1)
    cameras: list[int] | None = Field(default=None, max_length=10_000)
    result_modality: ModalityWord | None = None
    time_from: Time | None = Field(default=None, description=TIME)
    time_to: Time | None = None
    pids: list[int | str] | None = Field(default=None, max_length=10_000)
    reason: str | None = Field(default=None, max_length=500)
    format: Format = "json"

    def filters(self) -> Filters | None:
        """The filters of the search; None if every entry matches."""
        return make_filters(
            None if self.cameras is None else tuple(self.cameras),
            self.result_modality,
            self.time_from,
            self.time_to,
            None if self.pids is None else tuple(map(parse_pid, self.pids)),
        )


class SignIn(BaseModel):
    """A token entered on the page."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=500)


class SessionAnswer(BaseModel):
    """Whether a token is needed, and who is signed in."""

    required: bool
    user: str | None


class HealthAnswer(BaseModel):
    """The server is running."""

    status: Literal["ok"]
    waiting: int = Field(description="searches in the queue")


def make_filters(
    camids: tuple[int, ...] | None,
    modality: str | None,
    time_from: Time | None,
    time_to: Time | None,
    pids: tuple[int, ...] | None,
) -> Filters | None:
    """Filters of one search; None if every entry matches.

    Raises:
        InputError: a field is not valid; the message names it.
    """
    for name, numbers in (("cameras", camids), ("pids", pids)):
        if numbers is not None and any(abs(n) >= 2**63 for n in numbers):
            raise InputError(f"The field '{name}' has a number that is too large.")
    filters = Filters(
        camids=camids,
        modality=Modality.parse(modality) if modality else None,
        time_from=read_time("time_from", time_from),
        time_to=read_time("time_to", time_to),
        pids=pids,
    )
    return None if filters.empty else filters


def parse_numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """Read '1,2,5'; None and the empty text mean any.

    Raises:
        InputError: not whole numbers separated by commas.
    """
    if text is None or not text.strip():
        return None
    try:
        return tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError as error:
        raise InputError(
            f"The field '{name}' must be whole numbers separated by commas, such as 1,2,5."
        ) from error


def parse_pids(text: str | None) -> tuple[int, ...] | None:
    """Read '7,12,ann'; see `parse_pid`. None and the empty text mean any."""
    names = [name for name in (text or "").split(",") if name.strip()]
    return tuple(sorted(set(map(parse_pid, names)))) or None


def read_time(name: str, value: Time | None) -> float | None:
    """See `parse_time`; None and the empty text mean any.

    Raises:
        InputError: it is not a time; the message names the field.
    """
    if value is None or value == "":
        return None
    try:
        return parse_time(value)
    except InputError as error:
        raise InputError(f"The field '{name}' is not valid. {error}") from error


def sensor_word(modality: Modality) -> ModalityWord:
    """A sensor as the interface names it."""
    return "infrared" if modality is Modality.INFRARED else "visible"


def row_number(text: str) -> int:
    """An entry's number from its digits.

    Raises:
        InputError: it is larger than any entry's.
    """
    number = int(text)
    if number >= 2**63:
        raise InputError("There is no such entry in the index.")
    return number


def query_of(entry: Entry, names: Mapping[int, str]) -> QueryAnswer:
    """An entry as the query of a search; `names` are those of cameras."""
    return QueryAnswer(**_columns(entry, names))


def file_name(entry: Entry) -> str:
    """The name of an entry's image, without folders: all that clients are told of its path."""
    return PurePath(entry.path.replace("\\", "/")).name


def _columns(entry: Entry, names: Mapping[int, str]) -> dict:
    return {
        "row_id": str(entry.row_id),
        "camid": entry.camid,
        "camera": names.get(entry.camid),
        "pid": None if entry.pid < 0 else str(entry.pid),
        "modality": sensor_word(entry.modality),
        "time": entry.time,
        "name": file_name(entry),
    }
