"""After closure the satellite goes on looking: signals are raised once, and decided by the province alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from shapely import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.orm import Session

from app.casework import attaching, pickup, rebounds
from app.casework.ledger import append, verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent
from app.casework.opening import import_case
from app.casework.review_models import Review, ReviewEvent
from app.casework.supervision_models import ReboundSignal
from app.casework.vocabulary import SupervisionSource
from app.foundation.geometry import geodesic_area_m2, to_database
from app.foundation.time import utc_now
from app.foundation.timetable import run_due
from app.monitoring.models import (
    ChangeType,
    Confidence,
    Detection,
    DetectionChange,
    DetectionChangeKind,
    Run,
    RunStatus,
)
from app.tables import metadata
from app.worker import all_jobs
from tests.casework_steps import GROUND, Desk, add_detection, today
from tests.conftest import COUNTY, COUNTY2, World

Kind = DetectionChangeKind
CLOSED_ON = date(2024, 4, 1)
# A quarter of the case's ground; beside it; a strip of half a pixel along its border.
PART = box(127.301, 42.301, 127.302, 42.302)
BESIDE = box(127.302, 42.30, 127.304, 42.302)
BORDER = box(127.3019997, 42.30, 127.304, 42.302)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def add_case(world: World, *, state: CaseState = CaseState.closed, ground: BaseGeometry = GROUND) -> UUID:
    """A case from before the service, closed on `CLOSED_ON`."""
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province-other"), state=state, lead_unit=COUNTY, geometry=ground, activity="quarry",
            supervision_source=SupervisionSource.green_shield, occurred_on=CLOSED_ON, today=today(),
            due_on=CLOSED_ON,
        )  # fmt: skip
        return case.id


def publish(world: World, ground: BaseGeometry = PART, **fields: Any) -> UUID:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        detection.geom, detection.area_m2 = to_database(ground), geodesic_area_m2(ground)
        say(session, detection, Kind.new, ground)
        for name, value in fields.items():
            setattr(detection, name, value)
        return detection.id


def say(
    session: Session, detection: Detection, kind: Kind, ground: BaseGeometry, until: date = date(2024, 7, 1)
) -> None:
    run = Run(plan_id=detection.plan_id, status=RunStatus.succeeded, until=until)
    session.add(run)
    session.flush()
    session.add(
        DetectionChange(
            detection_id=detection.id, run_id=run.id, kind=kind, geom=to_database(ground),
            area_m2=geodesic_area_m2(ground), first_seen_on=detection.first_seen_on, recorded_at=utc_now(),
        )
    )  # fmt: skip
    session.flush()


def look(world: World, job: Callable[[Session], int] = rebounds.raise_signals) -> int:
    with world.database.transaction(see_all=True) as session:
        return job(session)


def signals(desk: Desk, username: str = "province", **params: Any) -> list[dict[str, Any]]:
    answer = desk.get(username, "/rebounds", **params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def kinds(desk: Desk, case_id: UUID) -> list[str]:
    return [event["kind"] for event in desk.get("province", f"/cases/{case_id}/events").json()["items"]]


def decide(desk: Desk, username: str, signal: dict[str, Any], what: str, **body: Any) -> Any:
    return desk.post(username, f"/rebounds/{signal['id']}/{what}", {"reason": "现场复核"} | body, signal["version"])


def test_new_change_on_a_closed_cases_ground_is_signalled_once_and_changes_no_state(world: World, desk: Desk) -> None:
    case_id, detection_id = add_case(world), publish(world)
    assert [look(world), look(world)] == [1, 0]
    (signal,) = signals(desk)
    assert (signal["state"], signal["case_id"], signal["detection_id"]) == ("raised", str(case_id), str(detection_id))
    assert signal["area_m2"] == pytest.approx(geodesic_area_m2(PART), rel=1e-6)
    assert (signal["first_seen_on"], signal["confidence"], signal["case_state"]) == ("2024-05-01", "high", "closed")
    assert kinds(desk, case_id) == ["imported", "rebound_raised"]
    events = desk.get("county", f"/cases/{case_id}/events").json()["items"]
    assert events[-1]["payload"]["signal_id"] == signal["id"]
    assert (events[-1]["state_before"], events[-1]["state_after"]) == ("closed", "closed")
    with world.database.transaction(see_all=True) as session:
        assert session.get_one(Case, case_id).state is CaseState.closed
        assert verify(session).intact
    # The desk sees at the detection what it is.
    mentioned = desk.get("county", f"/detections/{detection_id}").json()["rebounds"]
    assert mentioned == [{"id": signal["id"], "case_id": str(case_id), "state": "raised"}]
    assert signals(desk, "county2") == []
    assert desk.get("county2", f"/rebounds/{signal['id']}").status_code == 404
    assert decide(desk, "county2", signal, "reject").status_code == 404


@pytest.mark.parametrize(
    ("ground", "fields"),
    [
        (PART, {"first_seen_on": date(2024, 3, 31)}),
        (PART, {"withdrawn_at": utc_now()}),
        (PART, {"simulated": True}),
        (BESIDE, {}),
        (BORDER, {}),
    ],
    ids=["lay there before", "withdrawn", "simulated", "beside it", "noise of outlines"],
)
def test_what_is_no_new_change_on_its_ground_raises_nothing(
    world: World, desk: Desk, ground: BaseGeometry, fields: dict[str, Any]
) -> None:
    case_id = add_case(world)
    publish(world, ground, **fields)
    assert look(world) == 0
    assert kinds(desk, case_id) == ["imported"]


def test_a_detection_of_the_day_of_closing_is_news_only_if_published_after(world: World) -> None:
    early = publish(world, first_seen_on=CLOSED_ON)
    add_case(world)
    late = publish(world, first_seen_on=CLOSED_ON)
    assert look(world) == 1
    with world.database.transaction(see_all=True) as session:
        assert list(session.scalars(select(ReboundSignal.detection_id))) == [late] != [early]


def test_growth_of_a_closed_cases_own_detection_is_a_signal_beside_the_event(world: World, desk: Desk) -> None:
    case_id = add_case(world)
    ours = publish(world, GROUND, first_seen_on=date(2024, 3, 1))
    with world.database.transaction(see_all=True) as session:
        officer = world.caller("officer")
        session.add(Review(detection_id=ours, state="linked", case_id=case_id, decided_by=officer.account_id))
    assert look(world) == 0
    with world.database.transaction(see_all=True) as session:
        detection = session.get_one(Detection, ours)
        # Imagery that ended before the closure tells of nothing that came after.
        say(session, detection, Kind.grown, GROUND.union(box(127.302, 42.30, 127.3021, 42.302)), date(2024, 3, 20))
        say(session, detection, Kind.grown, GROUND.union(BESIDE), date(2024, 7, 1))
        say(session, detection, Kind.confirmed, GROUND.union(BESIDE), date(2024, 8, 1))
    assert look(world, pickup.pick_up) == 3
    assert [look(world), look(world)] == [1, 0]
    (signal,) = signals(desk)
    assert signal["first_seen_on"] == "2024-07-01"
    # What grew, not what was there: all of it lies beside the case's ground.
    assert signal["area_m2"] < geodesic_area_m2(BESIDE)
    assert kinds(desk, case_id)[-4:] == [
        "detection_grown", "detection_grown", "detection_confirmed", "rebound_raised",
    ]  # fmt: skip


def test_a_rejected_signal_keeps_its_reason_is_counted_and_growth_after_it_is_news_again(
    world: World, desk: Desk
) -> None:
    case_id, detection_id = add_case(world), publish(world, confidence=Confidence.low)
    look(world)
    with world.database.transaction(see_all=True) as session:
        # Known while the signal waits: no second one.
        say(
            session,
            session.get_one(Detection, detection_id),
            Kind.grown,
            PART.union(box(127.30, 42.301, 127.301, 42.302)),
        )
    assert look(world) == 0
    (signal,) = signals(desk)
    # Who imported the case as closed answers for its closure.
    for username in ("county", "prefecture", "officer", "inspector", "admin", "province-other"):
        assert decide(desk, username, signal, "reject").status_code == 403
    assert decide(desk, "province", signal, "reject", reason=" ").status_code == 422
    assert decide(desk, "province", signal | {"version": 7}, "reject").status_code == 412
    assert desk.post("province", f"/rebounds/{signal['id']}/reject", {"reason": "云影"}, None).status_code == 428
    answer = decide(desk, "province", signal, "reject", reason="云影误报")
    assert (answer.status_code, answer.json()["state"], answer.headers["ETag"]) == (200, "rejected", '"2"')
    assert decide(desk, "province", answer.json(), "affirm").status_code == 409
    assert kinds(desk, case_id) == ["imported", "rebound_raised", "rebound_rejected"]
    assert look(world) == 0
    assert signals(desk, state="rejected")[0]["reason"] == "云影误报"

    with world.database.transaction(see_all=True) as session:
        say(session, session.get_one(Detection, detection_id), Kind.confirmed, PART)
    assert look(world) == 1
    summary = desk.get("county", "/rebounds/summary").json()
    assert summary["total"] == {"raised": 1, "affirmed": 0, "rejected": 1, "total": 2}
    assert [row["unit"]["code"] for row in summary["units"]] == [COUNTY]
    assert desk.get("county2", "/rebounds/summary").json()["total"]["total"] == 0
    assert desk.get("province", "/rebounds/summary", unit=COUNTY2).json()["units"] == []
    assert desk.get("province", "/rebounds", unit="nowhere").status_code == 422


def test_affirming_reopens_the_case_and_leaves_no_signal_undecided(world: World, desk: Desk) -> None:
    case_id = add_case(world)
    publish(world)
    publish(world, box(127.30, 42.30, 127.301, 42.301))
    assert look(world) == 2
    first, second = signals(desk)
    assert decide(desk, "county", first, "affirm").status_code == 403
    answer = decide(desk, "province", first, "affirm", reason="复采")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["case_state"]) == ("affirmed", "reopened")
    assert [(s["state"], s["reason"], s["version"]) for s in signals(desk)] == [("affirmed", "复采", 2)] * 2
    assert decide(desk, "province", second, "reject").status_code == 412
    events = desk.get("province", f"/cases/{case_id}/events").json()["items"]
    assert events[-1]["kind"] == "reopen"
    assert events[-1]["payload"]["signal_id"] == first["id"]
    assert set(events[-1]["payload"]["signal_ids"]) == {first["id"], second["id"]}
    # An open case gets no signals: new change there is attached.
    publish(world, published_at=utc_now())
    assert look(world) == 0
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_reopening_by_a_signal_names_one_of_the_case_that_is_still_to_be_decided(world: World, desk: Desk) -> None:
    case_id = add_case(world)
    other_id = add_case(world, ground=BESIDE)
    publish(world, box(127.303, 42.30, 127.304, 42.302))
    look(world)
    (signal,) = signals(desk)
    assert signal["case_id"] == str(other_id)
    case = desk.get("province", f"/cases/{case_id}").json()
    for fields in (
        {"basis": "rebound_signal"},
        {"basis": "look_back", "signal_id": signal["id"]},
        {"basis": "rebound_signal", "signal_id": signal["id"]},
    ):
        body = {"command": "reopen", "fields": {"reason": "复采", **fields}}
        answer = desk.post("province", f"/cases/{case_id}/transitions", body, case["version"])
        assert answer.status_code == 422, answer.text
    other = desk.get("province", f"/cases/{other_id}").json()
    reopened = desk.done("province", other, "reopen", basis="rebound_signal", signal_id=signal["id"])
    assert reopened["state"] == "reopened"
    assert signals(desk)[0]["state"] == "affirmed"


def test_a_look_takes_a_few_and_two_at_once_raise_nothing_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_case(world)
    for _ in range(3):
        publish(world)
    monkeypatch.setattr(rebounds, "MOST", 2)
    with world.database.transaction(see_all=True) as session:
        assert rebounds.raise_signals(session) == 2
        session.rollback()  # as a worker that is killed
    assert [look(world) for _ in range(3)] == [2, 1, 0]
    with world.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(ReboundSignal)) == 3


def test_the_question_goes_to_the_spatial_index(world: World) -> None:
    add_case(world)
    publish(world)
    with world.database.transaction(see_all=True) as session:
        for table, key in (("cases", "number"), ("detections", "detector")):
            names = [
                f'"{column.key}"' for column in metadata.tables[table].columns if column.key not in ("id", key, "geom")
            ]
            session.execute(
                text(
                    f"insert into {table} (id, {key}, geom, {', '.join(names)}) "
                    f"select gen_random_uuid(), 'x' || i, ST_Translate(geom, i * 0.01, 0), {', '.join(names)} "
                    f"from {table}, generate_series(1, 2000) i"
                )
            )
    engine = create_engine(world.urls.owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("analyze cases, detections"))
    engine.dispose()
    with world.database.transaction(see_all=True) as session:
        for statement in (rebounds._new_detections(None), attaching._clear()):
            asked = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = session.connection().exec_driver_sql(f"explain {asked}".replace("%", "%%"))
            assert re.search("Index Scan using ix_(detections|cases)_geom", "\n".join(row[0] for row in plan))


def test_new_change_on_an_open_cases_ground_is_attached_where_it_is_clear(world: World, desk: Desk) -> None:
    before = publish(world)
    case_id = add_case(world, state=CaseState.verifying)
    clear = publish(world, published_at=utc_now())
    suspicion = publish(world, published_at=utc_now(), confidence=Confidence.low)
    aside = publish(world, box(127.3015, 42.30, 127.304, 42.302), published_at=utc_now())
    mine = publish(world, published_at=utc_now())
    desk.post("officer", f"/detections/{mine}/start-review", {}, 0)
    assert [look(world, attaching.attach), look(world, attaching.attach)] == [1, 0]
    shown = desk.get("county", f"/detections/{clear}").json()
    assert (shown["review"]["state"], shown["review"]["case_id"]) == ("linked", str(case_id))
    assert shown["change_type"] == ChangeType.expanded
    for other in (before, suspicion, aside, mine):
        assert desk.get("county", f"/detections/{other}").json()["review"]["state"] in ("new", "reviewing")
    assert kinds(desk, case_id) == ["imported", "detection_attached"]
    with world.database.transaction(see_all=True) as session:
        event = session.scalars(select(ReviewEvent).where(ReviewEvent.detection_id == clear)).one()
        assert (event.kind, event.state_after) == ("attach", "linked")
        assert session.get_one(Case, case_id).state is CaseState.verifying
        assert verify(session).intact
        # From now on its growth is the case's news.
        say(session, session.get_one(Detection, clear), Kind.grown, PART)
    assert look(world, pickup.pick_up) == 1


def test_a_signal_of_another_activity_leaves_the_case_counted_under_its_own(world: World, desk: Desk) -> None:
    add_case(world)
    publish(world, activity="road")
    assert look(world) == 1
    groups = desk.get("province", "/statistics/closure", group_by="activity").json()["groups"]
    assert [(group["key"], group["closed"]) for group in groups] == [("quarry", 1)]


def test_growth_of_a_merged_cases_detection_is_news_to_the_case_that_goes_on(world: World, desk: Desk) -> None:
    ours = publish(world)
    case = desk.dispatch(ours)
    goes_on = add_case(world, state=CaseState.verifying, ground=box(127.31, 42.30, 127.312, 42.302))
    with world.database.transaction(see_all=True) as session:
        say(session, session.get_one(Detection, ours), Kind.grown, PART.union(BESIDE))
    assert look(world, pickup.pick_up) == 1
    desk.done("province", case, "merge", into_case_id=str(goes_on))
    assert look(world, pickup.pick_up) == 0
    with world.database.transaction(see_all=True) as session:
        say(session, session.get_one(Detection, ours), Kind.grown, GROUND.union(BESIDE))
    assert [look(world, pickup.pick_up) for _ in range(2)] == [2, 0]
    assert kinds(desk, goes_on) == ["imported", "case_merged_in", "detection_grown"]
    with world.database.transaction(see_all=True) as session:
        survivor = session.get_one(Case, goes_on)
        survivor.state = CaseState.closed
        append(
            session, world.caller("province"), survivor, "close", state_before=CaseState.publicised,
            occurred_on=CLOSED_ON,
        )  # fmt: skip
    assert look(world) == 0
    with world.database.transaction(see_all=True) as session:
        say(session, session.get_one(Detection, ours), Kind.grown, GROUND.union(BESIDE).union(BORDER.buffer(0.001)))
    assert [look(world), look(world)] == [1, 0]
    assert signals(desk)[0]["case_id"] == str(goes_on)


def test_growth_that_the_shown_shapes_do_not_show_stops_no_signal(world: World, desk: Desk) -> None:
    """A pixel more, and the simpler shape of both outlines the same."""
    case_id = add_case(world)
    ours = publish(world, GROUND, first_seen_on=date(2024, 3, 1))
    with world.database.transaction(see_all=True) as session:
        officer = world.caller("officer")
        session.add(Review(detection_id=ours, state="linked", case_id=case_id, decided_by=officer.account_id))
        say(session, session.get_one(Detection, ours), Kind.grown, GROUND)
    assert look(world) == 1
    assert signals(desk)[0]["area_m2"] == pytest.approx(geodesic_area_m2(GROUND), rel=1e-6)


def test_the_worker_has_both_jobs(world: World) -> None:
    add_case(world)
    publish(world)
    done = run_due(world.database, all_jobs(world.database, world.settings), utc_now() + timedelta(minutes=5), "test")
    assert {"rebound signals of closed cases", "new change on the ground of open cases"} <= set(done)
    with world.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(ReboundSignal)) == 1
        assert session.scalar(select(func.count()).where(CaseEvent.kind == "rebound_raised")) == 1
