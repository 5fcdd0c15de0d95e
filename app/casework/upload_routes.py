"""Resumable uploads of evidence: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with the extensions creation,
termination, expiration and checksum.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from fastapi.routing import APIRoute

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep, TokenDep
from app.access.service import get_placed
from app.casework import uploads
from app.casework.evidence import Sent
from app.casework.evidence_models import Upload
from app.casework.models import Case
from app.casework.receiving import ALGORITHMS, Piece, read_checksum
from app.casework.said import read_said
from app.foundation.database import SessionDep
from app.foundation.errors import BadRequest, Invalid, Problem, problem_responses

VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
# Of the header with what is said of a file; names and descriptions are short.
MOST_METADATA_CHARACTERS = 16_384
_MOST_DIGITS = 15


class OtherVersion(Problem):
    """This version of the tus protocol is not spoken here"""

    status, code = 412, "tus-version"


class OtherMediaType(Problem):
    """The body is of another type than is taken here"""

    status, code = 415, "media-type"


class _TusRoute(APIRoute):
    """Names the protocol's version in every answer, and refuses another one, as the protocol has it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def speaking(request: Request) -> Response:
            try:
                response = await handler(request)
            except Problem as problem:
                problem.headers.setdefault("Tus-Resumable", VERSION)
                raise
            response.headers["Tus-Resumable"] = VERSION
            return response

        return speaking


class _KeyedTusRoute(_TusRoute, IdempotentRoute):
    """As above; takes idempotency keys."""


router = APIRouter(prefix="/cases/{case_id}/evidence/uploads", tags=["evidence"], route_class=_KeyedTusRoute)
# A piece is named by its offset, and done once by that; a key would have all of it read into memory first.
piece_router = APIRouter(prefix=router.prefix, tags=["evidence"], route_class=_TusRoute)

ResumableHeader = Annotated[str | None, Header(description="Version of the protocol, 1.0.0", examples=[VERSION])]


@router.options("", status_code=204, responses=problem_responses(401, 404))
def show_upload_options(case_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> Response:
    """What the service can do of the tus protocol."""
    get_placed(session, caller, Case, case_id)
    return Response(
        status_code=204,
        headers={
            "Tus-Version": VERSION,
            "Tus-Extension": "creation,termination,expiration,checksum",
            "Tus-Max-Size": str(request.app.state.settings.max_evidence_bytes),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        },
    )


@router.post("", status_code=201, responses=problem_responses(400, 401, 403, 404, 409, 412, 413, 422))
def create_upload(
    case_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    tus_resumable: ResumableHeader = None,
    upload_length: Annotated[str | None, Header(description="Size of the whole file in bytes")] = None,
    upload_metadata: Annotated[
        str | None,
        Header(
            description=(
                "`key base64(value)`, comma-separated: filename, kind (photo, video, document, field_record), and, "
                "where wanted, description, longitude, latitude"
            )
        ),
    ] = None,
) -> Response:
    """Begin a resumable upload; its address is in `Location`. Send the file there in pieces with PATCH."""
    # Before anything that is said about the request: what is not the caller's to see does not exist.
    get_placed(session, caller, Case, case_id)
    _check_version(tus_resumable)
    header = upload_metadata or ""
    upload = uploads.begin(
        session,
        request.app.state.settings,
        caller,
        case_id,
        read_metadata(header),
        length=_read_length(upload_length),
        metadata_header=header,
    )
    location = request.url_for("show_upload", case_id=case_id, upload_id=upload.id)
    headers = {"Location": location.path, "Upload-Expires": _date(upload)}
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}", responses=problem_responses(401, 404, 412))
def show_upload(
    case_id: UUID,
    upload_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    tus_resumable: ResumableHeader = None,
) -> Response:
    """How much of the file is here: `Upload-Offset`. `Content-Location` names the evidence once it is whole."""
    upload = uploads.get_upload(session, caller, case_id, upload_id)
    _check_version(tus_resumable)
    headers = {
        "Upload-Offset": str(upload.received),
        "Upload-Length": str(upload.length),
        "Upload-Expires": _date(upload),
        "Cache-Control": "no-store",
        **_became(request, case_id, upload.evidence_id),
    }
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    return Response(status_code=200, headers=headers)


@router.delete("/{upload_id}", status_code=204, responses=problem_responses(401, 403, 404, 412))
def delete_upload(
    case_id: UUID,
    upload_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    tus_resumable: ResumableHeader = None,
) -> Response:
    """Give an upload up. Evidence that it has become stays."""
    upload = uploads.get_upload(session, caller, case_id, upload_id, lock=True)
    _check_version(tus_resumable)
    session.delete(upload)
    session.flush()
    # Should the transaction fail, its parts are missing and its sender is told so; that is what was asked for.
    uploads.remove_files(request.app.state.storage, upload_id)
    return Response(status_code=204)


@piece_router.patch(
    "/{upload_id}",
    status_code=204,
    responses=problem_responses(400, 401, 403, 404, 409, 412, 413, 415, 422, 503)
    | {460: problem_responses(409)[409] | {"description": "Checksum Mismatch"}},
    openapi_extra={
        "requestBody": {"content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}, "required": True}
    },
)
async def append_to_upload(
    case_id: UUID,
    upload_id: UUID,
    request: Request,
    token: TokenDep,
    tus_resumable: ResumableHeader = None,
    content_type: Annotated[str | None, Header(description=PIECE)] = None,
    upload_offset: Annotated[str | None, Header(description="Where the piece begins, bytes")] = None,
    upload_checksum: Annotated[str | None, Header(description="sha1 or sha256, a space, the digest in Base64")] = None,
) -> Response:
    """Send a piece of the file, as long as you like. The last one makes it evidence, named by `Content-Location`."""
    piece = Piece(request, token, case_id, upload_id)
    await piece.look()
    _check_version(tus_resumable)
    if (content_type or "").partition(";")[0].strip().lower() != PIECE:
        raise OtherMediaType(f"A piece is sent as {PIECE}.")
    progress = await piece.take(_read_number("Upload-Offset", upload_offset), read_checksum(upload_checksum))
    headers = {
        "Upload-Offset": str(progress.offset),
        "Upload-Expires": format_datetime(progress.expires_at.astimezone(UTC), usegmt=True),
        **_became(request, case_id, progress.evidence_id),
    }
    return Response(status_code=204, headers=headers)


def read_metadata(header: str) -> Sent:
    """What a sender says of a file in `Upload-Metadata`.

    Raises:
        BadRequest: it is not of the protocol's form.
        Invalid: a value does not fit.
    """
    if len(header) > MOST_METADATA_CHARACTERS:
        raise BadRequest(f"Upload-Metadata may be {MOST_METADATA_CHARACTERS:,} characters long.")
    values: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            values[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadRequest("Upload-Metadata is `key value`, comma-separated, each value UTF-8 in Base64.") from None
    return read_said(values, "Upload-Metadata")


def _check_version(header: str | None) -> None:
    if header != VERSION:
        raise OtherVersion(f"Send the header Tus-Resumable: {VERSION}.", headers={"Tus-Version": VERSION})


def _read_length(header: str | None) -> int:
    length = _read_number("Upload-Length", header)
    if length == 0:
        raise Invalid("The file is empty.")
    return length


def _read_number(name: str, header: str | None) -> int:
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > _MOST_DIGITS:
        raise BadRequest(f"Send the header {name}: a whole number of bytes.")
    return int(header)


def _date(upload: Upload) -> str:
    return format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)


def _became(request: Request, case_id: UUID, evidence_id: UUID | None) -> dict[str, str]:
    if evidence_id is None:
        return {}
    return {"Content-Location": request.url_for("show_evidence", case_id=case_id, evidence_id=evidence_id).path}
