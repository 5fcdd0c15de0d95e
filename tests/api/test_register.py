"""The county register of red lines: what stands in it, as of when, for whom, and in which files."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import openpyxl
import pytest
from shapely import MultiPolygon, box
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.models import Account
from app.boundaries.models import Layer, Verdict
from app.casework.ledger import append
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.foundation.geometry import geodesic_areas_m2, to_database
from app.monitoring.models import Confidence, Detection, Plan, Run
from tests.api.test_boundaries_versions import IN_COUNTY2, ask
from tests.conftest import COUNTY, COUNTY2
from tests.version_steps import confirmed, feature

FIRST = box(127.50, 42.25, 127.53, 42.27)
# What the second version leaves of it: so its eastern third was given up.
SECOND = box(127.50, 42.25, 127.52, 42.27)
SITE = box(127.51, 42.26, 127.525, 42.265)
FORMULA = '=HYPERLINK("http://x","+1")'


def area(geometry: Any) -> float:
    return float(geodesic_areas_m2([geometry])[0])


def _site(session: Session, ground: Any, code: str, number: str) -> Case:
    """A detection with its case, led by the county with this code."""
    unit = access.unit_by_code(session, code)
    account = session.query(Account).filter_by(username="officer").one()
    placed = {"unit_ids": [unit.id]}
    geom = to_database(ground)
    plan = Plan(
        name=number, title="p", area=geom, history_from=date(2020, 1, 1), history_until=date(2021, 1, 1),
        configuration={}, **placed,
    )  # fmt: skip
    session.add(plan)
    session.flush()
    session.add(run := Run(plan_id=plan.id, until=date(2022, 1, 1), **placed))
    session.flush()
    detection = Detection(
        plan_id=plan.id, run_id=run.id, geom=geom, area_m2=1, activity="mining", activities=[],
        confidence=Confidence.high, first_seen_on=date(2022, 1, 1), detector="d", verdict=Verdict.prohibited,
        verdict_ground="", lead_unit_id=unit.id, published_at=datetime(2022, 2, 1, tzinfo=UTC), **placed,
    )  # fmt: skip
    session.add(detection)
    session.flush()
    case = Case(
        number=number, state=CaseState.dispatched, detection_id=detection.id, activity="mining", priority="ordinary",
        supervision_source="satellite_monitoring", lead_unit_id=unit.id, accepting_unit_id=unit.id,
        dispatching_unit_id=unit.id, geom=geom, area_m2=1, **placed,
    )  # fmt: skip
    session.add(case)
    session.flush()
    append(session, access.caller_of(session, account), case, "dispatch", state_before=None,
           occurred_on=date(2022, 2, 2))  # fmt: skip
    return case


@pytest.fixture
def county(world: Any) -> Any:
    """A county with a red line that shrank in 2022, a permit that ran out in 2023, a detection and its case."""
    with world.database.transaction(see_all=True) as session:
        old = [feature("HX-1", FIRST, name=FORMULA), feature("HX-2", IN_COUNTY2)]
        confirmed(session, old, valid_from=date(2020, 1, 1))
        new = [feature("HX-1", SECOND, name=FORMULA), feature("HX-2", IN_COUNTY2)]
        confirmed(session, new, valid_from=date(2022, 1, 1))
        permit = feature(
            "XK-1", SITE, category="linear_infrastructure", holder="@交通局", document="1号",
            valid_from=date(2021, 1, 1), valid_to=date(2023, 12, 31),
        )  # fmt: skip
        confirmed(session, [permit], layer=Layer.permits, valid_from=date(2021, 1, 1))
        _site(session, SITE, COUNTY, "RL-1")
        _site(session, IN_COUNTY2, COUNTY2, "RL-2")
    return world


def register(world: Any, username: str = "county", query: str = "") -> dict[str, Any]:
    answer = ask(world, username, "GET", f"redlines/register/{COUNTY}{query}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_what_stands_in_it(county: Any) -> None:
    told = register(county)
    assert [(row["code"], row["main_function"]) for row in told["patches"]] == [("HX-1", "水源涵养")]
    assert told["patches"][0]["area_m2"] == pytest.approx(area(SECOND), rel=1e-7)
    assert told["area_m2"] == pytest.approx(area(SECOND), rel=1e-7)
    versions = [(row["number"], row["valid_from"], row["valid_until"], row["patches"]) for row in told["versions"]]
    assert versions == [(1, "2020-01-01", "2021-12-31", 1), (2, "2022-01-01", None, 1)]
    on_patch = area(SITE.intersection(SECOND))
    assert told["permits"] == []
    assert [row["verdict"] for row in told["detections"]] == ["prohibited"]
    assert told["detections"][0]["area_m2"] == pytest.approx(on_patch)
    assert [(row["number"], row["state"], row["patches"]) for row in told["cases"]] == [
        ("RL-1", "dispatched", ["HX-1"])
    ]
    activity = told["activities"][0]
    assert (activity["label"], activity["detections"], activity["cases"]) == ("采矿", 1, 1)
    # Once: the case lies on the ground of its detection.
    assert activity["area_m2"] == pytest.approx(on_patch)


def test_as_of_a_day(county: Any) -> None:
    before = register(county, query="?on=2021-06-01")
    assert before["area_m2"] == pytest.approx(area(FIRST), rel=1e-7)
    assert [row["code"] for row in before["permits"]] == ["XK-1"]
    assert before["permits"][0]["area_m2"] == pytest.approx(area(SITE), rel=1e-6)
    assert before["detections"] == before["cases"] == []
    # Published in February 2022; the case is of the day on which the ledger has it.
    published = register(county, query="?on=2022-03-01")
    assert (len(published["detections"]), len(published["cases"])) == (1, 0)
    assert register(county, query="?on=2019-12-31")["patches"] == []


def test_each_sees_its_own(county: Any) -> None:
    assert register(county, "prefecture")["patches"] == register(county)["patches"]
    for suffix in ("", ".gpkg", ".xlsx"):
        assert ask(county, "county2", "GET", f"redlines/register/{COUNTY}{suffix}").status_code == 404
        # A prefecture with counties answers for no ground of its own.
        assert ask(county, "inspector", "GET", f"redlines/register/220600{suffix}").status_code == 404


def test_the_geopackage(county: Any, tmp_path: Path) -> None:
    path = tmp_path / "register.gpkg"
    answer = ask(county, "county", "GET", f"redlines/register/{COUNTY}.gpkg?on=2023-06-01")
    assert answer.headers["content-type"] == "application/geopackage+sqlite3"
    path.write_bytes(answer.content)
    layers = {name: gpd.read_file(path, layer=name) for name in gpd.list_layers(path).name}
    assert sorted(layers) == ["cases", "detections", "patches", "patches_by_version", "permits"]
    assert {name: len(frame) for name, frame in layers.items()} == {
        "patches": 1, "patches_by_version": 2, "permits": 1, "detections": 1, "cases": 0,
    }  # fmt: skip
    assert all(frame.crs.to_epsg() == 4490 for frame in layers.values())
    patch = layers["patches"].iloc[0]
    assert isinstance(patch.geometry, MultiPolygon)
    assert patch.geometry.symmetric_difference(SECOND).area < 1e-12
    assert patch.main_function == "水源涵养"
    assert patch.area_m2 == pytest.approx(area(patch.geometry))
    assert list(layers["patches_by_version"].version_number) == [1, 2]


def test_the_spreadsheet(county: Any) -> None:
    answer = ask(county, "county", "GET", f"redlines/register/{COUNTY}.xlsx?on=2023-06-01")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == [
        "汇总", "版本", "红线图斑", "分版本图斑", "人类活动", "许可", "疑似问题图斑", "问题台账",
    ]  # fmt: skip
    for sheet in book:
        assert sheet.freeze_panes == "A2"
        assert not [cell.value for row in sheet.rows for cell in row if cell.data_type == "f"]
    patches = book["红线图斑"]
    row = {cell.value: patches.cell(2, cell.column) for cell in patches[1]}
    assert (row["红线名称"].value, row["红线名称"].data_type) == (FORMULA, "s")
    square_metres = area(SECOND)
    for unit, size in (("平方米", 1), ("公顷", 1e4), ("亩", 1e4 / 15)):
        assert row[f"县内面积（{unit}）"].value == pytest.approx(square_metres / size, rel=1e-7)
    assert row["生效日期"].value == datetime(2022, 1, 1)  # noqa: DTZ001  # as a spreadsheet has days
    assert patches.column_dimensions["B"].width > len(FORMULA)
    permit = [cell.value for cell in book["许可"][2]]
    assert permit[:4] == ["XK-1", "红线XK-1", "线性基础设施", "@交通局"]
    assert [cell.value for cell in book["疑似问题图斑"][2]][1:3] == ["采矿", "禁止"]
