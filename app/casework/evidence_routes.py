"""Evidence over HTTP: files come in measured as they arrive, and go out as downloads that no browser runs."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute, KeyHeader
from app.access.reads import record_read
from app.access.routes import CallerDep, TokenDep, signed_in
from app.access.service import Caller, get_placed
from app.access.vocabulary import AccessKind
from app.casework import evidence
from app.casework.contents import download_name
from app.casework.forms import FormFile
from app.casework.models import Case, Evidence, EvidenceKind
from app.casework.photos import JPEG, THUMBNAIL_PIXELS
from app.casework.schemas import EvidenceAnswer
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, Problem, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.storage import CHUNK, Storage, blob_key


class NotThere(Problem):
    """The file has no such part"""

    status, code = 416, "range-not-satisfiable"


router = APIRouter(prefix="/cases/{case_id}/evidence", tags=["evidence"], route_class=IdempotentRoute)
# It takes keys in transactions of its own: IdempotentRoute would have one open while the file comes.
form_router = APIRouter(prefix=router.prefix, tags=["evidence"])
_POSITION = "When the file carries no position"
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "kind"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "JPEG, PNG, PDF, DOCX, XLSX, MP4 or QuickTime; its content counts, not its name",
        },
        "kind": {"type": "string", "enum": [kind.value for kind in EvidenceKind]},
        "description": {"type": "string", "minLength": 1, "maxLength": 4000},
        "longitude": {"type": "number", "minimum": -180, "maximum": 180, "description": _POSITION},
        "latitude": {"type": "number", "minimum": -90, "maximum": 90, "description": _POSITION},
    },
}


@form_router.post(
    "",
    status_code=201,
    response_model=EvidenceAnswer,
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 503),
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}, "required": True}},
)
async def create_evidence(
    case_id: UUID, request: Request, token: TokenDep, idempotency_key: KeyHeader = None
) -> Response:
    """Add a file to a case in one request; a large one is better sent by a resumable upload.

    A photo's or video's own position and time are read from it and held against the case: see `warnings`.
    """
    return await FormFile(request, token, case_id, idempotency_key).take()


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
        206: {"description": "The part of the file that `Range` names"},
        304: {"description": "As `If-None-Match` has it"},
        **problem_responses(401, 404, 416),
    },
)
def show_evidence_content(
    case_id: UUID, evidence_id: UUID, request: Request, session: SessionDep, caller: CallerDep
) -> Response:
    """The file itself, as it was sent; `Range` asks for one part of it. It is a download, which no browser shows."""
    row = evidence.get_evidence(session, caller, case_id, evidence_id)
    etag = f'"{row.sha256}"'
    name = download_name(row.filename, row.media_type)
    headers = {
        **_SAFE,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    if _names(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    first, last, status = 0, row.size_bytes - 1, 200
    if (asked := request.headers.get("range")) and request.headers.get("if-range", etag) == etag:
        part = read_range(asked, row.size_bytes)
        if part is not None:
            (first, last), status = part, 206
            headers["Content-Range"] = f"bytes {first}-{last}/{row.size_bytes}"
    storage: Storage = request.app.state.storage
    try:
        stream = storage.open(blob_key(row.sha256))
    except FileNotFoundError:
        raise NotFound("The file is not in the storage; tell the operators.") from None
    record_reading(session, request, caller, row)
    headers["Content-Length"] = str(last - first + 1)
    return StreamingResponse(_chunks(stream, first, last), status, media_type=row.media_type, headers=headers)


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


@router.get(
    "/{evidence_id}/thumbnail",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "As `If-None-Match` has it"},
        **problem_responses(401, 404, 422, 503),
    },
)
def show_evidence_thumbnail(case_id: UUID, evidence_id: UUID, request: Request, token: TokenDep) -> Response:
    """A picture as a JPEG of at most 512 pixels a side, upright, without what its file says of place and time."""
    with signed_in(request, token) as (session, caller):
        row = evidence.get_evidence(session, caller, case_id, evidence_id)
    headers = {**_SAFE, "ETag": f'"{row.sha256}-{THUMBNAIL_PIXELS}"'}
    if _names(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # It is drawn, or waits for others to be drawn, without a connection to the database.
    drawn = evidence.read_thumbnail(request.app.state.storage, row)
    with signed_in(request, token) as (session, caller):
        # Again: what is recorded is what the caller may see now.
        row = evidence.get_evidence(session, caller, case_id, evidence_id)
        record_reading(session, request, caller, row, "thumbnail")
    return Response(drawn, media_type=JPEG, headers=headers)


# Nothing that somebody sent is ever run, framed or taken for another type by a browser, nor kept by a cache between.
_SAFE = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def read_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that `Range` asks for (RFC 9110, section 14.2); None where the whole file is the answer.

    Raises:
        NotThere: the part lies beyond the file.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        # Several parts, or another unit: the header may be left out of account.
        return None
    first, last = match.groups()
    if not first:
        # The last so many bytes.
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size or start > end:
        raise NotThere(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _names(header: str, etag: str) -> bool:
    """Whether `If-None-Match` names this content."""
    return etag in (part.strip().removeprefix("W/") for part in header.split(","))


def _chunks(stream: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    left = last - first + 1
    with stream:
        stream.seek(first)
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
