"""The clocks of cases follow their ledgers, of many cases in as many statements as of one.

Whoever calls here has written the events and holds the cases' locks and the ledger's head: as long as it takes, nobody
else writes an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import Starts, rule_in_force, rule_of
from app.casework.deadlines import OPEN, changes_of_many, clock_of_state, end, new_clock
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case, CaseEvent
from app.casework.supervision_models import Objection
from app.casework.vocabulary import DeadlineState, ObjectionState

Step = tuple[Case, CaseEvent]
_Running = dict[tuple[UUID, Starts], list[Deadline]]
_Ending = list[tuple[Deadline, CaseEvent]]


def follow(session: Session, case: Case, event: CaseEvent) -> None:
    """Let the clocks of a case follow an event of its ledger, as `follow_many` does."""
    follow_many(session, [(case, event)])


def follow_many(session: Session, steps: Sequence[Step]) -> None:
    """Let clocks of cases follow an event of each one's ledger: what ran is met or ended, what its state runs starts.

    Clocks of side tracks go on whatever becomes of the case: no law stops them because it is merged or withdrawn.

    Args:
        steps: cases with the event that was just written of each; a case once.
    """
    running = _running(session, [case.id for case, _ in steps])
    moved = [(case, event) for case, event in steps if _moves(case, event)]
    ending = [(one, event) for case, event in moved for one in running.get((case.id, Starts.case_state), ())]
    waiting, ended = _objections(session, steps, running)
    _end(session, ending + ended)
    started = [clock_of_state(session, case, event) for case, event in moved]
    started += [_clock_of_objection(session, case, objection, event) for case, objection, event in waiting]
    # What ended stands in the database before what starts: a case has one open clock of a rule.
    session.flush()
    session.add_all(clock for clock in started if clock is not None)
    session.flush()


def _moves(case: Case, event: CaseEvent) -> bool:
    """Whether somebody else has to act now, or something else has to be done."""
    handed_over = event.kind == Command.transfer.value and case.state is CaseState.dispatched
    return event.state_before is not event.state_after or handed_over


def _running(session: Session, case_ids: Sequence[UUID]) -> _Running:
    """The open clocks of cases by what starts them, first due first."""
    statement = select(Deadline).where(Deadline.case_id == func.any(list(case_ids)), Deadline.state.in_(OPEN))
    found: _Running = {}
    for one in session.scalars(statement.order_by(Deadline.due_on, Deadline.id)):
        found.setdefault((one.case_id, rule_of(one.rule, one.rule_version).starts), []).append(one)
    return found


def _end(session: Session, ending: _Ending) -> None:
    paused = [deadline for deadline, _ in ending if deadline.state is DeadlineState.paused]
    changes = changes_of_many(session, paused) if paused else {}
    for deadline, event in ending:
        end(session, deadline, event, changes=changes.get(deadline.id))


def _objections(
    session: Session, steps: Sequence[Step], running: _Running
) -> tuple[list[tuple[Case, Objection, CaseEvent]], _Ending]:
    """Objections whose clocks start, and clocks of others that end.

    The oldest undecided objection has the clock; a case has one at a time, the next starts when it is decided.
    """
    oldest = oldest_objections(session, [case.id for case, _ in steps if case.state is CaseState.publicised])
    waiting: list[tuple[Case, Objection, CaseEvent]] = []
    ending: _Ending = []
    for case, event in steps:
        clock = next(iter(running.get((case.id, Starts.objection), ())), None)
        next_one = oldest.get(case.id)
        if clock is not None and _is_over(session, case, event, next_one):
            ending.append((clock, event))
            clock = None
        if next_one is not None and clock is None:
            waiting.append((case, next_one, event))
    return waiting, ending


def _is_over(session: Session, case: Case, event: CaseEvent, oldest: Objection | None) -> bool:
    """Whether nobody waits any more for a decision on the objection whose clock runs."""
    if case.state is not CaseState.publicised:
        return True
    if event.kind != Command.dismiss_objection.value:
        return False
    decided = session.get_one(Objection, UUID(event.payload["objection_id"]))
    return oldest is None or (decided.recorded_at, decided.id) < (oldest.recorded_at, oldest.id)


def oldest_objections(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, Objection]:
    """Of each case with undecided objections to its closure the one that was recorded first."""
    if not case_ids:
        return {}
    waiting = select(Objection).where(
        Objection.case_id == func.any(list(case_ids)), Objection.state == ObjectionState.open
    )
    first = waiting.ext(distinct_on(Objection.case_id)).order_by(Objection.case_id, Objection.recorded_at, Objection.id)
    return {one.case_id: one for one in session.scalars(first)}


def start_of_objection(session: Session, case: Case, objection: Objection, event: CaseEvent) -> Deadline:
    """Start the clock of an objection, from the day on which it was received."""
    deadline = _clock_of_objection(session, case, objection, event)
    session.add(deadline)
    session.flush()
    return deadline


def _clock_of_objection(session: Session, case: Case, objection: Objection, event: CaseEvent) -> Deadline:
    rule = rule_in_force("objection", objection.received_on)
    return new_clock(session, case, rule, event, objection.received_on)
