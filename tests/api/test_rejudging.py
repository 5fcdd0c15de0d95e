"""Time travel and judging again: two verdicts each right, an event and no change of state, nothing twice or lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.boundaries.importing import import_layer
from app.boundaries.models import Layer, LayerVersion, Verdict
from app.boundaries.rule_sets import active
from app.casework import pickup
from app.casework.ledger import verify
from app.casework.models import Case, CaseEvent
from app.foundation.time import utc_now
from app.monitoring import rejudging
from app.monitoring.causes import Cause, note_causes
from app.monitoring.models import Detection, Judgement, JudgementBasis, Rejudgement, Run
from app.monitoring.rejudging import rejudge
from tests.api.test_publish import GRID, Box, Publish, make_publish
from tests.casework_steps import Desk, today
from tests.conftest import World
from tests.layer_files import frame, write_geojson
from tests.series import CRS, ORIGIN, geographic

THEN, REDRAWN, LATER = date(2024, 6, 1), date(2024, 10, 1), date(2024, 11, 15)
NOW = JudgementBasis.now


def pixels_box(box: Box) -> shapely.Polygon:
    """The ground of pixels (row, col, rows, cols) in longitude and latitude."""
    row, col, rows, cols = box
    west, north = ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row
    return geographic(shapely.box(west, north - 10 * rows, west + 10 * cols, north))


# Two sites of 3,000 m² on red line ground, and ground beside it.
FIRST, SECOND = (10, 10, 5, 6), (60, 60, 5, 6)
INSIDE = geographic(shapely.box(ORIGIN[0], ORIGIN[1] - 1000, ORIGIN[0] + 1000, ORIGIN[1])).buffer(0.002)
ELSEWHERE = shapely.box(127.6, 42.4, 127.7, 42.5)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LayerVersion]:
    def load(session: Session, valid_from: date, *grounds: BaseGeometry, **columns: Any) -> LayerVersion:
        # What is protected was so long before each version, so that no change is from before that.
        told = {"established_on": ["2018-11-01"] * len(grounds)} | columns
        path = write_geojson(frame(*grounds, **told), tmp_path)
        report = import_layer(
            session, layer=Layer.redlines, path=path, valid_from=valid_from, source_document="test", imported_by=None
        )
        return session.get_one(LayerVersion, report.version_id)

    return load


def a_plan(session: Session) -> Publish:
    run = make_publish(session)
    run.plan.grid = {"crs": CRS, "transform": list(GRID.transform), "shape": list(GRID.shape)}
    return run


def site(box: Box, day: date) -> tuple[Box, date, date]:
    return box, day, day + timedelta(days=20)


def work_off(session: Session, on: date | None = None) -> int:
    """Note causes and judge until nothing waits; how many came out otherwise."""
    day = on or today()
    before = session.scalar(select(func.coalesce(func.sum(Rejudgement.changed), 0)))
    note_causes(session, day)
    while rejudge(session, day):
        pass
    after = session.scalar(select(func.coalesce(func.sum(Rejudgement.changed), 0)))
    return int((after or 0) - (before or 0))


def judgements(session: Session, detection: Detection) -> list[tuple[str, str, str | None, str]]:
    rows = session.scalars(
        select(Judgement).where(Judgement.detection_id == detection.id).order_by(Judgement.recorded_at, Judgement.id)
    )
    return [(row.basis.value, row.cause.value, row.because_of, row.verdict.value) for row in rows]


def test_two_versions_two_verdicts_and_neither_changes(world: World, desk: Desk, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        run = a_plan(session)
        (first,) = run(site(FIRST, THEN))
        assert first.verdict is Verdict.needs_recognition
        run.plan.unit_ids = first.unit_ids
        assert work_off(session) == 0
    case = desk.get("county", f"/cases/{desk.dispatch(first.id)['id']}").json()
    with world.database.transaction(see_all=True) as session:
        figures = desk.get("province", "/statistics/closure").json()["total"]
        load(session, REDRAWN, ELSEWHERE)
        run = Publish(session, session.merge(run.plan), session.merge(run.state))
        found = run(site(FIRST, THEN), site(SECOND, LATER), until=date(2025, 6, 1))
        first, second = found
        # Each by what was in force on its day, and each says so.
        assert (first.verdict, second.verdict) == (Verdict.needs_recognition, Verdict.undetermined)
        assert [d.judged_by["versions"]["redlines"]["number"] for d in found] == [1, 2]
        assert "HX-1" in {overlap["code"] for overlap in first.overlaps} and second.overlaps == []
        assert first.verdict_ground != second.verdict_ground and first.verdict_ground_zh and second.verdict_ground_zh
        # What the second is now, it was then; the first is something else today.
        assert work_off(session) == 1
        assert (first.verdict, first.verdict_now) == (Verdict.needs_recognition, Verdict.undetermined)
        assert (second.verdict, second.verdict_now) == (Verdict.undetermined, None)
        assert judgements(session, first) == [
            ("then", "published", None, "needs_recognition"),
            ("now", "boundary_changed", "redlines version 2", "undetermined"),
        ]
        assert judgements(session, second) == [("then", "published", None, "undetermined")]
        assert work_off(session) == 0
    for told in (1, 0):
        with world.database.transaction(see_all=True) as session:
            assert pickup.pick_up_judgements(session) == told
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    assert [event["kind"] for event in events] == ["dispatch", "rejudged"]
    assert (events[1]["state_before"], events[1]["state_after"]) == ("dispatched", "dispatched")
    assert (
        events[1]["payload"]
        | {
            "cause": "boundary_changed",
            "because_of": "redlines version 2",
            "verdict_before": "needs_recognition",
            "verdict_after": "undetermined",
            "severity_after": "none",
        }
        == events[1]["payload"]
    )
    after = desk.get("county", f"/cases/{case['id']}").json()
    assert {key: after[key] for key in case} == case
    assert desk.get("province", "/statistics/closure").json()["total"] == figures
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact
    _the_api_tells(desk, first.id, second.id)


def _the_api_tells(desk: Desk, first: UUID, second: UUID) -> None:
    told = desk.get("county", f"/detections/{first}").json()
    assert (told["verdict"], told["verdict_now"]) == ("needs_recognition", "undetermined")
    listed = desk.get("county", f"/detections/{first}/judgements").json()["items"]
    assert [item["basis"] for item in listed] == ["now", "then"]
    assert listed[1]["overlay"]["overlaps"] and not listed[0]["overlay"]["overlaps"]
    assert desk.get("county2", f"/detections/{first}/judgements").status_code == 404

    def ids(**params: Any) -> set[str]:
        return {item["id"] for item in desk.get("officer", "/detections", **params).json()["items"]}

    assert ids(rejudged=True) == {str(first)} and ids(rejudged=False) == {str(second)}
    assert ids(verdict_now="undetermined") == {str(first), str(second)}
    assert ids(verdict_now="needs_recognition") == set()


def test_a_correction_of_the_past_is_shown_beside_the_verdict(world: World, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        run = a_plan(session)
        (first,) = run(site(FIRST, THEN))
        # Imported later, in force before the change: the ground had been taken out.
        load(session, date(2024, 1, 1), ELSEWHERE)
        assert work_off(session) == 1
        assert judgements(session, first)[1:] == [
            ("then", "boundary_changed", "redlines version 2", "undetermined"),
        ]
        assert (first.verdict, first.verdict_now) == (Verdict.needs_recognition, Verdict.undetermined)
        assert work_off(session) == 0


def test_what_makes_no_difference_leaves_no_judgement(world: World, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        run = a_plan(session)
        (first,) = run(site(FIRST, THEN))
        load(session, date(2024, 7, 1), INSIDE, ELSEWHERE)
        load(session, date(2024, 8, 1), INSIDE, ELSEWHERE, name=["新名", "长白山水源涵养红线"])
        assert work_off(session) == 0
        assert (len(judgements(session, first)), first.verdict_now) == (1, None)
        by_cause = dict(session.execute(select(Rejudgement.because_of, Rejudgement.judged)).all())
        # Judged only where something differs: version 2 added ground elsewhere, 3 named this otherwise.
        assert [by_cause[f"redlines version {number}"] for number in (2, 3)] == [0, 1]


def permit(**changed: Any) -> dict[str, Any]:
    return {
        "code": "XK-1",
        "name": "采石场",
        "kind": "other_allowed",
        "holder": "某石料公司",
        "document": "1号",
        "valid_from": "2024-08-01",
        "valid_to": "2099-12-31",
        "geometry": mapping(pixels_box(FIRST).buffer(0.0005)),
    } | changed


def test_a_permit_that_comes_later_and_goes_again_ends_no_case(world: World, desk: Desk, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        run = a_plan(session)
        first, second = run(site(FIRST, THEN), site(SECOND, THEN))
        work_off(session)
    case = desk.dispatch(first.id)
    desk.upload("county", case["id"], kind="field_record")
    desk.done("county", desk.done("county", case, "start_verification"), "confirm")
    case = desk.get("county", f"/cases/{case['id']}").json()

    def settle(on: date | None = None) -> Detection:
        with world.database.transaction(see_all=True) as session:
            work_off(session, on)
        with world.database.transaction(see_all=True) as session:
            pickup.pick_up_judgements(session)
        with world.database.transaction(see_all=True) as session:
            assert session.get_one(Detection, second.id).verdict_now is None
            return session.get_one(Detection, first.id)

    assert desk.post("admin", "/permits", permit(), None).status_code == 201
    assert settle().verdict_now is Verdict.allowed
    # Expired on the day after its last, revoked on the day that the decision names.
    revoked_on = (today() - timedelta(days=1)).isoformat()
    answer = desk.post(
        "admin", "/permits/XK-1/revocations", {"revoked_on": revoked_on, "reason": "撤销", "document": "2号"}, None
    )
    assert answer.status_code == 201
    assert settle().verdict_now is Verdict.needs_recognition
    short = permit(code="XK-2", valid_from=today().isoformat(), valid_to=(today() + timedelta(days=9)).isoformat())
    assert desk.post("admin", "/permits", short, None).status_code == 201
    assert settle().verdict_now is Verdict.allowed
    assert settle(today() + timedelta(days=9)).verdict_now is Verdict.allowed
    after = settle(today() + timedelta(days=10))
    assert after.verdict_now is Verdict.needs_recognition and after.verdict is Verdict.needs_recognition
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    told = [event["payload"] for event in events if event["kind"] == "rejudged"]
    assert [(payload["cause"], payload["because_of"], payload["verdict_after"]) for payload in told] == [
        ("permit_added", "XK-1", "allowed"),
        ("permit_revoked", "XK-1", "needs_recognition"),
        ("permit_added", "XK-2", "allowed"),
        ("permit_expired", "XK-2", "needs_recognition"),
    ]
    assert [payload["verdict_before"] for payload in told[1:]] == [payload["verdict_after"] for payload in told[:-1]]
    assert desk.get("county", f"/cases/{case['id']}").json() == case
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_a_cause_is_noted_once_whatever_it_is_called(world: World, desk: Desk, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        rules = active(session).version
    assert desk.post("admin", "/permits", permit(code=rules), None).status_code == 201
    with world.database.transaction(see_all=True) as session:
        assert note_causes(session, today()) == 3
        causes = set(session.scalars(select(Rejudgement.cause).where(Rejudgement.because_of == rules)))
        assert causes == {Cause.permit_added, Cause.rules_changed}
        assert note_causes(session, today()) == 0


def test_what_is_published_late_is_judged_as_of_today_too(world: World, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        load(session, REDRAWN, ELSEWHERE)
        work_off(session)
        run = a_plan(session)
        (first,) = run(site(FIRST, THEN))
        session.get_one(Run, first.run_id).finished_at = utc_now()
        session.flush()
        assert work_off(session) == 1
        assert (first.verdict, first.verdict_now) == (Verdict.needs_recognition, Verdict.undetermined)
        assert judgements(session, first)[1:] == [("now", "published", None, "undetermined")]


def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    world: World, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [(row, col, 4, 4) for row in (5, 35, 65) for col in (5, 45)]
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        a_plan(session)(*(site(box, THEN) for box in boxes))
        load(session, REDRAWN, ELSEWHERE)
        note_causes(session, today())
    real, calls = rejudging.judge_many, []

    def killed(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) in (2, 6):
            raise KeyboardInterrupt
        return real(*args, **named)

    monkeypatch.setattr(rejudging, "judge_many", killed)
    monkeypatch.setattr(rejudging, "MOST", 2)
    kills = 0
    for _ in range(40):
        try:
            with world.database.transaction(see_all=True) as session:
                if not rejudge(session, today()):
                    break
        except KeyboardInterrupt:
            kills += 1
    assert kills == 2
    with world.database.transaction(see_all=True) as session:
        again = select(Judgement.detection_id).where(Judgement.basis == NOW)
        told = list(session.scalars(again))
        assert len(told) == len(set(told)) == 6
        row = session.scalars(select(Rejudgement).where(Rejudgement.because_of == "redlines version 2")).one()
        assert (row.judged, row.changed, row.done_at is not None) == (6, 6, True)


def test_one_that_cannot_be_judged_keeps_no_other_from_it(
    world: World, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        broken, sound = a_plan(session)(site(FIRST, THEN), site(SECOND, THEN))
        assert work_off(session) == 0
        load(session, REDRAWN, ELSEWHERE)
        subject_of = rejudging.subject_of

        def refuse(detection: Detection, *rest: Any) -> Any:
            if detection.id == broken.id:
                raise ValueError("a configuration that nobody understands any more")
            return subject_of(detection, *rest)

        monkeypatch.setattr(rejudging, "subject_of", refuse)
        assert work_off(session) == 1
        row = session.scalars(select(Rejudgement).where(Rejudgement.because_of == "redlines version 2")).one()
        assert (row.judged, row.changed, row.failed) == (1, 1, 1) and row.done_at is not None
        assert len(judgements(session, broken)) == 1 and len(judgements(session, sound)) == 2


def test_two_workers_never_judge_for_one_cause(world: World, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        note_causes(session, today())
        waiting = session.scalars(select(Rejudgement.id)).all()
    with world.database.transaction(see_all=True) as one, world.database.transaction(see_all=True) as other:
        for _ in waiting:
            assert rejudge(one, today())
        assert not rejudge(other, today())


def test_the_jobs_of_the_timetable_do_it(world: World, load: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        load(session, date(2020, 1, 1), INSIDE)
        (first,) = a_plan(session)(site(FIRST, THEN))
        load(session, REDRAWN, ELSEWHERE)
    for job in rejudging.timetable(world.database):
        with world.database.transaction(see_all=True) as session:
            job.work(session, None)  # type: ignore[arg-type]
    with world.database.transaction(see_all=True) as session:
        assert session.get_one(Detection, first.id).verdict_now is Verdict.undetermined
        assert session.scalars(select(Rejudgement.id).where(Rejudgement.done_at.is_(None))).all() == []
        assert session.scalars(select(Rejudgement.cause).where(Rejudgement.cause == Cause.boundary_changed)).all()
        assert (
            session.scalar(select(func.count()).select_from(CaseEvent))
            == 0
            == session.scalar(select(func.count(Case.id)))
        )
