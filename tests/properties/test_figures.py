"""Every figure against a plain recount of random histories, as of random instants; none changes by what comes later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.interval_checks import check
from app.foundation.database import Database, set_scope
from app.statistics.dimensions import Dimension
from app.statistics.figure_schemas import FiguresAnswer
from app.statistics.figures import Question, answer
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf
from tests import figures_recount as plain
from tests.conftest import World
from tests.random_histories import Histories, Step, instants, steps


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
    assert found.on is not None
    first, last = question.period or (found.on.replace(month=1, day=1), found.on)
    plan = plain.plan_of(question.report, plain.Days(found.on, first, last))
    read = plain.passages_at if question.report is Report.stages else plain.cases_at
    cases = read(events, found.as_of)
    expected = plain.groups(cases, question.by, question.filters, units, question.units is UnitsAsOf.then)
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
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_figure_is_that_of_a_plain_recount_and_never_changes(
    world: World, drawn: list[Step], chance: Random
) -> None:
    caller = world.caller("inspector")
    with owner(world) as session:
        histories = written(session, caller, drawn[: len(drawn) // 2])
        events, units = plain.read(session)
        asked: list[tuple[Question, FiguresAnswer]] = []
        for at in chance.sample(list(instants([event.at for event in events]))[:-1], 1):
            for question in questions(chance, at, plain.cases_at(events, at), units):
                asked.append((question, answer(session, caller, question)))
        for step in drawn[len(drawn) // 2 :]:
            histories.write(step)
        events, units = plain.read(session)
        for question, then in asked:
            now = answer(session, caller, question)
            later = {"effective_as_of", "total", "groups"}
            assert now.model_dump(exclude=later) == then.model_dump(exclude=later)
            assert now.effective_as_of >= then.effective_as_of
            assert figures_of(now, question) == figures_of(then, question), "an event recorded later changed an answer"
            compare(question, then, events, units)
        known = [event.at for event in events]
        for at in {chance.choice(known), chance.choice(list(instants(known)))}:
            for question in questions(chance, at, plain.cases_at(events, at), units):
                found = answer(session, caller, question)
                assert found.effective_as_of == min(at, known[-1])
                compare(question, found, events, units)
        assert check(session).differences == []
