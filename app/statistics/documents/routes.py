"""Documents of figures over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import TokenDep, signed_in
from app.documents.sheets import XLSX
from app.documents.templates import DOCX
from app.foundation.errors import problem_responses
from app.statistics.asking import FiguresQueryDep
from app.statistics.documents import bulletin
from app.statistics.documents.rows import CaseRow, case_rows
from app.statistics.documents.sheets import LEDGER, OVERDUE, Column, write_book
from app.statistics.documents.standing import Standing, pinned, scope_name, standing_of
from app.statistics.figures import Question, counted
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
def download_rectification_ledger(request: Request, token: TokenDep, asked: FiguresQueryDep) -> Response:
    """整改台账: the confirmed cases that I may see, a row each, as the ledger had them at an instant."""
    found = _listed(request, token, asked.question(Report.closure), "ever_confirmed")
    book = ("整改台账", LEDGER, ("ever_confirmed", "closed", "overdue"))
    return _book(request, token, "rectification-ledger", found, *book)


@router.get("/overdue.xlsx", response_class=Response, responses=_answers(XLSX))
def download_overdue_list(request: Request, token: TokenDep, asked: FiguresQueryDep) -> Response:
    """逾期清单: the cases past their present due date, the longest first, as the ledger had them at an instant."""
    found = _listed(request, token, asked.question(Report.timeliness), "overdue")
    found.rows.sort(key=lambda row: (-(row.days_overdue(found.today) or 0), row.number))
    return _book(request, token, "overdue-list", found, "逾期清单", OVERDUE, ("overdue",))


@dataclass(frozen=True)
class _Listed:
    """The cases of a sheet, and what it stands on."""

    scope: str
    rows: list[CaseRow]
    today: date
    standing: Standing


def _listed(request: Request, token: str | None, question: Question, measure: str) -> _Listed:
    with signed_in(request, token) as (session, caller):
        found = counted(session, caller, question)
        standing = standing_of(session, caller, found)
        question = pinned(question, found)
        rows = case_rows(session, caller, question, measure, found.effective)
        return _Listed(scope_name(session, caller, question), rows, found.days.today, standing)


def _book(
    request: Request,
    token: str | None,
    kind: str,
    found: _Listed,
    title: str,
    columns: Sequence[Column],
    explained: Sequence[str],
) -> Response:
    """The workbook, written without a connection: 20,000 rows take seconds. What is handed out is recorded after it."""
    content = write_book(title, found.scope, columns, found.rows, found.today, found.standing, explained)
    with signed_in(request, token) as (session, caller):
        record_export(session, request, caller, kind, rows=len(found.rows), sequence=found.standing.sequence)
    return _file(content, XLSX, f"{title}-{found.today.isoformat()}.xlsx")


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
