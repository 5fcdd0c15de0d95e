"""The register of permits over HTTP. Permits as a map layer are in `routes`, like every layer."""

from datetime import date
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import Caller
from app.boundaries import permits
from app.boundaries.models import BoundaryFeature, LayerVersion, PermitRevocation
from app.boundaries.permit_schemas import (
    KindOrLabel,
    PermitAnswer,
    PermitEntry,
    PermitIn,
    PermitVersion,
    RevocationAnswer,
    RevocationIn,
)
from app.boundaries.permits import PermitStatus
from app.boundaries.vocabulary import PERMIT_LABELS, PermitKind
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/permits", tags=["permits"], route_class=IdempotentRoute)


def _entry(
    feature: BoundaryFeature, version: LayerVersion, revocation: PermitRevocation | None, on: date
) -> PermitEntry:
    # Registers from before kinds were checked may hold any word.
    kind = next((kind for kind in PermitKind if kind.value == feature.category), None)
    return PermitEntry(
        code=feature.code,
        name=feature.name,
        kind=feature.category,
        kind_label=PERMIT_LABELS[kind] if kind else None,
        holder=feature.holder,
        document=feature.document,
        valid_from=feature.valid_from,
        valid_to=feature.valid_to,
        status=permits.status_of(feature, revocation, on),
        area_m2=feature.area_m2,
        feature_id=feature.id,
        version=version.number,
        revocation=RevocationAnswer.model_validate(revocation) if revocation else None,
    )


def _answer(session: Session, caller: Caller, code: str, on: date) -> PermitAnswer:
    rows = permits.versions_of(session, caller, code)
    revocation = permits.revocations_of(session, {code}).get(code)
    newest, version = rows[0]
    return PermitAnswer(
        **dict(_entry(newest, version, revocation, on)),
        versions=[
            PermitVersion(
                number=of.number,
                kind=of.kind,
                counts_from=of.valid_from,
                imported_at=of.imported_at,
                source_document=of.source_document,
                name=feature.name,
                holder=feature.holder,
                document=feature.document,
                valid_from=feature.valid_from,
                valid_to=feature.valid_to,
                area_m2=feature.area_m2,
                feature_id=feature.id,
            )
            for feature, of in rows
        ],
        # Those of a whole register are about other permits, too; its import told them.
        warnings=version.warnings if version.kind == "addition" else [],
    )


@router.get("/register", responses=problem_responses(400, 401, 422))
def list_register(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    on: Annotated[date | None, Query(description="As it stands on this day; default: today in Asia/Shanghai")] = None,
    kind: Annotated[KindOrLabel | None, Query(description="Code or Chinese label")] = None,
    holder: Annotated[str | None, Query(max_length=200, description="Part of the holder's name")] = None,
    status: Annotated[PermitStatus | None, Query(description="On that day")] = None,
    expiring_within: Annotated[
        int | None, Query(ge=0, le=3660, description="In force, and ending within so many days of that day")
    ] = None,
) -> Page[PermitEntry]:
    """The register of permits (有限人为活动认定/审批) on my ground, newest first: also what expired or was revoked."""
    day = on or legal_day(utc_now())
    given = permits.PermitFilter(day, kind, holder, status, expiring_within)
    rows, cursor = fetch_page(session, permits.select_permits(caller, given), page, BoundaryFeature.id)
    link_next(request, response, cursor)
    revocations = permits.revocations_of(session, {row.code for row in rows})
    versions = permits.version_numbers(session, {row.version_id for row in rows})
    return Page(items=[_entry(row, versions[row.version_id], revocations.get(row.code), day) for row in rows])


@router.get("/register/{code}", responses=problem_responses(401, 404))
def show_permit_entry(
    code: str,
    session: SessionDep,
    caller: CallerDep,
    on: Annotated[date | None, Query(description="Its status on this day; default: today")] = None,
) -> PermitAnswer:
    """One permit by its code, with the versions of the register that it stands in, and its revocation."""
    return _answer(session, caller, code, on or legal_day(utc_now()))


@router.post("", status_code=201, responses=problem_responses(401, 403, 409, 422))
def add_permit(
    given: PermitIn, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> PermitAnswer:
    """Add one permit to the register (administrators). What it covers is judged again by the worker."""
    caller.require(Role.admin)
    today = legal_day(utc_now())
    ground = given.geometry if given.ground is None else (given.ground.layer, given.ground.code)
    assert ground is not None
    addition = permits.Addition(
        given.code, given.name, given.kind, given.holder, given.document, given.valid_from, given.valid_to, ground
    )
    permits.add_permit(session, caller, addition, today)
    # Codes are often Chinese, and a header is not.
    response.headers["Location"] = quote(request.url_for("show_permit_entry", code=given.code).path)
    return _answer(session, caller, given.code, today)


@router.post("/{code}/revocations", status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def revoke_permit(code: str, given: RevocationIn, session: SessionDep, caller: CallerDep) -> RevocationAnswer:
    """Revoke a permit from a day on (administrators). What it covers is judged again by the worker."""
    caller.require(Role.admin)
    revocation = permits.revoke_permit(
        session, caller, code, revoked_on=given.revoked_on, reason=given.reason, document=given.document
    )
    return RevocationAnswer.model_validate(revocation)
