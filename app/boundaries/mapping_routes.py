"""Stored column mappings over HTTP: anyone signed in reads them, an administrator writes them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import select

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.boundaries import mappings
from app.boundaries.models import ColumnMapping, Layer
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag

router = APIRouter(prefix="/column-mappings", tags=["column-mappings"], route_class=IdempotentRoute)

# Text that PostgreSQL can hold: no zero character; and names that fit into a path.
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00]+$")]
_Name = Annotated[
    str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True, pattern=r"^[^\x00-\x1f/\\?#%]+$")
]


class MappingContent(BaseModel):
    """What the columns and values of files of one origin are called here."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[_Text, _Text] = Field(
        default={},
        description="Our column by the file's",
        examples=[{"HXBM": "code", "HXMC": "name", "ZDGN": "main_function"}],
    )
    codes: dict[_Text, dict[_Text, _Text]] = Field(
        default={},
        description="Our value by the file's, by our column",
        examples=[{"main_function": {"01": "水源涵养"}}],
    )


class NewMapping(MappingContent):
    layer: Layer = Field(examples=["redlines"])
    name: _Name = Field(examples=["吉林省2022版"])


class MappingAnswer(BaseModel):
    """A stored mapping. `version` is its `ETag`."""

    model_config = ConfigDict(from_attributes=True)

    layer: Layer
    name: str
    columns: dict[str, str]
    codes: dict[str, dict[str, str]]
    version: int
    updated_at: datetime


@router.get(
    "",
    operation_id="list_column_mappings",
    summary="List the stored column mappings",
    responses=problem_responses(401, 422),
)
def list_mappings(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    layer: Annotated[Layer | None, Query(description="Only those of this layer")] = None,
) -> Page[MappingAnswer]:
    statement = select(ColumnMapping)
    if layer is not None:
        statement = statement.where(ColumnMapping.layer == layer)
    rows, cursor = fetch_page(session, statement, page, ColumnMapping.id)
    link_next(request, response, cursor)
    return Page(items=[MappingAnswer.model_validate(row) for row in rows])


@router.post(
    "",
    operation_id="create_column_mapping",
    summary="Store a column mapping under a new name",
    status_code=201,
    responses=problem_responses(401, 403, 409, 422),
)
def create_mapping(session: SessionDep, caller: CallerDep, body: NewMapping, response: Response) -> MappingAnswer:
    caller.require(Role.admin)
    made = mappings.create(session, body.layer, body.name, body.columns, body.codes, caller.account_id)
    set_etag(response, made.version)
    return MappingAnswer.model_validate(made)


@router.get(
    "/{layer}/{name}",
    operation_id="show_column_mapping",
    summary="Show one column mapping",
    responses=problem_responses(401, 404, 422),
)
def show_mapping(layer: str, name: str, session: SessionDep, caller: CallerDep, response: Response) -> MappingAnswer:
    found = mappings.find(session, _layer(layer), name)
    set_etag(response, found.version)
    return MappingAnswer.model_validate(found)


@router.put(
    "/{layer}/{name}",
    operation_id="change_column_mapping",
    summary="Replace a column mapping",
    responses=problem_responses(401, 403, 404, 412, 422, 428),
)
def change_mapping(
    layer: str,
    name: str,
    session: SessionDep,
    caller: CallerDep,
    body: MappingContent,
    expected: ExpectedVersion,
    response: Response,
) -> MappingAnswer:
    caller.require(Role.admin)
    made = mappings.change(session, _layer(layer), name, body.columns, body.codes, caller.account_id, expected)
    set_etag(response, made.version)
    return MappingAnswer.model_validate(made)


def _layer(word: str) -> Layer:
    """The layer of a path; a word that is none leads nowhere, as any other path does."""
    try:
        return Layer(word)
    except ValueError:
        raise NotFound() from None
