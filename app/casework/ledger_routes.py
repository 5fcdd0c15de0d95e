"""Seals, keys, verifications and signed exports over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from app.access.models import Role
from app.access.reads import record_export
from app.access.routes import CallerDep
from app.access.service import get_placed
from app.casework import seals
from app.casework.hash_chain import CASES
from app.casework.ledger_export import export_case
from app.casework.models import Case, LedgerSeal, LedgerVerification
from app.casework.signing import load_signer
from app.casework.verifying import verify_one
from app.foundation.database import SessionDep
from app.foundation.errors import BadRequest, NotFound, problem_responses
from app.foundation.paging import Page, PageDep, link_next

router = APIRouter(prefix="/ledger", tags=["ledger"])
case_router = APIRouter(prefix="/cases", tags=["cases"])
SealNumber = Annotated[str, Path(examples=["12"])]


class SealAnswer(BaseModel):
    """A seal as it was signed."""

    number: int
    sealed_at: datetime
    document: dict[str, Any] = Field(description="What is stated; signed is its canonical form (RFC 8785)")
    jws: str = Field(description="Detached signature (RFC 7515, appendix F), EdDSA")


class KeysAnswer(BaseModel):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class BreakAnswer(BaseModel):
    """Where a ledger does not hold."""

    book: str = Field(description="`cases` or `reviews`")
    subject: UUID | None = Field(description="The case, or the detection; null: the ledger as a whole")
    event: int | None = Field(description="Number of the event within its case or detection")
    sequence: int | None
    seal: int | None
    what: str


class VerificationAnswer(BaseModel):
    """What a verification found: of one case just now, or of both whole ledgers when they were verified last."""

    case_id: UUID | None
    finished_at: datetime | None = Field(description="Null: just now")
    events: int
    review_events: int
    seal: int | None = Field(description="The newest seal that the ledgers were compared with")
    intact: bool
    breaks: list[BreakAnswer]


class CaseExport(BaseModel):
    """A case's history, signed. See docs/ledger.md for the check."""

    model_config = ConfigDict(extra="forbid")

    document: dict[str, Any]
    jws: str


def _answer(row: LedgerSeal) -> SealAnswer:
    return SealAnswer(number=row.number, sealed_at=row.sealed_at, document=seals.document_of(row), jws=row.jws)


@router.get("/seals", responses=problem_responses(400, 401, 403))
def list_seals(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[SealAnswer]:
    """Seals of the ledgers, newest first."""
    caller.require(Role.inspector, Role.province, Role.admin)
    statement = select(LedgerSeal).order_by(LedgerSeal.number.desc()).limit(page.limit + 1)
    if page.cursor:
        if not (page.cursor.isascii() and page.cursor.isdecimal() and len(page.cursor) < 10):
            raise BadRequest("The cursor is not one that this list gave out; start again without it.")
        statement = statement.where(LedgerSeal.number < int(page.cursor))
    rows = list(session.scalars(statement))
    link_next(request, response, str(rows[page.limit - 1].number) if len(rows) > page.limit else None)
    return Page(items=[_answer(row) for row in rows[: page.limit]])


@router.get("/seals/{number}", responses=problem_responses(401, 403, 404))
def show_seal(number: SealNumber, session: SessionDep, caller: CallerDep) -> SealAnswer:
    """One seal."""
    row = seals.by_number(session, number)
    caller.require(Role.inspector, Role.province, Role.admin)
    return _answer(row)


@router.get(
    "/seals/{number}/export",
    response_class=FileResponse,
    responses={200: {"content": {"application/gzip": {}}}, **problem_responses(401, 403, 404, 409)},
)
def export_seal(number: SealNumber, session: SessionDep, caller: CallerDep, request: Request) -> FileResponse:
    """A seal with the heads of all chains, as a file to keep elsewhere (docs/ledger.md)."""
    row = seals.by_number(session, number)
    caller.require(Role.inspector, Role.province, Role.admin)
    path = seals.file_of(request.app.state.database, request.app.state.settings, row.number)
    record_export(session, request, caller, "ledger-seal", seal=row.number)
    return FileResponse(path, media_type="application/gzip", filename=path.name)


@router.get("/keys", responses=problem_responses(401))
def list_keys(session: SessionDep, caller: CallerDep, request: Request) -> KeysAnswer:
    """The public keys of the ledger, oldest first. Keep them elsewhere: a check takes the key that you kept."""
    signer = load_signer(request.app.state.settings.signing_key)
    return KeysAnswer(keys=seals.public_keys(session, signer))


@router.get("/verification", responses=problem_responses(401, 403, 404))
def show_verification(
    session: SessionDep,
    caller: CallerDep,
    case: Annotated[UUID | None, Query(description="Verify the chain of this case now")] = None,
) -> VerificationAnswer:
    """What the last verification of both ledgers found (they are verified daily); of one case, at once."""
    caller.require(Role.inspector, Role.province)
    if case is not None:
        found: Case = get_placed(session, caller, Case, case)
        report = verify_one(session, CASES, found.id)
        breaks = [
            BreakAnswer(book=one.book, subject=one.subject, event=one.event, sequence=one.sequence, seal=one.seal,
                        what=one.what)
            for one in report.breaks
        ]  # fmt: skip
        return VerificationAnswer(
            case_id=found.id,
            finished_at=None,
            events=report.events,
            review_events=0,
            seal=None,
            intact=report.intact,
            breaks=breaks,
        )
    row = session.scalar(select(LedgerVerification).order_by(LedgerVerification.finished_at.desc()).limit(1))
    if row is None:
        raise NotFound("The ledgers were not verified yet; they are every night.")
    return VerificationAnswer(
        case_id=None,
        finished_at=row.finished_at,
        events=row.events,
        review_events=row.review_events,
        seal=row.seal,
        intact=not row.breaks,
        breaks=[BreakAnswer.model_validate(one) for one in row.breaks],
    )


@case_router.get("/{case_id}/export", responses=problem_responses(401, 404, 503))
def export_case_history(case_id: UUID, session: SessionDep, caller: CallerDep, request: Request) -> CaseExport:
    """The case with every event of its ledger, signed, for a check without this service (`redline ledger check`)."""
    case: Case = get_placed(session, caller, Case, case_id)
    signer = seals.open_signer(session, request.app.state.settings)
    export = CaseExport(**export_case(session, caller, case, signer))
    record_export(session, request, caller, "case-history", case_id=str(case.id), rows=len(export.document["events"]))
    return export
