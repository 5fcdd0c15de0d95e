"""Lists and numbers of clocks: filters, pages, days overdue, and each number beside the list that it links to."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from app.casework.calendars import calendar_of
from app.casework.vocabulary import DeadlineState
from app.foundation.time import utc_now
from tests.casework_steps import Desk, today
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, PROVINCE, World
from tests.deadline_steps import add_clock, new_case
from tests.track_steps import opening


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def _day(days: int) -> date:
    return today() + timedelta(days=days)


@pytest.fixture
def clocks(world: World, desk: Desk) -> dict[str, dict[str, Any]]:
    """Two cases of two counties with clocks in every plight, beside the `dispatched` clock that each has anyway."""
    ours, theirs = new_case(world, desk), new_case(world, desk, lead=COUNTY2)
    assert desk.post("county", f"/cases/{ours['id']}/tracks", opening("transfer"), None).status_code == 201
    with world.database.transaction(see_all=True) as session:
        add_clock(session, ours["id"], "rectification", _day(-90), due_on=_day(-30))
        add_clock(session, ours["id"], "verifying", _day(-60), due_on=_day(-3))
        add_clock(session, ours["id"], "confirmed", _day(-60), due_on=_day(-20), state=DeadlineState.paused)
        # For whom it is to accept, for the province to close: the county sees both with its case.
        add_clock(session, ours["id"], "planned", _day(-60), due_on=_day(-1))
        add_clock(session, ours["id"], "closing", _day(-60), due_on=_day(4))
        # A right that lapsed, and hours that ran out this minute.
        add_clock(session, ours["id"], "reconsideration", _day(-60), due_on=_day(-50))
        hours = add_clock(session, ours["id"], "transfer_sending", today(), due_on=today())
        hours.due_at = utc_now() - timedelta(seconds=1)
        add_clock(session, ours["id"], "reopened", _day(-90), due_on=_day(-80), state=DeadlineState.met)
        add_clock(session, theirs["id"], "verifying", _day(-60), due_on=_day(-10)).is_provisional = True
    return {"ours": ours, "theirs": theirs}


def _rules(desk: Desk, username: str, **query: Any) -> list[str]:
    answer = desk.get(username, "/deadlines", **query)
    assert answer.status_code == 200, answer.text
    return [row["rule"] for row in answer.json()["items"]]


def test_filters_and_pages(world: World, desk: Desk, clocks: dict[str, dict[str, Any]]) -> None:
    late = ["rectification", "verifying", "planned", "transfer_sending"]
    assert _rules(desk, "county", overdue=True) == late
    assert _rules(desk, "officer", overdue=True) == ["rectification", "verifying", *late[1:]]
    assert _rules(desk, "county", state="paused") == ["confirmed"]
    assert _rules(desk, "county", state="met") == ["reopened"]
    assert _rules(desk, "officer", provisional=True) == ["verifying"]
    assert _rules(desk, "county", rule="planned") == ["planned"]
    assert _rules(desk, "county", track_kind="transfer") == ["transfer_approval"]
    assert _rules(desk, "county", due_before=_day(-49).isoformat()) == ["reopened", "reconsideration"]
    assert _rules(desk, "county", due_from=_day(-3).isoformat(), due_before=_day(0).isoformat()) == [
        "verifying", "planned",
    ]  # fmt: skip
    # Who acts: the very unit; who acts or leads: with those below.
    assert _rules(desk, "officer", acting=PREFECTURE) == ["planned"]
    assert "closing" in _rules(desk, "officer", acting=PROVINCE)
    assert "verifying" not in _rules(desk, "officer", acting=PROVINCE)
    assert _rules(desk, "officer", unit=COUNTY2, overdue=True) == ["verifying"]
    assert _rules(desk, "officer", unit=PROVINCE, overdue=True) == _rules(desk, "officer", overdue=True)

    whole = desk.get("officer", "/deadlines").json()["items"]
    assert [(row["due_on"], row["id"]) for row in whole] == sorted((row["due_on"], row["id"]) for row in whole)
    paged, path = [], "/api/v1/deadlines?limit=2"
    while path:
        answer = world.client.get(path, headers=desk.headers("officer"))
        paged += answer.json()["items"]
        path = answer.links.get("next", {}).get("url", "")
    assert paged == whole
    for query in ({"rule": "nothing"}, {"unit": "999999"}, {"acting": "999999"}, {"due_before": "soon"}):
        assert desk.get("county", "/deadlines", **query).status_code == 422, query
    assert desk.get("county", "/deadlines", cursor="x").status_code == 400


def test_days_overdue_as_the_rule_counts_and_in_calendar_days(world: World, desk: Desk, clocks: Any) -> None:
    rows = {row["rule"]: row for row in desk.get("county", "/deadlines").json()["items"]}
    with world.database.transaction(see_all=True) as session:
        working = calendar_of(session).working_days(_day(-2), today())
    assert (rows["verifying"]["days_overdue"], rows["verifying"]["calendar_days_overdue"]) == (working, 3)
    assert (rows["rectification"]["days_overdue"], rows["rectification"]["calendar_days_overdue"]) == (30, 30)
    for rule in ("confirmed", "closing", "reconsideration", "reopened", "dispatched"):
        told = rows[rule]["overdue"], rows[rule]["days_overdue"], rows[rule]["calendar_days_overdue"]
        assert told == (False, 0, 0), rule
    assert rows["transfer_sending"]["overdue"]
    assert (rows["planned"]["acting_unit"], rows["planned"]["lead_unit"]) == (PREFECTURE, COUNTY)
    assert rows["closing"]["acting_unit"] == PROVINCE
    # The case list asks of the plan's day alone.
    assert [case["id"] for case in desk.get("officer", "/cases", overdue=True).json()["items"]] == [
        clocks["ours"]["id"]
    ]


def test_each_number_is_the_length_of_its_list(world: World, desk: Desk, clocks: Any) -> None:
    for username, unit in (("officer", None), ("officer", COUNTY2), ("county", None)):
        _check_summary(world, desk, username, unit)


def _check_summary(world: World, desk: Desk, username: str, unit: str | None) -> None:
    query = {"unit": unit} if unit else {}
    summary = desk.get(username, "/deadlines/summary", within_days=10, **query).json()
    groups = [summary["total"], *summary["units"], *summary["rules"]]
    for group in groups:
        for name, link in group["links"].items():
            answer = world.client.get(f"{link}&limit=1000", headers=desk.headers(username))
            assert answer.status_code == 200, link
            assert len(answer.json()["items"]) == group[name], (link, name)
        late = world.client.get(group["links"]["overdue"], headers=desk.headers(username)).json()["items"]
        assert group["worst_days_overdue"] == max([row["calendar_days_overdue"] for row in late], default=0)
    for kind in ("running", "due_soon", "overdue", "paused"):
        by_unit = sum(row[kind] for row in summary["units"])
        assert summary["total"][kind] == by_unit == sum(row[kind] for row in summary["rules"])
    if unit is None:
        found = {row["unit"]: row for row in summary["units"]}
        assert (found[COUNTY]["paused"], found[COUNTY]["worst_days_overdue"]) == (1, 30)
        assert found[PREFECTURE]["overdue"] == 1
        assert (COUNTY2 in found) is (username == "officer")
    else:
        assert [row["unit"] for row in summary["units"]] == [COUNTY2]
