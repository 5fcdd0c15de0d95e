"""What the imagery says later of a case's ground stands in the case's ledger, once, and changes nothing else."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.service import SYSTEM, has_real_accounts
from app.casework import pickup
from app.casework.ledger import verify
from app.casework.models import Case
from app.foundation.time import utc_now
from app.monitoring.models import Detection, DetectionChange, DetectionChangeKind, Run, RunStatus
from tests.casework_steps import Desk, add_detection
from tests.conftest import PASSWORD, World

Kind = DetectionChangeKind


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def say(session: Session, detection_id: UUID, kind: DetectionChangeKind) -> None:
    detection = session.get_one(Detection, detection_id)
    run = Run(plan_id=detection.plan_id, status=RunStatus.succeeded, until=date(2024, 7, 1))
    session.add(run)
    session.flush()
    change = DetectionChange(
        detection_id=detection_id, run_id=run.id, kind=kind, geom=detection.geom, area_m2=1234.5,
        first_seen_on=date(2024, 5, 1), recorded_at=utc_now(),
    )  # fmt: skip
    session.add(change)


def test_news_of_a_dispatched_detection_is_told_to_its_case_once(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        ours, other = add_detection(session).id, add_detection(session).id
        say(session, ours, Kind.grown)  # known when the officer decided
    case = desk.dispatch(ours)
    with world.database.transaction(see_all=True) as session:
        assert session.get_one(Detection, ours).held_at is not None
        assert session.get_one(Detection, other).held_at is None
        before = session.get_one(Case, UUID(case["id"]))
        kept = (before.state, before.version, before.area_m2, str(before.geom))
        for kind in (Kind.replayed, Kind.redrawn, Kind.vanished):
            say(session, ours, kind)
        say(session, other, Kind.grown)
    job, _ = pickup.timetable()
    for _ in range(2):
        with world.database.transaction(see_all=True) as session:
            job.work(session, utc_now())
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    assert [event["kind"] for event in events] == ["dispatch", "detection_replayed", "detection_vanished"]
    assert events[1]["payload"]["area_m2"] == 1234.5
    assert events[1]["payload"]["detection_id"] == str(ours)
    with world.database.transaction(see_all=True) as session:
        after = session.get_one(Case, UUID(case["id"]))
        assert (after.state, after.version, after.area_m2, str(after.geom)) == kept
        assert verify(session).intact
    # The county reads on the detection itself what each run said.
    changes = desk.get("county", f"/detections/{ours}/changes").json()["items"]
    assert [change["kind"] for change in changes] == ["vanished", "redrawn", "replayed", "grown"]
    assert desk.get("county2", f"/detections/{ours}/changes").status_code == 404


def test_nobody_signs_in_as_the_service_itself(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        ours = add_detection(session).id
    desk.dispatch(ours)
    with world.database.transaction(see_all=True) as session:
        say(session, ours, Kind.grown)
    with world.database.transaction(see_all=True) as session:
        assert pickup.pick_up(session) == 1
        account = session.scalars(select(Account).where(Account.username == SYSTEM)).one()
        assert not account.is_active
        for row in session.scalars(select(Account).where(Account.username != SYSTEM)):
            row.is_demo = True
        session.flush()
        assert not has_real_accounts(session)
        session.rollback()
    for password in ("", PASSWORD):
        form = {"username": SYSTEM, "password": password}
        assert world.client.post("/api/v1/auth/token", data=form).status_code in (401, 422)


def test_what_is_published_while_a_decision_waits_is_told_to_the_case(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        ours = add_detection(session).id
    with ThreadPoolExecutor(1) as officer:
        with world.database.transaction(see_all=True) as session:
            session.scalars(select(Detection).where(Detection.id == ours).with_for_update()).one()
            dispatched = officer.submit(desk.dispatch, ours)
            _wait_for_a_lock(world)
            say(session, ours, Kind.grown)
        case = dispatched.result(timeout=30)
    with world.database.transaction(see_all=True) as session:
        assert pickup.pick_up(session) == 1
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    assert [event["kind"] for event in events] == ["dispatch", "detection_grown"]


def _wait_for_a_lock(world: World) -> None:
    waits = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    with world.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        until = time.monotonic() + 4
        while not connection.scalar(waits):
            assert time.monotonic() < until, "the decision did not wait"
            time.sleep(0.02)


def test_news_is_told_a_few_events_at_a_time(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.database.transaction(see_all=True) as session:
        ours = add_detection(session).id
    desk.dispatch(ours)
    with world.database.transaction(see_all=True) as session:
        for _ in range(3):
            say(session, ours, Kind.grown)
    monkeypatch.setattr(pickup, "MOST", 2)
    told = []
    for _ in range(3):
        with world.database.transaction(see_all=True) as session:
            told.append(pickup.pick_up(session))
    assert told == [2, 1, 0]
