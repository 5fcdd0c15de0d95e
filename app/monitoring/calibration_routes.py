"""What a change can be, and the sets that turn scores into probabilities, over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Account, Role
from app.access.routes import CallerDep
from app.access.service import Caller
from app.foundation.database import SessionDep
from app.foundation.errors import Forbidden, NotFound, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.monitoring import calibrations
from app.monitoring.activities import STANDARD, known_activities
from app.monitoring.models import CalibrationSet
from app.monitoring.schemas import (
    ActivateRequest,
    ActivityAnswer,
    ActivityList,
    CalibrationAnswer,
    CalibrationDecisionAnswer,
    RejectRequest,
)

activities = APIRouter(prefix="/activities", tags=["activities"], route_class=IdempotentRoute)
router = APIRouter(prefix="/calibrations", tags=["calibrations"], route_class=IdempotentRoute)
VersionPath = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,40}$", examples=["2024-001"])]
DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)


@activities.get("", responses=problem_responses(401))
def list_activities(_: CallerDep) -> ActivityList:
    """What a change can be: every activity and every natural or routine cause."""
    items = [
        ActivityAnswer(
            code=code,
            label=entry.cause.label,
            kind=entry.cause.kind.value,
            standard=STANDARD,
            recogniser_version=entry.version,
            looks_at=entry.looks_at,
        )
        for code, entry in known_activities().items()
    ]
    return ActivityList(items=items)


@router.get("", responses=problem_responses(400, 401, 403))
def list_calibrations(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[CalibrationAnswer]:
    """All sets, newest first (provincial accounts): the active one, those proposed, those of the past."""
    if not caller.is_provincial:
        raise Forbidden("Calibrations hold for the whole province; only its own accounts see them.")
    rows, cursor = fetch_page(session, select(CalibrationSet), page, CalibrationSet.id)
    link_next(request, response, cursor)
    return Page(items=_answers(session, rows))


@router.get("/{version}", responses=problem_responses(401, 404, 422))
def show_calibration(
    version: VersionPath, session: SessionDep, caller: CallerDep, response: Response
) -> CalibrationAnswer:
    """One set (provincial accounts). Its ETag is what a decision needs in If-Match."""
    if not caller.is_provincial:
        raise NotFound()
    return _answer(session, response, calibrations.by_version(session, version))


@router.post("/{version}/activate", responses=DECISION)
def activate_calibration(
    version: VersionPath,
    given: ActivateRequest,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    response: Response,
) -> CalibrationAnswer:
    """Switch a set on from the next run on (administrators). One that did worse needs `force` and a note."""
    _require_admin(caller)
    row = calibrations.activate(session, caller, version, expected, note=given.note, force=given.force)
    return _answer(session, response, row)


@router.post("/{version}/reject", responses=DECISION)
def reject_calibration(
    version: VersionPath,
    given: RejectRequest,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    response: Response,
) -> CalibrationAnswer:
    """Refuse a proposed set for good (administrators)."""
    _require_admin(caller)
    return _answer(session, response, calibrations.reject(session, caller, version, expected, given.note))


def _require_admin(caller: Caller) -> None:
    caller.require(Role.admin)
    if not caller.is_provincial:
        raise Forbidden("Calibrations hold for the whole province; only its own administrators decide on them.")


def _answer(session: Session, response: Response, row: CalibrationSet) -> CalibrationAnswer:
    set_etag(response, row.revision)
    return _answers(session, [row])[0]


def _answers(session: Session, rows: Sequence[CalibrationSet]) -> list[CalibrationAnswer]:
    decided = calibrations.decisions_of(session, rows)
    accounts = select(Account.id, Account.display_name).where(Account.id.in_({one.decided_by for one in decided}))
    names = {row.id: row.display_name for row in session.execute(accounts)}
    return [
        CalibrationAnswer(
            version=row.version,
            status=row.status,
            revision=row.revision,
            sharpness=row.parameters["sharpness"],
            offsets=row.parameters["offsets"],
            other_score=row.parameters["other_score"],
            basis=row.basis,
            compared_with=row.compared_with,
            comparison=row.comparison,
            is_worse=calibrations.is_worse(row),
            outdated=calibrations.outdated(row),
            created_at=row.created_at,
            decisions=[
                CalibrationDecisionAnswer(
                    status=one.status, decided_by=names[one.decided_by], decided_at=one.decided_at, note=one.note
                )
                for one in decided
                if one.calibration_id == row.id
            ],
        )
        for row in rows
    ]
