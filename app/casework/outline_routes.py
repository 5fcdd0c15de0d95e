"""Outlines of detections over HTTP: drawn anew, taken back, cut, merged."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.access.service import Caller
from app.casework import outlines
from app.casework.answers import detection_answers
from app.casework.ground import read_ground
from app.casework.rebounds import mention_rebounds
from app.casework.review_models import Review
from app.casework.schemas import DetectionAnswer
from app.casework.vocabulary import Words
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.monitoring.models import Detection

router = APIRouter(prefix="/detections", tags=["detections"], route_class=IdempotentRoute)
DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)
_RING = [[127.3, 42.3], [127.302, 42.3], [127.302, 42.302], [127.3, 42.302], [127.3, 42.3]]
GeoJson = Annotated[
    dict[str, Any],
    Field(
        description="GeoJSON Polygon or MultiPolygon, longitude and latitude",
        examples=[{"type": "Polygon", "coordinates": [_RING]}],
    ),
]


class OutlineRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    geometry: GeoJson
    note: Words | None = None


class SplitRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parts: list[GeoJson] = Field(
        min_length=2,
        max_length=20,
        description="They cover the outline, and no ground twice; beyond it they are cut off",
    )
    discard_rest: bool = Field(False, description="Drop what no part covers; `note` says why")
    note: Words | None = None


class MergeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    into_id: UUID = Field(description="The detection that stands for both")
    note: Words | None = None


class SplitAnswer(BaseModel):
    detection: DetectionAnswer
    parts: list[DetectionAnswer] = Field(description="Those that I may see")


@router.put("/{detection_id}/outline", responses=DECISION)
def draw_outline(
    detection_id: UUID,
    given: OutlineRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Draw a detection's outline anew (officers): a case that is made of it has this one. The imagery's stays."""
    drawn = read_ground(given.geometry, "geometry")
    decided = outlines.draw(session, caller, detection_id, version, drawn, given.note)
    return _decided(session, caller, response, *decided)


@router.delete("/{detection_id}/outline", responses=DECISION)
def restore_outline(
    detection_id: UUID, session: SessionDep, caller: CallerDep, version: ExpectedVersion, response: Response
) -> DetectionAnswer:
    """Take back what was drawn (officers): the imagery's outline holds again."""
    decided = outlines.restore(session, caller, detection_id, version, None)
    return _decided(session, caller, response, *decided)


@router.post("/{detection_id}/split", status_code=201, responses=DECISION)
def split_detection(
    detection_id: UUID,
    given: SplitRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> SplitAnswer:
    """Cut a detection into several (officers), each with its own units and verdict and the dates of the whole."""
    parts = [read_ground(part, f"parts/{place}") for place, part in enumerate(given.parts)]
    detection, review, children = outlines.split(
        session, caller, detection_id, version, parts, discard_rest=given.discard_rest, note=given.note
    )
    mine = [child for child in children if caller.units is None or set(child.unit_ids) & set(caller.units)]
    return SplitAnswer(
        detection=_decided(session, caller, response, detection, review), parts=detection_answers(session, mine, {})
    )


@router.post("/{detection_id}/merge", responses=DECISION)
def merge_detection(
    detection_id: UUID,
    given: MergeRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> DetectionAnswer:
    """Find that a detection is a duplicate of another one on the same ground (officers), which stands for both."""
    decided = outlines.merge(session, caller, detection_id, version, given.into_id, given.note)
    return _decided(session, caller, response, *decided)


def _decided(
    session: SessionDep, caller: Caller, response: Response, detection: Detection, decided: Review
) -> DetectionAnswer:
    set_etag(response, decided.version)
    return mention_rebounds(session, caller, detection_answers(session, [detection], {detection.id: decided}))[0]
