"""The recovery curve of a case: real files, a real database, the job, the API, evidence and the event at closure."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from app.casework import recovery
from app.casework.ledger import verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.opening import import_case
from app.casework.recovery_models import RecoveryReading, RecoverySite
from app.casework.vocabulary import SupervisionSource
from app.foundation.geometry import to_database
from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.foundation.timetable import run_due
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.imagery.service import add_source, source_by_name, sync
from app.monitoring.models import Plan, PlanSource
from app.worker import all_jobs
from tests.casework_steps import Desk, add_detection, fields_of, today
from tests.conftest import COUNTY, World
from tests.recovery_steps import CUT_ON, FIRST, GRID, SIZE, Plant, polygon, write
from tests.series import PATTERN

# A third of the series comes after the case was first looked at.
PLANT = Plant(0.6, seed=3, step=14, cloud=0.3, first=date(2020, 1, 4), last=date(2024, 12, 1), drought=None)
HELD_BACK = date(2024, 6, 15)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recovery") / "all"
    write(folder, PLANT)
    return folder


@pytest.fixture
def images(series: Path, tmp_path: Path) -> Path:
    """The series up to `HELD_BACK`."""
    folder = tmp_path / "images"
    folder.mkdir()
    add_files(series, folder, date.min, HELD_BACK)
    return folder


def add_files(series: Path, folder: Path, start: date, end: date) -> int:
    files = [path for path in series.iterdir() if f"{start:%Y%m%d}" <= path.name[:8] < f"{end:%Y%m%d}"]
    for path in files:
        shutil.copy(path, folder)
    return len({path.name[:8] for path in files})


@pytest.fixture
def watched(world: World, images: Path) -> World:
    return watch(world, images)


def watch(world: World, images: Path) -> World:
    """A plan with a grid over the series; nothing of its detector is needed."""
    with world.database.transaction(see_all=True) as session:
        source = add_source(
            session,
            SourceRequest(
                name="made", title="made", kind=SourceKind.folder, location=str(images),
                configuration=SourceConfiguration(pattern=PATTERN),
            ),
        )  # fmt: skip
        sync(session, source)
        plan = Plan(
            name="made", title="made", area=to_database(polygon(slice(0, SIZE), slice(0, SIZE))), history_from=FIRST,
            history_until=date(2022, 1, 1), configuration={},
            grid={"crs": GRID.crs, "transform": list(GRID.transform), "shape": list(GRID.shape)},
        )  # fmt: skip
        session.add(plan)
        session.flush()
        session.add(PlanSource(plan_id=plan.id, source_id=source.id, position=0))
    return world


def confirmed(day: date) -> dict[str, Any]:
    """The five precisions of what happened within two days of `day`."""
    interval = {"occurred_from": day.isoformat(), "occurred_to": (day + timedelta(days=2)).isoformat()}
    return fields_of("confirm") | interval


def add_case(world: World, state: CaseState = CaseState.rectifying, **extra: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "geometry": polygon(),
        "facts": confirmed(CUT_ON),
        "occurred_on": date(2023, 6, 1),
    } | extra
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province-other"), state=state, lead_unit=COUNTY, activity="clearing",
            supervision_source=SupervisionSource.green_shield, due_on=today(), today=today(), notice_until=today(),
            **given,
        )  # fmt: skip
        return {"id": str(case.id), "number": case.number, "version": case.version}


def look(world: World, case: dict[str, Any]) -> list[int]:
    """Visits until nothing is left; what each read."""
    read = []
    while not read or read[-1]:
        read.append(recovery.visit(world.database, UUID(case["id"])))
    return read


def curve(desk: Desk, case: dict[str, Any], who: str = "county") -> dict[str, Any]:
    answer = desk.get(who, f"/cases/{case['id']}/recovery")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def set_limits(world: World, **limits: int) -> None:
    changed = world.settings.model_copy(update=limits)
    world.client.app.state.settings = changed  # type: ignore[attr-defined]  # TestClient types its app as ASGI


def test_from_the_first_look_over_closure_to_what_comes_after(watched: World, series: Path, images: Path) -> None:
    desk, case = Desk(watched), add_case(watched)
    before = curve(desk, case)
    assert (before["verdict"], before["reason"], before["items"]) == ("undetermined", "not_read_yet", [])
    refused = desk.post("county", f"/cases/{case['id']}/recovery/evidence", None, None)
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_read_yet")

    # The worker's own wheel does it, a visit at a time.
    at = utc_now()
    for tick in range(1, 5):
        jobs = [job for job in all_jobs(watched.database, watched.settings) if job.name == "recovery of cases"]
        assert run_due(watched.database, jobs, at + timedelta(minutes=5 * tick), "test") == ["recovery of cases"]
    early = curve(desk, case)
    assert (early["is_behind"], early["failures"], early["resolution_m"]) == (False, [], 10.0)
    assert len(early["items"]) == len({path.name[:8] for path in images.iterdir()})
    assert early["verdict"] == "recovering" and early["inside_px"] == 144
    assert early["share"]["low"] < early["share"]["value"] < early["share"]["high"] < 0.6
    assert early["items"][0]["share"] is None and early["items"][-1]["scene_ids"]
    assert (early["last_clear_on"], early["first_seen_on"]) == ("2022-06-10", "2022-06-13")

    # A case's limits hold for what the service writes itself, too.
    for limits in ({"max_case_files": 0}, {"max_case_bytes": 1000}):
        set_limits(watched, **limits)
        full = desk.post("county", f"/cases/{case['id']}/recovery/evidence", None, None)
        assert (full.status_code, "A case takes" in full.json()["detail"]) == (409, True), full.text
    set_limits(watched)
    assert list(Storage(watched.settings.storage).list("blobs")) == []

    # At the application for closure the event keeps the curve, and the county has it as evidence.
    kept = desk.post("county", f"/cases/{case['id']}/recovery/evidence", None, None)
    assert kept.status_code == 201, kept.text
    content = desk.get("prefecture", f"/cases/{case['id']}/evidence/{kept.json()['id']}/content")
    assert hashlib.sha256(content.content).hexdigest() == kept.json()["sha256"]
    document = json.loads(content.content)
    assert (kept.json()["media_type"], len(document["readings"])) == ("application/json", len(early["items"]))
    again = desk.post("county", f"/cases/{case['id']}/recovery/evidence", None, None)
    assert (again.status_code, again.json()["evidence_id"]) == (409, kept.json()["id"])
    asked = desk.done("county", case, "request_closure", evidence_id=kept.json()["id"])
    event = desk.get("prefecture", f"/cases/{case['id']}/events").json()["items"][-1]
    summary = event["payload"]["recovery"]
    assert (event["kind"], summary["verdict"], summary["readings"]) == (
        "request_closure",
        "recovering",
        len(early["items"]),
    )
    assert (summary["ndvi"]["value"], summary["readings_sha256"]) == (
        early["ndvi"]["value"],
        document["readings_sha256"],
    )
    assert curve(desk, case, "prefecture")["at_closure_request"] == summary

    # It goes on after that: what came since is read, and only that.
    accepted = desk.done("prefecture", asked, "accept")
    assert accepted["state"] == "accepted"
    added = add_files(series, images, HELD_BACK, date.max)
    with watched.database.transaction(see_all=True) as session:
        sync(session, source_by_name(session, "made"))
    assert look(watched, case) == [added, 0]
    late = curve(desk, case)
    assert late["share"]["value"] == pytest.approx(0.6, abs=0.1)
    assert late["at_closure_request"] == summary
    assert late["closure_requested_on"] == today().isoformat()
    with watched.database.transaction(see_all=True) as session:
        assert verify(session).intact


def test_readings_are_kept_once_and_corrected_where_the_source_corrects(watched: World, images: Path) -> None:
    case = add_case(watched)
    first = look(watched, case)
    assert sum(first) > recovery.MOST_READ and max(first) == recovery.MOST_READ
    assert look(watched, case) == [0]

    def rows() -> dict[date, Any]:
        with watched.database.transaction(see_all=True) as session:
            return {row.acquired_on: (row.id, row.inside_ndvi) for row in session.scalars(select(RecoveryReading))}

    before = rows()
    assert len(before) == sum(first)
    day = max(before)
    for band in ("red", "nir"):
        path = images / f"{day:%Y%m%d}_{band}.tif"
        # The day's file is written anew, as another day's.
        shutil.copy(images / f"{min(before):%Y%m%d}_{band}.tif", path)
    with watched.database.transaction(see_all=True) as session:
        sync(session, source_by_name(session, "made"))
    assert look(watched, case) == [1, 0]
    after = rows()
    assert {d: row[0] for d, row in after.items()} == {d: row[0] for d, row in before.items()}
    assert {d for d in before if before[d] != after[d]} == {day}


def test_a_scene_that_cannot_be_read_is_told_and_passed_over(watched: World, images: Path) -> None:
    case = add_case(watched)
    broken = max(path.name[:8] for path in images.iterdir())
    (images / f"{broken}_red.tif").write_bytes(b"no image")
    look(watched, case)
    found = curve(Desk(watched), case)
    assert [failure["asset"] for failure in found["failures"]] == ["red"]
    assert (found["is_behind"], found["verdict"]) == (False, "recovering")
    assert broken not in {item["acquired_on"].replace("-", "") for item in found["items"]}


def test_why_there_is_no_curve(watched: World) -> None:
    desk = Desk(watched)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"facts": None}, "not_dated"),
        ({"simulated": True}, "not_watched"),
        ({"geometry": polygon(slice(32, 34), slice(32, 34))}, "too_small"),
        ({"facts": confirmed(date(2020, 2, 1))}, "no_history"),
    ]
    for extra, reason in cases:
        case = add_case(watched, **extra)
        assert look(watched, case) == [0]
        found = curve(desk, case)
        assert (found["verdict"], found["reason"], found["share"], found["items"]) == ("undetermined", reason, None, [])
        proof = desk.upload("county", case["id"]).json()["id"]
        desk.done("county", case, "request_closure", evidence_id=proof)
        event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
        assert event["payload"]["recovery"]["reason"] == reason


def test_a_loss_after_closing_shows_and_is_no_second_rebound(world: World, tmp_path: Path) -> None:
    plant = replace(PLANT, share=1.0, lost_again_on=date(2024, 6, 1), cloud=0.1)
    write(tmp_path / "images", plant)
    watch(world, tmp_path / "images")
    case = add_case(world, CaseState.closed, occurred_on=date(2024, 5, 25))
    look(world, case)
    found = curve(Desk(world), case)
    assert found["at_closing"]["on"] == "2024-05-25"
    assert found["at_closing"]["ndvi"]["value"] > 0.4
    assert (found["has_dropped_since_closing"], found["verdict"]) == (True, "not_recovered")
    assert Desk(world).get("province", "/rebounds").json()["items"] == []


def test_what_is_due_and_who_may_ask(watched: World) -> None:
    desk, case, other = Desk(watched), add_case(watched), add_case(watched, CaseState.verifying)

    def due() -> UUID | None:
        with watched.database.transaction(see_all=True) as session:
            return recovery.next_due(session, utc_now(), [])

    assert due() == UUID(case["id"])
    look(watched, case)
    # What is still being verified has nothing to recover from yet.
    assert due() is None and other
    for who, status in (("county2", 404), ("officer-prefecture", 403), ("inspector", 202), ("county", 202)):
        answer = desk.post(who, f"/cases/{case['id']}/recovery/look", None, None)
        assert answer.status_code == status, (who, answer.text)
    assert due() == UUID(case["id"])
    recovery.visit(watched.database, UUID(case["id"]))
    assert due() is None
    with watched.database.transaction(see_all=True) as session:
        session.execute(update(RecoverySite).values(looked_at=utc_now() - timedelta(days=1)))
    assert due() == UUID(case["id"])
    barred = desk.post("inspector", f"/cases/{case['id']}/recovery/evidence", None, None)
    assert barred.status_code == 403

    table = desk.get("county", f"/cases/{case['id']}/recovery", format="csv")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    shown = curve(desk, case)["items"]
    assert [row["acquired_on"] for row in rows] == [item["acquired_on"] for item in shown]
    assert desk.get("county", f"/cases/{case['id']}/recovery", format="xlsx").status_code == 422


def test_the_baseline_ends_before_imagery_and_people_say_it_began(world: World) -> None:
    clear, first = date(2024, 4, 20), date(2024, 5, 1)
    cases = [
        (clear, None, clear),
        (None, None, date(2024, 4, 30)),
        # What people found began before the imagery showed it: the baseline must not hold the first days of it.
        (clear, date(2024, 3, 1), date(2024, 2, 29)),
        (clear, date(2024, 4, 28), clear),
    ]
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        for last_clear, stated, last in cases:
            detection.last_clear_on = last_clear
            case = Case(detection_id=detection.id, facts=confirmed(stated) if stated else {})
            assert recovery.days_of(session, case) == recovery.Days(last, first)


def test_other_ground_makes_another_site_and_the_old_readings_stay(watched: World) -> None:
    case = add_case(watched)
    first = sum(look(watched, case))
    with watched.database.transaction(see_all=True) as session:
        smaller = to_database(polygon(slice(33, 42), slice(33, 42)))
        session.execute(update(Case).where(Case.id == UUID(case["id"])).values(geom=smaller))
    second = sum(look(watched, case))
    assert first == second
    found = curve(Desk(watched), case)
    assert (found["inside_px"], len(found["items"])) == (81, second)
    with watched.database.transaction(see_all=True) as session:
        assert session.scalar(select(func.count()).select_from(RecoveryReading)) == first + second
        assert session.scalar(select(func.count()).where(RecoverySite.is_behind)) == 0
