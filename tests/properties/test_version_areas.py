"""Random layers before and after: areas by county add up, and agree with a plain union by another library's hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import Polygon
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.boundaries.comparison import compare
from app.boundaries.county_areas import CountyAreas, Sides, county_areas
from app.boundaries.models import BoundaryFeature, Layer
from app.boundaries.units import newest_divisions
from app.boundaries.versions import confirm
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.geometry import geodesic_areas_m2
from tests.version_steps import feature, propose


@pytest.fixture(scope="module")
def session(cluster: EmbeddedCluster, world_template: str) -> Iterator[Session]:
    name = f"version_areas_{uuid4().hex}"
    database = Database(cluster.create_database(name, world_template).application)
    with database.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture(scope="module")
def counties(session: Session) -> gpd.GeoDataFrame:
    rows = session.execute(
        select(BoundaryFeature.code, BoundaryFeature.ground.ST_AsBinary()).where(
            BoundaryFeature.version_id == newest_divisions(session), BoundaryFeature.ground.is_not(None)
        )
    ).all()
    return gpd.GeoDataFrame(
        {"code": [row[0] for row in rows]}, geometry=[shapely.from_wkb(bytes(row[1])) for row in rows]
    )


@st.composite
def polygons(draw: st.DrawFn) -> Polygon:
    """A star of 5 to 9 corners, 3 to 40 km across, where counties meet, so that borders and others are crossed."""
    corners = draw(st.integers(5, 9))
    size = draw(st.floats(0.03, 0.2))
    radii = draw(st.lists(st.floats(0.4, 1.0), min_size=corners, max_size=corners))
    angles = (np.arange(corners) + draw(st.floats(0, 1))) * 2 * np.pi / corners
    x, y = draw(st.floats(126.9, 127.6)), draw(st.floats(41.9, 42.5))
    radius = np.asarray(radii) * size
    return Polygon(np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]))


# Of each code, the ground before and after: none, the same, or another.
ADJUSTED = st.lists(
    st.tuples(st.none() | polygons(), st.none() | polygons(), st.booleans()).map(
        lambda row: (row[0], row[0]) if row[2] else row[:2]
    ),
    min_size=1,
    max_size=6,
)


def rows(grounds: Sequence[Polygon | None]) -> list[dict[str, Any]]:
    return [feature(f"HX-{index}", ground) for index, ground in enumerate(grounds) if ground is not None]


def union_by_county(counties: gpd.GeoDataFrame, grounds: Sequence[Polygon | None]) -> dict[str, Any]:
    """The union of a layer in each county, by geopandas."""
    layer = gpd.GeoSeries([ground for ground in grounds if ground is not None])
    union = layer.union_all() if len(layer) else Polygon()
    return dict(zip(counties.code, counties.geometry.intersection(union), strict=True))


def area(geometry: Any) -> float:
    return float(geodesic_areas_m2([geometry])[0])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(adjusted=ADJUSTED)
def test_areas_by_county_add_up(
    session: Session, counties: gpd.GeoDataFrame, adjusted: list[tuple[Polygon | None, Polygon | None]]
) -> None:
    before, after = [row[0] for row in adjusted], [row[1] for row in adjusted]
    with session.begin_nested() as nested:
        first = propose(session, rows(before))
        compare(session, first)
        confirm(session, first, None)
        second = propose(session, rows(after))
        told = compare(session, second)
        swapped = county_areas(session, Sides(Layer.redlines, (second.id,), (first.id,)))
        nested.rollback()
    _check_against_unions(told["counties"], counties, before, after)
    _check_swapped(told["counties"], swapped)
    counts = {row["kind"]: row["count"] for row in told["features"]}
    assert counts["added"] == sum(one is None and two is not None for one, two in adjusted)
    assert counts["removed"] == sum(one is not None and two is None for one, two in adjusted)
    assert told["unchanged"] == sum(one is not None and one == two for one, two in adjusted)
    _check_overlaps(told["overlaps"], after)


def _check_against_unions(
    told: list[dict[str, Any]], counties: gpd.GeoDataFrame, before: Sequence[Any], after: Sequence[Any]
) -> None:
    was, now = union_by_county(counties, before), union_by_county(counties, after)
    assert {row["unit_code"] for row in told} == set(was)
    for row in told:
        old, new = was[row["unit_code"]], now[row["unit_code"]]
        # A millionth, or what two ways of cutting leave of nothing.
        noise = max(1e-6 * max(area(old), area(new)), 1e-2)
        assert row["before_m2"] == pytest.approx(area(old), abs=noise)
        assert row["after_m2"] == pytest.approx(area(new), abs=noise)
        assert row["gained_m2"] == pytest.approx(area(new.difference(old)), abs=noise)
        assert row["lost_m2"] == pytest.approx(area(old.difference(new)), abs=noise)
        assert row["before_m2"] - row["lost_m2"] + row["gained_m2"] == pytest.approx(row["after_m2"], abs=noise)


def _check_swapped(told: list[dict[str, Any]], swapped: list[CountyAreas]) -> None:
    for row, back in zip(told, map(asdict, swapped), strict=True):
        assert back["gained_m2"] == pytest.approx(row["lost_m2"], rel=1e-6, abs=1e-2)
        assert back["lost_m2"] == pytest.approx(row["gained_m2"], rel=1e-6, abs=1e-2)


def _check_overlaps(told: dict[str, Any], grounds: Sequence[Polygon | None]) -> None:
    kept = [ground for ground in grounds if ground is not None]
    common = [area(one.intersection(two)) for at, one in enumerate(kept) for two in kept[at + 1 :]]
    assert sorted(row["area_m2"] for row in told["largest"]) == pytest.approx(sorted(a for a in common if a > 1))
