"""Pauses, extensions and excluded time of clocks: asked for by who has to act, decided by the unit above.

Who may stands in `deadline_permissions`, how much in the rules' allowances (`deadline_limits` reads them), what it does
to a due day in `deadlines`. Every step writes its event into the case's ledger, under the case's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller, followers, get_placed
from app.casework.calendars import calendar_of
from app.casework.deadline_limits import OPEN, check_limits, counted_days
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.deadline_permissions import Act, refusal
from app.casework.deadline_request_schemas import AskBody, AskExtension
from app.casework.deadline_rules import DeadlineRule, rule_of
from app.casework.deadlines import recompute
from app.casework.guards import invalid
from app.casework.ledger import append
from app.casework.models import Case
from app.casework.participation import actors_of
from app.casework.transitions import check_version, lock_cases
from app.casework.vocabulary import DeadlineState, RequestKind, RequestState
from app.foundation.errors import Conflict, NotFound
from app.foundation.identity import new_id

_DAY = timedelta(days=1)
# What an approval is called in the ledger.
_GRANTED: Mapping[RequestKind, str] = MappingProxyType(
    {
        RequestKind.extension: "deadline.extended",
        RequestKind.pause: "deadline.paused",
        RequestKind.exclusion: "deadline.excluded",
    }
)


@dataclass(frozen=True)
class Asked:
    """A request with the clock and the case that it hangs on."""

    request: DeadlineRequest
    deadline: Deadline
    case: Case

    @property
    def rule(self) -> DeadlineRule:
        return rule_of(self.deadline.rule, self.deadline.rule_version)


def ask(session: Session, caller: Caller, case_id: UUID, deadline_id: UUID, body: AskBody, *, today: date) -> Asked:
    """Ask for a change of a clock.

    Raises:
        NotFound: no such clock of a case in the caller's jurisdiction.
        Forbidden: the caller's unit does not have to act on it.
        Conflict: it has ended, ran out, takes no such request, or one of the kind waits already.
        Invalid: ground or days do not fit the rule or the clock.
    """
    case = _lock_case(session, caller, case_id)
    deadline = _lock_deadline(session, case, deadline_id)
    rule = rule_of(deadline.rule, deadline.rule_version)
    problem = refusal(Act.ask, rule.acts, caller, actors_of(session, caller, case))
    if problem:
        raise problem
    row = DeadlineRequest(
        id=new_id(),
        case_id=case.id,
        deadline_id=deadline.id,
        kind=body.kind,
        ground=body.ground,
        reason=body.reason,
        state=RequestState.open,
        version=1,
        unit_id=caller.unit_id,
        requested_by=caller.account_id,
        **_days_of(body),
    )
    check_limits(session, calendar_of(session), rule, deadline, row, today)
    if body.kind is not RequestKind.exclusion and today > deadline.due_on and deadline.state is DeadlineState.running:
        raise Conflict(
            f"The clock ran out on {deadline.due_on}; an extension or a pause is asked for before its last day is over."
        )
    waiting = select(DeadlineRequest.id).where(
        DeadlineRequest.deadline_id == deadline.id,
        DeadlineRequest.kind == body.kind,
        DeadlineRequest.state == RequestState.open,
    )
    if (other := session.scalar(waiting)) is not None:
        raise Conflict(f"A request for {body.kind} of this clock waits already.", request_id=str(other))
    asked = Asked(row, deadline, case)
    session.add(row)
    row.requested_at = _clock(session)
    _record(session, caller, asked, "deadline.requested", today, row.reason)
    return asked


def _days_of(body: AskBody) -> dict[str, Any]:
    if isinstance(body, AskExtension):
        return {"days": body.days, "new_due_on": body.new_due_on}
    return {"from_on": body.from_on, "to_on": body.to_on}


def decide(
    session: Session,
    caller: Caller,
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    act: Act,
    opinion: str,
    *,
    expected_version: int,
    today: date,
) -> Asked:
    """Approve or refuse a request; the clock's last day follows an approval.

    Raises:
        NotFound: no such request of a case in the caller's jurisdiction.
        Forbidden: the caller does not stand above who asked, or belongs to the unit that asked.
        StaleVersion: it changed since `expected_version`.
        Conflict: it is decided already; or, approved, the clock has ended or had its share meanwhile.
        Invalid: approved, its days no longer fit.
    """
    asked = _lock(session, caller, case_id, deadline_id, request_id)
    row, deadline = asked.request, asked.deadline
    _check(session, caller, asked, act)
    check_version(row.version, expected_version)
    _require_state(row, RequestState.open)
    if act is Act.approve:
        check_limits(session, calendar_of(session), asked.rule, deadline, row, today)
    row.state = RequestState.approved if act is Act.approve else RequestState.refused
    row.decided_by, row.decided_at, row.opinion = caller.account_id, _clock(session), opinion
    row.version += 1
    if act is Act.refuse:
        _record(session, caller, asked, "deadline.refused", today, opinion)
        return asked
    _count_anew(session, caller, asked, _GRANTED[row.kind], today, opinion)
    return asked


def withdraw(
    session: Session,
    caller: Caller,
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    note: str | None,
    *,
    expected_version: int,
    today: date,
) -> Asked:
    """Take back a request that nobody decided.

    Raises:
        NotFound: no such request of a case in the caller's jurisdiction.
        Forbidden: another account asked.
        StaleVersion: it changed since `expected_version`.
        Conflict: it is decided already.
    """
    asked = _lock(session, caller, case_id, deadline_id, request_id)
    _check(session, caller, asked, Act.withdraw)
    check_version(asked.request.version, expected_version)
    _require_state(asked.request, RequestState.open)
    asked.request.state = RequestState.withdrawn
    asked.request.version += 1
    _record(session, caller, asked, "deadline.withdrawn", today, note)
    return asked


def resume(
    session: Session,
    caller: Caller,
    case_id: UUID,
    deadline_id: UUID,
    request_id: UUID,
    resumed_on: date | None,
    note: str | None,
    *,
    expected_version: int,
    today: date,
) -> Asked:
    """Let the clock of an open pause go on; the days that it stood still do not count.

    Args:
        resumed_on: the first day that counts again; None: today.

    Raises:
        NotFound: no such request of a case in the caller's jurisdiction.
        Forbidden: neither of the unit that asked nor above it.
        StaleVersion: it changed since `expected_version`.
        Conflict: it is no open pause, or the clock has ended.
        Invalid: the day lies in the future, or before the pause.
    """
    asked = _lock(session, caller, case_id, deadline_id, request_id)
    row = asked.request
    _check(session, caller, asked, Act.resume)
    check_version(row.version, expected_version)
    _require_state(row, RequestState.approved)
    if not _is_open_pause(row):
        raise Conflict("Only a pause without a last day is resumed; this one ends by itself.")
    if asked.deadline.state not in OPEN:
        raise Conflict(f"The clock has ended: it is {asked.deadline.state}.", state=asked.deadline.state.value)
    assert row.from_on is not None
    day = resumed_on or today
    if day > today:
        raise invalid("resumed_on", "lies in the future")
    if resumed_on is not None and resumed_on < row.from_on:
        raise invalid("resumed_on", f"lies before {row.from_on}, the first day of the pause")
    # A pause that had not begun yet took no day.
    row.to_on = max(day, row.from_on) - _DAY
    row.version += 1
    _count_anew(session, caller, asked, "deadline.resumed", today, note)
    return asked


def _is_open_pause(row: DeadlineRequest) -> bool:
    return row.kind is RequestKind.pause and row.to_on is None


def _lock_case(session: Session, caller: Caller, case_id: UUID) -> Case:
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise NotFound()
    return case


def _lock_deadline(session: Session, case: Case, deadline_id: UUID) -> Deadline:
    row = session.scalar(
        select(Deadline)
        .where(Deadline.id == deadline_id, Deadline.case_id == case.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound()
    return row


def _lock(session: Session, caller: Caller, case_id: UUID, deadline_id: UUID, request_id: UUID) -> Asked:
    case = _lock_case(session, caller, case_id)
    deadline = _lock_deadline(session, case, deadline_id)
    row = session.scalar(
        select(DeadlineRequest)
        .where(DeadlineRequest.id == request_id, DeadlineRequest.deadline_id == deadline.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound()
    return Asked(row, deadline, case)


def _check(session: Session, caller: Caller, asked: Asked, act: Act) -> None:
    row = asked.request
    problem = refusal(
        act,
        asked.rule.acts,
        caller,
        actors_of(session, caller, asked.case),
        asked_by=row.requested_by,
        asking_units=_asking_units(session, row.unit_id),
    )
    if problem:
        raise problem


def _asking_units(session: Session, unit_id: UUID) -> set[UUID]:
    """The unit that asked, and who follows it today."""
    return {unit_id, *followers(session, [unit_id])[unit_id]}


def _require_state(row: DeadlineRequest, state: RequestState) -> None:
    if row.state is not state:
        raise Conflict(f"The request is {row.state}; this needs one that is {state}.", state=row.state.value)


def _clock(session: Session) -> Any:
    return session.scalars(select(func.clock_timestamp())).one()


def _count_anew(session: Session, caller: Caller, asked: Asked, kind: str, today: date, note: str | None) -> None:
    """Let the clock's last day follow, and what shows it; then the event, which names the day before and after."""
    case, deadline = asked.case, asked.deadline
    before, shown = deadline.due_on, case.due_on
    recompute(session, deadline)
    changed: dict[str, Any] = {"due_on_before": before.isoformat()}
    told: dict[str, Any] = {}
    if case.due_on != shown:
        told = {"due_on": _text(case.due_on), "first_due_on": _text(case.first_due_on)}
    if kind == "deadline.resumed":
        row = asked.request
        assert row.from_on is not None
        assert row.to_on is not None
        changed["paused_days"] = counted_days(calendar_of(session), asked.rule, row.from_on, row.to_on)
    _record(session, caller, asked, kind, today, note, changed=changed, told=told)


def _record(
    session: Session,
    caller: Caller,
    asked: Asked,
    kind: str,
    today: date,
    note: str | None,
    *,
    changed: Mapping[str, Any] = MappingProxyType({}),
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    row, deadline = asked.request, asked.deadline
    payload = {
        "deadline_id": str(deadline.id),
        "request_id": str(row.id),
        # Below a key of their own: what stands at the top of a payload speaks of the case.
        "deadline": {
            "rule": deadline.rule,
            "rule_version": deadline.rule_version,
            "track_id": str(deadline.track_id) if deadline.track_id else None,
            "look_back_id": str(deadline.look_back_id) if deadline.look_back_id else None,
            "state": deadline.state.value,
            "first_due_on": deadline.first_due_on.isoformat(),
            "due_on": deadline.due_on.isoformat(),
            "is_provisional": deadline.is_provisional,
            **changed,
        },
        "request": {
            "kind": row.kind.value,
            "ground": row.ground,
            "reason": row.reason,
            "from_on": _text(row.from_on),
            "to_on": _text(row.to_on),
            "days": row.days,
            "new_due_on": _text(row.new_due_on),
            "state": row.state.value,
            "opinion": row.opinion,
            "unit_id": str(row.unit_id),
            "requested_by": str(row.requested_by),
        },
        **told,
    }
    append(
        session, caller, asked.case, kind, state_before=asked.case.state, occurred_on=today, note=note, payload=payload
    )


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def requests_of(session: Session, caller: Caller, case_id: UUID, deadline_id: UUID) -> list[Asked]:
    """All requests on a clock, oldest first.

    Raises:
        NotFound: no such clock of a case in the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    deadline = session.scalar(select(Deadline).where(Deadline.id == deadline_id, Deadline.case_id == case.id))
    if deadline is None:
        raise NotFound()
    rows = session.scalars(
        select(DeadlineRequest).where(DeadlineRequest.deadline_id == deadline.id).order_by(DeadlineRequest.id)
    )
    return [Asked(row, deadline, case) for row in rows]


def get_request(session: Session, caller: Caller, case_id: UUID, deadline_id: UUID, request_id: UUID) -> Asked:
    """One request.

    Raises:
        NotFound: none of a clock of a case in the caller's jurisdiction.
    """
    for asked in requests_of(session, caller, case_id, deadline_id):
        if asked.request.id == request_id:
            return asked
    raise NotFound()


def possible_now(session: Session, caller: Caller, asked: Asked) -> list[Act]:
    """What the caller may do with a request as it stands; limits are looked at when it is done."""
    row = asked.request
    acts: tuple[Act, ...] = ()
    if row.state is RequestState.open:
        acts = (Act.approve, Act.refuse, Act.withdraw)
    elif row.state is RequestState.approved and _is_open_pause(row) and asked.deadline.state in OPEN:
        acts = (Act.resume,)
    if not acts:
        return []
    actors, units = actors_of(session, caller, asked.case), _asking_units(session, row.unit_id)
    return [
        act
        for act in acts
        if refusal(act, asked.rule.acts, caller, actors, asked_by=row.requested_by, asking_units=units) is None
    ]
