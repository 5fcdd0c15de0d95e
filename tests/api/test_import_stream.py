"""Imports in batches: nothing depends on where a batch ends, and an import that breaks off leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import shapely
from shapely import Polygon, box
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app import cli
from app.access.models import Unit
from app.boundaries import files, findings, importing, placing, writing
from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, ColumnMapping, Layer, LayerVersion, VersionStatus
from app.boundaries.placing import Grounds
from app.boundaries.schemas import ImportReport
from app.boundaries.service import versions_in_force
from app.boundaries.versions import confirm, discard
from app.foundation.database import Database, set_scope
from app.foundation.errors import Invalid
from app.foundation.geometry import geodesic_area_m2
from app.foundation.time import legal_day, utc_now
from tests.layer_files import BOW_TIE, frame, write_geojson, write_geopackage

DAY = date(2023, 1, 1)
# A row of 300 squares of 0.001 degrees, with codes HX-1 to HX-300.
SQUARES = [box(round(127 + 0.002 * i, 3), 42, round(127.001 + 0.002 * i, 3), 42.001) for i in range(300)]


@pytest.fixture(scope="module")
def emptied(cluster: Any, empty_template: str) -> Iterator[Database]:
    """An empty database to which this module commits nothing that lasts."""
    name = f"stream_{uuid4().hex}"
    database = Database(cluster.create_database(name, empty_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture
def session(emptied: Database) -> Iterator[Session]:
    with emptied.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of seven features."""
    monkeypatch.setattr(files, "batch_features", lambda size_bytes, count: 7)


def load(session: Session, path: Path, layer: Layer = Layer.redlines, **more: Any) -> ImportReport:
    told = {"valid_from": DAY, "source_document": "test", "imported_by": None} | more
    return import_layer(session, layer=layer, path=path, **told)


def stored(session: Session, report: ImportReport) -> list[BoundaryFeature]:
    statement = select(BoundaryFeature).where(BoundaryFeature.version_id == report.version_id)
    return list(session.scalars(statement.order_by(BoundaryFeature.code)))


@pytest.mark.usefixtures("small_batches")
def test_every_feature_arrives_once_and_whole(session: Session, tmp_path: Path) -> None:
    remarks = ['a "quoted" \\ text', "a,b{c}", "tab\tand\nline", "NULL", "", "汉字", "'", "\\N"]
    told = frame(*SQUARES, remark=[remarks[i % 8] for i in range(300)], year=list(range(300)))
    seen: list[tuple[int, int]] = []
    report = load(session, write_geopackage(told, tmp_path), progress=lambda done, total: seen.append((done, total)))
    assert (report.feature_count, report.added) == (300, 300)
    assert seen[0] == (7, 300)
    assert seen[-1] == (300, 300)
    rows = {row.code: row for row in stored(session, report)}
    assert len(rows) == 300
    for i, square in enumerate(SQUARES):
        row = rows[f"HX-{i + 1}"]
        assert row.attributes == {"remark": remarks[i % 8], "year": i}
        assert shapely.from_wkb(bytes(row.geom.data)).equals(shapely.MultiPolygon([square]))
        assert row.area_m2 == pytest.approx(geodesic_area_m2(square), rel=1e-6)


def test_where_batches_end_changes_nothing(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(session, write_geopackage(frame(*SQUARES), tmp_path))
    for size in (1, 50, 299):
        monkeypatch.setattr(files, "batch_features", lambda size_bytes, count, size=size: size)
        again = load(
            session, write_geojson(frame(*reversed(SQUARES), code=[f"HX-{300 - i}" for i in range(300)]), tmp_path)
        )
        assert not again.created
        assert again.version_id == first.version_id
    assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == 300
    assert session.scalar(select(func.count()).select_from(LayerVersion)) == 1


def test_what_differs_is_counted(session: Session, tmp_path: Path) -> None:
    load(session, write_geopackage(frame(*SQUARES), tmp_path))
    names = ["长白山水源涵养红线"] * 299
    names[4] = "改名"
    codes = [f"HX-{i + 1}" for i in range(298)] + ["HX-400"]
    path = write_geopackage(frame(*SQUARES[:299], name=names, code=codes), tmp_path)
    report = load(session, path, valid_from=date(2024, 1, 1))
    assert (report.added, report.changed, report.removed) == (1, 1, 2)


@pytest.mark.usefixtures("small_batches")
def test_errors_of_all_batches_are_counted_and_nothing_is_left(session: Session, tmp_path: Path) -> None:
    shapes: list[Polygon] = list(SQUARES)
    for place in range(40, 300, 10):
        shapes[place] = BOW_TIE
    codes = [f"HX-{i + 1}" for i in range(300)]
    codes[299] = "HX-3"
    with pytest.raises(Invalid) as caught:
        load(session, write_geopackage(frame(*shapes, code=codes), tmp_path))
    errors = caught.value.members["errors"]
    assert [error["feature"] for error in errors] == list(range(41, 241, 10))
    assert caught.value.members["error_count"] == 27
    assert session.scalar(select(func.count()).select_from(LayerVersion)) == 0
    assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == 0
    with pytest.raises(Invalid, match="the same code as feature 3"):
        load(session, write_geopackage(frame(*SQUARES, code=codes), tmp_path))


def test_warnings_are_capped_and_kept_with_the_version(session: Session, tmp_path: Path) -> None:
    high = [shapely.force_3d(square, 800.0) for square in SQUARES]
    report = load(session, write_geopackage(frame(*high), tmp_path), accuracy_m=25.0)
    # What is said of the whole file stands first.
    assert len(report.warnings) == 1 + findings.MAX_WARNINGS + 1
    assert report.warnings[-1] == "… and 200 more of these"
    version = session.get_one(LayerVersion, report.version_id)
    assert (version.warnings, version.accuracy_m) == (report.warnings, 25.0)


TABLES = text("select relname from pg_class where relname like 'boundary_features%' and relkind in ('r', 'p')")
ALONE = {"boundary_features", "boundary_features_shared"}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions of a hundred features are large."""
    monkeypatch.setattr(writing, "LARGE", 100)


def own_table(report: ImportReport) -> str:
    return f"boundary_features_{report.version_id.hex}"


@pytest.mark.usefixtures("small_batches", "large")
def test_a_large_version_is_kept_apart_and_found_as_any(session: Session, tmp_path: Path) -> None:
    few = load(session, write_geopackage(frame(*SQUARES[:99]), tmp_path))
    assert set(session.scalars(TABLES)) == ALONE
    many = load(session, write_geopackage(frame(*SQUARES, established_on=["2019-05-06"] * 300), tmp_path))
    assert set(session.scalars(TABLES)) == ALONE | {own_table(many)}
    assert (many.added, many.changed, many.removed) == (201, 99, 0)
    rows = stored(session, many)
    assert {row.code for row in rows} == {f"HX-{i + 1}" for i in range(300)}
    assert {row.partition_key for row in rows} == {many.version_id}
    assert {row.partition_key for row in stored(session, few)} == {UUID(int=0)}
    assert {(row.valid_from, row.valid_to, row.established_on) for row in rows} == {(DAY, None, date(2019, 5, 6))}
    again = load(session, write_geopackage(frame(*SQUARES, established_on=["2019-05-06"] * 300), tmp_path))
    assert not again.created
    indexes = text(
        "select count(*) from pg_index join pg_inherits on inhrelid = indexrelid "
        "where indrelid = cast(:name as regclass)"
    )
    counts = {session.scalar(indexes, {"name": name}) for name in ("boundary_features_shared", own_table(many))}
    assert counts == {5}
    assert set(session.scalars(TABLES)) == ALONE | {own_table(many)}


@pytest.mark.usefixtures("large")
def test_a_large_version_that_was_discarded_leaves_no_feature(session: Session, tmp_path: Path) -> None:
    report = load(session, write_geopackage(frame(*SQUARES), tmp_path), propose=True)
    assert len(stored(session, report)) == 300
    discard(session, session.get_one(LayerVersion, report.version_id), None)
    assert stored(session, report) == []


@pytest.mark.usefixtures("large")
def test_partitions_are_reached_through_their_table_alone(session: Session, tmp_path: Path) -> None:
    report = load(session, write_geopackage(frame(*SQUARES), tmp_path), propose=True)
    for table in ("boundary_features_shared", own_table(report)):
        for tried in (
            f"select count(*) from {table}",
            f"insert into {table} select * from boundary_features",
            f"update {table} set name = 'x'",
            f"delete from {table}",
            f"truncate {table}",
            f"copy {table} to stdout",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"), session.begin_nested():
                session.execute(text(tried))
    secured = text("select relrowsecurity and relforcerowsecurity from pg_class where relname = :name")
    assert session.scalar(secured, {"name": own_table(report)})
    assert len(stored(session, report)) == 300
    set_scope(session, [UUID(int=1)])
    assert session.scalars(select(BoundaryFeature.id)).all() == []


def test_only_a_proposed_version_takes_features_in(session: Session, tmp_path: Path) -> None:
    report = load(session, write_geopackage(frame(*SQUARES[:3]), tmp_path))
    proposed = load(session, write_geopackage(frame(*SQUARES[:2]), tmp_path), propose=True)
    for tried in (
        text("select redline_stage_features(:id)"),
        text("select redline_take_features_in(:id, true)"),
        text("select redline_take_features_in(:id, false)"),
    ):
        for version in (report.version_id, UUID(int=1)):
            with pytest.raises(ProgrammingError, match="to proposed versions alone"), session.begin_nested():
                session.execute(tried, {"id": version})
        with pytest.raises(ProgrammingError, match="by who sees all"), session.begin_nested():
            set_scope(session, [UUID(int=1)])
            session.execute(tried, {"id": proposed.version_id})
    assert set(session.scalars(TABLES)) == ALONE


@pytest.mark.usefixtures("large")
def test_features_taken_in_block_no_reader_and_are_gone_if_the_import_fails(
    emptied: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, *_: object) -> None:
        assert len(set(session.scalars(TABLES))) == 3
        with emptied.transaction(see_all=True) as other:
            other.execute(text("set local lock_timeout = '2s'"))
            assert other.scalar(select(func.count()).select_from(BoundaryFeature)) == 0
        raise MemoryError

    monkeypatch.setattr(importing, "_difference", fail)
    with pytest.raises(MemoryError), emptied.transaction(see_all=True) as session:
        load(session, write_geopackage(frame(*SQUARES), tmp_path))
    with emptied.transaction(see_all=True) as session:
        assert set(session.scalars(TABLES)) == ALONE
        assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == 0


@pytest.mark.usefixtures("small_batches", "large")
def test_a_killed_import_leaves_nothing(emptied: Database, tmp_path: Path) -> None:
    path = write_geopackage(frame(*SQUARES), tmp_path)
    with (
        emptied.engine.connect() as other,
        pytest.raises(OperationalError),
        emptied.transaction(see_all=True) as session,
    ):
        own = session.scalar(text("select pg_backend_pid()"))

        def kill(done: int, total: int) -> None:
            if done == 140:
                other.execute(text("select pg_terminate_backend(:pid)"), {"pid": own})

        load(session, path, progress=kill)
    with emptied.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(LayerVersion)) == 0
        assert session.scalar(select(func.count()).select_from(BoundaryFeature)) == 0
        assert set(session.scalars(TABLES)) == ALONE
        assert load(session, path).created
        session.rollback()


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_command_says_so_and_leaves_nothing(
    emptied: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opened:
        def __enter__(self) -> tuple[Any, Database]:
            return cli.load_settings(), emptied

        def __exit__(self, *_: object) -> None:
            pass

    class Interrupted:
        def __enter__(self) -> Callable[[int, int], None]:
            def advance(done: int, total: int) -> None:
                if done > 100:
                    raise KeyboardInterrupt

            return advance

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(cli, "open_settings_and_database", Opened)
    monkeypatch.setattr(cli, "progress_bar", lambda title: Interrupted())
    ended = CliRunner().invoke(cli.app, ["import", "redlines", str(write_geopackage(frame(*SQUARES), tmp_path))])
    assert ended.exit_code == 130
    with emptied.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(LayerVersion)) == 0


def test_a_mapping_names_columns_and_values(session: Session, tmp_path: Path) -> None:
    told = frame(SQUARES[0]).drop(columns=["code", "name", "main_function"])
    told["编号"], told["区名"], told["分区"], told["级别"], told["name"] = (
        "BH-1",
        "长白山",
        "核心区（试行）",
        "国家级",
        "x",
    )
    path = write_geojson(told, tmp_path)
    with pytest.raises(Invalid, match="lacks the columns code"):
        load(session, path, Layer.protected_areas)
    mapping = ColumnMapping(
        layer=Layer.protected_areas,
        name="长白山",
        columns={"编号": "code", "区名": "name", "分区": "zone", "级别": "level", "不在": "holder"},
        codes={"zone": {"核心区（试行）": "core_protection"}},
    )
    session.add(mapping)
    session.flush()
    (row,) = stored(session, load(session, path, Layer.protected_areas, mapping="长白山"))
    assert (row.code, row.name, row.category, row.level) == ("BH-1", "长白山", "core_protection", "national")
    assert row.attributes == {"name": "x"}


def division(code: str, level: str, parent: str | None, ground: Polygon) -> dict[str, Any]:
    told = {"code": code, "name": code, "level": level, "parent": parent}
    return {"type": "Feature", "properties": told, "geometry": shapely.geometry.mapping(ground)}


def test_a_proposed_version_judges_nothing(session: Session, tmp_path: Path) -> None:
    red = load(session, write_geopackage(frame(*SQUARES), tmp_path), propose=True)
    assert session.scalars(versions_in_force(Layer.redlines, DAY)).all() == []
    path = tmp_path / "divisions.geojson"
    features = [division("22", "province", None, box(126, 41, 128, 43))]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    tomorrow = legal_day(utc_now()) + timedelta(days=1)
    early = load(session, path, Layer.divisions, propose=True, valid_from=tomorrow)
    proposed = load(session, path, Layer.divisions, propose=True)
    assert session.scalar(select(func.count()).select_from(Unit)) == 0
    assert {tuple(row.unit_ids) for row in stored(session, red)} == {()}
    with pytest.raises(Invalid, match="on that day"):
        confirm(session, session.get_one(LayerVersion, early.version_id), None)
    version = session.get_one(LayerVersion, proposed.version_id)
    confirm(session, version, None)
    assert version.status is VersionStatus.confirmed
    assert version.decided_at is not None
    unit = session.scalars(select(Unit)).one()
    session.expire_all()
    assert {tuple(row.unit_ids) for row in stored(session, red)} == {(unit.id,)}


def test_units_are_those_that_the_database_finds(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes of all sizes over Jilin: by the grid, by the grounds, and by PostGIS's intersections."""
    with world.database.transaction(see_all=True) as session:
        loaded = placing.load_grounds(session)
        west, south, east, north = 121.6, 40.8, 131.4, 46.4
        shapes = [
            shapely.Point(west + (east - west) * (0.618 * i % 1), south + (north - south) * (0.414 * i % 1)).buffer(
                (0.0000005, 0.001, 0.02, 0.3)[i % 4], quad_segs=4
            )
            for i in range(400)
        ]
        asked = text(
            """
            select coalesce(array_agg(u.id order by u.id) filter (where u.id is not null), '{}')
            from unnest(cast(:shapes as text[])) with ordinality as s (shape, place)
            left join boundary_features d on d.layer = 'divisions' and d.ground && s.shape::geometry
                and ST_Area(ST_Intersection(d.ground, s.shape::geometry)::geography) >= 1
            left join units u on u.code = d.code
            group by place order by place
            """
        )
        hexes = [shapely.to_wkb(shapely.set_srid(shape, 4490), hex=True, include_srid=True) for shape in shapes]
        expected = [tuple(map(str, row[0])) for row in session.execute(asked, {"shapes": hexes})]
    array = shapely.from_wkb(shapely.to_wkb(shapes))
    assert loaded.units_of(array) == expected
    assert len({len(units) for units in expected}) > 3
    monkeypatch.setattr(placing, "_MANY", 1)
    assert loaded.units_of(array) == expected
    assert Grounds([], []).units_of(array) == [()] * 400
