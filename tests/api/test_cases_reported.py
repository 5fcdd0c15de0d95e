"""Cases that no satellite found: reports, patrols, media and items of lists, entered by hand."""

from __future__ import annotations

from datetime import date

import pytest
from pyproj import Geod
from sqlalchemy import select

from app.casework.ground import circle
from app.casework.models import CaseEvent, CaseSource
from app.casework.opening import SourceEntry, open_reported
from app.casework.vocabulary import CaseOrigin, Outline, Priority, SupervisionSource
from app.foundation.geometry import geodesic_area_m2
from tests.casework_steps import GROUND, Desk, today
from tests.conftest import COUNTY, World


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
