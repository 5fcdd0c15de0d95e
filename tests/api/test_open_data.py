"""Open data over HTTP: the files are read back by the programs that people use, and say what the service says."""

from __future__ import annotations

import io
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
from sqlalchemy import text

from app.statistics.open_data import LEDGER, Kind, figure_columns
from app.statistics.reports import Report
from tests.casework_steps import Desk, add_detection
from tests.conftest import COUNTY, COUNTY2, World

AT_CSV = [column.name for column in LEDGER if column.type is not Kind.geometry]


@pytest.fixture
def desk(world: World) -> Desk:
    """A case that was returned, one that is being checked, and an instant between."""
    desk = Desk(world)
    desk.done("county", _open(desk), "return")
    desk.done("county", _open(desk), "start_verification")
    return desk


def _open(desk: Desk) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    return desk.dispatch(detection)


def _take(desk: Desk, path: str, username: str = "province", **asked: Any) -> bytes:
    answer = desk.get(username, f"/statistics/{path}", **asked)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert 'attachment; filename="' in answer.headers["content-disposition"]
    return answer.content


def _csv(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), encoding="utf-8-sig", dtype=str, keep_default_na=False)


def test_a_database_by_another_clock_names_files_in_utc(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Shanghai")
    desk.world.database.dispose()
    told = datetime.fromisoformat(desk.get("province", "/statistics/figures/closure").json()["effective_as_of"])
    answer = desk.get("province", "/statistics/ledger.csv")
    assert told.utcoffset() and f"ledger-{told.astimezone(UTC):%Y%m%dT%H%M%SZ}.csv" in str(answer.headers)


def test_no_list_in_csv_is_a_formula(desk: Desk) -> None:
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(text("update case_intervals set redlines = '{=cmd|calc,A}', zones = '{A,=1}'"))
    table = _csv(_take(desk, "ledger.csv"))
    assert set(table["redlines"]) == {"'=cmd|calc;A"} and set(table["zones"]) == {"A;=1"}


def test_the_ledger_reads_the_same_from_every_file(desk: Desk, tmp_path: Path) -> None:
    content = _take(desk, "ledger.csv")
    assert content.startswith(b"\xef\xbb\xbfnumber,case_id,") and content.count(b"\r\n") == content.count(b"\n") == 3
    table = _csv(content)
    assert list(table.columns) == AT_CSV
    assert sorted(table["state_name"]) == ["核查中", "退回"]
    assert set(table["lead_unit"]) == {COUNTY}
    assert set(table["closed_on"]) == {""}
    assert set(table["confirmed"]) == {"false"}

    (tmp_path / "ledger.parquet").write_bytes(_take(desk, "ledger.parquet"))
    (tmp_path / "ledger.gpkg").write_bytes(_take(desk, "ledger.gpkg"))
    frame = gpd.read_parquet(tmp_path / "ledger.parquet")
    layer = gpd.read_file(tmp_path / "ledger.gpkg", layer="cases")
    assert list(frame.columns) == [column.name for column in LEDGER]
    assert frame.crs.to_epsg() == layer.crs.to_epsg() == 4490
    assert frame["recorded_from"].dt.tz is not None
    assert frame["closed_on"].isna().all()
    for name in ("number", "state_name", "supervision_source", "severity"):
        assert list(frame[name]) == list(layer[name]) == list(table[name])
    # A GeoPackage has milliseconds.
    gap = (frame["recorded_from"] - layer["recorded_from"].dt.tz_convert("UTC")).abs().max()
    assert gap < pd.Timedelta(milliseconds=1)
    assert [datetime.fromisoformat(value) for value in table["recorded_from"]] == list(frame["recorded_from"])
    assert all(frame.geometry.geom_equals(layer.geometry))
    points = gpd.points_from_xy(table["longitude"].astype(float), table["latitude"].astype(float))
    assert all(frame.geometry.distance(gpd.GeoSeries(points, crs=frame.crs)) < 1e-6), "on the ground, x before y"
    assert frame["area_m2"].tolist() == table["area_m2"].astype(float).tolist()
    assert frame["zones"].map(";".join).tolist() == layer["zones"].tolist() == table["zones"].tolist()


def test_gdal_reads_the_geopackage(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ledger.gpkg"
    path.write_bytes(_take(desk, "ledger.gpkg"))
    told = subprocess.run(["ogrinfo", "-so", "-al", str(path)], capture_output=True, text=True, check=True).stdout
    assert "Layer name: cases" in told and "Feature Count: 2" in told and "Geometry: Multi Polygon" in told
    assert 'ID["EPSG",4490]' in told
    assert "due_on: Date" in told and "recorded_from: DateTime" in told and "confirmed: Integer(Boolean)" in told


def test_who_sees_a_case_gets_it_and_the_file_is_kept_in_the_audit(desk: Desk) -> None:
    assert len(_csv(_take(desk, "ledger.csv", "county"))) == 2
    assert len(_csv(_take(desk, "ledger.csv", "county2"))) == 0
    empty = pyogrio.read_info(_take(desk, "ledger.gpkg", "county2"))
    assert (empty["features"], empty["geometry_type"]) == (0, "MultiPolygon")
    _take(desk, "figures/closure.csv", rows="unit")
    with desk.world.database.transaction() as session:
        kept = session.execute(
            text("select details from access_events where kind = 'export_taken' order by id")
        ).scalars()
        told = [(row["export"], row["format"], row["rows"]) for row in kept]
    assert told == [
        ("open-data-ledger", "csv", 2),
        ("open-data-ledger", "csv", 0),
        ("open-data-cases", "gpkg", 0),
        ("open-data-closure", "csv", 2),
    ]


def test_the_ledger_is_as_it_was_and_the_cases_behind_a_figure_are_a_file(desk: Desk) -> None:
    before = datetime.now(UTC).isoformat()
    cell = desk.get("province", "/statistics/figures/closure", rows="state").json()["groups"]
    link = next(group["cases"] for group in cell if group["row"] == "verifying")
    answer = desk.world.client.get(link.replace("/cases?", "/ledger.csv?"), headers=desk.headers("province"))
    assert list(_csv(answer.content)["state"]) == ["verifying"]
    first = _take(desk, "ledger.csv", as_of=before)
    _open(desk)
    assert _take(desk, "ledger.csv", as_of=before) == first
    assert len(_csv(_take(desk, "ledger.csv"))) == 3


def test_a_file_to_be_published_says_only_about_where(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "coarse.parquet").write_bytes(_take(desk, "ledger.parquet", ground="coarse"))
    frame = gpd.read_parquet(tmp_path / "coarse.parquet")
    assert set(frame.geometry.geom_type) == {"Point"}
    for value in [*frame["longitude"], *frame["latitude"]]:
        assert round(value, 2) == value
    assert pyogrio.read_info(_take(desk, "ledger.gpkg", ground="coarse"))["geometry_type"] == "Point"


@pytest.mark.parametrize("report", [Report.closure, Report.latency])
def test_figures_read_as_the_report_has_them(desk: Desk, report: Report) -> None:
    asked = {"rows": "state", "columns": "zone"}
    body = desk.get("province", f"/statistics/figures/{report}", **asked).json()
    file = pq.read_table(io.BytesIO(_take(desk, f"figures/{report}.parquet", **asked)))
    assert file.column_names == [column.name for column in figure_columns(report)]
    said = {key.decode(): value.decode() for key, value in file.schema.metadata.items()}
    assert (said["report"], said["rows"], said["columns_overlap"]) == (report.value, "state", "true")
    assert said["effective_as_of"] == datetime.fromisoformat(body["effective_as_of"]).isoformat()
    rows = file.to_pylist()
    for row, group in zip(rows, [body["total"], *body["groups"]], strict=True):
        assert {name: row[name] for name in group["figures"]} == group["figures"]
        assert (row["row"], row["column"]) == (group["row"], group["column"])
    table = _csv(_take(desk, f"figures/{report}.csv", **asked))
    assert table["row"].tolist() == [row["row"] or "" for row in rows]
    assert "核查中" in table["row_name"].tolist()


def test_a_map_has_the_outline_of_every_unit(desk: Desk) -> None:
    layer = gpd.read_file(io.BytesIO(_take(desk, "figures/closure.gpkg")), layer="closure").set_index("row")
    assert layer.loc[COUNTY, "total"] == 2
    assert layer.loc[COUNTY2, "total"] == 0
    assert layer.loc[COUNTY2, "row_name"]
    assert layer.geometry.notna().sum() > 50
    assert layer[layer.geometry.notna()].crs.to_epsg() == 4490
    own = gpd.read_file(io.BytesIO(_take(desk, "figures/closure.gpkg", "county")), layer="closure")
    assert own["row"].dropna().tolist() == [COUNTY]
    assert desk.get("province", "/statistics/figures/closure.gpkg", rows="state").status_code == 422
    assert desk.get("province", "/statistics/figures/closure.gpkg", columns="state").status_code == 422


def test_csv_names_its_metadata(desk: Desk) -> None:
    for path in ("ledger.csv", "figures/closure.csv"):
        answer = desk.get("province", f"/statistics/{path}", supervision_source="satellite_monitoring")
        target, kind = answer.headers["link"].split(">; ", 1)
        assert kind == 'rel="describedby"; type="application/csvm+json"'
        told = desk.world.client.get(target.lstrip("<"), headers=desk.headers("province"))
        assert told.headers["content-type"] == "application/csvm+json"
        document = told.json()
        assert document["url"] == f"{path.rpartition('/')[2]}?supervision_source=satellite_monitoring"
        names = [column["name"] for column in document["tableSchema"]["columns"]]
        assert names == answer.content.decode("utf-8-sig").splitlines()[0].split(",")


def test_the_dictionary_has_every_table(desk: Desk) -> None:
    told = desk.get("county", "/statistics/data-dictionary").json()
    assert [table["name"] for table in told["tables"]] == ["ledger", *(f"figures/{report}" for report in Report)]
    assert json.dumps(told["tables"][0]["columns"][0], ensure_ascii=False).count("问题编号") == 1


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("ledger.csv", {"ground": "secret"}, 422),
        ("ledger.csv", {"measure": "colour"}, 422),
        ("ledger.gpkg", {"unit": "999999"}, 422),
        ("figures/colour.csv", {}, 422),
        ("figures/closure.csv", {"columns": "unit"}, 422),
    ],
)
def test_what_cannot_be_given_says_what_to_mend(desk: Desk, path: str, asked: dict[str, str], status: int) -> None:
    answer = desk.get("province", f"/statistics/{path}", **asked)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]
