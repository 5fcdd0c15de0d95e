"""Reports of figures over HTTP: what they answer, how they add up, and the cases behind each figure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app.casework import interval_checks
from app.casework.interval_checks import check, complete
from app.casework.interval_models import CaseInterval
from app.foundation.identity import new_id
from app.foundation.time import utc_now
from app.statistics import figures, service
from app.statistics.dimensions import DIMENSIONS, Dimension
from app.statistics.reports import REPORTS, Report
from app.statistics.unit_keys import KeptUnits, Row
from tests import figures_recount as plain
from tests.casework_steps import Desk, add_detection
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, World

NOTICE_DAYS = 7


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def ask(desk: Desk, report: str, username: str = "province", /, **asked: Any) -> dict[str, Any]:
    answer = desk.get(username, f"/statistics/figures/{report}", **asked)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def open_one(desk: Desk) -> dict[str, Any]:
    with desk.world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    return desk.dispatch(detection)


@pytest.fixture
def worked(desk: Desk) -> dict[str, Any]:
    """A case that is being rectified, beside one that was returned."""
    desk.done("county", open_one(desk), "return")
    case = desk.done("county", open_one(desk), "start_verification")
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm")
    case = desk.done("county", case, "submit_plan")
    return desk.done("prefecture", case, "approve_plan")


@pytest.mark.usefixtures("worked")
def test_every_report_by_every_dimension_adds_up_or_says_that_it_does_not(desk: Desk) -> None:
    for report in Report:
        for dimension in Dimension:
            body = ask(desk, report.value, rows=dimension.value)
            counts = [measure["name"] for measure in body["measures"] if measure["kind"] == "count"]
            assert body["rows"]["overlaps"] == DIMENSIONS[dimension].overlaps
            for name in counts:
                parts = sum(group["figures"][name] for group in body["groups"])
                assert parts >= body["total"]["figures"][name]
                assert parts == body["total"]["figures"][name] or any("do not add up" in note for note in body["notes"])


@pytest.mark.usefixtures("worked")
def test_two_dimensions_cross_with_margins(desk: Desk) -> None:
    for rows, columns in permutations(("unit", "zone", "state", "year"), 2):
        body = ask(desk, "closure", rows=rows, columns=columns)
        both = {(group["row"], group["column"]): group["figures"]["total"] for group in body["groups"]}
        assert body["total"]["figures"]["total"] == 2
        for (row, column), count in both.items():
            if column is None and not DIMENSIONS[Dimension(columns)].overlaps:
                assert count == sum(n for (r, c), n in both.items() if r == row and c is not None)
            if row is None and not DIMENSIONS[Dimension(rows)].overlaps:
                assert count == sum(n for (r, c), n in both.items() if c == column and r is not None)


def test_every_figure_leads_to_its_cases(desk: Desk, worked: dict[str, Any]) -> None:
    assert ask(desk, "stages")["total"]["cases"] is None
    for report in set(Report) - {Report.stages}:
        body = ask(desk, report.value, rows="unit", columns="state")
        for group in [body["total"], *body["groups"]]:
            for measure in body["measures"]:
                if measure["kind"] != "count":
                    continue
                link = f"{group['cases']}&measure={measure['name']}"
                listed = desk.world.client.get(link, headers=desk.headers("province"))
                assert listed.status_code == 200, listed.text
                assert len(listed.json()["items"]) == group["figures"][measure["name"]], (report, measure["name"])
    closure = ask(desk, "closure", rows="state")
    rectifying = next(group for group in closure["groups"] if group["row"] == "rectifying")
    items = desk.world.client.get(rectifying["cases"], headers=desk.headers("province")).json()["items"]
    assert [(item["number"], item["lead_unit"]) for item in items] == [(worked["number"], COUNTY)]


def test_stages_tell_how_long_each_took(desk: Desk, worked: dict[str, Any]) -> None:
    body = ask(desk, "stages")
    assert {group["row"]: group["figures"]["passages"] for group in body["groups"]} == {
        "dispatched": 2,
        "verifying": 1,
        "confirmed": 1,
        "planned": 1,
    }
    assert body["total"]["figures"]["days_median"] == 0


def test_the_intervals_are_those_of_the_events(desk: Desk, worked: dict[str, Any]) -> None:
    with desk.world.database.transaction(see_all=True) as session:
        report = check(session)
    assert (report.cases, report.differing) == (2, 0)
    assert report.intervals >= 7


@pytest.mark.usefixtures("worked")
def test_events_that_come_while_intervals_are_compared_make_no_difference(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folded(session: Session, *newest: Any) -> Iterator[Any]:
        # The stored intervals are being read already.
        desk.done("county", waiting, "start_verification")
        open_one(desk)
        yield from real(session, *newest)

    waiting, real = open_one(desk), interval_checks._folded
    monkeypatch.setattr(interval_checks, "_folded", folded)
    with desk.world.database.transaction(see_all=True) as session:
        report = check(session)
    assert (report.cases, report.differences) == (3, [])
    monkeypatch.undo()
    with desk.world.database.transaction(see_all=True) as session:
        assert check(session).cases == 4
        ahead = "update case_intervals set recorded_to = now() + interval '1 year' where recorded_to is null"
        session.execute(text(ahead))
        assert check(session).differing == 4, "an end that no event made"
        session.rollback()


@pytest.mark.usefixtures("worked")
def test_what_is_recorded_counts_though_this_machine_s_clock_is_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (service, figures):
        monkeypatch.setattr(module, "utc_now", lambda: utc_now() - timedelta(minutes=5))
    body = ask(desk, "closure")
    assert body["total"]["figures"]["ever_confirmed"] == 1
    assert body["effective_as_of"] <= body["as_of"]


@pytest.mark.usefixtures("worked")
def test_cases_without_a_unit_can_be_asked_for(desk: Desk) -> None:
    assert ask(desk, "closure", unit="unrecorded")["total"]["figures"]["total"] == 0


def test_no_part_of_the_intervals_is_read_around_their_policy(session: Session) -> None:
    parts = "select inhrelid::regclass::text from pg_inherits where inhparent = 'case_intervals'::regclass"
    any_of = text("select has_table_privilege(:part, 'select, insert, update, delete, truncate')")
    found = session.scalars(text(parts)).all()
    assert len(found) == 2
    assert not any(session.scalar(any_of, {"part": part}) for part in found)


def test_units_may_have_many_periods(session: Session) -> None:
    """More cells than a statement may have parameters."""
    kept: list[Row] = [(new_id(), number, "220621", "220600", "220000") for number in range(14_000)]
    table = KeptUnits([], kept).table()
    found = session.execute(select(table.c.unit_id, table.c.period).where(table.c.period == 13_999)).one()
    assert tuple(found) == kept[-1][:2]
    assert session.scalar(select(func.count()).select_from(KeptUnits([], []).table())) == 0


def test_a_county_counts_its_own_alone(desk: Desk, worked: dict[str, Any]) -> None:
    assert ask(desk, "closure", "county2")["total"]["figures"]["total"] == 0
    assert ask(desk, "closure", "prefecture")["total"]["figures"]["total"] == 2
    assert ask(desk, "closure", unit=PREFECTURE)["total"]["figures"]["total"] == 2


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"columns": "unit"}, "query/columns"),
        ({"rows": "unit", "columns": "unit"}, "query/columns"),
        ({"unit": "999999"}, "query/unit"),
        ({"from": "2025-01-01"}, "query/to"),
        ({"from": "2025-02-01", "to": "2025-01-01"}, "query/to"),
        ({"as_of": "soon"}, "query/as_of"),
        ({"as_of": "0001-01-01"}, "query/as_of"),
        ({"on": "0001-06-01"}, "query/on"),
        ({"from": "0001-01-01", "to": "2025-01-01"}, "query/from"),
        ({"rows": "colour"}, "query/rows"),
    ],
)
def test_what_cannot_be_answered_says_what_to_mend(desk: Desk, asked: dict[str, str], pointer: str) -> None:
    answer = desk.get("province", "/statistics/figures/closure", **asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert REPORTS[Report.closure].title


def test_a_case_across_a_border_counts_once_and_what_overlaps_says_so(desk: Desk) -> None:
    """Three cases, two of them on ground of both counties; real commands, and the plain recount beside."""
    with desk.world.database.transaction(see_all=True) as session:
        both = (COUNTY, COUNTY2)
        ids = [add_detection(session, lead=lead, units=both).id for lead in (COUNTY, COUNTY2)]
    first, second = (desk.dispatch(detection) for detection in ids)
    desk.done("province", second, "add_source", source="media")
    first = desk.done("province", first, "split")
    for username, count in (("county2", 2), ("province", 3)):
        for dimension, overlaps in (
            ("unit", False),
            ("supervision_source", False),
            ("any_source", True),
        ):
            body = ask(desk, "closure", username, rows=dimension)
            parts = sum(group["figures"]["total"] for group in body["groups"])
            assert body["total"]["figures"]["total"] == count, (username, dimension)
            assert parts == count + overlaps
            assert any("do not add up" in note for note in body["notes"]) == overlaps
            assert body["rows"]["overlaps"] == overlaps
    by_unit = {group["row"]: group["figures"]["total"] for group in ask(desk, "closure", rows="unit")["groups"]}
    assert by_unit == {COUNTY: 2, COUNTY2: 1}
    with desk.world.database.transaction(see_all=True) as session:
        events, units = plain.read(session)
    for report in (Report.closure, Report.stages, Report.areas):
        body = ask(desk, report.value, rows="unit", columns="any_source", as_of=events[-1].at.isoformat())
        plan = plain.plan_of(report, plain.Days(events[-1].day, events[-1].day.replace(month=1, day=1), events[-1].day))
        read = plain.passages_at if report is Report.stages else plain.cases_at
        expected = plain.groups(read(events, events[-1].at), ["unit", "any_source"], {}, units, then=False)
        found = {(one["row"], one["column"]): one["figures"] for one in [body["total"], *body["groups"]]}
        assert found == {key: plain.figures(plan, members) for key, members in expected.items()}


def test_what_overlaps_can_be_filtered_by(desk: Desk, worked: dict[str, Any]) -> None:
    for dimension in ("zone", "any_source", "redline", "protected_area"):
        body = ask(desk, "closure", "province", **{dimension: ["unrecorded", "satellite_monitoring"]})
        assert body["total"]["figures"]["total"] == 2


@pytest.mark.usefixtures("worked")
def test_a_ledger_older_than_the_intervals_gets_them_and_missing_ones_are_told(desk: Desk) -> None:
    before = ask(desk, "stages")
    with desk.world.database.transaction(see_all=True) as session:
        session.execute(delete(CaseInterval))
        assert complete(session) > 0
        assert complete(session) == 0
    assert ask(desk, "stages")["groups"] == before["groups"]
    with desk.world.database.transaction(see_all=True) as session:
        gone = session.scalars(select(CaseInterval.case_id).limit(1)).one()
        session.execute(delete(CaseInterval).where(CaseInterval.case_id == gone))
        assert complete(session) == 0
        assert [case_id for case_id, _ in check(session).differences] == [gone]
