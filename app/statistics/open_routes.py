"""Open data over HTTP: figures and the ledger as CSV, Parquet and GeoPackage, and what their columns mean.

Who may see a case gets it. Every file is recorded as an export, in the transaction that it was read in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.reads import record_export
from app.access.routes import CallerDep
from app.access.service import Caller
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.time import utc_now
from app.statistics import open_csvw, open_figures
from app.statistics.asking import FiguresQueryDep
from app.statistics.dimensions import Dimension
from app.statistics.open_data import LEDGER, VERSION, Column, digest, figure_columns
from app.statistics.open_files import MEDIA_TYPES, Batch, Form, chunks, written
from app.statistics.open_ledger import Ground, ledger
from app.statistics.open_schemas import DataDictionary, dictionary
from app.statistics.reports import Report
from app.statistics.service import instants

router = APIRouter(prefix="/statistics", tags=["statistics"], route_class=IdempotentRoute)
REFUSALS = problem_responses(401, 422)
Rows = Annotated[Dimension | None, Query(description="Dimension to group by")]
Columns = Annotated[Dimension | None, Query(description="A second one, crossed with it")]
Measure = Annotated[str | None, Query(description="Those alone that this figure counts; of a rate, its denominator")]
GroundQuery = Annotated[
    Ground, Query(description="`coarse`: a point to 0.01° instead of the ground, for files that are published")
]


def _ok(form: Form) -> dict[int | str, dict[str, Any]]:
    binary = {MEDIA_TYPES[form].partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}}
    return {**REFUSALS, 200: {"description": "The file", "content": binary}}


def _file(
    session: Session,
    request: Request,
    caller: Caller,
    form: Form,
    name: str,
    columns: Sequence[Column],
    batches: Iterable[Batch],
    facts: Mapping[str, str],
    effective: datetime,
    shape: str = "MultiPolygon",
) -> Response:
    """A table as a download. The transaction ends before its first byte leaves."""
    # The database may speak by another clock.
    effective = effective.astimezone(UTC)
    said = {
        "effective_as_of": effective.isoformat(), "open_data_version": VERSION, "definitions_sha256": digest(columns),
    }  # fmt: skip
    stream, rows = written(form, name, columns, batches, {**facts, **said}, shape)
    record_export(session, request, caller, f"open-data-{name}", format=form.value, rows=rows, **said)
    called = f"{name}-{effective:%Y%m%dT%H%M%SZ}.{form.value}"
    headers = {
        "Content-Disposition": f'attachment; filename="{called}"',
        "Content-Length": str(os.fstat(stream.fileno()).st_size),
    }
    if form is Form.csv:
        headers["Link"] = open_csvw.link(request.url.path, request.url.query)
    return StreamingResponse(chunks(stream), media_type=MEDIA_TYPES[form], headers=headers)


def _ledger(
    form: Form,
    session: Session,
    request: Request,
    caller: Caller,
    asked: FiguresQueryDep,
    report: Report,
    measure: str | None,
    ground: Ground,
) -> Response:
    question = asked.question(report)
    effective, batches = ledger(session, caller, question, measure, ground)
    facts = {"as_of": (question.as_of or utc_now()).isoformat(), "ground": ground.value}
    shape = "Point" if ground is Ground.coarse else "MultiPolygon"
    name = "cases" if form is Form.gpkg else "ledger"
    return _file(session, request, caller, form, name, LEDGER, batches, facts, effective, shape)


@router.get("/ledger.csv", response_class=StreamingResponse, responses=_ok(Form.csv))
def download_ledger_csv(
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    report: Report = Report.closure,
    measure: Measure = None,
    ground: GroundQuery = Ground.exact,
) -> Response:
    """The cases that the account may see, as the ledger had them at an instant, as CSV."""
    return _ledger(Form.csv, session, request, caller, asked, report, measure, ground)


@router.get("/ledger.parquet", response_class=StreamingResponse, responses=_ok(Form.parquet))
def download_ledger_parquet(
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    report: Report = Report.closure,
    measure: Measure = None,
    ground: GroundQuery = Ground.exact,
) -> Response:
    """The same as GeoParquet 1.1."""
    return _ledger(Form.parquet, session, request, caller, asked, report, measure, ground)


@router.get("/ledger.gpkg", response_class=StreamingResponse, responses=_ok(Form.gpkg))
def download_ledger_geopackage(
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    report: Report = Report.closure,
    measure: Measure = None,
    ground: GroundQuery = Ground.exact,
) -> Response:
    """The same as a GeoPackage, layer `cases`, EPSG:4490."""
    return _ledger(Form.gpkg, session, request, caller, asked, report, measure, ground)


def _figures(
    form: Form,
    session: Session,
    request: Request,
    caller: Caller,
    asked: FiguresQueryDep,
    report: Report,
    rows: Dimension | None,
    columns: Dimension | None,
) -> Response:
    question = asked.question(report, rows, columns)
    if form is Form.gpkg:
        told, shown, batch = open_figures.mapped(session, caller, question)
    else:
        told, batch = open_figures.table(session, caller, question)
        shown = figure_columns(report)
    facts = {**open_figures.facts(told), "as_of": told.as_of.isoformat()}
    return _file(session, request, caller, form, report.value, shown, [batch], facts, told.effective_as_of)


@router.get("/figures/{report}.csv", response_class=StreamingResponse, responses=_ok(Form.csv))
def download_figures_csv(
    report: Report,
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    rows: Rows = None,
    columns: Columns = None,
) -> Response:
    """A report as CSV, one row a group, margins included."""
    return _figures(Form.csv, session, request, caller, asked, report, rows, columns)


@router.get("/figures/{report}.parquet", response_class=StreamingResponse, responses=_ok(Form.parquet))
def download_figures_parquet(
    report: Report,
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    rows: Rows = None,
    columns: Columns = None,
) -> Response:
    """The same as Parquet; instants and definitions stand in the metadata of the file."""
    return _figures(Form.parquet, session, request, caller, asked, report, rows, columns)


@router.get("/figures/{report}.gpkg", response_class=StreamingResponse, responses=_ok(Form.gpkg))
def download_figures_geopackage(
    report: Report,
    session: SessionDep,
    request: Request,
    caller: CallerDep,
    asked: FiguresQueryDep,
    rows: Rows = None,
    columns: Columns = None,
) -> Response:
    """A report by unit (or prefecture, province) as a map: a GeoPackage with the outline of each unit."""
    return _figures(Form.gpkg, session, request, caller, asked, report, rows, columns)


def _described(session: Session, asked: FiguresQueryDep, request: Request, name: str) -> Response:
    _, effective = instants(session, asked.as_of)
    columns = LEDGER if name == "ledger" else figure_columns(Report(name.rpartition("/")[2]))
    told = open_csvw.metadata(name, columns, request.url.query, effective)
    return JSONResponse(told, media_type=open_csvw.MEDIA_TYPE)


_CSVW: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    200: {"description": "CSVW metadata", "content": {open_csvw.MEDIA_TYPE: {"schema": {"type": "object"}}}},
}


@router.get("/ledger.csv-metadata.json", response_class=JSONResponse, responses=_CSVW)
def describe_ledger_csv(session: SessionDep, caller: CallerDep, asked: FiguresQueryDep, request: Request) -> Response:
    """What the columns of `ledger.csv` of the same query are (W3C CSVW)."""
    return _described(session, asked, request, "ledger")


@router.get("/figures/{report}.csv-metadata.json", response_class=JSONResponse, responses=_CSVW)
def describe_figures_csv(
    report: Report, session: SessionDep, caller: CallerDep, asked: FiguresQueryDep, request: Request
) -> Response:
    """What the columns of the CSV of the same report and query are (W3C CSVW)."""
    return _described(session, asked, request, f"figures/{report.value}")


@router.get("/data-dictionary", responses=problem_responses(401))
def show_data_dictionary(caller: CallerDep) -> DataDictionary:
    """Every table of the open data with its columns: name, type, unit, Chinese label, definition, since when."""
    return dictionary()
