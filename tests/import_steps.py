"""Files through the real import, and what it leaves in the tables, for the tests of imports."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import geopandas as gpd
import pytest
import shapely
from shapely import MultiPolygon
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.boundaries.offsets import gcj02_from_wgs84
from app.boundaries.schemas import ImportReport
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.errors import Invalid

NAME, FUNCTION = "长白山水源涵养红线", "水源涵养"
MILLIMETRE = 1e-8  # degrees


@pytest.fixture(scope="module")
def shared(cluster: EmbeddedCluster, empty_template: str) -> Iterator[Database]:
    name = f"hard_{uuid4().hex}"
    database = Database(cluster.create_database(name, empty_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture
def session(shared: Database) -> Iterator[Session]:
    """A transaction that is rolled back, so that the tests need one database."""
    with shared.transaction(see_all=True) as session:
        yield session
        session.rollback()


def load(session: Session, path: Path, layer: Layer = Layer.redlines, **options: Any) -> ImportReport:
    return import_layer(
        session, layer=layer, path=path, valid_from=date(2020, 1, 1), source_document="d", imported_by=None, **options
    )


def stored(session: Session, report: ImportReport) -> dict[str, tuple[str, str, Any]]:
    """Name, category and geometry of a version's features, by code."""
    query = text("select code, name, category, st_asbinary(geom) from boundary_features where version_id = :id")
    rows = session.execute(query, {"id": report.version_id})
    return {code: (name, category, shapely.from_wkb(bytes(wkb))) for code, name, category, wkb in rows}


def refused(session: Session, path: Path, **options: Any) -> Invalid:
    """The refusal of a file, after which the tables are as they were."""
    state = text(
        "select (select count(*) from layer_versions), count(*), "
        "coalesce(md5(string_agg(id::text || st_asewkb(geom)::text, ',' order by id)), '') from boundary_features"
    )
    before = session.execute(state).one()
    with pytest.raises(Invalid) as caught:
        load(session, path, **options)
    assert session.execute(state).one() == before
    assert str(path) not in caught.value.detail
    return caught.value


def warned(report: ImportReport) -> list[str]:
    """Warnings but for what every first import says: there is nothing to compare its place with."""
    return [warning for warning in report.warnings if "could not be determined" not in warning]


def assert_right(session: Session, report: ImportReport, *shapes: Any, apart: float = MILLIMETRE) -> None:
    """The version holds these shapes as HX-1, HX-2, … with their texts."""
    found = stored(session, report)
    assert set(found) == {f"HX-{number}" for number in range(1, len(shapes) + 1)}
    for number, shape in enumerate(shapes, start=1):
        name, category, geometry = found[f"HX-{number}"]
        assert (name, category) == (NAME, FUNCTION)
        assert shapely.hausdorff_distance(geometry, MultiPolygon([shape])) < apart


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, f"{folder.name}/{part.name}")
    return path


def swapped(content: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    turned = shapely.transform(content.geometry.values, lambda xy: xy[:, ::-1])
    return content.set_geometry(gpd.GeoSeries(turned, crs=content.crs))


def as_gcj02(content: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return content.set_geometry(
        gpd.GeoSeries(shapely.transform(content.geometry.values, gcj02_from_wgs84), crs=content.crs)
    )
