"""Closure statistics over HTTP: what as_of means, who is answered what."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.access.models import Account, Unit
from app.casework.interval_checks import rebuild
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.foundation.errors import Invalid
from app.foundation.geometry import to_database
from app.statistics.asking import parse_as_of
from tests.conftest import World

URL = "/api/v1/statistics/closure"
FUSONG, LINJIANG, YANJI = "220621", "220681", "222401"


def open_case(world: World, lead: str, activity: str = "road") -> Case:
    """A case without events, led by a county and seen by it."""
    with world.database.transaction(see_all=True) as session:
        unit = session.scalars(select(Unit).where(Unit.code == lead)).one()
        case = Case(
            unit_ids=[unit.id],
            number=f"RL-{lead}-2024-{session.scalar(select(func.count()).select_from(Case))}",
            state=CaseState.dispatched,
            activity=activity,
            priority="ordinary",
            supervision_source="satellite_monitoring",
            lead_unit_id=unit.id,
            accepting_unit_id=unit.parent_id,
            dispatching_unit_id=unit.parent_id,
            geom=to_database(box(127, 42, 127.01, 42.01)),
            area_m2=1.0,
        )
        session.add(case)
        return case


def record(world: World, case: Case, state: str, day: str, **payload: Any) -> None:
    """An event of a case at 10:00 UTC of a day, written as the application role."""
    instant = datetime.fromisoformat(f"{day}T10:00:00+00:00")
    with world.database.transaction(see_all=True) as session:
        actor = session.scalars(select(Account).limit(1)).one()
        sequence = 1 + (session.scalar(select(func.max(CaseEvent.sequence))) or 0)
        first = case_events(session, case) == 0
        opening = {
            "lead_unit_id": str(case.lead_unit_id),
            "activity": case.activity,
            "supervision_source": case.supervision_source,
        }
        session.add(
            CaseEvent(
                sequence=sequence,
                case_id=case.id,
                case_sequence=case_events(session, case) + 1,
                kind="test",
                actor_id=actor.id,
                actor_role=actor.role.value,
                actor_unit_id=actor.unit_id,
                recorded_at=instant,
                occurred_on=instant.date(),
                state_after=CaseState(state),
                payload=(opening if first else {}) | payload,
                previous_hash=bytes(32),
                hash=bytes(32),
            )
        )
        session.execute(update(LedgerHead).values(sequence=sequence, recorded_at=instant))
        rebuild(session)


def case_events(session: Session, case: Case) -> int:
    return session.scalar(select(func.count()).where(CaseEvent.case_id == case.id)) or 0


def ask(world: World, username: str = "inspector", **params: str) -> dict[str, Any]:
    answer = world.client.get(URL, headers=world.headers(username), params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
def recorded(world: World) -> World:
    """Three cases: one closed and reopened in Fusong, one confirmed in Linjiang, one unfounded in Yanji."""
    first, second, third = (open_case(world, lead) for lead in (FUSONG, LINJIANG, YANJI))
    record(world, first, "dispatched", "2024-03-01")
    record(world, second, "dispatched", "2024-03-02")
    record(world, third, "dispatched", "2024-03-03")
    record(world, first, "confirmed", "2024-03-04")
    record(world, second, "confirmed", "2024-03-05", activity="mining")
    record(world, third, "unfounded", "2024-03-06")
    record(world, first, "closed", "2024-06-30")
    record(world, first, "reopened", "2024-09-01")
    return world


def test_rate_as_of_any_day(recorded: World) -> None:
    def figures(day: str) -> tuple[int, int, float | None]:
        total = ask(recorded, as_of=day)["total"]
        return total["ever_confirmed"], total["closed"], total["closure_rate"]

    assert figures("2024-02-29") == (0, 0, None)
    assert figures("2024-03-04") == (1, 0, 0.0)
    assert figures("2024-06-29") == (2, 0, 0.0)
    assert figures("2024-06-30") == (2, 1, 0.5)
    assert figures("2024-06-30T17:59:59+08:00") == (2, 0, 0.0)
    assert figures("2024-06-30T18:00:00+08:00") == (2, 1, 0.5)
    assert figures("2030-01-01") == (2, 0, 0.0), "a reopened case is open"
    now = ask(recorded)
    assert now["total"]["reopened"] == 1
    assert now["total"]["unfounded"] == 1
    assert now["effective_as_of"] == "2024-09-01T10:00:00Z"
    assert now["groups"] == []
    assert "denominator" in now["definitions"]


def test_groups_carry_names_and_add_up(recorded: World) -> None:
    def groups(group_by: str) -> dict[str, tuple[str | None, int]]:
        body = ask(recorded, group_by=group_by)
        for name in ("total", "ever_confirmed", "closed", "unfounded"):
            assert sum(group[name] for group in body["groups"]) == body["total"][name]
        return {group["key"]: (group["name"], group["total"]) for group in body["groups"]}

    assert groups("unit") == {FUSONG: ("抚松县", 1), LINJIANG: ("临江市", 1), YANJI: ("延吉市", 1)}
    assert groups("prefecture") == {"220600": ("白山市", 2), "222400": ("延边朝鲜族自治州", 1)}
    assert groups("activity") == {"mining": (None, 1), "road": (None, 2)}
    assert groups("supervision_source") == {"satellite_monitoring": (None, 3)}


def test_case_counts_where_it_was_led_then(recorded: World) -> None:
    with recorded.database.transaction(see_all=True) as session:
        case = session.scalars(select(Case).where(Case.number == "RL-220621-2024-0")).one()
        linjiang = session.scalars(select(Unit.id).where(Unit.code == LINJIANG)).one()
    record(recorded, case, "dispatched", "2024-10-01", lead_unit_id=str(linjiang))

    def leads(day: str) -> set[str]:
        return {group["key"] for group in ask(recorded, as_of=day, group_by="unit")["groups"]}

    assert leads("2024-09-30") == {FUSONG, LINJIANG, YANJI}
    assert leads("2024-10-01") == {LINJIANG, YANJI}


def test_each_account_is_answered_its_own(recorded: World) -> None:
    totals = {
        name: ask(recorded, name)["total"]["total"]
        for name in ("county", "county2", "prefecture", "prefecture-other", "admin", "province")
    }
    assert totals == {"county": 1, "county2": 1, "prefecture": 2, "prefecture-other": 1, "admin": 3, "province": 3}
    assert recorded.client.get(URL).status_code == 401


def test_empty_ledger_has_no_rate(world: World) -> None:
    total = ask(world, as_of="2024-01-01")["total"]
    assert (total["total"], total["closure_rate"]) == (0, None)


@pytest.mark.parametrize(
    "as_of", ["yesterday", "2024-02-30", "2024-01-01T00:00:00", "2024-01-01T00:00:00 08:00", "9999-12-31", "1700000000"]
)
def test_unclear_as_of_is_refused(world: World, as_of: str) -> None:
    answer = world.client.get(URL, headers=world.headers("inspector"), params={"as_of": as_of})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query/as_of"


def test_date_means_the_end_of_the_day_in_shanghai() -> None:
    assert parse_as_of("2024-06-30") == datetime(2024, 6, 30, 15, 59, 59, 999999, tzinfo=UTC)
    assert parse_as_of("2024-06-30T00:00:00Z") == datetime(2024, 6, 30, tzinfo=UTC)
    with pytest.raises(Invalid):
        parse_as_of(date(2024, 6, 30).strftime("%d.%m.%Y"))
