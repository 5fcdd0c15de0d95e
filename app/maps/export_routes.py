"""Exports over HTTP: the features of a collection as a file, chosen as OGC items are."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from app.access.reads import record_export
from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import BadRequest, problem_responses
from app.foundation.folders import passing_folder
from app.maps import openapi30
from app.maps.collections import COLLECTIONS, Collection
from app.maps.export_files import Encoding, Format, Language, Wanted
from app.maps.exports import write_export
from app.maps.parameters import Choice, read_parameters

router = APIRouter(prefix="/exports", tags=["exports"])
MEDIA_TYPES = {
    Format.gpkg: "application/geopackage+sqlite3",
    Format.shp: "application/zip",
    Format.geojson: "application/geo+json",
    Format.csv: "text/csv",
}
E = TypeVar("E", bound=StrEnum)


class _OnceResponse(FileResponse):
    """A file that is sent and removed with what holds it, whether it arrived or not."""

    def __init__(self, holder: ExitStack, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.holder = holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await to_thread.run_sync(self.holder.close)


def _one_of(kind: type[E], given: dict[str, str], name: str, default: E) -> E:
    try:
        return kind(given.get(name, default.value).lower())
    except ValueError:
        raise BadRequest(f"{name} takes {', '.join(member.value for member in kind)}.") from None


def _wanted(given: dict[str, str]) -> Wanted:
    wanted = Wanted(
        format=_one_of(Format, given, "format", Format.gpkg),
        encoding=_one_of(Encoding, given, "encoding", Encoding.utf_8),
        language=_one_of(Language, given, "language", Language.en),
        geometry=_one_of(_Geometry, given, "geometry", _Geometry.none) is _Geometry.wkt,
    )
    if wanted.encoding is not Encoding.utf_8 and wanted.format in (Format.gpkg, Format.geojson):
        raise BadRequest(f"A file of the format {wanted.format.value} is UTF-8; encoding is for shp and csv.")
    if "geometry" in given and wanted.format is not Format.csv:
        raise BadRequest("geometry is for csv; the other formats have their geometry always.")
    return wanted


class _Geometry(StrEnum):
    none = "none"
    wkt = "wkt"


def _choice_parameter(name: str, kind: type[StrEnum], default: StrEnum, description: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": [member.value for member in kind], "default": default.value}
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_FORM = [
    _choice_parameter("format", Format, Format.gpkg, "GeoPackage, zipped Shapefile, GeoJSON or CSV"),
    _choice_parameter("encoding", Encoding, Encoding.utf_8, "Of Shapefile and CSV"),
    _choice_parameter("language", Language, Language.en, "zh: Chinese headings, and labels in place of codes"),
    _choice_parameter("geometry", _Geometry, _Geometry.none, "wkt: a column of CSV with the geometry"),
]
_FILE: dict[str, Any] = {
    "description": "The file. `X-Redline-Warnings` counts what it could not hold; WARNINGS.txt in the archive says",
    "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()},
}


def _export_route(collection: Collection) -> None:
    parameters = [*_FORM, *openapi30.choosing_parameters(collection)]
    allowed = tuple(entry["name"] for entry in parameters)

    @router.get(
        f"/{collection.id}",
        operation_id=f"export_{collection.id.replace('-', '_')}",
        summary=f"{collection.en} as a file",
        response_class=FileResponse,
        responses={**problem_responses(400, 401, 422), 200: _FILE},
        openapi_extra={"parameters": parameters},
    )
    def export(request: Request, session: SessionDep, caller: CallerDep) -> FileResponse:
        given = read_parameters(request, allowed)
        wanted = _wanted(given)
        conditions = Choice(collection, given).conditions(session)
        with ExitStack() as stack:
            folder = stack.enter_context(passing_folder("redline-export-"))
            path, notes = write_export(session, collection, caller, conditions, wanted, folder)
            record_export(session, request, caller, collection.id, rows=notes.rows)
            holder = stack.pop_all()
        headers = {"X-Redline-Warnings": str(notes.count), "Cache-Control": "no-store"}
        return _OnceResponse(holder, path, media_type=_media_type(wanted), filename=path.name, headers=headers)


def _media_type(wanted: Wanted) -> str:
    media_type = MEDIA_TYPES[wanted.format]
    return f"{media_type}; charset={wanted.encoding.value}" if wanted.format is Format.csv else media_type


for _collection in COLLECTIONS.values():
    _export_route(_collection)
