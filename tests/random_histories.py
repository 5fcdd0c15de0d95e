"""Random but possible histories of cases, written through the ledger with the payloads that commands give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from shapely.geometry import box
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel, UnitPeriod, UnitSuccession
from app.access.service import Caller
from app.casework import ledger
from app.casework.intervals import past_of, standing_now
from app.casework.lifecycle import CaseState
from app.casework.models import Case, LedgerHead
from app.casework.vocabulary import CaseOrigin, SupervisionLevel
from app.foundation.geometry import to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day

# Late on the day before in UTC: legal days are those of Shanghai.
START = datetime(2024, 1, 3, 17, tzinfo=UTC)
ZONE, ENDED, TORN = "22ZONE", "22ENDED", "22TORN"
LEADS = ("220621", "220681", "222401", ZONE, ENDED, TORN)
MOVED_ON = date(2024, 3, 1)
WAITS = (timedelta(microseconds=1), timedelta(hours=7), timedelta(days=3), timedelta(days=41), timedelta(days=200))
SOURCES = ("satellite_monitoring", "media", "green_shield", "forest_inspection")
ACTIVITIES = ("quarry", "tourism", "road", "industry")
# What may come next in a state: each leads to a state, or stays (None).
_CLOSING = {"return_closure": "rectifying", "return_acceptance": "rectifying", "uphold_objection": "rectifying"}
_ENDS = ("merge", "withdraw")
NEXT: Mapping[str, tuple[str, ...]] = {
    "dispatched": ("start_verification", "start_verification", "return", "transfer", *_ENDS),
    "returned": ("redispatch", "transfer"),
    "verifying": ("confirm", "confirm", "confirm", "propose_unfounded", "propose_permitted", "split"),
    "unfounded_proposed": ("uphold_proposal", "reject_proposal"),
    "permitted_proposed": ("uphold_proposal", "reject_proposal"),
    "unfounded": ("take_up_again", "add_source"),
    "permitted": ("take_up_again", "make_primary"),
    "confirmed": ("submit_plan", "submit_plan", "submit_plan", "supervise", "merge", "split"),
    "planned": ("approve_plan", "approve_plan", "return_plan", "withdraw"),
    "rectifying": (
        *("request_closure", "request_closure", "request_closure", "report_progress", "deadline.paused"),
        *("deadline.extended", "deadline.resumed", "deadline.excluded", "transfer", "split", "merge"),
    ),
    "closure_requested": ("accept", "accept", "return_closure", "comment"),
    "accepted": ("publicise", "publicise", "return_acceptance"),
    "publicised": ("close", "close", "close", "uphold_objection"),
    "closed": ("reopen", "source_added"),
    "reopened": ("resume", "transfer", "split", "add_source"),
}
_LEADS_TO = {
    "start_verification": "verifying",
    "return": "returned",
    "redispatch": "dispatched",
    "resume": "verifying",
    "propose_unfounded": "unfounded_proposed",
    "propose_permitted": "permitted_proposed",
    "confirm": "confirmed",
    "reject_proposal": "verifying",
    "take_up_again": "verifying",
    "submit_plan": "planned",
    "approve_plan": "rectifying",
    "return_plan": "confirmed",
    "request_closure": "closure_requested",
    "accept": "accepted",
    "publicise": "publicised",
    "close": "closed",
    "reopen": "reopened",
    "merge": "merged",
    "withdraw": "withdrawn",
    **_CLOSING,
}
IMPORTED = ("dispatched", "verifying", "unfounded", "confirmed", "rectifying", "accepted", "closed", "reopened")
_PLANNED = ("rectifying", "accepted", "closed", "reopened")


@dataclass(frozen=True)
class Step:
    """One event to write: of which case, which of those possible, how long after the one before, and its details."""

    case: int
    choice: int
    wait: int
    # Days before its recording on which it happened.
    lag: int
    detail: int


steps = st.lists(
    st.builds(
        Step,
        case=st.integers(0, 4),
        choice=st.integers(0, 59),
        wait=st.integers(0, len(WAITS) - 1),
        lag=st.integers(0, 3),
        detail=st.integers(0, 2**16),
    ),
    min_size=24,
    max_size=50,
)


class Histories:
    """Writes events of cases; its clock is its own, and so every instant is known."""

    def __init__(self, session: Session, caller: Caller) -> None:
        self.session, self.caller = session, caller
        self.now = START
        self.cases: list[Case] = []
        self.kinds: set[str] = set()
        self.units = _units(session)
        session.execute(update(LedgerHead).where(LedgerHead.id == ledger.CASES_HEAD).values(recorded_at=START))
        self._sequence = 0

    def write(self, step: Step) -> None:
        """The next event of a case, its first if it has none."""
        self.now += WAITS[step.wait]
        if step.case >= len(self.cases):
            self._open(step)
            return
        case = self.cases[step.case]
        possible = NEXT.get(case.state.value)
        if possible:
            self.give(case, possible[step.choice % len(possible)], step)

    def give(self, case: Case, kind: str, step: Step) -> None:
        """Write an event of a case, and those that come with it."""
        others = [one for one in self.cases if one is not case and one.state.value in NEXT]
        if kind == "merge" and not others:
            kind = "withdraw"
        payload = _PAYLOADS.get(kind, _nothing)(self, case, step)
        if kind == "split":
            self._split(case, step, payload)
            return
        if kind == "merge":
            into = others[step.detail % len(others)]
            added = [{"source": SOURCES[step.detail % 4]}] if step.detail % 3 else []
            self._append(into, "case_merged_in", into.state, step, {"case_id": str(case.id), "added_sources": added})
        before = case.state
        proposed = {"unfounded_proposed": "unfounded", "permitted_proposed": "permitted"}
        after = proposed[before.value] if kind == "uphold_proposal" else _LEADS_TO.get(kind, before.value)
        if kind == "transfer" and before is CaseState.returned:
            after = "dispatched"
        case.state = CaseState(after)
        self._append(case, kind, before, step, payload)

    def _append(self, case: Case, kind: str, before: CaseState | None, step: Step, payload: dict[str, Any]) -> None:
        self.kinds.add(kind)
        with patch.object(ledger, "next_in", self._next):
            ledger.append(
                self.session,
                self.caller,
                case,
                kind,
                state_before=before,
                occurred_on=self.day(step),
                payload=payload,
            )

    def _next(self, session: Session, head: int, count: int = 1) -> tuple[int, datetime]:
        """As the ledger's clock gives it, at this history's time."""
        self._sequence += count
        self.now += timedelta(microseconds=count)
        moved = update(LedgerHead).where(LedgerHead.id == head)
        session.execute(moved.values(sequence=self._sequence, recorded_at=self.now))
        return self._sequence, self.now

    def day(self, step: Step) -> date:
        return legal_day(self.now) - timedelta(days=step.lag)

    def _open(self, step: Step) -> None:
        is_imported = step.choice % 3 == 0
        state = IMPORTED[step.detail % len(IMPORTED)] if is_imported else "dispatched"
        origin = CaseOrigin.imported if is_imported else (CaseOrigin.detection, CaseOrigin.clue_list)[step.choice % 2]
        due = (legal_day(self.now) + timedelta(days=step.detail % 90 - 20)) if state in _PLANNED else None
        case = self._case(step, CaseState(state), origin, due)
        self.cases.append(case)
        told = self._first(case, step)
        told |= {"source": case.supervision_source, "round": None}
        if origin is CaseOrigin.detection:
            told["seen"] = self._seen(step)
        self._append(case, "imported" if is_imported else "dispatch", None, step, told)

    def _case(self, step: Step, state: CaseState, origin: CaseOrigin, due: date | None) -> Case:
        number, province = len(self.cases), self.units["220000"].id
        lead = self.units[LEADS[(step.detail + number) % len(LEADS)]]
        case = Case(
            id=new_id(),
            unit_ids=[lead.id],
            number=f"RL-TEST-{number:03d}",
            state=state,
            origin=origin,
            simulated=step.detail % 5 == 0,
            activity=ACTIVITIES[step.detail % len(ACTIVITIES)],
            priority=("ordinary", "high")[step.detail % 2],
            supervision_source=SOURCES[step.choice % len(SOURCES)],
            supervision_level=SupervisionLevel.ordinary,
            protected_area_level=(None, "national", "provincial", "county")[step.detail % 4],
            lead_unit_id=lead.id,
            accepting_unit_id=province,
            dispatching_unit_id=province,
            geom=to_database(box(127, 42, 127.01, 42.01)),
            area_m2=1000 / 3 + step.detail / 7,
            first_due_on=due,
            due_on=due,
            facts={},
            plan={"restoration_area_m2": step.detail / 3, "measure_kinds": ["later_permit"]} if due else {},
        )
        self.session.add(case)
        self.session.flush()
        return case

    def _first(self, case: Case, step: Step) -> dict[str, Any]:
        """As `opening.first_payload` says it, and the verdict on the ground."""
        zones = [["core_protection"], ["general_control", "reserve_buffer"], []][step.detail % 3]
        return {
            "number": case.number,
            "lead_unit_id": str(case.lead_unit_id),
            "activity": case.activity,
            "priority": case.priority,
            "supervision_source": case.supervision_source,
            "origin": case.origin.value,
            "protected_area_level": case.protected_area_level,
            "supervision_level": case.supervision_level.value,
            "area_m2": case.area_m2,
            "simulated": case.simulated,
            "first_due_on": _text(case.first_due_on),
            "due_on": _text(case.due_on),
            "approved_measures": case.plan["measure_kinds"] if case.due_on else None,
            "restoration_area_m2": case.plan["restoration_area_m2"] if case.due_on else None,
            "judged": {
                "severity": ("high", "medium", "low")[step.detail % 3],
                "verdict": ("prohibited", "needs_recognition", "boundary")[step.choice % 3],
                "zones": zones,
                "protected_areas": ["PA1", "PA2"][: step.detail % 3],
                "redlines": ["R1"] if step.choice % 2 else [],
            },
        }

    def _seen(self, step: Step) -> dict[str, str | None]:
        day, gap = self.day(step), timedelta(days=step.detail % 20 + 1)
        return {
            "last_clear_on": _text(day - 4 * gap) if step.detail % 4 else None,
            "first_seen_on": _text(day - 3 * gap),
            "confirmed_on": _text(day - 2 * gap) if step.detail % 5 else None,
            "published_on": _text(day - gap),
        }

    def _split(self, case: Case, step: Step, told: dict[str, Any]) -> None:
        """As `splitting.split`: the parts' first events, then that of the case."""
        share = (step.detail % 8 + 1) / 10
        standing = standing_now(self.session, case.id)
        child = self._case(step, case.state, CaseOrigin.split_, None)
        for name in ("activity", "priority", "supervision_source", "supervision_level", "simulated", "due_on"):
            setattr(child, name, getattr(case, name))
        child.first_due_on, child.plan, child.area_m2 = case.first_due_on, case.plan, case.area_m2 * share
        past = {
            "split_from": str(case.id),
            "was_confirmed": standing.confirmed,
            "was_reopened": standing.reopenings > 0,
            "past": past_of(standing),
            "approved_measures": told.pop("measures"),
            "restoration_area_m2": standing.restoration_area_m2 and standing.restoration_area_m2 * share,
        }
        self.cases.append(child)
        self._append(child, "split", None, step, self._first(child, step) | past)
        before, case.area_m2 = case.area_m2, case.area_m2 * (1 - share)
        self._append(case, "split", case.state, step, {"area_before_m2": before, "area_m2": case.area_m2})


def _units(session: Session) -> dict[str, Unit]:
    """Besides counties: a zone directly under the province, a county that another follows, one that two follow, and one
    that came from another prefecture."""
    known = {unit.code: unit for unit in session.scalars(select(Unit))}
    for code, parent, level in (
        (ZONE, "220000", UnitLevel.zone),
        (ENDED, "222400", UnitLevel.county),
        (TORN, "222400", UnitLevel.county),
    ):
        unit = Unit(code=code, name=code, level=level, parent_id=known[parent].id, valid_from=date(2020, 1, 1))
        session.add(unit)
        known[code] = unit
    session.flush()
    for before, after in ((ENDED, "222401"), (TORN, "220621"), (TORN, "220681")):
        days = {"on": date(2024, 6, 1)}
        session.add(UnitSuccession(predecessor_id=known[before].id, successor_id=known[after].id, **days))
    moved = known["220681"]
    session.execute(
        update(UnitPeriod).where(UnitPeriod.unit_id == moved.id).values(parent_id=known["222400"].id, name="旧名")
    )
    session.add(UnitPeriod(unit_id=moved.id, since=MOVED_ON, name=moved.name, parent_id=moved.parent_id))
    session.flush()
    return known


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _nothing(_: Histories, __: Case, ___: Step) -> dict[str, Any]:
    return {}


def _hand_over(histories: Histories, case: Case, step: Step) -> dict[str, Any]:
    case.lead_unit_id = histories.units[LEADS[step.detail % len(LEADS)]].id
    return {"lead_unit": "as its code", "lead_unit_id": str(case.lead_unit_id)}


def _confirm(_: Histories, case: Case, step: Step) -> dict[str, Any]:
    case.area_m2 = step.detail / 11 + 0.1
    told: dict[str, Any] = {"problem": "采石", "area_m2": case.area_m2}
    if step.detail % 2:
        case.activity = ACTIVITIES[step.detail % 3]
        told["activity"] = case.activity
    return told


def _submit_plan(histories: Histories, case: Case, step: Step) -> dict[str, Any]:
    kinds = [["later_permit"], ["boundary_change", "restoration"], ["restoration"], []][step.detail % 4]
    due = legal_day(histories.now) + timedelta(days=step.detail % 120 + 1)
    case.plan = {"due_on": due.isoformat(), "restoration_area_m2": step.detail / 13, "measure_kinds": kinds}
    return dict(case.plan)


def _approve_plan(histories: Histories, case: Case, step: Step) -> dict[str, Any]:
    if "due_on" not in case.plan:
        _submit_plan(histories, case, step)
    case.due_on = date.fromisoformat(case.plan["due_on"])
    case.first_due_on = case.first_due_on or case.due_on
    return {
        **_dues(case),
        "approved_measures": case.plan["measure_kinds"],
        "restoration_area_m2": case.plan["restoration_area_m2"],
    }


def _dues(case: Case) -> dict[str, Any]:
    return {"due_on": _text(case.due_on), "first_due_on": _text(case.first_due_on)}


def _request_closure(_: Histories, case: Case, step: Step) -> dict[str, Any]:
    """Now and then it ends a pause, which moved the day."""
    if step.detail % 3 or case.due_on is None:
        return {"recovery": {}}
    case.due_on += timedelta(days=step.detail % 9 + 1)
    return {"recovery": {}} | _dues(case)


def _deadline(ends: Callable[[Step], bool]) -> Callable[[Histories, Case, Step], dict[str, Any]]:
    def told(histories: Histories, case: Case, step: Step) -> dict[str, Any]:
        first = legal_day(histories.now)
        rule = "rectification" if step.detail % 4 else "penalty"
        last = first + timedelta(days=step.detail % 15) if ends(step) else None
        payload: dict[str, Any] = {
            "deadline": {"rule": rule, "due_on": "2031-01-01"},
            "request": {"from_on": _text(first), "to_on": _text(last)},
        }
        if rule == "rectification" and case.due_on and last:
            case.due_on += last - first
            payload |= _dues(case)
        return payload

    return told


def _supervise(_: Histories, case: Case, step: Step) -> dict[str, Any]:
    case.supervision_level = (SupervisionLevel.prefecture, SupervisionLevel.province)[step.detail % 2]
    return {"level": case.supervision_level.value, "level_before": "ordinary"}


def _add_source(_: Histories, __: Case, step: Step) -> dict[str, Any]:
    return {"source": SOURCES[step.detail % len(SOURCES)], "due_on": "2030-01-01"}


def _make_primary(_: Histories, case: Case, step: Step) -> dict[str, Any]:
    case.supervision_source = SOURCES[step.detail % len(SOURCES)]
    return {"supervision_source": case.supervision_source}


def _split(histories: Histories, case: Case, __: Step) -> dict[str, Any]:
    """The measures approved last, as the ledger has them."""
    told = "select payload::jsonb->'approved_measures' from case_events where case_id = :case order by sequence desc"
    rows = histories.session.connection().exec_driver_sql(told.replace(":case", f"'{case.id}'"))
    return {"measures": next((row[0] for row in rows if row[0] is not None), None)}


_PAYLOADS: Mapping[str, Callable[[Histories, Case, Step], dict[str, Any]]] = {
    "transfer": _hand_over,
    "redispatch": _hand_over,
    "confirm": _confirm,
    "submit_plan": _submit_plan,
    "approve_plan": _approve_plan,
    "request_closure": _request_closure,
    "deadline.paused": _deadline(lambda step: step.detail % 2 == 0),
    "deadline.resumed": _deadline(lambda step: True),
    "deadline.extended": _deadline(lambda step: True),
    "deadline.excluded": _deadline(lambda step: True),
    "supervise": _supervise,
    "add_source": _add_source,
    "source_added": _add_source,
    "make_primary": _make_primary,
    "split": _split,
}


def instants(times: Sequence[datetime]) -> Iterator[datetime]:
    """Those of the events themselves, the ones between, before the first and after the last."""
    yield START - timedelta(days=1)
    yield from times
    for one, other in pairwise(times):
        yield one + (other - one) / 2
    if times:
        yield times[-1] + timedelta(days=400)
