"""Imports into the database: versions, units, enclaves, who sees what; and the legal overlay on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import shapely
from shapely import box
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, Verdict
from app.boundaries.overlay import Subject, judge, judge_many, units_touching
from app.boundaries.schemas import ImportReport
from app.boundaries.service import in_force
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.errors import Invalid
from app.foundation.geometry import from_database, geodesic_area_m2
from app.foundation.time import legal_day, utc_now

START = date(2020, 1, 1)
DAY = date(2023, 6, 1)
# Two counties side by side in one prefecture, a third in another; a zone astride the first two.
PROVINCE = box(127.0, 42.0, 127.6, 42.2)
WEST, MIDDLE, EAST = (box(127.0 + 0.2 * i, 42.0, 127.2 + 0.2 * i, 42.2) for i in range(3))
ZONE = box(127.15, 42.05, 127.25, 42.1)
REDLINE = box(127.0, 42.12, 127.3, 42.2)


def division(code: str, level: str, parent: str | None, ground: BaseGeometry) -> tuple[dict[str, Any], BaseGeometry]:
    return {"code": code, "name": f"name of {code}", "level": level, "parent": parent}, ground


DIVISIONS = [
    division("22", "province", None, PROVINCE),
    division("2201", "prefecture", "22", box(127.0, 42.0, 127.4, 42.2)),
    division("2202", "prefecture", "22", EAST),
    division("220101", "county", "2201", WEST),
    division("220102", "county", "2201", MIDDLE),
    division("220201", "county", "2202", EAST),
]
ZONES = [division("220199", "zone", "22", ZONE)]


def redline(ground: BaseGeometry, code: str = "HX-1") -> tuple[dict[str, Any], BaseGeometry]:
    return {"code": code, "name": "长白山红线", "main_function": "水源涵养"}, ground


def area(zone: str, ground: BaseGeometry) -> tuple[dict[str, Any], BaseGeometry]:
    return {"code": "BH-1", "name": "长白山保护区", "level": "national", "zone": zone}, ground


def permit(
    ground: BaseGeometry, valid_from: str = "2022-01-01", valid_to: str | None = "2024-12-31"
) -> tuple[dict[str, Any], BaseGeometry]:
    told = {"code": "XK-1", "name": "林区道路", "permit_kind": "linear_infrastructure", "holder": "交通局"}
    return told | {"document": "1号", "valid_from": valid_from, "valid_to": valid_to}, ground


Importer = Callable[..., ImportReport]


@pytest.fixture(scope="module")
def emptied(cluster: EmbeddedCluster, empty_template: str) -> Iterator[Database]:
    """An empty database that no test of this module commits to."""
    name = f"boundaries_{uuid4().hex}"
    database = Database(cluster.create_database(name, empty_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture
def session(emptied: Database) -> Iterator[Session]:
    """A transaction that sees everything and is rolled back."""
    with emptied.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()


@pytest.fixture
def load(session: Session, tmp_path: Path) -> Importer:
    """Import features as GeoJSON through the real reader."""

    def load(
        layer: Layer, features: list[tuple[dict[str, Any], BaseGeometry]], valid_from: date = START
    ) -> ImportReport:
        path = tmp_path / "layer.geojson"
        document = {
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "properties": properties, "geometry": mapping(geometry)}
                for properties, geometry in features
            ],
        }
        path.write_text(json.dumps(document))
        return import_layer(
            session, layer=layer, path=path, valid_from=valid_from, source_document="test", imported_by=None
        )

    return load


@pytest.fixture
def province(load: Importer) -> None:
    load(Layer.divisions, DIVISIONS)
    load(Layer.divisions, ZONES)


def unit_codes(session: Session, unit_ids: list[Any]) -> set[str]:
    return set(session.scalars(select(Unit.code).where(Unit.id.in_(unit_ids))))


def feature(session: Session, layer: Layer, code: str, on: date = DAY) -> BoundaryFeature:
    found = session.scalars(select(BoundaryFeature).where(in_force(layer, on), BoundaryFeature.code == code)).one()
    session.refresh(found)
    return found


def test_divisions_become_units(session: Session, load: Importer) -> None:
    report = load(Layer.divisions, DIVISIONS)
    assert (report.number, report.created, report.feature_count, report.added) == (1, True, 6, 6)
    units = {unit.code: unit for unit in session.scalars(select(Unit))}
    assert len(units) == 6
    county = units["220101"]
    assert county.parent_id == county.accepting_unit_id == units["2201"].id
    assert units["22"].parent_id is None


def test_a_file_of_zones_adds_to_the_divisions(session: Session, load: Importer) -> None:
    load(Layer.divisions, DIVISIONS)
    report = load(Layer.divisions, ZONES)
    assert (report.number, report.feature_count, report.added, report.changed, report.removed) == (2, 7, 1, 0, 0)
    assert session.scalar(select(func.count()).select_from(Unit)) == 7


@pytest.mark.usefixtures("province")
def test_the_enclave_overrides_what_lies_beneath(session: Session) -> None:
    west, zone = feature(session, Layer.divisions, "220101"), feature(session, Layer.divisions, "220199")
    assert west.ground is not None
    assert zone.ground is not None
    assert from_database(west.ground).equals(WEST.difference(ZONE))
    assert from_database(west.geom).equals(WEST)
    assert from_database(zone.ground).equals(ZONE)
    assert feature(session, Layer.divisions, "2201").ground is None
    grounds = session.scalars(select(BoundaryFeature).where(in_force(Layer.divisions, DAY)))
    total = sum(geodesic_area_m2(from_database(row.ground)) for row in grounds if row.ground is not None)
    assert total == pytest.approx(geodesic_area_m2(PROVINCE), rel=1e-9)


@pytest.mark.usefixtures("province")
def test_a_repeated_import_adds_nothing(session: Session, load: Importer) -> None:
    load(Layer.redlines, [redline(REDLINE)])
    counts = [
        session.scalar(select(func.count()).select_from(table)) for table in (LayerVersion, BoundaryFeature, Unit)
    ]
    for layer, features in (
        (Layer.divisions, DIVISIONS),
        (Layer.divisions, ZONES),
        (Layer.redlines, [redline(REDLINE)]),
    ):
        report = load(layer, features, date(2021, 1, 1))
        assert not report.created
        assert report.added == report.changed == report.removed == 0
    assert counts == [
        session.scalar(select(func.count()).select_from(table)) for table in (LayerVersion, BoundaryFeature, Unit)
    ]


@pytest.mark.usefixtures("province")
def test_content_that_another_day_had_is_a_change(session: Session, load: Importer) -> None:
    """What was imported last need not count on the day of the next import."""
    load(Layer.redlines, [redline(REDLINE)], date(2022, 1, 1))
    load(Layer.redlines, [redline(EAST)], date(2010, 1, 1))
    assert load(Layer.redlines, [redline(EAST)], date(2024, 1, 1)).created
    assert from_database(feature(session, Layer.redlines, "HX-1", date(2024, 1, 1)).geom).equals(EAST)
    repeated = load(Layer.redlines, [redline(REDLINE)], date(2023, 1, 1))
    assert (repeated.created, repeated.number) == (False, 1)
    # The day of a layer that was imported for too late a day can be mended.
    assert load(Layer.redlines, [redline(EAST)], date(2009, 1, 1)).created


def test_a_changed_layer_is_a_new_version_and_the_old_one_stays(session: Session, load: Importer) -> None:
    load(Layer.redlines, [redline(REDLINE), redline(EAST, "HX-2")])
    report = load(Layer.redlines, [redline(MIDDLE), redline(WEST, "HX-3")], date(2023, 1, 1))
    assert (report.number, report.added, report.changed, report.removed) == (2, 1, 1, 1)
    assert from_database(feature(session, Layer.redlines, "HX-1", date(2022, 12, 31)).geom).equals(REDLINE)
    assert from_database(feature(session, Layer.redlines, "HX-1", date(2023, 1, 1)).geom).equals(MIDDLE)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ([division("220301", "county", "2203", EAST)], "its parent 2203 is neither"),
        ([division("220301", "county", "220101", EAST)], "does not stand above"),
        ([division("220301", "county", None, EAST)], "a county needs a parent"),
        ([division("220301", "village", "2201", EAST)], "level is 'village'"),
    ],
)
def test_divisions_need_a_tree(
    session: Session, load: Importer, features: list[tuple[dict[str, Any], BaseGeometry]], reason: str
) -> None:
    load(Layer.divisions, DIVISIONS)
    with pytest.raises(Invalid, match=reason):
        load(Layer.divisions, features)
    assert session.scalar(select(func.count()).select_from(LayerVersion)) == 1


def test_divisions_cannot_be_added_to_before_they_begin(load: Importer) -> None:
    load(Layer.divisions, DIVISIONS)
    with pytest.raises(Invalid, match="2020-01-01"):
        load(Layer.divisions, ZONES, date(2019, 12, 31))


@pytest.mark.usefixtures("province")
def test_divisions_of_a_day_to_come_are_refused(session: Session, load: Importer) -> None:
    tomorrow = legal_day(utc_now()) + timedelta(days=1)
    renamed = division("220101", "county", "2202", WEST)
    with pytest.raises(Invalid, match=f"{tomorrow.isoformat()}: import them"):
        load(Layer.divisions, [renamed], tomorrow)
    assert load(Layer.divisions, [renamed], tomorrow - timedelta(days=1)).changed == 1
    # Other layers change nothing before their day, and may come early.
    assert load(Layer.redlines, [redline(REDLINE)], tomorrow).created


@pytest.mark.usefixtures("province")
@pytest.mark.parametrize(
    ("period", "reason"),
    [
        ({"valid_from": "2023-01-01"}, "it begins on 2023-01-01"),
        ({"valid_to": "2023-01-01"}, "it ends on 2023-01-01"),
        ({"valid_to": "2022-01-01"}, "it ends on 2022-01-01"),
    ],
)
def test_a_version_of_divisions_is_one_state(load: Importer, period: dict[str, str], reason: str) -> None:
    told, ground = division("220101", "county", "2201", WEST)
    with pytest.raises(Invalid, match=f"220101: {reason}"):
        load(Layer.divisions, [(told | period, ground)], date(2022, 1, 1))


@pytest.mark.usefixtures("province")
def test_what_has_ended_answers_for_nothing(session: Session, load: Importer) -> None:
    end = {"valid_to": "2022-12-31"}
    (zone, ground), (county, east) = ZONES[0], DIVISIONS[5]
    load(Layer.divisions, [(zone | end, ground), (county | end, east)], date(2023, 1, 1))

    def answering(place: BaseGeometry, on: date) -> list[str]:
        return [unit["code"] for unit in judge(session, place, on).unit_areas]

    in_zone, in_east = box(127.16, 42.06, 127.18, 42.08), box(127.45, 42.1, 127.46, 42.11)
    assert answering(in_zone, date(2022, 12, 31)) == ["220199"]
    assert answering(in_zone, date(2023, 1, 1)) == ["220101"]
    assert answering(in_east, date(2022, 12, 31)) == ["220201"]
    assert answering(in_east, date(2023, 1, 1)) == ["2202"]  # no county is left below it
    assert unit_codes(session, units_touching(session, in_zone)) == {"220101"}
    with pytest.raises(Invalid, match="220201: its parent 2202 has ended"):
        load(Layer.divisions, [(DIVISIONS[2][0] | end, EAST), (county, east)], date(2023, 1, 1))


def test_who_sees_a_division(session: Session, load: Importer) -> None:
    load(Layer.divisions, DIVISIONS)
    load(Layer.divisions, ZONES)
    seen = {
        code: unit_codes(session, feature(session, Layer.divisions, code).unit_ids) for code in ("22", "2201", "220101")
    }
    assert seen["22"] == {"22", "2201", "2202", "220101", "220102", "220201", "220199"}
    assert seen["2201"] == {"2201", "220101", "220102"}
    assert seen["220101"] == {"220101"}


def test_who_sees_a_red_line_follows_the_units(session: Session, load: Importer) -> None:
    load(Layer.redlines, [redline(REDLINE), redline(ZONE.buffer(-0.01), "HX-2"), redline(EAST, "HX-3")])
    assert feature(session, Layer.redlines, "HX-1").unit_ids == []
    load(Layer.divisions, DIVISIONS)

    def seen(code: str) -> set[str]:
        return unit_codes(session, feature(session, Layer.redlines, code).unit_ids)

    assert [seen("HX-1"), seen("HX-2"), seen("HX-3")] == [
        {"220101", "220102"},
        {"220101", "220102"},
        {"220201"},  # it shares a border with 220102 and no ground
    ]
    load(Layer.divisions, ZONES)
    assert seen("HX-2") == {"220199"}


@pytest.mark.usefixtures("province")
def test_units_touching(session: Session) -> None:
    assert unit_codes(session, units_touching(session, box(127.1, 42.06, 127.3, 42.08))) == {
        "220101",
        "220102",
        "220199",
    }
    assert units_touching(session, box(120.0, 42.0, 120.1, 42.1)) == []


def test_a_refused_file_leaves_the_database_untouched(emptied: Database, tmp_path: Path) -> None:
    path = tmp_path / "layer.geojson"
    bow_tie = shapely.Polygon([(127.0, 42.0), (127.1, 42.1), (127.1, 42.0), (127.0, 42.1)])
    rows = [
        {"type": "Feature", "properties": redline(REDLINE)[0], "geometry": mapping(REDLINE)},
        {"type": "Feature", "properties": redline(REDLINE, "HX-2")[0], "geometry": mapping(bow_tie)},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    with pytest.raises(Invalid, match="HX-2"), emptied.transaction(see_all=True) as session:
        import_layer(
            session, layer=Layer.redlines, path=path, valid_from=START, source_document="test", imported_by=None
        )
    with emptied.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(LayerVersion)) == 0
        assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == 0


# The overlay

# About 820 m by 1,110 m, in the middle of what REDLINE and county WEST share.
CHANGE = box(127.05, 42.15, 127.06, 42.16)


@pytest.mark.usefixtures("province")
class TestJudge:
    def test_red_line_without_permit(self, session: Session, load: Importer) -> None:
        version = load(Layer.redlines, [redline(REDLINE)])
        overlay = judge(session, CHANGE, DAY)
        assert overlay.verdict is Verdict.needs_recognition
        assert "142号" in overlay.verdict_ground
        assert "No valid permit" in overlay.verdict_ground
        (overlap,) = overlay.overlaps
        assert (overlap["layer"], overlap["code"], overlap["share"]) == ("redlines", "HX-1", pytest.approx(1.0))
        assert overlay.judged_by["versions"]["redlines"]["version_id"] == str(version.version_id)
        assert overlay.judged_by["rule"] == "redline-2022"
        assert overlay.area_m2 == pytest.approx(geodesic_area_m2(CHANGE), rel=1e-9)
        json.dumps([overlay.unit_areas, overlay.overlaps, overlay.judged_by])

    def test_the_law_of_the_day(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(REDLINE)], date(2010, 1, 1))
        assert judge(session, CHANGE, date(2018, 1, 1)).judged_by["rule"] == "redline-2017"
        assert judge(session, CHANGE, date(2021, 1, 1)).judged_by["rule"] == "redline-2019"
        overlay = judge(session, CHANGE, date(2016, 1, 1))
        assert overlay.verdict is Verdict.undetermined
        assert overlay.unit_areas  # divisions began in 2020; the first ones there are answer

    def test_core_zone_is_prohibited_though_a_red_line_lies_there_too(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(REDLINE)])
        load(Layer.protected_areas, [area("core_protection", CHANGE.buffer(0.01)), area("general_control", EAST)])
        overlay = judge(session, CHANGE, DAY)
        assert overlay.verdict is Verdict.prohibited
        assert overlay.judged_by["rule"] == "core-protection"
        assert "core protection zone" in overlay.verdict_ground and "核心保护区" in overlay.verdict_ground_zh

    def test_a_sliver_of_core_does_not_decide(self, session: Session, load: Importer) -> None:
        sliver = box(127.05, 42.15, 127.06, 42.150003)  # about 280 m²
        load(
            Layer.protected_areas, [area("core_protection", sliver), area("general_control", CHANGE.difference(sliver))]
        )
        assert judge(session, CHANGE, DAY).judged_by["rule"] == "general-control"

    def test_only_a_sliver_is_boundary(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(box(127.0, 42.159997, 127.1, 42.2))])
        overlay = judge(session, CHANGE, DAY)
        assert overlay.verdict is Verdict.boundary
        assert "压线" in overlay.verdict_ground

    def test_a_small_polygon_half_inside_is_no_sliver(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(REDLINE)])
        small = box(127.05, 42.1199, 127.0501, 42.1201)  # about 180 m²
        # Half of it is less than a pixel of 10 m, and more than one of 2 m or than 10 m along the border.
        coarse, fine = judge_many(session, [Subject(small, DAY, None, pixel_m=pixel) for pixel in (10.0, 2.0)])
        assert (coarse.verdict, coarse.judged_by["why"]) == (Verdict.boundary, "pixel")
        assert fine.verdict is Verdict.needs_recognition

    def test_outside_everything(self, session: Session, load: Importer) -> None:
        assert "had been imported" in judge(session, CHANGE, DAY).verdict_ground
        load(Layer.redlines, [redline(EAST)])
        overlay = judge(session, CHANGE, DAY)
        assert overlay.verdict is Verdict.undetermined
        assert "Outside every imported red line" in overlay.verdict_ground
        assert overlay.overlaps == []

    @pytest.mark.parametrize(
        ("on", "verdict"),
        [
            (date(2021, 12, 31), Verdict.needs_recognition),
            (date(2022, 1, 1), Verdict.allowed),
            (date(2024, 12, 31), Verdict.allowed),
            (date(2025, 1, 1), Verdict.needs_recognition),
        ],
    )
    def test_a_permit_counts_on_its_days(self, session: Session, load: Importer, on: date, verdict: Verdict) -> None:
        load(Layer.redlines, [redline(REDLINE)])
        load(Layer.permits, [permit(CHANGE)])
        overlay = judge(session, CHANGE, on)
        assert overlay.verdict is verdict
        assert ("XK-1" in overlay.verdict_ground) is (verdict is Verdict.allowed)

    @pytest.mark.parametrize(
        ("width", "verdict"),
        [(0.00995, Verdict.allowed), (0.0095, Verdict.boundary), (0.0085, Verdict.needs_recognition)],
    )
    def test_share_that_a_permit_covers(self, session: Session, load: Importer, width: float, verdict: Verdict) -> None:
        load(Layer.redlines, [redline(REDLINE)])
        load(Layer.permits, [permit(box(127.05, 42.1, 127.05 + width, 42.2))])
        assert judge(session, CHANGE, DAY).verdict is verdict

    def test_a_permit_needs_to_cover_the_part_inside_only(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(box(127.0, 42.155, 127.3, 42.2))])
        load(Layer.permits, [permit(box(127.0, 42.155, 127.3, 42.2))])
        assert judge(session, CHANGE, DAY).verdict is Verdict.allowed

    def test_areas_by_unit_and_the_lead(self, session: Session) -> None:
        across = box(127.12, 42.06, 127.26, 42.09)
        overlay = judge(session, across, DAY)
        assert [unit["code"] for unit in overlay.unit_areas] == ["220199", "220101", "220102"]
        assert unit_codes(session, [overlay.lead_unit_id]) == {"220199"}
        assert sum(unit["area_m2"] for unit in overlay.unit_areas) == pytest.approx(overlay.area_m2, rel=1e-6)
        assert set(map(str, overlay.unit_ids)) == {unit["unit_id"] for unit in overlay.unit_areas}

    def test_outside_the_province(self, session: Session) -> None:
        overlay = judge(session, box(24.0, 47.0, 24.01, 47.01), DAY)
        assert (overlay.lead_unit_id, overlay.unit_ids, overlay.unit_areas) == (None, [], [])
        assert overlay.verdict is Verdict.undetermined

    def test_a_later_version_does_not_change_a_verdict(self, session: Session, load: Importer) -> None:
        load(Layer.redlines, [redline(REDLINE)])
        before = judge(session, CHANGE, DAY)
        load(Layer.redlines, [redline(EAST)], date(2023, 6, 2))
        assert judge(session, CHANGE, DAY) == before
        assert judge(session, CHANGE, date(2023, 6, 2)).verdict is Verdict.undetermined


def test_the_overlay_uses_the_spatial_index_under_row_security(session: Session, load: Importer) -> None:
    cells = [
        redline(box(127 + i * 0.01, 42 + j * 0.01, 127.009 + i * 0.01, 42.009 + j * 0.01), f"HX-{i}-{j}")
        for i in range(6)
        for j in range(6)
    ]
    load(Layer.redlines, cells)
    session.execute(text("set local enable_seqscan = off"))
    plan = "\n".join(
        session.scalars(
            text(
                "explain select id from boundary_features f "
                "where f.geom && ST_MakeEnvelope(127.05, 42.05, 127.06, 42.06, 4490)"
            )
        )
    )
    assert "boundary_features_shared_geom_idx" in plan
