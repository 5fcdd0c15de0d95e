"""The ledger as a spreadsheet over HTTP: given out, filled in offline, and sent back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import UploadFile

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import CallerDep
from app.casework.case_list import CaseFilters, CaseGroup
from app.casework.ledger_sheet_applying import apply_sheet
from app.casework.ledger_sheet_reading import read_sheet
from app.casework.ledger_sheet_rows import open_cases
from app.casework.ledger_sheet_schemas import SheetReport
from app.casework.ledger_sheet_writing import write_sheet
from app.casework.lifecycle import CaseState
from app.casework.vocabulary import CaseOrigin, Priority, SupervisionLevel, SupervisionSource
from app.casework.workbooks import MOST_BYTES
from app.foundation.database import SessionDep, impatient_transaction
from app.foundation.errors import Invalid, Problem, TooLarge, problem_responses
from app.foundation.folders import passing_folder
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/cases", tags=["cases"], route_class=IdempotentRoute)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_PREVIEW = "case-ledger-preview"
_FORM = "multipart/form-data"
_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            XLSX: {"schema": _BINARY},
            _FORM: {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}},
        },
    }
}


@router.get(
    "/ledger.xlsx",
    response_class=Response,
    responses={200: {"content": {XLSX: {"schema": _BINARY}}}, **problem_responses(401, 422)},
)
def export_ledger_sheet(
    request: Request,
    session: SessionDep,
    caller: CallerDep,
    state: Annotated[CaseState | None, Query()] = None,
    activity: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["mining"])] = None,
    unit: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Led by this unit or one below it, by code")
    ] = None,
    number: Annotated[str | None, Query(pattern="^RL-[0-9A-Za-z_-]{1,60}$", examples=["RL-220621-2024-0001"])] = None,
    source: Annotated[SupervisionSource | None, Query(description="Stands in this list, primary or not")] = None,
    supervision_level: Annotated[SupervisionLevel | None, Query()] = None,
    origin: Annotated[CaseOrigin | None, Query()] = None,
    priority: Annotated[Priority | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="Its due date has passed")] = None,
    mine: Annotated[bool, Query(description="Its next step is for my role and unit")] = False,
) -> Response:
    """The open cases that I may see as a 台账 to fill in: one row a case, at most 5,000. See docs/spreadsheet.md."""
    today = legal_day(utc_now())
    filters = CaseFilters(
        state, CaseGroup.open, activity, unit, number, source, supervision_level, origin, priority, overdue, mine
    )
    rows = open_cases(session, caller, filters, today)
    content = write_sheet(rows, today)
    record_export(session, request, caller, "case-ledger", rows=len(rows))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'台账-{today.isoformat()}.xlsx')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return Response(content, media_type=XLSX, headers=headers)


async def _content(request: Request, caller: CallerDep) -> bytes:
    """The workbook that was sent, as the body or as the `file` of a form; only to somebody who says who they are."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        file = (await request.form()).get("file")
        if not isinstance(file, UploadFile):
            raise Invalid("Send the workbook as `file`.", errors=[{"pointer": "body/file", "detail": "is missing"}])
        content = await file.read(MOST_BYTES + 1)
        await file.seek(0)
    elif kind in (XLSX, "application/octet-stream"):
        content = await request.body()
    else:
        raise Invalid(f"Send the workbook as {XLSX}, or as `file` of {_FORM}.")
    if len(content) > MOST_BYTES:
        raise TooLarge(f"A sheet may be at most {MOST_BYTES:,} bytes long.", limit_bytes=MOST_BYTES)
    return content


@router.post("/ledger.xlsx", responses=problem_responses(401, 409, 413, 422), openapi_extra=_BODY)
def apply_ledger_sheet(
    request: Request,
    session: SessionDep,
    caller: CallerDep,
    content: Annotated[bytes, Depends(_content)],
    dry_run: Annotated[bool, Query(description="Say what it would do, and write nothing")],
) -> SheetReport:
    """Carry a filled sheet out: every row that gives a command, or none. A problem has the same `report` as its member:
    409 where cases changed since the download and nothing else is wrong, else 422.
    """
    with passing_folder("redline-sheet-") as folder:
        path: Path = folder / "sheet"
        path.write_bytes(content)
        sheet = read_sheet(path)
    notice_days = request.app.state.settings.notice_days
    try:
        report = apply_sheet(
            session, caller, sheet, today=legal_day(utc_now()), notice_days=notice_days, dry_run=dry_run
        )
    except Problem as problem:
        if "report" in problem.members:
            # It says what cases say, as a preview does. Written apart, since nothing of the request is; and after the
            # request has let go of its locks and its connection.
            session.rollback()
            with impatient_transaction(request.app.state.database) as kept:
                record_export(kept, request, caller, _PREVIEW, rows=len(problem.members["report"]["rows"]))
        raise
    if dry_run:
        record_export(session, request, caller, _PREVIEW, rows=len(report.rows))
    return report
