"""The recovery curve of a case over HTTP."""

import csv
import io
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.access.idempotency import IdempotentRoute, KeyHeader
from app.access.routes import CallerDep, TokenDep
from app.access.service import get_placed
from app.casework import recovery_evidence
from app.casework.models import Case
from app.casework.recovery_curve import Closure, Curve, closure_of, curve_of, has_dropped, share_document
from app.casework.recovery_evidence import CurveFile
from app.casework.schemas import EvidenceAnswer
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.monitoring.recovery_estimate import Estimate, Verdict

router = APIRouter(prefix="/cases/{case_id}/recovery", tags=["recovery"], route_class=IdempotentRoute)
# It takes keys in transactions of its own: none is open while the file is stored.
evidence_router = APIRouter(prefix=router.prefix, tags=["recovery"])


class ShareAnswer(BaseModel):
    """Share recovered by one index: 0 as right after the change, 1 as if nothing had happened."""

    reason: str | None = Field(description="Why there is no share; null: there is one")
    value: float | None = Field(examples=[0.62])
    low: float | None = Field(description="Lower end of the interval of 90 %", examples=[0.55])
    high: float | None = Field(examples=[0.69])
    first_on: date | None = Field(description="First of the readings that the present level is the median of")
    last_on: date | None
    loss: float | None = Field(description="Share of the cover that the change took, 0 to 1", examples=[0.81])
    before: int = Field(description="Readings of the growing season before the change that count")
    after: int


class ReadingAnswer(BaseModel):
    """Medians of the clear pixels of one day, inside the polygon and in the ring around it."""

    acquired_on: date
    mission: str = Field(examples=["sentinel-2"])
    scene_ids: list[UUID]
    inside_ndvi: float | None
    ring_ndvi: float | None
    inside_ndmi: float | None = Field(description="(nir - swir16) / (nir + swir16)")
    ring_ndmi: float | None
    clear_inside: float = Field(description="Share of the pixels that were clear")
    clear_ring: float
    share: float | None = Field(
        description="Share recovered by this day's NDVI alone; null: outside the growing season, not clear, or unknown"
    )


class AtDay(BaseModel):
    on: date
    verdict: Verdict
    ndvi: ShareAnswer | None
    ndmi: ShareAnswer | None


class RecoveryAnswer(BaseModel):
    """植被恢复曲线: how much of the vegetation that a change took has come back."""

    case_id: UUID
    simulated: bool
    verdict: Verdict
    reason: str | None = Field(description="Of `undetermined`; docs/recovery.md lists them", examples=["few_before"])
    index: Literal["ndvi", "ndmi"] | None = Field(description="The index of `share`: that which has come back less")
    share: ShareAnswer | None
    ndvi: ShareAnswer | None
    ndmi: ShareAnswer | None = Field(description="Null where the sources have no short-wave infrared")
    at_closure_request: dict[str, Any] | None = Field(description="What the application's event kept, as it stood then")
    closure_requested_on: date | None
    at_closing: AtDay | None = Field(description="What the readings up to the day of the last closing tell")
    has_dropped_since_closing: bool | None = Field(
        description="Less is back than at the closing, beyond both intervals; null: not closed, or unknown"
    )
    last_clear_on: date | None = Field(description="Last day of the baseline")
    first_seen_on: date | None = Field(description="First day of the change")
    inside_px: int
    ring_px: int = Field(description="Pixels of the ring that were, before the change, what the polygon was")
    resolution_m: float | None
    is_behind: bool = Field(description="Acquisitions wait to be read")
    looked_at: datetime | None
    failures: list[dict[str, Any]] = Field(description="Scenes that could not be read at the last look, and why")
    items: list[ReadingAnswer] = Field(description="Oldest first, the baseline's too")


@router.get(
    "",
    response_model=RecoveryAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problem_responses(401, 404, 422)},
)
def show_recovery(
    case_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    format: Annotated[Literal["json", "csv"], Query(description="`csv`: the readings alone")] = "json",
) -> RecoveryAnswer | Response:
    """The curve, its baseline, the share recovered now, when closure was applied for, and since closing."""
    case: Case = get_placed(session, caller, Case, case_id)
    curve = curve_of(session, case)
    if format == "csv":
        name = f'attachment; filename="recovery-{case.number}.csv"'
        return Response(_csv(_items(curve)), media_type="text/csv", headers={"Content-Disposition": name})
    return _answer(case, curve, closure_of(session, case))


@router.post("/look", status_code=202, responses=problem_responses(401, 403, 404))
def look_at_recovery(case_id: UUID, session: SessionDep, caller: CallerDep) -> Response:
    """Have new scenes read at the worker's next turn instead of once a day."""
    recovery_evidence.ask_for_a_look(session, caller, case_id)
    return Response(status_code=202)


@evidence_router.post(
    "/evidence",
    status_code=201,
    response_model=EvidenceAnswer,
    responses=problem_responses(401, 403, 404, 409, 422, 503),
)
def keep_recovery(case_id: UUID, request: Request, token: TokenDep, idempotency_key: KeyHeader = None) -> Response:
    """Keep the curve as it stands as evidence of the case: a JSON document with every reading, and its SHA-256."""
    return CurveFile(request, token, case_id, idempotency_key).take()


def _share(share: Any) -> ShareAnswer | None:
    found = share_document(share)
    return ShareAnswer.model_validate(found) if found else None


def _answer(case: Case, curve: Curve, closure: Closure) -> RecoveryAnswer:
    site, found = curve.site, curve.estimate
    closing: Estimate | None = curve.at(closure.closed_on) if closure.closed_on else None
    return RecoveryAnswer(
        case_id=case.id,
        simulated=case.simulated,
        verdict=curve.verdict,
        reason=curve.reason,
        index=None if found is None else "ndmi" if found.share is found.ndmi else "ndvi",
        share=_share(found.share) if found else None,
        ndvi=_share(found.ndvi) if found else None,
        ndmi=_share(found.ndmi) if found else None,
        at_closure_request=closure.at_request,
        closure_requested_on=closure.requested_on,
        at_closing=AtDay(
            on=closure.closed_on, verdict=closing.verdict, ndvi=_share(closing.ndvi), ndmi=_share(closing.ndmi)
        )
        if closing and closure.closed_on
        else None,
        has_dropped_since_closing=has_dropped(closing.ndvi if closing else None, found.ndvi if found else None),
        last_clear_on=site.last_clear_on if site else None,
        first_seen_on=site.first_seen_on if site else None,
        inside_px=site.inside_px if site else 0,
        ring_px=site.ring_px if site else 0,
        resolution_m=abs(site.grid["transform"][0]) if site and site.grid else None,
        is_behind=site.is_behind if site else True,
        looked_at=site.looked_at if site else None,
        failures=site.failures if site else [],
        items=_items(curve),
    )


def _items(curve: Curve) -> list[ReadingAnswer]:
    ndvi = curve.estimate.ndvi if curve.estimate else None
    first = curve.site.first_seen_on if curve.site else None
    items = []
    for position, row in enumerate(curve.readings):
        told = ndvi.of(position) if ndvi and first and row.acquired_on >= first else None
        items.append(
            ReadingAnswer(
                acquired_on=row.acquired_on,
                mission=row.mission,
                scene_ids=[UUID(scene) for scene in row.scene_ids],
                inside_ndvi=row.inside_ndvi,
                ring_ndvi=row.ring_ndvi,
                inside_ndmi=row.inside_ndmi,
                ring_ndmi=row.ring_ndmi,
                clear_inside=row.clear_inside,
                clear_ring=row.clear_ring,
                share=None if told is None else round(told, 4),
            )
        )
    return items


def _csv(items: list[ReadingAnswer]) -> str:
    names = [name for name in ReadingAnswer.model_fields if name != "scene_ids"]
    target = io.StringIO()
    writer = csv.DictWriter(target, names, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(item.model_dump(mode="json") for item in items)
    return target.getvalue()
