"""Boundary layers over HTTP: one resource a layer, and its imports."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from sqlalchemy import select, text

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import get_placed, in_jurisdiction
from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer
from app.boundaries.schemas import FeatureAnswer, FeatureProperties, ImportReport
from app.boundaries.service import in_force, within_box
from app.boundaries.versions import get_version
from app.boundaries.vocabulary import AxisOrder, OffsetSaid
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, TooLarge, problem_responses
from app.foundation.folders import passing_folder
from app.foundation.geometry import from_database, geojson, parse_bbox
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.time import legal_day, utc_now
from app.settings import Settings

_CHUNK = 2**20


def _answer(feature: BoundaryFeature) -> FeatureAnswer:
    return FeatureAnswer(
        id=feature.id,
        geometry=geojson(from_database(feature.geom)),
        properties=FeatureProperties.model_validate(feature),
    )


@contextmanager
def _on_disk(upload: UploadFile, max_bytes: int) -> Iterator[Path]:
    """The uploaded file in a folder of its own, gone afterwards."""
    with passing_folder("redline-upload-") as folder:
        path = folder / "layer"
        left = max_bytes
        with path.open("wb") as sink:
            while chunk := upload.file.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise TooLarge(f"The file is larger than the {max_bytes:,} bytes that are taken.")
                sink.write(chunk)
        # GDAL looks at the name as well as at the content.
        with path.open("rb") as file:
            sqlite = file.read(15) == b"SQLite format 3"
        yield path.rename(path.with_suffix(".gpkg")) if sqlite else path


def _resource(layer: Layer, path: str, things: str, thing: str) -> APIRouter:
    """List, item and import of one layer."""
    resource = APIRouter(prefix=f"/{path}", tags=[path], route_class=IdempotentRoute)
    plural, singular = things.replace("_", " "), thing.replace("_", " ")

    @resource.get(
        "",
        operation_id=f"list_{things}",
        summary=f"List the {plural} in force on a day, as GeoJSON features",
        responses=problem_responses(401, 404, 422),
    )
    def list_features(
        session: SessionDep,
        caller: CallerDep,
        page: PageDep,
        request: Request,
        response: Response,
        on: Annotated[date | None, Query(description="In force on this day; default: today in Asia/Shanghai")] = None,
        version: Annotated[
            UUID | None, Query(description="All of this version instead, in force or not; a proposed one: the province")
        ] = None,
        code: Annotated[str | None, Query(description="Only this code")] = None,
        bbox: Annotated[
            str | None,
            Query(description="Only what may meet west,south,east,north (degrees)", examples=["127.0,41.5,128.3,42.8"]),
        ] = None,
    ) -> Page[FeatureAnswer]:
        statement = in_jurisdiction(select(BoundaryFeature), caller, BoundaryFeature)
        if version is not None:
            chosen = get_version(session, layer, version, see_undecided=caller.is_provincial, units=caller.units)
            statement = statement.where(BoundaryFeature.version_id == chosen.id)
        else:
            statement = statement.where(in_force(layer, on or legal_day(utc_now())))
        if code is not None:
            statement = statement.where(BoundaryFeature.code == code)
        if bbox is not None:
            statement = statement.where(within_box(parse_bbox(bbox)))
        rows, cursor = fetch_page(session, statement, page, BoundaryFeature.id)
        link_next(request, response, cursor)
        return Page(items=[_answer(row) for row in rows])

    @resource.get(
        "/{feature_id}",
        operation_id=f"show_{thing}",
        summary=f"Show one {singular}, of whatever version",
        responses=problem_responses(401, 404, 422),
    )
    def show_feature(feature_id: UUID, session: SessionDep, caller: CallerDep) -> FeatureAnswer:
        feature = get_placed(session, caller, BoundaryFeature, feature_id)
        if feature.layer is not layer:
            raise NotFound()
        get_version(session, layer, feature.version_id, see_undecided=caller.is_provincial)
        return _answer(feature)

    @resource.post(
        "/imports",
        operation_id=f"import_{things}",
        summary=f"Import a file of {plural} as a new version, whole or not at all",
        status_code=201,
        responses={
            **problem_responses(401, 403, 413, 422),
            200: {
                "model": ImportReport,
                "description": "The version that counts on that day has this content; nothing was added",
            },
        },
    )
    def import_file(
        session: SessionDep,
        caller: CallerDep,
        request: Request,
        response: Response,
        file: Annotated[UploadFile, File(description="GeoPackage, zipped Shapefile or FileGDB, GeoJSON, KML, KMZ")],
        valid_from: Annotated[date, Form(description="The day from which this version counts")],
        source_document: Annotated[str, Form(description="The decree, approval or data set that it comes from")],
        crs: Annotated[str | None, Form(description="Of a file that declares none, such as EPSG:4549")] = None,
        encoding: Annotated[str | None, Form(description="UTF-8 or GB18030, of a file that does not say")] = None,
        mapping: Annotated[str | None, Form(description="Name of the stored column mapping")] = None,
        layer_name: Annotated[str | None, Form(description="The layer to read of a file that holds several")] = None,
        axis_order: Annotated[AxisOrder, Form(description="`yx`: northing or latitude stands first")] = "xy",
        offset: Annotated[
            OffsetSaid | None,
            Form(description="`gcj02`, `bd09`: convert from it; `none`: take a file that looks so as it is"),
        ] = None,
        propose: Annotated[bool, Form(description="Leave the version to be confirmed or discarded")] = False,
        accuracy_m: Annotated[
            float | None,
            Form(ge=0, allow_inf_nan=False, description="How far a drawn border may lie from the true one"),
        ] = None,
    ) -> ImportReport:
        caller.require(Role.admin)
        settings: Settings = request.app.state.settings
        # A layer of a million features takes longer than any other request may.
        session.execute(text("set local statement_timeout = '30min'"))
        with _on_disk(file, settings.max_layer_bytes) as path_on_disk:
            report = import_layer(
                session,
                layer=layer,
                path=path_on_disk,
                valid_from=valid_from,
                source_document=source_document,
                imported_by=caller.account_id,
                crs=crs or None,
                encoding=encoding or None,
                mapping=mapping or None,
                layer_name=layer_name or None,
                axis_order=axis_order,
                offset=offset,
                propose=propose,
                accuracy_m=accuracy_m,
                max_unpacked_bytes=settings.max_unpacked_bytes,
            )
        if not report.created:
            response.status_code = 200
        return report

    return resource


routers = tuple(
    _resource(layer, layer.value, layer.value.replace("-", "_"), layer.value.replace("-", "_").removesuffix("s"))
    for layer in Layer
)
