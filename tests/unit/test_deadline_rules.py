"""The table of deadlines, and how a due day is counted from it: table-driven, with pauses, extensions, time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.casework.calendars import WorkingCalendar, library_years
from app.casework.deadline_docs import deadlines_markdown
from app.casework.deadline_models import DeadlineRequest
from app.casework.deadline_rules import GROUNDS, PRACTICE, RULES, Starts, rule_in_force, rule_of, rule_of_state
from app.casework.deadlines import Change, Due, compute, days_left, days_not_counted
from app.casework.lifecycle import TRANSITIONS, Actor, CaseState, Command
from app.casework.track_lifecycle import CLOCKS, STATES, STEPS
from app.casework.vocabulary import Priority, RequestKind, RequestState
from app.foundation.time import legal_day
from tests.unit.test_calendars import CALENDAR, day

REPOSITORY = Path(__file__).parents[2]
BEYOND = max(library_years()) + 1
# Nobody has to act in these.
QUIET = {
    CaseState.unfounded, CaseState.permitted, CaseState.closed, CaseState.merged, CaseState.withdrawn,
}  # fmt: skip
EXTENSION, PAUSE, EXCLUSION = RequestKind.extension, RequestKind.pause, RequestKind.exclusion


def due(name: str, start: str, *changes: Change, priority: str = "ordinary", named: str | None = None) -> str:
    rule = rule_in_force(name, day(start))
    return str(
        compute(
            CALENDAR, rule, day(start), named=day(named) if named else None, requests=changes,
            priority=Priority(priority),
        ).due_on
    )  # fmt: skip


def out(first: str, last: str | None, kind: RequestKind = EXCLUSION) -> Change:
    return Change(kind, day(first), day(last) if last else None)


def test_every_state_in_which_somebody_must_act_has_a_rule() -> None:
    on = date(2026, 1, 1)
    assert {state for state in CaseState if rule_of_state(state, on) is None} == QUIET
    for rule in RULES:
        if rule.state is not None:
            # What meets it is possible in its state, for whom the rule says.
            assert all(rule.state in TRANSITIONS[Command(event)].sources for event in rule.met_by)
            actors = {TRANSITIONS[Command(event)].actor for event in rule.met_by}
            assert actors <= {rule.acts, Actor.unit_above}, rule.name
            leaving = {rule.state} != {TRANSITIONS[Command(event)].leads_to(rule.state) for event in rule.met_by}
            assert leaving and rule.source


def test_every_clock_of_a_side_track_has_a_rule_of_its_length() -> None:
    tracks = {rule.name: rule for rule in RULES if rule.starts is Starts.track}
    assert tracks.keys() == CLOCKS.keys()
    possible = {f"{kind}.{command}" for kind, command in STEPS}
    for name, clock in CLOCKS.items():
        rule = tracks[name]
        term = rule.term()
        assert (term.days, term.months, term.hours, term.working) == (
            clock.days, clock.months, clock.hours, clock.working,
        )  # fmt: skip
        assert (rule.source, rule.checked) == (clock.source, clock.checked)
        assert rule.met_by <= possible
        states = {state for state, about in STATES[rule.track].items() if name in about.clocks} if rule.track else set()
        assert all(STEPS[rule.track, _command(event)].sources & states for event in rule.met_by if rule.track)


def _command(event: str):  # type: ignore[no-untyped-def]
    from app.casework.track_lifecycle import TrackCommand

    return TrackCommand(event.partition(".")[2])


def test_rows_are_whole() -> None:
    names = [(rule.name, rule.version) for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule.terms.keys() == set(Priority)
        assert rule.term(Priority.urgent).days <= rule.term(Priority.high).days <= rule.term(Priority.ordinary).days
        assert all(set(row.grounds) <= set(GROUNDS) and row.grounds for row in rule.allows.values())
        assert rule.is_named or rule.source == PRACTICE or not rule.works
        assert rule.escalate_after is None or rule.escalate_after > 0
    assert rule_of("closing", RULES[0].version).acts is Actor.closing
    with pytest.raises(KeyError):
        rule_of("closing", "1999-01")
    # Before the first version the first holds.
    assert rule_in_force("closing", date(1999, 1, 1)).version == RULES[0].version


# Every clock of DESIGN section 7: rule, day of the event, last day.
CLOCKS_OF_DESIGN = [
    ("dispatched", "2024-09-30", "2024-10-12"),
    ("returned", "2024-02-08", "2024-02-19"),
    ("verifying", "2026-09-18", "2026-10-15"),
    ("unfounded_proposed", "2025-01-24", "2025-02-13"),
    ("permitted_proposed", "2025-01-24", "2025-02-13"),
    ("confirmed", "2026-02-13", "2026-03-12"),
    ("planned", "2023-09-28", "2023-10-18"),
    ("closure_requested", "2023-01-20", "2023-02-15"),
    ("accepted", "2024-06-07", "2024-06-24"),
    ("closing", "2024-06-07", "2024-06-24"),
    ("reopened", "2026-02-13", "2026-02-27"),
    ("objection", "2024-06-07", "2024-06-24"),
    ("penalty_decision", "2024-01-01", "2024-03-31"),
    # 18 May 2024 is a Saturday.
    ("penalty_payment", "2024-05-03", "2024-05-20"),
    # 11 May 2024 is a Saturday that is worked for Labour Day.
    ("penalty_payment", "2024-04-26", "2024-05-11"),
    ("transfer_approval", "2024-09-30", "2024-10-03"),
    ("police_decision", "2024-09-30", "2024-10-03"),
    ("reconsideration", "2024-09-30", "2024-10-03"),
    ("reconsideration_decision", "2024-09-30", "2024-10-03"),
    ("procuratorial_reply", "2024-12-31", "2025-02-28"),
    ("procuratorial_reply", "2023-12-31", "2024-02-29"),
    ("procuratorial_reply", "2024-12-30", "2025-02-28"),
    ("procuratorial_reply_urgent", "2024-09-20", "2024-10-05"),
    ("compensation_start", "2024-01-31", "2024-03-01"),
    # 5 October 2025 lies in the holidays, which last until the 8th.
    ("compensation_negotiation", "2025-07-07", "2025-10-09"),
]


@pytest.mark.parametrize(("name", "start", "expected"), CLOCKS_OF_DESIGN)
def test_the_last_day_of_each_clock(name: str, start: str, expected: str) -> None:
    assert due(name, start) == expected


def test_every_computed_clock_is_in_that_table() -> None:
    computed = {rule.name for rule in RULES if not rule.is_named and not rule.term().hours}
    assert {name for name, _, _ in CLOCKS_OF_DESIGN} == computed
    assert {rule.name for rule in RULES if rule.is_named} == {
        "rectification", "look_back", "compensation_performance", "accountability_answer",
    }  # fmt: skip


def test_priority_shortens() -> None:
    assert [due("dispatched", "2026-09-30", priority=one) for one in ("urgent", "high", "ordinary")] == [
        "2026-10-08", "2026-10-09", "2026-10-13",
    ]  # fmt: skip


def test_named_days_are_taken_as_named() -> None:
    assert due("rectification", "2024-06-03", named="2024-10-01") == "2024-10-01"
    with pytest.raises(ValueError, match="named"):
        due("rectification", "2024-06-03")


def test_hours_count_from_the_instant_and_fall_on_a_day_of_shanghai() -> None:
    rule = rule_in_force("transfer_sending", date(2024, 6, 3))
    # 23:30 in Shanghai is 15:30 UTC; 00:30 is still the day before in UTC.
    late, early = datetime(2024, 6, 3, 15, 30, tzinfo=UTC), datetime(2024, 6, 3, 16, 30, tzinfo=UTC)
    assert (legal_day(late), legal_day(early)) == (date(2024, 6, 3), date(2024, 6, 4))
    assert early.date() == date(2024, 6, 3)
    for instant in (late, early):
        found = compute(CALENDAR, rule, legal_day(instant), instant=instant)
        assert found == Due(legal_day(instant) + timedelta(days=1), instant + timedelta(hours=24))
    with pytest.raises(ValueError, match="instant"):
        compute(CALENDAR, rule, date(2024, 6, 3))


def test_an_hour_over_midnight_in_shanghai_moves_the_last_day() -> None:
    late, early = datetime(2024, 9, 29, 15, 30, tzinfo=UTC), datetime(2024, 9, 29, 16, 30, tzinfo=UTC)
    days = [due("dispatched", str(legal_day(instant))) for instant in (late, early)]
    # 29 September is a Sunday that is worked; the holidays lie between.
    assert days == ["2024-10-11", "2024-10-12"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), "2024-06-25"),
        # A week off: five working days, the weekend counts for none.
        ((out("2024-06-08", "2024-06-14"),), "2024-07-01"),
        # 10 June is Dragon Boat Festival: only the 11th would have counted.
        ((out("2024-06-08", "2024-06-11"),), "2024-06-26"),
        # Overlapping spans count once.
        ((out("2024-06-11", "2024-06-13"), out("2024-06-12", "2024-06-14", PAUSE)), "2024-07-01"),
        # The second begins after the first day that would have been the last, but within the time that the first added.
        ((out("2024-06-11", "2024-06-14"), out("2024-06-26", "2024-06-26")), "2024-07-02"),
        # What lies before the start or after the last day changes nothing.
        ((out("2024-05-01", "2024-06-03"), out("2024-06-26", "2024-07-30")), "2024-06-25"),
        ((Change(EXTENSION, days=10),), "2024-07-09"),
        ((Change(EXTENSION, days=10), out("2024-07-01", "2024-07-01")), "2024-07-10"),
        # An open pause pushes nothing out yet.
        ((out("2024-06-11", None, PAUSE),), "2024-06-25"),
    ],
)
def test_pauses_exclusions_and_extensions_in_working_days(changes: tuple[Change, ...], expected: str) -> None:
    assert due("verifying", "2024-06-03", *changes) == expected


def test_an_open_pause_lasts_until_it_is_said_to_end() -> None:
    rule = rule_in_force("verifying", date(2024, 6, 3))
    found = compute(
        CALENDAR, rule, date(2024, 6, 3), requests=[out("2024-06-11", None, PAUSE)], paused_until=date(2024, 6, 14)
    )
    assert found.due_on == compute(CALENDAR, rule, date(2024, 6, 3), requests=[out("2024-06-11", "2024-06-14")]).due_on


def test_calendar_days_are_pushed_out_by_calendar_days_and_roll_at_the_end() -> None:
    assert due("penalty_decision", "2024-01-01", out("2024-02-09", "2024-02-18")) == "2024-04-10"
    # From Saturday 18 May, one day more is Sunday: both roll to Monday.
    assert due("penalty_payment", "2024-05-03", out("2024-05-06", "2024-05-06")) == "2024-05-20"
    assert due("penalty_payment", "2024-05-03", out("2024-05-06", "2024-05-08")) == "2024-05-21"


def test_a_new_day_replaces_a_named_one_and_what_was_granted_before() -> None:
    def at(hour: int) -> datetime:
        return datetime(2024, 7, 1, hour, tzinfo=UTC)

    winter = Change(PAUSE, day("2024-11-01"), day("2024-11-10"), decided_at=at(1))
    moved = Change(EXTENSION, new_due_on=day("2025-05-01"), decided_at=at(2))
    later = Change(EXCLUSION, day("2025-03-01"), day("2025-03-05"), decided_at=at(3))
    assert due("rectification", "2024-07-01", winter, named="2024-12-01") == "2024-12-11"
    assert due("rectification", "2024-07-01", winter, moved, named="2024-12-01") == "2025-05-01"
    assert due("rectification", "2024-07-01", later, moved, winter, named="2024-12-01") == "2025-05-06"


def test_only_approved_requests_count() -> None:
    rule = rule_in_force("verifying", date(2024, 6, 3))
    rows = [DeadlineRequest(kind=EXTENSION, days=10, state=state) for state in RequestState]
    assert compute(CALENDAR, rule, date(2024, 6, 3), requests=rows).due_on == date(2024, 7, 9)


def test_a_year_that_is_not_published_makes_it_provisional_and_its_calendar_moves_it() -> None:
    start = date(BEYOND - 1, 12, 28)
    rule = rule_in_force("verifying", start)
    before = compute(CALENDAR, rule, start)
    assert before.is_provisional and before.due_on.year == BEYOND
    holiday = {date(BEYOND, 1, one): False for one in range(1, 11)}
    known = WorkingCalendar({**library_years(), BEYOND: type(library_years()[2026])("x", holiday)})
    after = compute(known, rule, start)
    assert not after.is_provisional and after.due_on > before.due_on
    # Days that nothing official moves are sure in any year; a day that may roll is not.
    assert not compute(CALENDAR, rule_in_force("penalty_decision", start), start).is_provisional
    assert compute(CALENDAR, rule_in_force("compensation_negotiation", start), start).is_provisional


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["verifying", "penalty_decision", "procuratorial_reply", "penalty_payment"]),
    st.dates(date(2022, 1, 1), date(2026, 3, 1)),
    st.lists(st.tuples(st.integers(-10, 80), st.integers(0, 20)), max_size=4),
)
def test_a_due_day_equals_a_walk_over_the_days_that_count(name: str, start: date, spans: list[tuple[int, int]]) -> None:
    rule = rule_in_force(name, start)
    changes = [
        Change(EXCLUSION, start + timedelta(days=first), start + timedelta(days=first + length))
        for first, length in spans
    ]
    gone = {change.from_on + timedelta(days=k) for change, (_, n) in zip(changes, spans, strict=True)
            for k in range(n + 1) if change.from_on}  # fmt: skip
    plain = compute(CALENDAR, rule, start)
    term = rule.term()
    left = term.days if term.working or term.days else (plain.due_on - start).days
    walked = start
    while left:
        walked += timedelta(days=1)
        left -= walked not in gone and (not term.working or CALENDAR.is_working(walked))
    expected = CALENDAR.next_working_day(walked) if rule.rolls else walked
    assert compute(CALENDAR, rule, start, requests=changes).due_on == expected
    taken = sum(start < one for one in gone if not term.working or CALENDAR.is_working(one))
    assert days_not_counted(CALENDAR, rule, start, changes) == taken


def test_days_left_count_as_the_rule_does() -> None:
    verifying, penalty = (rule_in_force(name, date(2024, 1, 1)) for name in ("verifying", "penalty_decision"))
    today = date(2024, 9, 30)
    assert [days_left(CALENDAR, rule, date(2024, 10, 9), today) for rule in (verifying, penalty)] == [2, 9]
    assert [days_left(CALENDAR, rule, today, date(2024, 10, 9)) for rule in (verifying, penalty)] == [-2, -9]
    assert days_left(CALENDAR, verifying, today, today) == 0


def test_the_page_is_current() -> None:
    page = deadlines_markdown()
    assert all(f"`{rule.name}`" in page for rule in RULES)
    written = (REPOSITORY / "docs" / "deadlines.md").read_text(encoding="utf-8")
    assert written == page, "run: python -m app.casework.deadline_docs > docs/deadlines.md"
