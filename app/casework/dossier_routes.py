"""The dossier of a case (一案一档) over HTTP, as DOCX and PDF."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import TokenDep, signed_in
from app.access.service import get_placed
from app.casework.dossier import collect, write
from app.casework.models import Case
from app.documents.pdf import find_office, to_pdf
from app.documents.templates import DOCX
from app.foundation.errors import problem_responses
from app.foundation.time import utc_now

router = APIRouter(prefix="/cases", tags=["cases"], route_class=IdempotentRoute)
PDF = "application/pdf"
_BINARY = {"type": "string", "format": "binary"}


def _answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": _BINARY}}}, **problem_responses(401, 404, 500, 503)}


@router.get("/{case_id}/dossier.docx", response_class=Response, responses=_answers(DOCX))
def download_dossier_docx(case_id: UUID, request: Request, token: TokenDep) -> Response:
    """一案一档: cover, facts, verdict, map, pictures, events, evidence with hashes, as a Word document."""
    number, content = _dossier(request, token, case_id)
    return _file(request, token, case_id, content, number, "docx")


@router.get("/{case_id}/dossier.pdf", response_class=Response, responses=_answers(PDF))
def download_dossier_pdf(case_id: UUID, request: Request, token: TokenDep) -> Response:
    """一案一档 as PDF, made of the Word document by LibreOffice; 503 where it is not installed."""
    program = request.app.state.settings.office_program
    number, content = _dossier(request, token, case_id, needs=program)
    return _file(request, token, case_id, to_pdf(content, program), number, "pdf")


def _dossier(request: Request, token: str | None, case_id: UUID, *, needs: str | None = None) -> tuple[str, bytes]:
    """The number of a case, and its dossier. The transaction ends before pictures are read and drawn.

    Args:
        needs: a program that must be there before anything is drawn.
    """
    with signed_in(request, token) as (session, caller):
        case: Case = get_placed(session, caller, Case, case_id)
        if needs is not None:
            find_office(needs)
        dossier = collect(session, caller, case, utc_now())
    return dossier.number, write(dossier, request.app.state.settings.templates_dir)


def _file(request: Request, token: str | None, case_id: UUID, content: bytes, number: str, suffix: str) -> Response:
    """The answer, recorded as an export in a transaction of its own: now there is something to hand out."""
    with signed_in(request, token) as (session, caller):
        get_placed(session, caller, Case, case_id)
        record_export(session, request, caller, "case-dossier", case_id=str(case_id), format=suffix)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'一案一档-{number}.{suffix}')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return Response(content, media_type=DOCX if suffix == "docx" else PDF, headers=headers)
