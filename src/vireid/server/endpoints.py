"""The server's endpoints: page, session, index, images, search."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from vireid.console import refusals
from vireid.data.decoding import MONOCHROME, SHAPES, boxes_of, parse_box
from vireid.index.entries import Filters, Hit
from vireid.index.output import hits_as_csv
from vireid.problems import Problems
from vireid.server import api
from vireid.server.access import COOKIE, client_key
from vireid.server.images import ImageError, Size
from vireid.server.refusal import Refusal
from vireid.server.service import SearchService
from vireid.server.uploads import UploadError
from vireid.server.worker import Job
from vireid.types import InputError, Modality
from vireid.version import __version__

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
SIGHTINGS = 200
LIKELY_SIGHTINGS = 50
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": api.ErrorAnswer, "description": text}
    for code, text in {
        401: "a token is needed or wrong",
        413: "too large",
        415: "not an image",
        422: "not valid",
        429: "too many requests; see Retry-After",
        503: "overloaded; see Retry-After",
    }.items()
}


FOUND: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"content": {"text/csv": {}}, "description": "what was found; a table with format=csv"},
}


async def refuse_unknown_fields(request: Request) -> None:
    """Refuse fields of an address or a form that an endpoint doesn't have: a mistyped filter would
    not filter. Bodies of JSON are checked by their models.

    Raises:
        InputError: there are some.
    """
    if not request.url.path.startswith("/api/"):
        return  # the page's address has its own
    endpoint = request.scope["route"].dependant
    form = endpoint.body_params and "form" in request.headers.get("content-type", "")
    places = (
        ("The address takes no field ", request.query_params, endpoint.query_params),
        ("The form has no field ", await request.form() if form else (), endpoint.body_params),
    )
    problems = Problems()
    for sentence, given, fields in places:
        known = [one.alias for one in fields]
        for error in refusals(sentence, sorted({*given} - {*known}), known):
            with problems:
                raise error
    problems.tell()


def add_pages(app: FastAPI) -> None:
    files = {
        file.name: file.read_bytes() for file in STATIC.iterdir() if file.suffix in STATIC_TYPES
    }
    page = (STATIC / "index.html").read_bytes()

    @app.get("/", include_in_schema=False)
    async def index_page() -> Response:
        return Response(
            page, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"}
        )

    @app.get("/static/{name}", include_in_schema=False)
    async def static_file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(
            files[name],
            headers={"Cache-Control": "no-cache"},
            media_type=STATIC_TYPES[Path(name).suffix],
        )


def add_session(app: FastAPI, service: SearchService) -> None:
    tokens = service.tokens

    def user_of(request: Request) -> str | None:
        if not tokens.required:
            return "local"
        return tokens.user_of_session(request.cookies.get(COOKIE, ""))

    @app.get("/api/health", tags=["server"])
    async def health() -> api.HealthAnswer:
        """The server is running; no token needed."""
        return api.HealthAnswer(status="ok", waiting=service.worker.waiting)

    @app.get("/api/session", tags=["server"])
    async def session(request: Request) -> api.SessionAnswer:
        """Whether a token is needed, and who is signed in on the page."""
        return api.SessionAnswer(required=tokens.required, user=user_of(request))

    @app.post("/api/session", tags=["server"], responses=ERRORS)
    async def sign_in(request: Request, body: api.SignIn, response: Response) -> api.SessionAnswer:
        """Exchange a token for a cookie that only this page can use."""
        if not tokens.required:
            return api.SessionAnswer(required=False, user="local")
        user = tokens.check(body.token, client_key(request.scope["vireid.client"]))
        request.scope["vireid.user"] = user
        await service.note(request, "sign_in")
        response.set_cookie(
            COOKIE,
            tokens.open_session(user),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            max_age=int(service.settings.session_hours * 3600),
        )
        return api.SessionAnswer(required=True, user=user)

    @app.delete("/api/session", tags=["server"])
    async def sign_out(request: Request, response: Response) -> api.SessionAnswer:
        """End the page's session."""
        tokens.close_session(request.cookies.get(COOKIE, ""))
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return api.SessionAnswer(required=tokens.required, user=None)


def add_reading(app: FastAPI, service: SearchService) -> None:
    settings = service.settings

    @app.get("/api/info", tags=["index"], responses=ERRORS)
    async def info(request: Request) -> api.InfoAnswer:
        """What the index holds, and the limits of a search."""
        index = await service.info()
        times = index.time_range
        return api.InfoAnswer(
            version=__version__,
            count=index.count,
            identities=index.num_pids,
            cameras=[
                api.Camera(camid=camid, name=index.camera_names.get(camid), count=count)
                for camid, count in sorted(index.cameras.items())
            ],
            modalities=index.modalities,
            time_range=api.TimeRange(first=times[0], last=times[1]) if times else None,
            weights=index.weights_hash[:12],
            embedding=index.embedding,
            dim=index.dim,
            mode=index.mode,
            images=bool(index.image_roots),
            orientation=service.searcher.decoding.orientation,
            limits=api.Limits(
                upload_bytes=settings.max_upload_bytes,
                pixels=settings.max_pixels,
                images=settings.max_images,
                top=settings.max_top,
                person_shape=SHAPES,
                grey=MONOCHROME,
            ),
            user=request.scope["vireid.user"],
            require_reason=settings.require_reason,
            audited=settings.audit_log is not None,
        )

    @app.get(
        "/api/image/{row_id}",
        tags=["index"],
        response_class=Response,
        responses={**ERRORS, 200: {"content": {"image/jpeg": {}}}, 404: {"model": api.ErrorAnswer}},
    )
    async def image(
        request: Request,
        row_id: Annotated[str, PathParameter(pattern=r"^[0-9]{1,19}$")],
        size: Size = "thumb",
    ) -> Response:
        """The image of one entry as JPEG: small, or at most 1600 pixels a side."""
        data = await service.read(service.images.jpeg, api.row_number(row_id), size)
        if size == "full":
            await service.note(request, "view", row_id=row_id)
        return Response(data, media_type="image/jpeg")


def add_searching(app: FastAPI, service: SearchService) -> None:
    async def answer(
        query: api.QueryAnswer,
        hits: list[Hit],
        filters: Filters | None,
        started: float,
        *,
        form: api.Format,
        itself: str | None = None,
    ) -> api.SearchAnswer | Response:
        names = service.index.camera_names
        if form == "csv":
            asked = f"entry {query.row_id}" if query.row_id else "upload"
            shown = [replace(hit, path=api.file_name(hit)) for hit in hits]
            return Response(
                hits_as_csv([asked], [shown], names),
                media_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": 'attachment; filename="vireid-search.csv"'},
            )
        return api.SearchAnswer(
            query=query,
            hits=[api.HitAnswer.of(hit, i + 1, names) for i, hit in enumerate(hits)],
            searched=await service.searched(filters, itself),
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )

    @app.post("/api/search", tags=["search"], response_model=api.SearchAnswer, responses=FOUND)
    async def search(
        request: Request,
        image: Annotated[
            list[UploadFile], File(description="image file of one person; several of that person")
        ],
        modality: Annotated[str, Form(description="sensor of the upload: visible or infrared")],
        top: Annotated[int, Form(ge=1)] = 24,
        cameras: Annotated[str | None, Form(description="1,2,5; empty: any")] = None,
        result_modality: Annotated[str | None, Form(description="sensor of the hits")] = None,
        time_from: Annotated[str | None, Form(description=api.TIME)] = None,
        time_to: Annotated[str | None, Form()] = None,
        pids: Annotated[
            str | None, Form(description="identities, numbers or names; empty: any")
        ] = None,
        box: Annotated[
            list[str] | None,
            Form(
                description="the part of each image to search with, X,Y,W,H in pixels of the "
                "upright image; 'whole' for all of one"
            ),
        ] = None,
        reason: Annotated[str | None, Form(max_length=500)] = None,
        format: Annotated[api.Format, Form(description="of the answer")] = "json",
    ) -> api.SearchAnswer | Response:
        """The entries most similar to an uploaded image, or to the person whom several show: the
        mean of their vectors is searched with."""
        started = time.perf_counter()
        sensor = Modality.parse(modality)
        filters = api.make_filters(
            api.parse_numbers("cameras", cameras),
            result_modality,
            time_from,
            time_to,
            api.parse_pids(pids),
        )
        boxes = boxes_of([parse_box(text) for text in box or ()], len(image))
        service.count_uploads(len(image))
        service.check_queue()
        pixels, (width, height), notes = await service.decode(
            [await one.read() for one in image], boxes, sensor
        )
        job = Job(pixels=pixels, modality=sensor, top=top, filters=filters)
        found = await service.search(
            request,
            "search",
            job,
            reason=reason,
            modality=sensor.word,
            images=len(image),
            format=format,
        )
        query = api.QueryAnswer(
            modality=api.sensor_word(sensor),
            images=len(image),
            width=width,
            height=height,
            notes=_notes([seen + said for seen, said in zip(notes, found.notes)]),
        )
        return await answer(query, found.hits, filters, started, form=format)

    @app.post(
        "/api/search/by-row", tags=["search"], response_model=api.SearchAnswer, responses=FOUND
    )
    async def search_by_row(request: Request, body: api.RowSearch) -> api.SearchAnswer | Response:
        """The entries most similar to an entry of the index, without itself."""
        started = time.perf_counter()
        row_id = api.row_number(body.row_id)
        (entry,) = await service.read(service.index.entries, [row_id])
        filters = body.filters()
        job = Job(row_id=row_id, modality=entry.modality, top=body.top, filters=filters)
        found = await service.search(
            request,
            "search_by_row",
            job,
            reason=body.reason,
            row_id=body.row_id,
            format=body.format,
        )
        query = api.query_of(entry, service.index.camera_names)
        return await answer(
            query, found.hits, filters, started, form=body.format, itself=entry.path
        )


def add_sightings(app: FastAPI, service: SearchService) -> None:
    @app.get("/api/sightings", tags=["search"], responses=ERRORS)
    async def sightings(request: Request, row_id: Annotated[str, api.RowId]) -> api.SightingsAnswer:
        """Where and when the person of one entry was seen: the entries of the same recorded
        identity, or the most similar ones where none is recorded."""
        number = api.row_number(row_id)
        (entry,) = await service.read(service.index.entries, [number])
        has_pid = entry.pid >= 0
        job = Job(
            row_id=number,
            modality=entry.modality,
            itself=True,
            top=min(SIGHTINGS if has_pid else LIKELY_SIGHTINGS, service.settings.max_top),
            filters=Filters(pids=(entry.pid,)) if has_pid else None,
        )
        found = await service.search(request, "sightings", job, row_id=row_id)
        names = service.index.camera_names
        ranked = [api.HitAnswer.of(hit, i + 1, names) for i, hit in enumerate(found.hits)]
        ranked.sort(key=lambda hit: (hit.time is None, hit.time or 0.0, hit.rank))
        return api.SightingsAnswer(
            basis="identity" if has_pid else "similarity",
            pid=str(entry.pid) if has_pid else None,
            sightings=ranked,
        )


def _notes(of_images: list[list[str]]) -> list[str]:
    """The notes on each image of a search; of several, they say on which."""
    if len(of_images) == 1:
        return of_images[0]
    return [f"Image {n}: {said}" for n, some in enumerate(of_images, 1) for said in some]


def add_errors(app: FastAPI) -> None:
    """Every error becomes a `Refusal`, which the outermost layer answers and logs; none repeats
    what was sent or mentions a path."""

    @app.exception_handler(UploadError)
    async def upload_error(_: Request, error: UploadError) -> None:
        raise Refusal(error.status, error.code, str(error)) from error

    @app.exception_handler(ImageError)
    async def image_error(_: Request, error: ImageError) -> None:
        raise Refusal(404, "no_image", str(error)) from error

    @app.exception_handler(InputError)
    async def input_error(_: Request, error: InputError) -> None:
        raise Refusal(422, "input", str(error)) from error

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> None:
        found: dict[str, list[str]] = {}  # of a field that may be of several types, one of each
        for item in error.errors():
            inside = [str(part) for part in item["loc"][1:]] or [str(item["loc"][0])]
            found.setdefault(inside[0], []).append(item["msg"])
        problems = [f"'{name}': {', or '.join(dict.fromkeys(s))}" for name, s in found.items()]
        raise Refusal(
            422,
            "invalid",
            "The request has fields that are not valid: " + "; ".join(sorted(problems))[:400] + ".",
        ) from error

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> None:
        sentences = {
            404: "There is nothing at this address.",
            405: "This address doesn't support that method.",
        }
        sentence = sentences.get(error.status_code, "The request could not be read.")
        raise Refusal(error.status_code, "http", sentence) from error
