"""Clue lists over HTTP: handed in as files, worked through item by item, and given back in the shape they came in."""

import shutil
from datetime import date
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Body, File, Form, Query, Request, Response, UploadFile
from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Unit
from app.access.reads import record_export
from app.access.routes import CallerDep
from app.access.service import Caller, get_placed, in_jurisdiction, units_below
from app.casework import clue_export, clue_import, clues
from app.casework.answers import load_units
from app.casework.clue_matching import proposals
from app.casework.clue_models import ClueItem, ClueList
from app.casework.clue_schemas import (
    BulkAnswer,
    BulkLinkRequest,
    BulkOpenRequest,
    ClueMapping,
    CorrectRequest,
    ImportReport,
    ItemAnswer,
    ItemSummary,
    LinkItemRequest,
    ListAnswer,
    OpenRequest,
    RejectItemRequest,
    RowReport,
)
from app.casework.vocabulary import ClueState, Name, SupervisionSource, pointers
from app.casework.workbooks import MOST_BYTES
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, TooLarge, problem_responses
from app.foundation.folders import passing_folder
from app.foundation.geometry import from_database, geojson
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

router = APIRouter(prefix="/clue-lists", tags=["clue-lists"], route_class=IdempotentRoute)
_ITEM = "/{list_id}/items/{item_id}"


@router.post("", status_code=201, responses=problem_responses(401, 403, 409, 413, 422))
def create_clue_list(
    request: Request,
    session: SessionDep,
    caller: CallerDep,
    response: Response,
    file: Annotated[UploadFile, File(description="XLSX, CSV, zipped Shapefile or GeoPackage; its content counts")],
    name: Annotated[Name, Form(examples=["绿盾2024点位清单"])],
    source: Annotated[SupervisionSource, Form(examples=["green_shield"])],
    round: Annotated[Name | None, Form(examples=["2024"])] = None,
    due_on: Annotated[date | None, Form(description="Deadline of the list, where a row has none of its own")] = None,
    mapping: Annotated[
        str | None,
        Form(description="JSON as `mapping` of the answer; the rest is guessed", max_length=20_000),
    ] = None,
    crs: Annotated[
        str | None, Form(description="Of coordinates that declare none, such as EPSG:4549", max_length=200)
    ] = None,
    dry_run: Annotated[bool, Query(description="Read and report, and keep nothing")] = False,
) -> ImportReport:
    """Hand a list in: whole, or not at all. Problems of single rows are theirs; they wait for a correction."""
    caller.require(clues.DECIDES)
    with passing_folder("redline-clues-") as folder:
        path = _spooled(file, folder, min(MOST_BYTES, request.app.state.settings.max_upload_bytes))
        handed = clue_import.Handed(
            path, file.filename or "", name, source, round, due_on, _mapping(mapping), crs.strip() if crs else None
        )
        imported = clue_import.import_list(
            session,
            request.app.state.storage,
            caller,
            handed,
            limit=MOST_BYTES,
            today=legal_day(utc_now()),
            dry_run=dry_run,
        )
    if dry_run:
        response.status_code = 200
    else:
        response.headers["Location"] = request.url_for("show_clue_list", list_id=imported.made.id).path
        set_etag(response, imported.made.version)
    return _report(session, caller, imported, dry_run)


def _spooled(file: UploadFile, folder: Path, limit: int) -> Path:
    # GDAL complains of a GeoPackage by another name; whatever else it is, its content says.
    is_database = file.file.read(6) == b"SQLite"
    file.file.seek(0)
    path = folder / ("list.gpkg" if is_database else "list")
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    if path.stat().st_size > limit:
        raise TooLarge(f"A list may be at most {limit:,} bytes long.", limit_bytes=limit)
    return path


def _mapping(given: str | None) -> ClueMapping | None:
    if given is None or not given.strip():
        return None
    try:
        return ClueMapping.model_validate_json(given)
    except ValidationError as error:
        errors = pointers(error.errors(include_url=False), "mapping")
        raise Invalid("The mapping is not one.", errors=errors) from None


def _report(session: Session, caller: Caller, imported: clue_import.Imported, dry_run: bool) -> ImportReport:
    layout, leads = imported.made.layout, imported.leads
    rows = [
        RowReport(
            row_number=item.row_number,
            item_number=item.item_number,
            lead_unit=leads[item.lead_unit_id].code if item.lead_unit_id else None,
            activity=item.facts.get("activity"),
            outline=item.outline,
            area_m2=item.area_m2,
            problems=item.problems,
            known_before=imported.known_before.get(item.item_number or "", 0),
        )
        for item in imported.items
    ]
    return ImportReport(
        clue_list=None if dry_run else _answers(session, caller, [imported.made])[0],
        format=layout["format"],
        sheet=layout.get("sheet") or layout.get("layer"),
        columns=layout["columns"],
        mapping=imported.read.mapping,
        warnings=imported.read.warnings,
        row_count=len(rows),
        problem_count=sum(bool(row.problems) for row in rows),
        rows=rows,
    )


@router.get("", responses=problem_responses(400, 401, 422))
def list_clue_lists(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    source: Annotated[SupervisionSource | None, Query()] = None,
) -> Page[ListAnswer]:
    """Lists of which I may see an item, newest first."""
    statement = in_jurisdiction(select(ClueList), caller, ClueList)
    if source is not None:
        statement = statement.where(ClueList.source == source)
    rows, cursor = fetch_page(session, statement, page, ClueList.id)
    link_next(request, response, cursor)
    return Page(items=_answers(session, caller, rows))


@router.get("/{list_id}", responses=problem_responses(401, 404))
def show_clue_list(list_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> ListAnswer:
    """One list; it counts the items that I may see."""
    row: ClueList = get_placed(session, caller, ClueList, list_id)
    set_etag(response, row.version)
    return _answers(session, caller, [row])[0]


def _answers(session: Session, caller: Caller, rows: list[ClueList]) -> list[ListAnswer]:
    statement = select(ClueItem.list_id, ClueItem.state, func.count()).where(
        ClueItem.list_id.in_([row.id for row in rows])
    )
    counted = in_jurisdiction(statement, caller, ClueItem).group_by(ClueItem.list_id, ClueItem.state)
    counts: dict[UUID, dict[ClueState, int]] = {}
    for list_id, state, count in session.execute(counted):
        counts.setdefault(list_id, {})[state] = count
    return [
        ListAnswer(
            id=row.id,
            name=row.name,
            source=row.source,
            round=row.round,
            due_on=row.due_on,
            filename=row.filename,
            format=row.layout["format"],
            columns=row.layout["columns"],
            mapping=ClueMapping.model_validate(row.mapping),
            version=row.version,
            uploaded_at=row.uploaded_at,
            counts=counts.get(row.id, {}),
        )
        for row in rows
    ]


@router.get("/{list_id}/items", responses=problem_responses(400, 401, 404, 422))
def list_clue_items(
    list_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[ClueState | None, Query()] = None,
    problems: Annotated[bool | None, Query(description="Whether they have any")] = None,
    unit: Annotated[
        str | None, Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="On its ground or one's below it, by code")
    ] = None,
) -> Page[ItemSummary]:
    """The items of a list that I may see, last row first."""
    get_placed(session, caller, ClueList, list_id)
    units = None
    if unit is not None:
        top = session.scalar(select(Unit.id).where(Unit.code == unit))
        if top is None:
            raise Invalid(f"There is no supervising unit with the code {unit}.")
        units = units_below(session, top)
    statement = clues.select_items(caller, list_id, state=state, problems=problems, units=units)
    rows, cursor = fetch_page(session, statement, page, ClueItem.id)
    link_next(request, response, cursor)
    return Page(items=_summaries(session, rows))


def _summaries(session: Session, rows: list[ClueItem]) -> list[ItemSummary]:
    units = load_units(session, (row.lead_unit_id for row in rows))
    return [
        ItemSummary(
            id=row.id,
            list_id=row.list_id,
            row_number=row.row_number,
            item_number=row.item_number,
            state=row.state,
            version=row.version,
            lead_unit=units[row.lead_unit_id] if row.lead_unit_id else None,
            activity=row.facts.get("activity"),
            outline=row.outline,
            area_m2=row.area_m2,
            problems=row.problems,
            case_id=row.case_id,
        )
        for row in rows
    ]


@router.get(_ITEM, responses=problem_responses(401, 404))
def show_clue_item(
    list_id: UUID, item_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> ItemAnswer:
    """One item, with what it may be a duplicate of. Its ETag is what a decision needs in If-Match."""
    return _item_answer(session, caller, clues.get_item(session, caller, list_id, item_id), response)


def _item_answer(session: Session, caller: Caller, item: ClueItem, response: Response) -> ItemAnswer:
    set_etag(response, item.version)
    made = session.get_one(ClueList, item.list_id)
    known = proposals(session, caller, [item], made.source) if item.state is ClueState.pending else {}
    return ItemAnswer(
        **dict(_summaries(session, [item])[0]),
        values=item.values,
        facts=item.facts,
        corrections=item.corrections,
        geometry=geojson(from_database(item.geom)) if item.geom is not None else None,
        reason=item.reason,
        decided_at=item.decided_at,
        proposals=known.get(item.id, []),
    )


@router.patch(_ITEM, responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def correct_clue_item(
    list_id: UUID,
    item_id: UUID,
    body: CorrectRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ItemAnswer:
    """Say what the row should have said; its own values stay."""
    item = clues.correct(session, caller, list_id, item_id, version, body, legal_day(utc_now()))
    return _item_answer(session, caller, item, response)


@router.post(f"{_ITEM}/open", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def open_clue_item(
    list_id: UUID,
    item_id: UUID,
    body: Annotated[OpenRequest, Body()],
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ItemAnswer:
    """Make a case of an item without problems and send it to its lead unit."""
    item = clues.open_item(session, caller, list_id, item_id, version, body, legal_day(utc_now()))
    return _item_answer(session, caller, item, response)


@router.post(f"{_ITEM}/link", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def link_clue_item(
    list_id: UUID,
    item_id: UUID,
    body: LinkItemRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ItemAnswer:
    """Say that a known case is the item's; the case then stands in this list, too."""
    item = clues.link_item(session, caller, list_id, item_id, version, body, legal_day(utc_now()))
    return _item_answer(session, caller, item, response)


@router.post(f"{_ITEM}/reject", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def reject_clue_item(
    list_id: UUID,
    item_id: UUID,
    body: RejectItemRequest,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ItemAnswer:
    """Say why no case is made of an item."""
    item = clues.reject_item(session, caller, list_id, item_id, version, body.reason)
    return _item_answer(session, caller, item, response)


@router.post("/{list_id}/open", responses=problem_responses(401, 403, 404, 409, 422))
def open_clue_items(list_id: UUID, body: BulkOpenRequest, session: SessionDep, caller: CallerDep) -> BulkAnswer:
    """Make cases of the pending items that have neither problems nor proposals."""
    items, left = clues.open_many(session, caller, list_id, body, legal_day(utc_now()))
    return BulkAnswer(items=_summaries(session, items), left=left)


@router.post("/{list_id}/link", responses=problem_responses(401, 403, 404, 409, 412, 422))
def link_clue_items(list_id: UUID, body: BulkLinkRequest, session: SessionDep, caller: CallerDep) -> BulkAnswer:
    """Link items to the cases named for them, all or none."""
    items, left = clues.link_many(session, caller, list_id, body, legal_day(utc_now()))
    return BulkAnswer(items=_summaries(session, items), left=left)


@router.get(
    "/{list_id}/export",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        **problem_responses(401, 404),
    },
)
def export_clue_list(list_id: UUID, request: Request, session: SessionDep, caller: CallerDep) -> Response:
    """The list as it came, with the rows that I may see, and what became of them."""
    made: ClueList = get_placed(session, caller, ClueList, list_id)
    exported = clue_export.export_list(session, request.app.state.storage, caller, made)
    record_export(
        session, request, caller, "clue-list", list_id=str(made.id), sha256=made.sha256, rows=exported.row_count
    )
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(exported.filename)}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return Response(exported.content, media_type=exported.media_type, headers=headers)
