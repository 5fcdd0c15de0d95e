"""The one place where it is decided whether a command on a case is carried out, and where it is.

`refusal` reads the table of `lifecycle` against the caller; `execute` adds version, state and guards, then writes
state and event together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, get_placed, in_jurisdiction
from app.casework.commands import FIELDS, Fields
from app.casework.deadline_following import follow_many
from app.casework.duties import deeds_of
from app.casework.effects import EFFECTS
from app.casework.guards import GUARDS, Context, invalid
from app.casework.ledger import Entry, append, append_many, history
from app.casework.lifecycle import (
    ACTOR_LABELS,
    TRANSITIONS,
    Actor,
    Command,
    Transition,
    commands_from,
)
from app.casework.lookups import Lookups
from app.casework.models import Case, CaseEvent
from app.casework.participation import actors_of
from app.casework.vocabulary import pointers
from app.foundation.errors import Conflict, Forbidden, Invalid, NotFound, Problem, StaleVersion


def refusal(
    transition: Transition, caller: Caller, actors: frozenset[Actor], events: Sequence[Row[Any]]
) -> Forbidden | None:
    """Why this account may not give this command on this case; None: it may.

    Role first, then what its unit is to the case, then what it did in the case before (separation of duties).
    """
    if caller.role not in transition.roles:
        allowed = ", ".join(sorted(transition.roles))
        return Forbidden(f"{transition.command} needs the role {allowed}; you are signed in as {caller.role}.")
    if transition.actor not in actors:
        return Forbidden(f"{transition.command} is for {ACTOR_LABELS[transition.actor]}, which yours is not.")
    done = deeds_of(events) if transition.never else {}
    barred = [deed for deed in transition.never if str(caller.account_id) in done[deed]]
    if barred:
        deeds = " and ".join(barred)
        return Forbidden(f"Separation of duties: the account that {deeds} this case does not {transition.command} it.")
    return None


def execute(
    session: Session,
    caller: Caller,
    case_id: UUID,
    command: Command,
    fields: Mapping[str, Any],
    *,
    expected_version: int,
    occurred_on: date | None,
    note: str | None,
    today: date,
    notice_days: int | None = None,
) -> Case:
    """Carry out a command: the case's new state and its event, or neither.

    Args:
        fields: what the command must be given, as its schema in `commands` says.
        expected_version: the version that the caller decided on.
        occurred_on: when it happened; None means today.
        today: the legal day (Asia/Shanghai).
        notice_days: length of the public notice instead of the chain's (`Settings.notice_days`).

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: role, participation or separation of duties.
        StaleVersion: the case changed since `expected_version`.
        Conflict: not possible in the case's state, or not yet.
        Invalid: a field is missing or wrong.
    """
    transition = TRANSITIONS[command]
    given = read_fields(transition, fields)
    other_id: UUID | None = getattr(given, "into_case_id", None)
    case, other = _lock(session, caller, case_id, other_id)
    events = history(session, case.id)
    asked = Asked(transition, given, expected_version, occurred_on, note)
    actors = actors_of(session, caller, case)
    lookups = Lookups(session, caller, [(case, given)], today)
    entry = carry_out(
        session, caller, case, asked, actors, events, lookups, today=today, notice_days=notice_days, other=other
    )
    record(session, caller, [entry])
    return case


def record(session: Session, caller: Caller, entries: Sequence[Entry]) -> None:
    """Write the events of commands that were carried out, one a case, and let the cases' clocks follow them."""
    events = append_many(session, caller, entries)
    follow_many(session, [(entry.case, event) for entry, event in zip(entries, events, strict=True)])


@dataclass(frozen=True)
class Asked:
    """A command as it was given, its fields read."""

    transition: Transition
    fields: Fields
    expected_version: int
    occurred_on: date | None = None
    note: str | None = None


def carry_out(
    session: Session,
    caller: Caller,
    case: Case,
    asked: Asked,
    actors: frozenset[Actor],
    events: Sequence[Row[Any]],
    lookups: Lookups,
    *,
    today: date,
    notice_days: int | None,
    other: Case | None = None,
) -> Entry:
    """Decide on a command and change its case, which is locked; the event that must be appended with it.

    Raises:
        As `execute` does.
    """
    transition = asked.transition
    problem = refusal(transition, caller, actors, events)
    if problem:
        raise problem
    check_version(case.version, asked.expected_version)
    if case.state not in transition.sources:
        raise _impossible(case, transition.command)
    day = _day(asked.occurred_on, events, today)
    context = Context(session, caller, case, asked.fields, events, lookups, other, today, day, notice_days)
    for guard in transition.guards:
        GUARDS[guard](context)

    before = case.state
    effect = EFFECTS.get(transition.command)
    changed = effect(context) if effect else {}
    case.state = transition.leads_to(before)
    case.version += 1
    payload = asked.fields.model_dump(mode="json", exclude_none=True) | changed
    return Entry(case, transition.command.value, before, day, asked.note, payload)


def possible_now(session: Session, caller: Caller, case_id: UUID) -> tuple[Case, list[Transition]]:
    """The commands that the caller may give on a case as it stands. Guards look at what is given, so not here.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    actors = actors_of(session, caller, case)
    events = history(session, case.id)
    rows = [TRANSITIONS[command] for command in commands_from(case.state)]
    return case, [row for row in rows if refusal(row, caller, actors, events) is None]


# As what a role's unit must take part in a case to comment on it.
COMMENTERS: Mapping[Role, frozenset[Actor]] = MappingProxyType(
    {
        Role.county: frozenset({Actor.responsible}),
        Role.agency: frozenset({Actor.responsible}),
        Role.department: frozenset({Actor.responsible}),
        Role.officer: frozenset({Actor.directing}),
        Role.prefecture: frozenset({Actor.unit_above}),
        Role.province: frozenset({Actor.province}),
    }
)


def comment(session: Session, caller: Caller, case_id: UUID, words: str, today: date) -> CaseEvent:
    """Words of somebody who takes part, in the case's ledger; the case itself, and its version, stay.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller takes no part in it that comments.
    """
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        raise NotFound()
    if not COMMENTERS.get(caller.role, frozenset()) & actors_of(session, caller, case):
        raise Forbidden("Comments are for those who take part in the case; you may not.")
    return append(session, caller, case, "comment", state_before=case.state, occurred_on=today, note=words)


def check_version(actual: int, expected: int) -> None:
    """Raises StaleVersion unless the versions are the same."""
    if actual != expected:
        raise StaleVersion(
            f"It is at version {actual} now, you decided on version {expected}; read it again.", version=actual
        )


def read_fields(transition: Transition, fields: Mapping[str, Any]) -> Fields:
    """The fields of a command by its schema.

    Raises:
        Invalid: names those that are missing or wrong.
    """
    try:
        return FIELDS[transition.fields].model_validate(fields)
    except ValidationError as error:
        errors = pointers(error.errors(include_url=False), "fields")
        names = ", ".join(item["pointer"] for item in errors)
        raise Invalid(f"Mend these fields: {names}.", errors=errors) from None


def lock_cases(session: Session, caller: Caller, case_ids: Sequence[UUID]) -> dict[UUID, Case]:
    """Cases of the caller's jurisdiction, locked in the order of their ids, as they stand now."""
    statement = (
        in_jurisdiction(select(Case).where(Case.id.in_(case_ids)), caller, Case)
        .order_by(Case.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {case.id: case for case in session.scalars(statement)}


def _lock(session: Session, caller: Caller, case_id: UUID, other_id: UUID | None) -> tuple[Case, Case | None]:
    cases = lock_cases(session, caller, [case_id] if other_id is None else [case_id, other_id])
    if case_id not in cases:
        raise NotFound()
    return cases[case_id], cases.get(other_id) if other_id else None


def _impossible(case: Case, command: Command) -> Problem:
    possible = [other.value for other in commands_from(case.state)]
    return Conflict(
        f"{command} is not possible while the case is {case.state}. Possible now: {', '.join(possible) or 'nothing'}.",
        state=case.state.value,
        possible=possible,
    )


def _day(occurred_on: date | None, events: Sequence[Row[Any]], today: date) -> date:
    """The day of the event: not in the future, and not before the step that it follows."""
    day = occurred_on or today
    if day > today:
        raise invalid("occurred_on", "lies in the future")
    steps = [event.occurred_on for event in events if event.state_before != event.state_after]
    if steps and day < steps[-1]:
        raise invalid("occurred_on", f"lies before {steps[-1]}, the day of the step that it follows")
    return day
