"""Evidence over HTTP: files come in measured as they arrive, and go out as downloads that no browser runs."""

from collections.abc import Iterator
from typing import Annotated, BinaryIO
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_read
from app.access.routes import CallerDep
from app.access.service import Caller, get_placed
from app.access.vocabulary import AccessKind
from app.casework import evidence
from app.casework.models import Case, Evidence, EvidenceKind
from app.casework.schemas import EvidenceAnswer
from app.casework.vocabulary import Words
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, NotFound, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.storage import CHUNK, Storage, blob_key
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/cases/{case_id}/evidence", tags=["evidence"], route_class=IdempotentRoute)


@router.post("", status_code=201, responses=problem_responses(401, 403, 404, 409, 413, 422))
def create_evidence(
    case_id: UUID,
    request: Request,
    session: SessionDep,
    caller: CallerDep,
    response: Response,
    file: Annotated[UploadFile, File(description="JPEG, PNG or PDF; its content counts, not its name")],
    kind: Annotated[EvidenceKind, Form()],
    description: Annotated[Words | None, Form()] = None,
    longitude: Annotated[float | None, Form(ge=-180, le=180, description="When the file carries no position")] = None,
    latitude: Annotated[float | None, Form(ge=-90, le=90)] = None,
) -> EvidenceAnswer:
    """Add a file to a case. A photo's own position and time are read from it."""
    if (longitude is None) != (latitude is None):
        raise Invalid("Mend these fields: longitude, latitude. Give both or neither.")
    upload = evidence.Upload(file.file, file.filename or "", kind, description, longitude, latitude)
    added = evidence.add_evidence(
        session,
        request.app.state.storage,
        caller,
        case_id,
        upload,
        limit=request.app.state.settings.max_upload_bytes,
        today=legal_day(utc_now()),
    )
    location = request.url_for("show_evidence", case_id=case_id, evidence_id=added.id)
    response.headers["Location"] = location.path
    return EvidenceAnswer.model_validate(added)


@router.get("", responses=problem_responses(400, 401, 404))
def list_evidence(
    case_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[EvidenceAnswer]:
    """The evidence of a case, newest first."""
    case: Case = get_placed(session, caller, Case, case_id)
    rows, cursor = fetch_page(session, select(Evidence).where(Evidence.case_id == case.id), page, Evidence.id)
    link_next(request, response, cursor)
    return Page(items=[EvidenceAnswer.model_validate(row) for row in rows])


@router.get("/{evidence_id}", responses=problem_responses(401, 404))
def show_evidence(case_id: UUID, evidence_id: UUID, session: SessionDep, caller: CallerDep) -> EvidenceAnswer:
    """What is known of one file."""
    return EvidenceAnswer.model_validate(evidence.get_evidence(session, caller, case_id, evidence_id))


@router.get(
    "/{evidence_id}/content",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        **problem_responses(401, 404),
    },
)
def show_evidence_content(
    case_id: UUID, evidence_id: UUID, request: Request, session: SessionDep, caller: CallerDep
) -> StreamingResponse:
    """The file itself, as it was sent."""
    row = evidence.get_evidence(session, caller, case_id, evidence_id)
    storage: Storage = request.app.state.storage
    try:
        stream = storage.open(blob_key(row.sha256))
    except FileNotFoundError:
        raise NotFound("The file is not in the storage; tell the operators.") from None
    record_reading(session, request, caller, row)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.filename)}",
        "Content-Length": str(row.size_bytes),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(_chunks(stream), media_type=row.media_type, headers=headers)


def record_reading(session: Session, request: Request, caller: Caller, row: Evidence, part: str = "content") -> None:
    """Record that the caller is handed a file, or the `part` of it that is named."""
    record_read(
        session,
        request,
        caller,
        AccessKind.evidence_read,
        case_id=str(row.case_id),
        evidence_id=str(row.id),
        sha256=row.sha256,
        part=part,
    )


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk
