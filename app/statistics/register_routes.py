"""The county register of red lines over HTTP."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.access.reads import record_export
from app.access.routes import CallerDep
from app.access.service import Caller
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.time import legal_day, utc_now
from app.statistics.register import county_register
from app.statistics.register_files import as_geopackage, as_spreadsheet
from app.statistics.register_schemas import Register

router = APIRouter(prefix="/redlines/register", tags=["redlines"])
UnitCode = Annotated[str, Path(description="Code of a county or zone", pattern=r"^[0-9A-Za-z-]{1,40}$")]
On = Annotated[date | None, Query(description="As of this day; default: today in Asia/Shanghai")]
GEOPACKAGE = "application/geopackage+sqlite3"
SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
REFUSALS = problem_responses(401, 404, 422)


def _file(content: bytes, media_type: str, register: Register, suffix: str) -> Response:
    name = f"redlines-{register.unit_code}-{register.on.isoformat()}.{suffix}"
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _record(session: Session, request: Request, caller: Caller, register: Register, suffix: str) -> None:
    record_export(
        session, request, caller, "redline-register", unit=register.unit_code, on=register.on.isoformat(), format=suffix
    )


# The files first: the register's own address would take theirs.
@router.get(
    "/{unit_code}.gpkg",
    response_class=Response,
    responses={**REFUSALS, 200: {"content": {GEOPACKAGE: {}}, "description": "A GeoPackage"}},
)
def download_register_geopackage(
    unit_code: UnitCode, request: Request, session: SessionDep, caller: CallerDep, on: On = None
) -> Response:
    """The county register as one GeoPackage: patches, patches by version, permits, detections, cases."""
    register = county_register(session, caller, unit_code, on or legal_day(utc_now()))
    _record(session, request, caller, register, "gpkg")
    return _file(as_geopackage(register), GEOPACKAGE, register, "gpkg")


@router.get(
    "/{unit_code}.xlsx",
    response_class=Response,
    responses={**REFUSALS, 200: {"content": {SPREADSHEET: {}}, "description": "A spreadsheet"}},
)
def download_spreadsheet(
    unit_code: UnitCode, request: Request, session: SessionDep, caller: CallerDep, on: On = None
) -> Response:
    """The county register as one spreadsheet, with Chinese headings and areas in m², hectares and mu."""
    register = county_register(session, caller, unit_code, on or legal_day(utc_now()))
    _record(session, request, caller, register, "xlsx")
    return _file(as_spreadsheet(register), SPREADSHEET, register, "xlsx")


@router.get("/{unit_code}", responses=REFUSALS)
def show_register(unit_code: UnitCode, session: SessionDep, caller: CallerDep, on: On = None) -> Register:
    """The red lines of one county as of a day: patches, versions, permits, and what is known on them."""
    return county_register(session, caller, unit_code, on or legal_day(utc_now()))
