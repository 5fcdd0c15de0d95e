"""Cases that no satellite found: reports, patrols, media and items of lists, entered by hand."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from pyproj import Geod
from sqlalchemy import select

from app.casework.ground import circle
from app.casework.lifecycle import CaseState
from app.casework.models import CaseEvent, CaseSource
from app.casework.opening import SourceEntry, import_case, open_reported
from app.casework.vocabulary import CaseOrigin, Outline, Priority, SupervisionSource
from app.foundation.geometry import geodesic_area_m2
from tests.casework_steps import GROUND, Desk, today
from tests.conftest import COUNTY, PREFECTURE, World


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def test_an_item_of_a_list_becomes_a_case(world: World) -> None:
    entry = SourceEntry(SupervisionSource.green_shield, "2023", "A-017", date(2030, 1, 1))
    with world.database.transaction(see_all=True) as session:
        case = open_reported(
            session,
            world.caller("officer"),
            origin=CaseOrigin.clue_list,
            geometry=GROUND,
            outline=Outline.drawn,
            area_m2=None,
            activity="quarry",
            lead=None,
            co_responsible=[],
            priority=Priority.high,
            source=entry,
            description="疑似采石",
            reported_on=date(2024, 5, 1),
            note=None,
            today=today(),
        )
        assert case.number.startswith(f"RL-{COUNTY}-")
        assert case.area_m2 == pytest.approx(geodesic_area_m2(GROUND), rel=1e-6)
        row = session.scalars(select(CaseSource).where(CaseSource.case_id == case.id)).one()
        assert (row.source, row.item_number, row.is_primary) == (entry.source, "A-017", True)
        event = session.scalars(select(CaseEvent).where(CaseEvent.case_id == case.id)).one()
        assert event.kind == "dispatch"
        assert event.payload["supervision_source"] == "green_shield"
        assert event.payload["judged"]["verdict"]


@pytest.mark.parametrize("area_m2", [1.0, 667.0, 5e6])
def test_a_circle_has_the_area_that_was_named(area_m2: float) -> None:
    ground = circle(127.301, 42.301, area_m2)
    assert geodesic_area_m2(ground) == pytest.approx(area_m2, rel=1e-4)
    assert ground.is_valid
    _, _, away = Geod(ellps="GRS80").inv(127.301, 42.301, ground.centroid.x, ground.centroid.y)
    assert away < 1


REPORT = {
    "source": "public_report",
    "point": [127.301, 42.301],
    "area_m2": 2000,
    "description": "群众反映有人夜间采石",
    "reported_on": "2024-06-18",
    "activity": "quarry",
}


def test_a_report_becomes_a_case_unless_it_is_known(desk: Desk) -> None:
    for username in ("county", "prefecture", "inspector", "admin"):
        assert desk.post(username, "/cases", REPORT, None).status_code == 403
    made = desk.post("officer-prefecture", "/cases", REPORT, None)
    assert made.status_code == 201, made.text
    case = made.json()
    assert (case["origin"], case["outline"], case["lead_unit"]["code"]) == ("report", "circle", COUNTY)
    assert (case["area_m2"], case["supervision_source"]) == (2000, "public_report")
    assert case["dispatching_unit"]["code"] == PREFECTURE
    assert made.headers["ETag"] == '"1"'
    assert desk.get("county", "/cases", origin="report", source="public_report").json()["items"]

    again = desk.post("province", "/cases", REPORT, None)
    assert again.status_code == 409
    (candidate,) = again.json()["candidates"]
    assert (candidate["number"], candidate["overlap_m2"]) == (case["number"], pytest.approx(2000, rel=0.01))
    told = REPORT | {"not_duplicate_of": [case["id"]]}
    assert desk.post("province", "/cases", told, None).status_code == 422
    other = desk.post("province", "/cases", told | {"not_duplicate_reason": "另一处作业面"}, None)
    assert other.status_code == 201, other.text
    event = desk.get("county", f"/cases/{other.json()['id']}/events").json()["items"][0]
    assert event["payload"]["not_duplicate_of"] == [case["id"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"point": None},
        {"area_m2": None},
        {"area_m2": 1e9},
        {"geometry": {"type": "Point", "coordinates": [127, 42]}},
        {"point": None, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
        {"point": None, "geometry": {"type": "Polygon", "coordinates": [[[500, 0], [501, 1], [501, 0], [500, 0]]]}},
        {"point": [2.0, 48.0]},
        {"source": "satellite_monitoring"},
        {"reported_on": "2999-01-01"},
        {"activity": "fire"},
        {"lead_unit": "222401"},
        {"new_offender_of": str(uuid4())},
    ],
)
def test_a_report_that_is_not_whole_says_what_to_mend(desk: Desk, wrong: dict[str, Any]) -> None:
    body = {name: value for name, value in (REPORT | wrong).items() if value is not None}
    answer = desk.post("officer-prefecture", "/cases", body, None)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"]
    assert desk.get("officer", "/cases").json() == {"items": []}


def test_a_new_offender_is_a_new_case(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        old = import_case(
            session,
            world.caller("province"),
            state=CaseState.closed,
            lead_unit=COUNTY,
            geometry=GROUND,
            activity="quarry",
            supervision_source=SupervisionSource.green_shield,
            occurred_on=today(),
            today=today(),
        ).id
    body = {name: value for name, value in REPORT.items() if name not in ("point", "area_m2")}
    assert "geometry" in desk.post("officer", "/cases", body, None).json()["errors"][0]["detail"]
    made = desk.post("officer", "/cases", body | {"new_offender_of": str(old)}, None)
    assert made.status_code == 201, made.text
    case = made.json()
    assert case["origin"] == "new_offender"
    assert case["area_m2"] == pytest.approx(geodesic_area_m2(GROUND), rel=1e-6)
    (link,) = desk.get("county", f"/cases/{old}/links").json()["items"]
    assert (link["kind"], link["is_younger"], link["number"]) == ("new_offender", False, case["number"])
    events = desk.get("county", f"/cases/{old}/events").json()["items"]
    assert [event["kind"] for event in events] == ["imported", "new_offender"]
    living = desk.post("officer", "/cases", body | {"new_offender_of": case["id"]}, None)
    assert living.status_code == 409
