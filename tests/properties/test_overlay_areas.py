"""The legal overlay on random polygons: parts add up, and it does not matter how a layer is cut into features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import Polygon, box
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy.orm import Session

from app.boundaries.importing import import_layer
from app.boundaries.models import Layer
from app.boundaries.overlay import judge
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.geometry import geodesic_area_m2

DAY = date(2023, 6, 1)
RED = box(126.5, 42.0, 127.6, 42.6)


@pytest.fixture(scope="module")
def ground(cluster: EmbeddedCluster, world_template: str) -> Iterator[Database]:
    """Jilin's divisions with a zone astride two counties."""
    name = f"overlay_{uuid4().hex}"
    database = Database(cluster.create_database(name, world_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


def load(session: Session, folder: Path, layer: Layer, rows: list[tuple[dict[str, str], BaseGeometry]]) -> None:
    features = [{"type": "Feature", "properties": row, "geometry": mapping(geometry)} for row, geometry in rows]
    path = folder / "layer.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    import_layer(session, layer=layer, path=path, valid_from=date(2020, 1, 1), source_document="test", imported_by=None)


@pytest.fixture(scope="module")
def session(ground: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with ground.session() as session:
        set_scope(session, None)
        zone = {"code": "220699", "name": "长白山管理区", "level": "zone", "parent": "220000"}
        load(session, tmp_path_factory.mktemp("zone"), Layer.divisions, [(zone, box(127.1, 42.1, 127.9, 42.5))])
        yield session
        session.rollback()


@st.composite
def polygons(draw: st.DrawFn) -> Polygon:
    """A star-shaped polygon of 5 to 12 corners, 50 m to 10 km across, well inside the province."""
    corners = draw(st.integers(5, 12))
    size = 10 ** draw(st.floats(-3.3, -1))
    radii = draw(st.lists(st.floats(0.3, 1.0), min_size=corners, max_size=corners))
    turn = draw(st.floats(0, 1))
    angles = (np.arange(corners) + turn) * 2 * np.pi / corners
    centre = (draw(st.floats(126.6, 127.9)), draw(st.floats(42.1, 42.6)))
    radius = np.asarray(radii) * size
    return Polygon(np.column_stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)]))


FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(polygon=polygons())
def test_unit_areas_add_up_to_the_polygon(session: Session, polygon: Polygon) -> None:
    overlay = judge(session, polygon, DAY)
    total = sum(unit["area_m2"] for unit in overlay.unit_areas)
    # Contacts below a square metre are left out.
    assert total == pytest.approx(overlay.area_m2, rel=1e-6, abs=3)
    assert overlay.area_m2 == pytest.approx(geodesic_area_m2(polygon), rel=1e-7)
    areas = [unit["area_m2"] for unit in overlay.unit_areas]
    assert areas == sorted(areas, reverse=True)
    assert overlay.lead_unit_id == overlay.unit_ids[0]


def redlines(*grounds: BaseGeometry) -> list[tuple[dict[str, str], BaseGeometry]]:
    return [
        ({"code": f"HX-{index}", "name": "红线", "main_function": "水源涵养"}, ground)
        for index, ground in enumerate(grounds)
    ]


@FEW
@given(polygon=polygons(), cut=st.floats(0.1, 0.9))
def test_the_cut_of_a_layer_does_not_matter(session: Session, tmp_path: Path, polygon: Polygon, cut: float) -> None:
    left, bottom, right, top = RED.bounds
    middle = left + (right - left) * cut
    answers = []
    for rows in (redlines(RED), redlines(box(left, bottom, middle, top), box(middle, bottom, right, top))):
        with session.begin_nested() as nested:
            load(session, tmp_path, Layer.redlines, rows)
            overlay = judge(session, polygon, DAY)
            assert judge(session, polygon, DAY) == overlay
            nested.rollback()
        inside = sum(overlap["area_m2"] for overlap in overlay.overlaps)
        answers.append((overlay.verdict, overlay.judged_by["rule"], inside))
    assert answers[0][:2] == answers[1][:2]
    assert answers[0][2] == pytest.approx(answers[1][2], rel=1e-6, abs=3)
    outside = geodesic_area_m2(shapely.difference(shapely.segmentize(polygon, 0.001), RED))
    assert answers[0][2] + outside == pytest.approx(geodesic_area_m2(polygon), rel=1e-6, abs=1)
