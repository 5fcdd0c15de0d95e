"""Look-backs (回头看): the inspection orders that a closed case is looked at again, the province reports what it found.

A look-back changes no state: what it found is the ground on which the province may reopen (`Guard.look_back_stands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, in_jurisdiction
from app.casework.deadlines import follow_look_back
from app.casework.duties import CLOSED_IT
from app.casework.guards import invalid
from app.casework.ledger import append, history
from app.casework.lifecycle import CaseState
from app.casework.look_back_schemas import LookBackState, OrderRequest, ReportRequest
from app.casework.models import Case, Evidence
from app.casework.supervision_models import LookBack
from app.casework.transitions import check_version, lock_cases
from app.casework.vocabulary import LookBackOutcome
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.identity import new_id

ORDERS = (Role.inspector, Role.province)
# Who re-checks, unless the chain of the case's source says otherwise (DESIGN section 7).
REPORTS = (Role.province, Role.inspector)
# Ledger events by which an account took part in the closure that is looked back at.


def order(session: Session, caller: Caller, case_id: UUID, body: OrderRequest, *, today: date) -> tuple[LookBack, Case]:
    """Order a look-back of a closed case.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller orders none.
        Conflict: the case is not closed, or one is open already.
        Invalid: the due day does not lie ahead.
    """
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise NotFound()
    caller.require(*ORDERS)
    _check_due(body.due_on, today)
    reason = _obstacles(session, [case]).get(case.id)
    if reason:
        raise Conflict(f"No look-back is ordered: {reason}.", state=case.state.value)
    return _order(session, caller, case, body, None, today), case


def order_all(
    session: Session, caller: Caller, sample_id: UUID, case_ids: Iterable[UUID], body: OrderRequest, *, today: date
) -> tuple[list[LookBack], dict[UUID, str], dict[UUID, Case]]:
    """Order look-backs of the cases of a sample.

    Returns:
        The orders; the cases without one, and why; all cases.

    Raises:
        Forbidden, Invalid: as `order` does.
    """
    caller.require(*ORDERS)
    _check_due(body.due_on, today)
    cases = lock_cases(session, caller, list(case_ids))
    skipped = _obstacles(session, list(cases.values()))
    ordered = [
        _order(session, caller, case, body, sample_id, today) for case in cases.values() if case.id not in skipped
    ]
    return ordered, skipped, cases


def _check_due(due_on: date, today: date) -> None:
    if due_on <= today:
        raise invalid("due_on", "lies not in the future")


def _obstacles(session: Session, cases: Sequence[Case]) -> dict[UUID, str]:
    """Why a case is not looked back at: it is not closed, or an order is open."""
    ids = [case.id for case in cases]
    running = set(
        session.scalars(select(LookBack.case_id).where(LookBack.case_id.in_(ids), LookBack.outcome.is_(None)))
    )
    found = {case.id: f"the case is {case.state}, not closed" for case in cases if case.state is not CaseState.closed}
    return dict.fromkeys(running, "a look-back is open already") | found


def _order(
    session: Session, caller: Caller, case: Case, body: OrderRequest, sample_id: UUID | None, today: date
) -> LookBack:
    row = LookBack(
        id=new_id(),
        case_id=case.id,
        sample_id=sample_id,
        version=1,
        reason=body.reason,
        due_on=body.due_on,
        ordered_by=caller.account_id,
    )
    payload = {
        "look_back_id": str(row.id),
        "reason": body.reason,
        "due_on": body.due_on.isoformat(),
        "sample_id": str(sample_id) if sample_id else None,
    }
    event = append(
        session, caller, case, "look_back_ordered", state_before=case.state, occurred_on=today, payload=payload
    )
    row.ordered_at = event.recorded_at
    session.add(row)
    session.flush()
    follow_look_back(session, case, row, event)
    return row


def report(
    session: Session, caller: Caller, look_back_id: UUID, body: ReportRequest, *, expected_version: int, today: date
) -> tuple[LookBack, Case]:
    """Report what a look-back found.

    Raises:
        NotFound: none of a case in the caller's jurisdiction.
        Forbidden: the caller does not re-check, or accepted or closed the case (separation of duties).
        StaleVersion: it changed since `expected_version`.
        Conflict: it is reported already.
        Invalid: the day or the evidence does not fit.
    """
    _, known = get_look_back(session, caller, look_back_id)
    case = lock_cases(session, caller, [known.id])[known.id]
    row = session.scalars(
        select(LookBack).where(LookBack.id == look_back_id).with_for_update().execution_options(populate_existing=True)
    ).one()
    caller.require(*REPORTS)
    events = history(session, case.id)
    if any(event.actor_id == caller.account_id and event.kind in CLOSED_IT for event in events):
        raise Forbidden("Separation of duties: the account that accepted or closed this case does not re-check it.")
    check_version(row.version, expected_version)
    if row.outcome is not None:
        raise Conflict(f"The look-back is reported already: {row.outcome}.", outcome=row.outcome.value)
    _check_day(body.looked_on, events, today)
    _check_evidence(session, row, body)
    row.outcome = body.outcome
    row.findings = body.findings
    row.looked_on = body.looked_on
    row.evidence_id = body.evidence_id
    row.reported_by = caller.account_id
    row.version += 1
    payload = {
        "look_back_id": str(row.id),
        "outcome": body.outcome.value,
        "findings": body.findings,
        "evidence_id": str(body.evidence_id) if body.evidence_id else None,
        "due_on": row.due_on.isoformat(),
        # It is the report that is due, and a day that is stated proves nothing.
        "late": today > row.due_on,
    }
    event = append(
        session,
        caller,
        case,
        "look_back_reported",
        state_before=case.state,
        occurred_on=body.looked_on,
        note=body.note,
        payload=payload,
    )
    follow_look_back(session, case, row, event)
    return row, case


def _check_day(looked_on: date, events: Sequence[Row[Any]], today: date) -> None:
    if looked_on > today:
        raise invalid("looked_on", "lies in the future")
    closed = [e.occurred_on for e in events if e.state_after == CaseState.closed and e.state_before != CaseState.closed]
    if looked_on < closed[-1]:
        raise invalid("looked_on", f"lies before {closed[-1]}, the day on which the case was closed")


def _check_evidence(session: Session, row: LookBack, body: ReportRequest) -> None:
    if body.evidence_id is None:
        if body.outcome is LookBackOutcome.rebound:
            raise invalid("evidence_id", "a rebound is proved by evidence of this case")
        return
    uploaded_at = session.scalar(
        select(Evidence.uploaded_at).where(Evidence.id == body.evidence_id, Evidence.case_id == row.case_id)
    )
    if uploaded_at is None:
        raise invalid("evidence_id", "is not evidence of this case")
    if uploaded_at <= row.ordered_at:
        raise invalid("evidence_id", "was uploaded before the look-back was ordered")


def get_look_back(session: Session, caller: Caller, look_back_id: UUID) -> tuple[LookBack, Case]:
    """One look-back and its case.

    Raises:
        NotFound: none of a case in the caller's jurisdiction.
    """
    statement = select(LookBack, Case).join(Case, Case.id == LookBack.case_id).where(LookBack.id == look_back_id)
    found = session.execute(in_jurisdiction(statement, caller, Case)).one_or_none()
    if found is None:
        raise NotFound()
    return found[0], found[1]


def select_look_backs(
    caller: Caller,
    *,
    today: date,
    state: LookBackState | None = None,
    overdue: bool | None = None,
    outcome: LookBackOutcome | None = None,
    sample_id: UUID | None = None,
    lead_units: list[UUID] | None = None,
) -> Select[LookBack]:
    """Look-backs of the cases in the caller's jurisdiction, by filters."""
    statement = in_jurisdiction(select(LookBack).join(Case, Case.id == LookBack.case_id), caller, Case)
    is_open = LookBack.outcome.is_(None)
    is_overdue = is_open & (LookBack.due_on < today)
    if state is not None:
        statement = statement.where(is_open if state is LookBackState.open else ~is_open)
    if overdue is not None:
        statement = statement.where(is_overdue if overdue else ~is_overdue)
    if outcome is not None:
        statement = statement.where(LookBack.outcome == outcome)
    if sample_id is not None:
        statement = statement.where(LookBack.sample_id == sample_id)
    if lead_units is not None:
        statement = statement.where(Case.lead_unit_id.in_(lead_units))
    return statement


def case_numbers(session: Session, rows: Iterable[LookBack]) -> dict[UUID, str]:
    """The numbers of the cases of look-backs, by id."""
    statement = select(Case.id, Case.number).where(Case.id.in_({row.case_id for row in rows}))
    return {row.id: row.number for row in session.execute(statement)}


def is_overdue(row: LookBack, today: date) -> bool:
    """Whether it is open past its due day."""
    return row.outcome is None and row.due_on < today
