"""Snapshots over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import CallerDep
from app.casework.seals import open_signer
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, problem_responses
from app.foundation.paging import Page, PageDep, link_next
from app.statistics import snapshot_checks, snapshot_differences, snapshot_export, snapshots
from app.statistics.models import Snapshot, SnapshotCase
from app.statistics.number_paging import cursor_of, read_cursor
from app.statistics.snapshot_cases import CountedCase
from app.statistics.snapshot_schemas import (
    CheckAnswer,
    DifferenceAnswer,
    FaultAnswer,
    SnapshotAnswer,
    SnapshotCaseAnswer,
    SnapshotExport,
    SnapshotRequest,
    SnapshotSummary,
)

router = APIRouter(prefix="/statistics/snapshots", tags=["statistics"], route_class=IdempotentRoute)


@router.post("", status_code=201, responses=problem_responses(401, 403, 422, 503))
def take_snapshot(body: SnapshotRequest, session: SessionDep, caller: CallerDep, request: Request) -> SnapshotAnswer:
    """Count a report and keep it, signed and bound to the ledger (province, inspector, prefecture, county)."""
    caller.require(*snapshots.ROLES)
    signer = open_signer(session, request.app.state.settings)
    return _whole(session, snapshots.take(session, caller, body, signer))


@router.get("", responses=problem_responses(400, 401))
def list_snapshots(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[SnapshotSummary]:
    """Snapshots of the account's unit and of those below it, newest first."""
    rows, cursor = snapshots.newest(session, caller, page)
    link_next(request, response, cursor)
    codes = snapshots.unit_codes(session, rows)
    return Page(items=[_summary(row, codes) for row in rows])


@router.get("/{snapshot_id}", responses=problem_responses(401, 404, 409))
def show_snapshot(snapshot_id: UUID, session: SessionDep, caller: CallerDep) -> SnapshotAnswer:
    """One snapshot as it was taken."""
    return _whole(session, snapshots.get(session, caller, snapshot_id))


@router.get("/{snapshot_id}/cases", responses=problem_responses(400, 401, 404))
def list_snapshot_cases(
    snapshot_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    measure: Annotated[
        str | None, Query(max_length=100, description="Those alone that this figure counted", examples=["closed"])
    ] = None,
) -> Page[SnapshotCaseAnswer]:
    """The cases that it looked at, as they were then, by number."""
    row = snapshots.get(session, caller, snapshot_id)
    found = select(SnapshotCase).where(SnapshotCase.snapshot_id == row.id)
    if measure is not None:
        found = found.where(SnapshotCase.counted.has_key(measure))
    if page.cursor:
        found = found.where(SnapshotCase.number > read_cursor(page.cursor))
    rows = list(session.scalars(found.order_by(SnapshotCase.number).limit(page.limit + 1)))
    link_next(request, response, cursor_of(rows[page.limit - 1].number) if len(rows) > page.limit else None)
    return Page(items=[_case(each) for each in rows[: page.limit]])


@router.get("/{snapshot_id}/check", responses=problem_responses(401, 404))
def check_snapshot(snapshot_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> CheckAnswer:
    """Whether the ledger still supports it: hashes computed again, figures counted again; what does not, by case."""
    row = snapshots.get(session, caller, snapshot_id)
    report = snapshot_checks.check(session, caller, row, request.app.state.settings)
    return CheckAnswer(
        id=row.id,
        holds=report.holds,
        seal=report.seal,
        faults=[FaultAnswer(case=fault.case, what=fault.what) for fault in report.faults],
    )


@router.get("/{snapshot_id}/difference", responses=problem_responses(400, 401, 404, 409, 422))
def show_difference(
    snapshot_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    other: Annotated[UUID | None, Query(alias="with", description="The later snapshot, of the same report")] = None,
) -> DifferenceAnswer:
    """What lies between this snapshot and a later one: the figures, and every case that entered, left or changed."""
    before = snapshots.get(session, caller, snapshot_id)
    if other is None:
        detail = "is missing: name the later snapshot"
        raise Invalid(f"with {detail}.", errors=[{"pointer": "query/with", "detail": detail}])
    after = snapshots.get(session, caller, other)
    otherwise, figures = snapshot_differences.figures(before, after)
    counts = snapshot_differences.counts(session, before, after)
    items, cursor = snapshot_differences.cases(session, before, after, page)
    link_next(request, response, cursor)
    codes = snapshots.unit_codes(session, [before, after])
    return DifferenceAnswer(
        before=_summary(before, codes),
        after=_summary(after, codes),
        asked_otherwise=otherwise,
        figures=figures,
        **counts,
        items=items,
    )


@router.get("/{snapshot_id}/export", responses=problem_responses(401, 404, 409))
def export_snapshot(snapshot_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> SnapshotExport:
    """The snapshot with its cases, signed, to keep elsewhere (`redline statistics snapshot verify`)."""
    row = snapshots.get(session, caller, snapshot_id)
    content = SnapshotExport(**snapshot_export.export(session, row))
    record_export(session, request, caller, "figures-snapshot", snapshot_id=str(row.id), rows=len(content.cases))
    return content


def _summary(row: Snapshot, codes: dict[UUID, str]) -> SnapshotSummary:
    same = {name: getattr(row, name) for name in SnapshotSummary.model_fields if name != "unit"}
    return SnapshotSummary(**same, unit=codes[row.unit_id])


def _whole(session: Session, row: Snapshot) -> SnapshotAnswer:
    summary = _summary(row, snapshots.unit_codes(session, [row]))
    return SnapshotAnswer(**summary.model_dump(), document=snapshots.document_of(row), jws=row.jws)


def _case(row: SnapshotCase) -> SnapshotCaseAnswer:
    told = CountedCase(
        row.case_id, row.number, row.interval_sequence, row.events, row.head, row.state, row.counted, row.groups
    )
    return SnapshotCaseAnswer.model_validate(told.told())
