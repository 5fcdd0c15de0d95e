"""Satellite pictures of detections and cases over HTTP."""

from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from app.access.idempotency import IdempotentRoute
from app.access.routes import TokenDep, signed_in
from app.access.service import get_placed
from app.casework import chips
from app.casework.chips import PAIR, ChipMoment, Shown, Site
from app.casework.models import Case
from app.foundation.errors import NotFound, problem_responses
from app.foundation.paging import Page
from app.imagery.chip_choice import day_of
from app.imagery.chips import LEAST_SIZE, MOST_SIZE, USUAL_SIZE, Style
from app.monitoring.models import Detection

detection_router = APIRouter(
    prefix="/detections/{detection_id}/chips", tags=["detections"], route_class=IdempotentRoute
)
case_router = APIRouter(prefix="/cases/{case_id}/chips", tags=["cases"], route_class=IdempotentRoute)

StyleQuery = Annotated[
    Style,
    Query(
        description="`true_colour` as the eye sees it; `false_colour` with infrared, where leaves are green and bare "
        "ground is violet; `index`: NDVI from 0 to 1, always in the same colours"
    ),
]
SizeQuery = Annotated[
    int,
    Query(ge=LEAST_SIZE, le=MOST_SIZE, description="Pixels a side; from 192 on with date, source and scale in words"),
]
IfNoneMatch = Annotated[str | None, Header(description="Answered 304 while the picture is the same")]
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "The picture"},
    304: {"description": "As it was"},
    **problem_responses(401, 404, 422, 503),
}


class ChipAnswer(BaseModel):
    """A moment of a site, and the image that shows it."""

    moment: ChipMoment
    day: date | None = Field(description="The legal day that the image is to show; null: it has not come yet")
    acquired_on: date | None = Field(description="The image's legal day (Asia/Shanghai)")
    acquired_at: datetime | None
    platform: str | None = Field(examples=["sentinel-2a"])
    sources: list[str] = Field(description="Names of the image sources")
    simulated: bool
    scene_ids: list[UUID]
    clear_share: float | None = Field(description="How much of the site is clear in it, 0 to 1")
    styles: list[Style] = Field(description="In which it can be drawn")
    href: str | None = Field(description="Where the picture is")
    reason: str | None = Field(description="Why there is none")


@detection_router.get("", responses=problem_responses(401, 404))
def list_detection_chips(detection_id: UUID, request: Request, token: TokenDep) -> Page[ChipAnswer]:
    """Which images show a suspected site before and after the change."""
    site = _detection(request, token, detection_id)
    return _answers(site, PAIR, lambda name: _path(request, "show_detection_chip", name, detection_id=detection_id))


@detection_router.get("/{moment}.png", response_class=Response, responses=_PICTURE)
def show_detection_chip(
    detection_id: UUID,
    moment: str,
    request: Request,
    token: TokenDep,
    style: StyleQuery = Style.true_colour,
    size: SizeQuery = USUAL_SIZE,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A suspected site from above, `before` or `after` the change: both stretched alike, so that they compare."""
    site = _detection(request, token, detection_id)
    return _picture(site, _named(moment, PAIR), style, size, if_none_match)


@case_router.get("", responses=problem_responses(401, 404))
def list_case_chips(case_id: UUID, request: Request, token: TokenDep) -> Page[ChipAnswer]:
    """Which images show the site of a case at its moments: before, after, plan, closure, look_back."""
    site = _case(request, token, case_id)
    return _answers(site, ChipMoment, lambda name: _path(request, "show_case_chip", name, case_id=case_id))


@case_router.get("/{moment}.png", response_class=Response, responses=_PICTURE)
def show_case_chip(
    case_id: UUID,
    moment: str,
    request: Request,
    token: TokenDep,
    style: StyleQuery = Style.true_colour,
    size: SizeQuery = USUAL_SIZE,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The site of a case from above: `before` and `after` the change, when its `plan` was approved, at its `closure`,
    at its last `look_back`. All are stretched by the same two images, so that they compare."""
    site = _case(request, token, case_id)
    return _picture(site, _named(moment, ChipMoment), style, size, if_none_match)


# The transaction ends here: pixels are read, over the network perhaps, without a connection.
def _detection(request: Request, token: str | None, detection_id: UUID) -> Site:
    with signed_in(request, token) as (session, caller):
        return chips.site_of_detection(session, caller, get_placed(session, caller, Detection, detection_id))


def _case(request: Request, token: str | None, case_id: UUID) -> Site:
    with signed_in(request, token) as (session, caller):
        return chips.site_of_case(session, caller, get_placed(session, caller, Case, case_id))


def _named(moment: str, known: Iterable[ChipMoment]) -> ChipMoment:
    """Raises: NotFound: there is no such moment."""
    names = {name.value: name for name in known}
    if moment not in names:
        raise NotFound(f"There is no such picture; there are {', '.join(names)}.")
    return names[moment]


def _picture(site: Site, name: ChipMoment, style: Style, size: int, if_none_match: str | None) -> Response:
    def is_known(key: str) -> bool:
        return if_none_match is not None and (key in if_none_match or if_none_match.strip() == "*")

    key, content = chips.picture(site, name, style, size, is_known)
    headers = {
        "ETag": f'"{key}"',
        # The ground or the images may be others tomorrow: asked again, and answered 304 if they are not.
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
        "X-Content-Type-Options": "nosniff",
    }
    if content is None:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


def _answers(site: Site, names: Iterable[ChipMoment], path: Callable[[ChipMoment], str]) -> Page[ChipAnswer]:
    return Page(items=[_answer(site, shown, path) for shown in chips.show_all(site, names)])


def _answer(site: Site, shown: Shown, path: Callable[[ChipMoment], str]) -> ChipAnswer:
    image = shown.choice.acquisition if shown.choice else None
    return ChipAnswer(
        moment=shown.moment,
        day=shown.day,
        acquired_on=day_of(image) if image else None,
        acquired_at=image.acquired_at if image else None,
        platform=(image.scenes[0].platform or None) if image else None,
        sources=chips.sources_of(site, image) if image else [],
        simulated=site.simulated,
        scene_ids=[scene.id for scene in image.scenes] if image else [],
        clear_share=round(shown.choice.clear_share, 3) if shown.choice else None,
        styles=list(shown.styles),
        href=path(shown.moment) if image else None,
        reason=shown.reason,
    )


def _path(request: Request, endpoint: str, name: ChipMoment, **ids: UUID) -> str:
    return request.url_for(endpoint, moment=name.value, **{key: str(value) for key, value in ids.items()}).path
