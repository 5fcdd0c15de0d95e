"""Closure figures against a plain recount of random ledgers, and their immunity to what is recorded later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.access.models import Account, Role, Unit, UnitLevel
from app.casework.intervals import keep
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent, LedgerHead
from app.foundation.database import Database, set_scope
from app.foundation.geometry import to_database
from app.foundation.identity import new_id
from app.statistics.schemas import ClosureAnswer, ClosureFigures, GroupBy
from app.statistics.service import closure
from tests.conftest import World

# Two counties of 白山, one of 延边, and a zone that the test puts directly under the province.
COUNTIES = ("220621", "220681", "222401")
ZONE = "22ZONE"
PREFECTURES = {"220621": "220600", "220681": "220600", "222401": "222400", ZONE: ZONE}
START = datetime(2024, 1, 1, tzinfo=UTC)
CONFIRMED = {
    *("confirmed", "planned", "rectifying", "closure_requested"),
    *("accepted", "publicised", "closed", "reopened"),
}
COUNTED = [name for name in ClosureFigures.model_fields if name != "closure_rate"]


@dataclass(frozen=True)
class Step:
    """One event to write: which case, its state after, how long after the event before it, and what changes."""

    case: int
    state: str
    wait: timedelta
    lead: str | None
    activity: str | None
    source: str | None


@dataclass(frozen=True)
class Event:
    """What the recount needs to know of a written event."""

    case: int
    state: str
    recorded_at: datetime
    attributes: dict[str, Any]


steps = st.lists(
    st.builds(
        Step,
        case=st.integers(0, 3),
        # Not the lifecycle's sequences alone: figures must not depend on a path that was possible by today's table.
        state=st.sampled_from([state.value for state in CaseState]) | st.sampled_from(["confirmed", "closed"]),
        wait=st.sampled_from([timedelta(microseconds=1), timedelta(hours=9), timedelta(days=40)]),
        lead=st.none() | st.sampled_from([*COUNTIES, ZONE]),
        activity=st.none() | st.sampled_from(["road", "mining"]),
        source=st.none() | st.sampled_from(["satellite_monitoring", "media"]),
    ),
    max_size=14,
)


@contextmanager
def owner(world: World) -> Iterator[Session]:
    """A transaction of the tables' owner that sees everything and is undone at the end."""
    database = Database(world.urls.owner)
    with database.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()
    database.dispose()


class Ledger:
    """Writes events as they would be recorded, and remembers them plainly."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.events: list[Event] = []
        self.cases: dict[int, UUID] = {}
        province = session.scalars(select(Unit).where(Unit.level == UnitLevel.province)).one()
        session.add(
            Unit(code=ZONE, name="区", level=UnitLevel.zone, parent_id=province.id, valid_from=date(2020, 1, 1))
        )
        session.flush()
        self.units = {unit.code: unit for unit in session.scalars(select(Unit))}
        self.actor = session.scalars(select(Account).limit(1)).one()
        self.now = START

    def write(self, step: Step) -> None:
        attributes = {
            "lead_unit_id": step.lead and str(self.units[step.lead].id),
            "activity": step.activity,
            "supervision_source": step.source,
        }
        payload = {key: value for key, value in attributes.items() if value is not None}
        if step.case not in self.cases:
            first = replace(step, lead=step.lead or COUNTIES[0])
            payload = {
                "lead_unit_id": str(self.units[str(first.lead)].id),
                "activity": step.activity or "other",
                "supervision_source": step.source or "satellite_monitoring",
                "simulated": step.case % 2 == 1,
            }
            self.cases[step.case] = self._open(step.case, self.units[str(first.lead)])
        self.now += step.wait
        earlier = [event for event in self.events if event.case == step.case]
        self.events.append(Event(step.case, step.state, self.now, payload))
        written = CaseEvent(
            sequence=len(self.events),
            case_id=self.cases[step.case],
            case_sequence=len(earlier) + 1,
            kind="transfer",
            actor_id=self.actor.id,
            actor_role=Role.province.value,
            actor_unit_id=self.actor.unit_id,
            recorded_at=self.now,
            occurred_on=self.now.date(),
            state_before=CaseState(earlier[-1].state) if earlier else None,
            state_after=CaseState(step.state),
            payload=payload,
            previous_hash=bytes(32),
            hash=bytes(32),
        )
        self.session.add(written)
        self.session.flush()
        keep(self.session, [written])
        self.session.execute(update(LedgerHead).values(sequence=len(self.events), recorded_at=self.now))

    def _open(self, number: int, lead: Unit) -> UUID:
        case_id = new_id()
        province = self.units["220000"].id
        self.session.execute(
            insert(Case).values(
                id=case_id,
                unit_ids=[lead.id],
                number=f"RL-TEST-{number}",
                state=CaseState.dispatched,
                activity="changed since",
                priority="ordinary",
                supervision_source="changed since",
                lead_unit_id=province,
                accepting_unit_id=province,
                dispatching_unit_id=province,
                geom=to_database(box(127, 42, 127.01, 42.01)),
                area_m2=1.0,
            )
        )
        return case_id

    def recount(self, instant: datetime, group_by: GroupBy) -> dict[str, dict[str, int]]:
        """The figures by group, the slow and plain way."""
        codes = {str(unit.id): code for code, unit in self.units.items()}
        groups: dict[str, dict[str, int]] = {}
        for case in self.cases:
            events = [event for event in self.events if event.case == case and event.recorded_at <= instant]
            if not events:
                continue
            known: dict[str, Any] = {}
            for event in events:
                known |= event.attributes
            key = {
                GroupBy.none: "",
                GroupBy.unit: codes[known["lead_unit_id"]],
                GroupBy.prefecture: PREFECTURES[codes[known["lead_unit_id"]]],
                GroupBy.activity: known["activity"],
                GroupBy.supervision_source: known["supervision_source"],
            }[group_by]
            figures = groups.setdefault(key, dict.fromkeys(COUNTED, 0))
            figures["total"] += 1
            figures["simulated"] += bool(known["simulated"])
            figures[kind(events)] += 1
            if kind(events) == "ever_confirmed":
                figures["closed"] += events[-1].state == "closed"
                was_reopened = any(event.state == "reopened" for event in events)
                figures["reopened"] += was_reopened and events[-1].state != "closed"
        return groups


def kind(events: list[Event]) -> str:
    state = events[-1].state
    if state in ("merged", "withdrawn"):
        return state
    if any(event.state in CONFIRMED for event in events):
        return "ever_confirmed"
    return state if state in ("unfounded", "permitted") else "undecided"


def counts(figures: ClosureFigures) -> dict[str, int]:
    return figures.model_dump(include=set(COUNTED))


@given(steps=steps, group_by=st.sampled_from(GroupBy))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_figures_are_those_of_a_plain_recount_and_never_change(
    world: World, steps: list[Step], group_by: GroupBy
) -> None:
    caller = world.caller("inspector")
    with owner(world) as session:
        ledger = Ledger(session)
        answered: list[tuple[datetime, ClosureAnswer]] = []
        for step in steps:
            ledger.write(step)
            answered.append((ledger.now, closure(session, caller, ledger.now, group_by)))
        for instant, then in answered:
            now = closure(session, caller, instant, group_by)
            assert now == then, "an event recorded later changed an earlier answer"
            expected = ledger.recount(instant, group_by)
            if group_by is not GroupBy.none:
                assert {group.key: counts(group) for group in now.groups} == expected
            total = {name: sum(group[name] for group in expected.values()) for name in COUNTED}
            assert counts(now.total) == total
            parts = ("ever_confirmed", "unfounded", "permitted", "undecided", "merged", "withdrawn")
            assert total["total"] == sum(total[part] for part in parts)
            rate = total["closed"] / total["ever_confirmed"] if total["ever_confirmed"] else None
            assert now.total.closure_rate == rate
        if steps:
            later = closure(session, caller, ledger.now + timedelta(days=3650), group_by)
            assert later.effective_as_of == ledger.now
            assert later.total == answered[-1][1].total
            before = closure(session, caller, START, group_by)
            assert (before.total.total, before.groups) == (0, [])


@given(steps=steps)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_unit_counts_the_cases_it_may_see(world: World, steps: list[Step]) -> None:
    callers = {name: world.caller(name) for name in ("county", "county2", "prefecture")}
    with owner(world) as session:
        ledger = Ledger(session)
        for step in steps:
            ledger.write(step)
        opened = {
            name: sum(
                bool(session.scalar(select(Case.id).where(Case.id == case_id, Case.unit_ids.op("&&")(caller.units))))
                for case_id in ledger.cases.values()
            )
            for name, caller in callers.items()
        }
        totals = {name: closure(session, caller, None, GroupBy.unit).total for name, caller in callers.items()}
        assert {name: figures.total for name, figures in totals.items()} == opened
        assert totals["prefecture"].total == totals["county"].total + totals["county2"].total
