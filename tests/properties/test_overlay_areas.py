"""The legal overlay on random polygons: parts add up, it does not matter how a layer is cut into features, judging
twice gives one verdict, and what is imported for later days changes none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry
from sqlalchemy.orm import Session

from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionKind, VersionStatus
from app.boundaries.overlay import Overlay, Subject, judge, judge_many
from app.boundaries.periods import load_calendar
from app.boundaries.service import versions_in_force
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.geometry import geodesic_area_m2, geodesic_areas_m2, to_database

DAY = date(2023, 6, 1)
BEFORE = date(2023, 3, 1)
RED = box(126.5, 42.0, 127.6, 42.6)
CORE = box(127.0, 42.2, 127.9, 42.45)
NUMBERS = count(1)


@pytest.fixture(scope="module")
def ground(cluster: EmbeddedCluster, world_template: str) -> Iterator[Database]:
    """Jilin's divisions with a zone astride two counties."""
    name = f"overlay_{uuid4().hex}"
    database = Database(cluster.create_database(name, world_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture(scope="module")
def session(ground: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with ground.session() as session:
        set_scope(session, None)
        zone = {"code": "220699", "name": "长白山管理区", "level": "zone", "parent": "220000"}
        import_zone(session, tmp_path_factory.mktemp("zone"), zone)
        yield session
        session.rollback()


def import_zone(session: Session, folder: Path, zone: dict[str, str]) -> None:
    feature = {
        "type": "Feature",
        "properties": zone,
        "geometry": shapely.geometry.mapping(box(127.1, 42.1, 127.9, 42.5)),
    }
    path = folder / "layer.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    import_layer(
        session,
        layer=Layer.divisions,
        path=path,
        valid_from=date(2020, 1, 1),
        source_document="test",
        imported_by=None,
    )


def add_version(
    session: Session,
    layer: Layer,
    *grounds: BaseGeometry,
    since: date = date(2020, 1, 1),
    category: str = "x",
    **told: Any,
) -> LayerVersion:
    """A whole version, confirmed unless told otherwise, without the reader of files."""
    version = LayerVersion(
        layer=layer,
        number=next(NUMBERS),
        valid_from=since,
        source_document="test",
        digest="",
        feature_count=len(grounds),
        **told,
    )
    session.add(version)
    session.flush()
    for index, ground in enumerate(grounds):
        feature = BoundaryFeature(
            version_id=version.id, layer=layer, code=f"C-{index}", name="红线", category=category, valid_from=since,
            area_m2=1, geom=to_database(ground), unit_ids=[],
        )  # fmt: skip
        session.add(feature)
    session.flush()
    return version


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
    # pyproj's sum over short geodesics is right to a hundredth of a square metre.
    assert overlay.area_m2 == pytest.approx(geodesic_area_m2(polygon), rel=1e-6, abs=0.05)
    areas = [unit["area_m2"] for unit in overlay.unit_areas]
    assert areas == sorted(areas, reverse=True)
    assert overlay.lead_unit_id == overlay.unit_ids[0]


def comparable(overlay: Overlay) -> tuple[object, ...]:
    """What must not depend on features: all but their list."""
    grounds = [
        {key: value for key, value in one.items() if not key.endswith(("_m2", "_m", "share"))}
        for one in overlay.judged_by["grounds"]
    ]
    return overlay.verdict, overlay.severity, overlay.judged_by["rule"], overlay.establishment, grounds


@FEW
@given(polygon=polygons(), cuts=st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3), slope=st.floats(-0.3, 0.3))
def test_the_cut_of_a_layer_does_not_matter(
    session: Session, polygon: Polygon, cuts: list[float], slope: float
) -> None:
    left, bottom, right, top = RED.bounds
    pieces: list[BaseGeometry] = [RED]
    for share in cuts:
        x = left + (right - left) * share
        half = Polygon([(0, 0), (x - slope, bottom - 1), (x + slope, top + 1), (0, 90)])
        pieces = [part for one in pieces for part in (one.intersection(half), one.difference(half)) if part.area > 0]
    answers = []
    for grounds in ([RED], pieces):
        with session.begin_nested() as nested:
            add_version(session, Layer.redlines, *grounds)
            add_version(session, Layer.protected_areas, CORE, category="core_protection")
            overlay = judge(session, polygon, DAY)
            assert judge(session, polygon, DAY) == overlay
            nested.rollback()
        answers.append(overlay)
    one, other = answers
    assert comparable(one) == comparable(other)
    for first, second in zip(one.judged_by["grounds"], other.judged_by["grounds"], strict=True):
        assert first["area_m2"] == pytest.approx(second["area_m2"], rel=1e-6)
        assert first["contact_m"] == pytest.approx(second["contact_m"], rel=1e-4, abs=0.5)


@FEW
@given(polygon=polygons())
def test_inside_and_outside_add_up_to_the_polygon(session: Session, polygon: Polygon) -> None:
    with session.begin_nested() as nested:
        add_version(session, Layer.redlines, RED)
        overlay = judge(session, polygon, DAY)
        nested.rollback()
    inside = sum(one["area_m2"] for one in overlay.judged_by["grounds"])
    outside = geodesic_areas_m2([shapely.difference(polygon, RED)])[0]
    # A contact of less than a square metre is none.
    assert inside + outside == pytest.approx(geodesic_areas_m2([polygon])[0], rel=1e-6, abs=0 if inside else 1)


@FEW
@given(
    polygons=st.lists(polygons(), min_size=2, max_size=6),
    later=st.integers(1, 900),
    moved=st.floats(-0.5, 0.5),
)
def test_a_later_version_changes_no_verdict(
    session: Session, polygons: list[Polygon], later: int, moved: float
) -> None:
    subjects = [Subject(one, DAY, BEFORE, "mining", 10.0, 1000.0) for one in polygons]
    with session.begin_nested() as nested:
        add_version(session, Layer.redlines, RED)
        before = judge_many(session, subjects)
        # Alone or among others, it is the same.
        assert [judge_many(session, [one])[0] for one in subjects] == before
        since = DAY + timedelta(days=later)
        add_version(session, Layer.redlines, shapely.affinity.translate(RED, moved), since=since)
        add_version(session, Layer.protected_areas, CORE, since=since, category="core_protection")
        assert judge_many(session, subjects) == before
        nested.rollback()


@FEW
@given(
    versions=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(VersionKind), st.sampled_from(VersionStatus)), max_size=7
    )
)
def test_the_calendar_says_what_the_database_says(
    session: Session, versions: list[tuple[int, VersionKind, VersionStatus]]
) -> None:
    with session.begin_nested() as nested:
        for month, kind, status in versions:
            since = date(2021, 1, 1) + timedelta(days=30 * month)
            add_version(session, Layer.scenic_areas, since=since, kind=kind, status=status)
        session.flush()
        calendar = load_calendar(session)
        for days in (-1, 0, 29, 30, 31, 100, 180, 359, 360, 400):
            on = date(2021, 1, 1) + timedelta(days=days)
            found = {version.id for version in calendar.on(on).get(Layer.scenic_areas, [])}
            expected: set[UUID] = set(session.scalars(versions_in_force(Layer.scenic_areas, on)))
            assert found == expected
        nested.rollback()
