"""The yearly zero-out: targets in versions, plans against closures by source and unit, and the forecast."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest

from app.casework.lifecycle import CaseState
from app.casework.vocabulary import SupervisionSource
from app.casework.words import WORDS
from app.statistics.forecast import WINDOW, forecast
from app.statistics.vocabulary import TargetKind
from app.statistics.zero_out_schemas import TargetRequest
from app.statistics.zero_out_targets import set_target
from tests.casework_steps import Desk, today, wait_for_a_lock
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, PROVINCE, World
from tests.snapshot_steps import add_case

URL = "/statistics/zero-out"
MEDIA, SHIELD = SupervisionSource.media, SupervisionSource.green_shield
YEAR = today().year


@pytest.fixture
def desk(world: World) -> Desk:
    """Media: two closed this year, one before, one being rectified and one only confirmed; one of 绿盾 next door."""
    add_case(world, CaseState.closed, occurred_on=today())
    add_case(world, CaseState.closed, occurred_on=max(date(YEAR, 1, 1), today() - timedelta(days=WINDOW)))
    add_case(world, CaseState.closed, occurred_on=date(YEAR - 1, 12, 31))
    add_case(world, CaseState.rectifying, occurred_on=date(YEAR - 1, 3, 1), due_on=date(YEAR, 12, 31))
    add_case(world, CaseState.confirmed, occurred_on=today(), due_on=None)
    add_case(world, CaseState.rectifying, lead=COUNTY2, source=SHIELD, due_on=date(YEAR + 1, 1, 1))
    return Desk(world)


def put(desk: Desk, version: int = 0, username: str = "province", **asked: Any) -> Any:
    body = {"year": YEAR, "source": "media", "kind": "closures", "wanted": 3, "reason": "省专班〔2025〕3号"} | asked
    return desk.post(username, f"{URL}/targets", {k: v for k, v in body.items() if v is not None}, version)


def rows(desk: Desk, username: str = "province", **asked: Any) -> dict[tuple[str, str | None], dict[str, Any]]:
    answer = desk.get(username, URL, **asked)
    assert answer.status_code == 200, answer.text
    return {(row["source"], row["unit"]): row for row in answer.json()["items"]}


def test_plans_and_closures_stand_by_source_and_unit(desk: Desk) -> None:
    found = rows(desk)
    assert set(found) == {("media", None), ("media", COUNTY), ("green_shield", None), ("green_shield", COUNTY2)}
    media = found["media", None]
    assert (media["source_name"], media["goal"], media["share"]) == (WORDS[SupervisionSource][MEDIA], None, None)
    assert (media["to_clear"], media["done"], media["remaining"]) == (4, 2, 2)
    planned = media["planned"]
    assert (planned["before"], planned["after"], planned["by_month"][11]) == (0, 2, 1)
    assert planned["before"] + sum(planned["by_month"]) + planned["after"] + planned["without"] == 4
    assert sum(media["done_by_month"]) == 2
    assert media["done_by_month"][today().month - 1] >= 1
    assert found["green_shield", COUNTY2]["planned"]["after"] == 1
    assert set(rows(desk, source="green_shield")) == {("green_shield", None), ("green_shield", COUNTY2)}
    assert set(rows(desk, by="prefecture", source="media")) == {("media", None), ("media", PREFECTURE)}
    # The year before: one was closed in it; those closed since were open then, and are not done in it.
    before = rows(desk, year=YEAR - 1)["media", None]
    assert (before["to_clear"], before["done"], before["remaining"]) == (5, 1, 4)
    assert before["forecast"]["expected_done"] == before["forecast"]["high"] == 1


def test_every_row_leads_to_its_cases(desk: Desk) -> None:
    assert put(desk, kind="confirmed_by", wanted=None, confirmed_by=f"{YEAR - 1}-12-31").status_code == 201
    for row in rows(desk).values():
        for kind, link in row["cases"].items():
            answer = desk.world.client.get(link, headers=desk.headers("province"))
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["items"]) == row[kind], (row["source"], row["unit"], kind)


def test_a_target_is_a_count_or_all_that_was_confirmed_by_a_day(desk: Desk) -> None:
    assert put(desk).status_code == 201
    whole = rows(desk)["media", None]
    assert (whole["goal"], whole["done"], whole["remaining"]) == (3, 2, 1)
    assert whole["share"] == pytest.approx(2 / 3)
    assert rows(desk)["media", COUNTY]["target"] is None
    # A county's and a prefecture's own.
    day = f"{YEAR - 1}-12-31"
    assert put(desk, unit=COUNTY, kind="confirmed_by", wanted=None, confirmed_by=day).status_code == 201
    assert put(desk, unit=PREFECTURE, wanted=1).status_code == 201
    county = rows(desk)["media", COUNTY]
    # Confirmed by then: the one being rectified alone (imported as closed this year: opened this year).
    assert (county["goal"], county["done"], county["remaining"]) == (1, 0, 1)
    assert rows(desk, by="prefecture")["media", PREFECTURE]["goal"] == 1
    # A unit's own whole is measured by its own target, never by the province's.
    assert rows(desk, "prefecture")["media", None]["goal"] == 1
    assert rows(desk, "county")["media", None]["target"]["kind"] == "confirmed_by"
    assert rows(desk, "county2").keys() == {("green_shield", None), ("green_shield", COUNTY2)}
    # What nobody has a case of is told where there is a target.
    assert put(desk, source="media", unit=COUNTY2, wanted=5).status_code == 201
    empty = rows(desk)["media", COUNTY2]
    assert (empty["goal"], empty["to_clear"], empty["remaining"], empty["share"]) == (5, 0, 5, 0)
    assert empty["forecast"]["reason"] == f"nothing was closed in the last {WINDOW} days"


def test_a_change_is_a_new_version_and_the_old_one_answers_as_of_then(desk: Desk) -> None:
    first = put(desk)
    assert (first.status_code, first.headers["ETag"]) == (201, '"1"')
    then = first.json()["set_at"]
    for version in (0, 2):
        assert put(desk, version, wanted=4).status_code == 412
    second = put(desk, 1, wanted=4)
    assert (second.status_code, second.json()["version"]) == (201, 2)
    assert rows(desk)["media", None]["goal"] == 4
    assert rows(desk, as_of=then)["media", None]["goal"] == 3
    assert put(desk, 2, kind="none", wanted=None).status_code == 201
    assert rows(desk)["media", None]["target"] is None
    listed = desk.get("inspector", f"{URL}/targets", year=YEAR, superseded=True).json()["items"]
    assert [row["version"] for row in listed] == [3, 2, 1]
    assert [row["version"] for row in desk.get("province", f"{URL}/targets").json()["items"]] == [3]
    one = desk.get("province", f"{URL}/targets/{listed[-1]['id']}")
    assert (one.json()["wanted"], one.headers["ETag"]) == (3, '"1"')
    assert desk.get("county", f"{URL}/targets/{listed[-1]['id']}").status_code == 404
    assert desk.get("county", f"{URL}/targets").json()["items"] == []


def test_of_two_at_once_the_second_finds_its_version_taken(desk: Desk) -> None:
    caller = desk.world.caller("province")
    asked = TargetRequest(year=YEAR, source=MEDIA, kind=TargetKind.closures, wanted=1, reason="r")
    with ThreadPoolExecutor(1) as beside, desk.world.database.transaction(see_all=True) as session:
        set_target(session, caller, asked, 0)

        def second() -> int:
            return int(put(desk).status_code)

        waiting = beside.submit(second)
        wait_for_a_lock(desk.world)
        session.commit()
        assert waiting.result(timeout=30) == 412


def test_the_province_alone_sets_targets(desk: Desk) -> None:
    for username in ("admin", "inspector", "prefecture", "county"):
        assert put(desk, username=username).status_code == 403
    for asked, pointer in (
        ({"unit": "999999"}, "body/unit"),
        ({"unit": PROVINCE}, "body/unit"),
        ({"wanted": None}, "body"),
        ({"confirmed_by": "2025-01-01"}, "body"),
        ({"kind": "confirmed_by", "wanted": None, "confirmed_by": f"{YEAR + 1}-01-01"}, "body"),
        ({"year": 1999}, "body/year"),
        ({"reason": "a\0"}, "body/reason"),
    ):
        answer = put(desk, **asked)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


def test_the_forecast_carries_the_pace_on() -> None:
    def ahead(**said: Any) -> Any:
        usual = {
            "closures": 45,
            "remaining": 10,
            "open_cases": 100,
            "done": 20,
            "today": date(2025, 7, 3),
            "year": 2025,
        }
        return forecast(**usual | said)

    usual = ahead()
    assert (usual.per_day, usual.zero_on) == (0.5, date(2025, 7, 23))
    # 181 days are left; a negative binomial by hand: mean 45.5 * 181 / 90 = 91.5, standard deviation 16.6.
    assert usual.expected == 20 + 90.5
    assert usual.low == pytest.approx(20 + 91.5 - 1.645 * 16.6, abs=2)
    # No more can be closed than are open.
    assert usual.high == 20 + 100
    assert ahead(open_cases=1000).high == pytest.approx(20 + 91.5 + 1.645 * 16.6, abs=2)
    assert (ahead(remaining=0).zero_on, ahead(remaining=0).reason) == (None, "nothing remains")
    none = ahead(closures=0)
    assert (none.zero_on, none.expected, none.low) == (None, 20, 20)
    # That nothing was closed in 90 days does not say that nothing will be.
    assert none.high > 20
    over = ahead(today=date(2026, 1, 1))
    assert (over.expected, over.low, over.high) == (20, 20, 20)
    assert ahead(closures=1, remaining=10**7, open_cases=10**7).zero_on is None
    assert ahead(today=date(2024, 12, 1), open_cases=1000).expected == 20 + 0.5 * 365


def test_the_interval_holds_as_often_as_it_says() -> None:
    """Poisson processes at several paces: what comes later lies within it in about nine of ten."""
    import numpy as np

    draw = np.random.default_rng(1)
    for pace in (0.05, 0.5, 5.0):
        seen, later = draw.poisson(pace * WINDOW, 600), draw.poisson(pace * 122, 600)
        within = 0
        for closures, more in zip(seen, later, strict=True):
            told = forecast(
                closures=int(closures), remaining=1, open_cases=10**6, done=0, today=date(2025, 8, 31), year=2025
            )
            within += told.low <= more <= told.high
        assert 0.86 <= within / 600 <= 0.97, pace
