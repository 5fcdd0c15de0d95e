"""Every figure against a plain recount of random histories, as of random instants; none changes by what comes later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.interval_checks import check, rebuild
from app.foundation.database import Database, set_scope
from app.foundation.paging import PageRequest
from app.statistics.counted_cases import list_cases
from app.statistics.dimensions import Dimension
from app.statistics.figure_schemas import FiguresAnswer
from app.statistics.figures import Question, answer
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf
from tests import figures_recount as plain
from tests.conftest import World
from tests.random_histories import NEXT, Histories, Step, instants, steps

# All that `app.casework.intervals` reads.
KINDS = {
    *("dispatch", "imported", "confirm", "submit_plan", "approve_plan", "request_closure", "return_closure"),
    *("return_acceptance", "uphold_objection", "publicise", "close", "reopen", "transfer", "redispatch", "split"),
    *("supervise", "add_source", "source_added", "make_primary", "case_merged_in", "merge", "withdraw"),
    *("deadline.paused", "deadline.resumed", "deadline.extended", "deadline.excluded"),
}


@contextmanager
def owner(world: World) -> Iterator[Session]:
    """A transaction of the tables' owner that sees everything and is undone at the end."""
    database = Database(world.urls.owner)
    with database.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()
    database.dispose()


def written(session: Session, caller: Caller, drawn: Sequence[Step]) -> Histories:
    histories = Histories(session, caller)
    for step in drawn:
        histories.write(step)
    return histories


def figures_of(found: FiguresAnswer, question: Question) -> dict[tuple[str | None, ...], dict[str, Any]]:
    """By the keys of their groups."""
    groups = [found.total, *found.groups]
    return {(group.row, group.column)[: len(question.by)]: group.figures for group in groups}


def compare(question: Question, found: FiguresAnswer, events: list[plain.Told], units: plain.Units) -> None:
    """Each figure of each group, to the last digit."""
    if question.on is None:
        assert found.on == min(found.as_of, datetime.now(UTC)).astimezone(ZoneInfo("Asia/Shanghai")).date()
    first, last = question.period or (found.on.replace(month=1, day=1), found.on)
    plan = plain.plan_of(question.report, plain.Days(found.on, first, last))
    read = plain.passages_at if question.report is Report.stages else plain.cases_at
    cases = read(events, found.as_of)
    filters = {name.value: keys for name, keys in question.filters.items()}
    expected = plain.groups(cases, question.by, filters, units, question.units is UnitsAsOf.then)
    assert figures_of(found, question) == {key: plain.figures(plan, members) for key, members in expected.items()}


def questions(chance: Random, at: datetime, cases: Sequence[plain.Facts], units: plain.Units) -> Iterator[Question]:
    """One of every report: by two dimensions, filtered by keys that some case has, by chance."""
    for report in Report:
        rows, columns, *others = chance.sample(list(Dimension), 4)
        as_then = chance.random() < 0.5
        filters: dict[Dimension, list[str]] = {}
        for dimension in chance.sample([rows, *others], chance.choice((0, 0, 1, 2))):
            known = sorted({key for case in cases for key in plain.keys_of(case, dimension, units, as_then)})
            if known:
                filters[dimension] = chance.sample(known, min(len(known), 2))
        day = date(2024, 1, 1) + timedelta(days=chance.randrange(700)) if chance.random() < 0.7 else None
        period = (day, day + timedelta(days=chance.randrange(400))) if day and chance.random() < 0.5 else None
        named = UnitsAsOf.then if as_then else UnitsAsOf.now
        yield Question(report, at, rows, columns if chance.random() < 0.7 else None, named, filters, period, day)


@given(drawn=steps, chance=st.integers(0, 2**32).map(Random))
@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_figure_is_that_of_a_plain_recount_and_never_changes(
    world: World, drawn: list[Step], chance: Random
) -> None:
    caller = world.caller("inspector")
    with owner(world) as session:
        half = len(drawn) // 2
        histories = written(session, caller, drawn[:half])
        events, units = plain.read(session)
        at = chance.choice(list(instants([event.at for event in events]))[:-1])
        early = chance.sample(list(questions(chance, at, plain.cases_at(events, at), units)), 4)
        asked = [(question, answer(session, caller, question)) for question in early]
        for step in drawn[half:]:
            histories.write(step)
        events, units = plain.read(session)
        for question, then in asked:
            assert answer(session, caller, question) == then, "an event recorded later changed an earlier answer"
            compare(question, then, events, units)
        known = [event.at for event in events]
        for at in (chance.choice(known), chance.choice(list(instants(known)))):
            for question in questions(chance, at, plain.cases_at(events, at), units):
                found = answer(session, caller, question)
                assert found.effective_as_of == min(at, known[-1])
                compare(question, found, events, units)
        assert check(session).differences == []


def one_of_everything(session: Session, caller: Caller) -> Histories:
    """A fixed ledger in which all kinds of events occur that figures read: what has not occurred yet goes first."""
    chance = Random(8)
    histories = Histories(session, caller)
    for count in range(600):
        if count > 150 and histories.kinds >= KINDS:
            break
        place = chance.randrange(9)
        possible = NEXT.get(histories.cases[place].state.value, ()) if place < len(histories.cases) else ()
        rare = [choice for choice, kind in enumerate(possible) if kind not in histories.kinds]
        going_on = [choice for choice, kind in enumerate(possible) if kind not in ("merge", "withdraw")]
        choice = chance.choice(rare or going_on or range(60))
        histories.write(Step(place, choice, chance.choice((0, 1, 2)), chance.randrange(4), chance.randrange(2**16)))
    assert histories.kinds >= KINDS, KINDS - histories.kinds
    return histories


def test_by_every_dimension_and_each_figure_lists_the_cases_that_it_counts(world: World) -> None:
    caller, chance = world.caller("inspector"), Random(1)
    with owner(world) as session:
        one_of_everything(session, caller)
        events, units = plain.read(session)
        at = events[-20].at
        for place, dimension in enumerate(Dimension):
            other = chance.choice([each for each in Dimension if each is not dimension])
            for report in list(Report)[place % 3 :: 3]:
                question = Question(report, at, dimension, other, UnitsAsOf.then if place % 2 else UnitsAsOf.now)
                found = answer(session, caller, question)
                compare(question, found, events, units)
        for report in set(Report) - {Report.stages}:
            rows = chance.choice(list(Dimension))
            question = Question(report, at, rows, on=date(2024, 5, 1))
            group = chance.choice(answer(session, caller, question).groups)
            listed_as_counted(session, caller, replace(question, rows=None, filters={rows: [group.row or ""]}), events)


def listed_as_counted(session: Session, caller: Caller, question: Question, events: list[plain.Told]) -> None:
    """The lists behind a group's counts name the cases that the recount finds."""
    assert question.on is not None
    assert question.as_of is not None
    _, units = plain.read(session)
    days = plain.Days(question.on, question.on.replace(month=1, day=1), question.on)
    cases = plain.cases_at(events, question.as_of)
    filters = {name.value: keys for name, keys in question.filters.items()}
    members = plain.groups(cases, [], filters, units, then=False)[()]
    for name, test in plain.plan_of(question.report, days).counts.items():
        page, cursor = list_cases(session, caller, question, name, PageRequest(limit=100))
        assert [item.number for item in page.items] == sorted(case["number"] for case in members if test(case))
        assert cursor is None


@pytest.mark.parametrize(
    ("by_hand", "amiss"),
    [
        ("update case_intervals set state = 'closed' where id = :id", "differs from event"),
        ("update case_intervals set area_m2 = area_m2 + 0.000001 where id = :id", "in area_m2"),
        ("update case_intervals set sources = sources || '{media2}' where id = :id", "in sources"),
        ("delete from case_intervals where id = :id", "intervals; its events give"),
    ],
)
def test_an_interval_changed_by_hand_is_found_and_its_case_named(world: World, by_hand: str, amiss: str) -> None:
    caller = world.caller("inspector")
    with owner(world) as session:
        histories = Histories(session, caller)
        for number in range(6):
            histories.write(Step(number % 2, 1, 2, 0, 7 + number))
        assert check(session).differences == []
        row = session.execute(text("select id, case_id from case_intervals order by sequence limit 1")).one()
        session.execute(text(by_hand), {"id": row.id})
        (found,) = check(session).differences
        assert found[0] == row.case_id
        assert amiss in found[1]
        rebuild(session)
        session.expire_all()
        assert check(session).differences == []
