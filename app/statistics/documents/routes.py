"""Documents of figures over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import CallerDep, TokenDep, signed_in
from app.documents.sheets import XLSX
from app.documents.templates import DOCX
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.statistics.asking import FiguresQueryDep
from app.statistics.documents import bulletin
from app.statistics.documents.rows import case_rows
from app.statistics.documents.sheets import LEDGER, OVERDUE, write_book
from app.statistics.documents.standing import pinned, scope_name, standing_of
from app.statistics.figures import counted
from app.statistics.reports import Report

router = APIRouter(prefix="/statistics", tags=["statistics"], route_class=IdempotentRoute)
_BINARY = {"type": "string", "format": "binary"}


def _answers(media_type: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": _BINARY}}}, **problem_responses(401, 422, *statuses)}


def _file(content: bytes, media_type: str, name: str) -> Response:
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return Response(content, media_type=media_type, headers=headers)


@router.get("/rectification-ledger.xlsx", response_class=Response, responses=_answers(XLSX))
def download_rectification_ledger(
    request: Request, session: SessionDep, caller: CallerDep, asked: FiguresQueryDep
) -> Response:
    """整改台账: the confirmed cases that I may see, a row each, as the ledger had them at an instant."""
    question = asked.question(Report.closure)
    found = counted(session, caller, question)
    standing = standing_of(session, caller, found)
    question = pinned(question, found)
    rows = case_rows(session, caller, question, "ever_confirmed", found.effective)
    scope, today = scope_name(session, caller, question), found.days.today
    explained = ("ever_confirmed", "closed", "overdue")
    content = write_book("整改台账", scope, LEDGER, rows, today, standing, explained)
    record_export(session, request, caller, "rectification-ledger", rows=len(rows), sequence=standing.sequence)
    return _file(content, XLSX, f"整改台账-{today.isoformat()}.xlsx")


@router.get("/overdue.xlsx", response_class=Response, responses=_answers(XLSX))
def download_overdue_list(request: Request, session: SessionDep, caller: CallerDep, asked: FiguresQueryDep) -> Response:
    """逾期清单: the cases past their present due date, the longest first, as the ledger had them at an instant."""
    question = asked.question(Report.timeliness)
    found = counted(session, caller, question)
    standing = standing_of(session, caller, found)
    question, today = pinned(question, found), found.days.today
    rows = case_rows(session, caller, question, "overdue", found.effective)
    rows.sort(key=lambda row: (-(row.days_overdue(today) or 0), row.number))
    content = write_book(
        "逾期清单", scope_name(session, caller, question), OVERDUE, rows, today, standing, ("overdue",)
    )
    record_export(session, request, caller, "overdue-list", rows=len(rows), sequence=standing.sequence)
    return _file(content, XLSX, f"逾期清单-{today.isoformat()}.xlsx")


@router.get("/bulletin.docx", response_class=Response, responses=_answers(DOCX, 500))
def download_bulletin(request: Request, token: TokenDep, asked: FiguresQueryDep) -> Response:
    """通报: figures in sentences, by county, ranked, with charts, overdue and typical cases, and their definitions."""
    with signed_in(request, token) as (session, caller):
        found = bulletin.collect(session, caller, asked.question(Report.closure))
    # The transaction ends here: charts are drawn without a connection, and what is handed out is recorded after that.
    content = bulletin.write(found, request.app.state.settings.templates_dir)
    with signed_in(request, token) as (session, caller):
        record_export(session, request, caller, "bulletin", sequence=found.context["ledger"]["sequence"])
    return _file(content, DOCX, f"通报-{found.last.isoformat()}.docx")
