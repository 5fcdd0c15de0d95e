"""Messages are made from what casework writes: its ledger in the order of its sequence, and notices of deadlines.

Sequences of the ledger are given out under a lock that is held until commit, so who has read up to one has missed none
before it: a cursor is enough. A notice gets its sequence before its transaction commits, and may come into sight after
a later one: each is marked when it was told. One worker makes messages at a time (the cursor's row lock), cursor, marks
and messages are one transaction, and a message is unique for its receiver and source: whatever breaks off is done again
whole, and nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert as plain_insert
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Account
from app.casework.deadline_models import DeadlineNotice
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent
from app.foundation.identity import new_id
from app.messages.audience import Audience
from app.messages.models import Delivery, InboxMessage, MessageCursor, ToldNotice, Webhook
from app.messages.vocabulary import ACT_NOW, CONCERNS, Event, Origin, event_of_ledger, event_of_notice

# Sources of one transaction; the next takes the others.
MOST: Final = 200
LEDGER: Final = "ledger"


@dataclass(frozen=True)
class News:
    """Something to be told of a case, from ledger or notice.

    Attributes:
        state: after a ledger event; None: a notice.
        unit_id: whom a notice is for.
    """

    origin: Origin
    sequence: int
    event: Event
    case_id: UUID
    recorded_at: datetime
    kind: str
    actor_id: UUID | None = None
    before: CaseState | None = None
    state: CaseState | None = None
    unit_id: UUID | None = None
    due_on: date | None = None


def make(session: Session, service_url: str | None) -> int:
    """Make the messages of the next sources, at most `MOST` of each kind; how many sources.

    The session sees all. 0: there are none, or another worker is at it.
    """
    cursor = session.scalar(select(MessageCursor).where(MessageCursor.name == LEDGER).with_for_update(skip_locked=True))
    if cursor is None:
        return 0
    told = _of_ledger(session, cursor.position)
    noticed = _of_notices(session)
    if told:
        cursor.position = told[-1].sequence
    if noticed:
        session.execute(plain_insert(ToldNotice), [{"sequence": news.sequence} for news in noticed])
    _tell(session, [*told, *noticed], service_url)
    return len(told) + len(noticed)


def _of_ledger(session: Session, after: int) -> list[News]:
    rows = session.execute(
        select(
            CaseEvent.sequence,
            CaseEvent.case_id,
            CaseEvent.recorded_at,
            CaseEvent.kind,
            CaseEvent.actor_id,
            CaseEvent.state_before,
            CaseEvent.state_after,
        )
        .where(CaseEvent.sequence > after)
        .order_by(CaseEvent.sequence)
        .limit(MOST)
    )
    return [
        News(
            origin=Origin.ledger,
            sequence=row.sequence,
            event=event_of_ledger(row.kind, row.state_before, row.state_after),
            case_id=row.case_id,
            recorded_at=row.recorded_at,
            kind=row.kind,
            actor_id=row.actor_id,
            before=row.state_before,
            state=row.state_after,
        )
        for row in rows
    ]


def _of_notices(session: Session) -> list[News]:
    told = select(ToldNotice.sequence).where(ToldNotice.sequence == DeadlineNotice.sequence)
    notices = session.scalars(
        select(DeadlineNotice).where(~told.exists()).order_by(DeadlineNotice.sequence).limit(MOST)
    )
    return [
        News(
            origin=Origin.notice,
            sequence=notice.sequence,
            event=event_of_notice(notice.kind),
            case_id=notice.case_id,
            recorded_at=notice.recorded_at,
            kind=notice.kind.value,
            unit_id=notice.unit_id,
            due_on=notice.due_on,
        )
        for notice in notices
    ]


def _tell(session: Session, all_news: Sequence[News], service_url: str | None) -> None:
    if not all_news:
        return
    audience = Audience(session)
    wanted = select(Case).where(Case.id.in_({news.case_id for news in all_news}))
    cases = {case.id: case for case in session.scalars(wanted)}
    active = select(Webhook).join(Account, Account.id == Webhook.account_id)
    hooks = session.scalars(active.where(Webhook.is_active, Account.is_active).order_by(Webhook.id)).all()
    deliveries: list[dict[str, Any]] = []
    letters: list[dict[str, Any]] = []
    for news in all_news:
        case = cases[news.case_id]
        deliveries += _deliveries(audience, hooks, news, case, service_url)
        letters += _letters(audience, news, case)
    # One by one in their order: it is the order of their positions.
    if deliveries:
        session.execute(insert(Delivery).on_conflict_do_nothing(), deliveries)
    if letters:
        session.execute(insert(InboxMessage).on_conflict_do_nothing(), letters)


def _deliveries(
    audience: Audience, hooks: Iterable[Webhook], news: News, case: Case, service_url: str | None
) -> list[dict[str, Any]]:
    # What was written before a webhook was registered is none of its news.
    due = [
        hook
        for hook in hooks
        if (hook.events is None or news.event.value in hook.events)
        and hook.created_at <= news.recorded_at
        and audience.sees(hook.account_id, case.unit_ids)
    ]
    if not due:
        return []
    body = body_of(news, case, service_url)
    return [
        {
            "id": new_id(),
            "webhook_id": hook.id,
            "case_id": case.id,
            "origin": news.origin,
            "source_sequence": news.sequence,
            "event": news.event,
            "body": body,
        }
        for hook in due
    ]


def body_of(news: News, case: Case, service_url: str | None) -> str:
    """What a webhook gets: identifiers and states, nothing of persons; whoever may see more follows the link."""
    data: dict[str, Any] = {
        "case_id": str(case.id),
        "case_number": case.number,
        "case_version": case.version,
        "kind": news.kind,
        f"{news.origin.value}_sequence": news.sequence,
        "simulated": case.simulated,
        "links": {"case": f"{(service_url or '').rstrip('/')}/api/v1/cases/{case.id}"},
    }
    if news.state is not None:
        data |= {"state": news.state.value, "state_before": news.before.value if news.before else None}
    if news.due_on is not None:
        data["due_on"] = news.due_on.isoformat()
    return written(news.event, news.recorded_at, data)


def written(event: Event, instant: datetime, data: Mapping[str, Any]) -> str:
    """A payload: `type`, `timestamp` of what it tells, `data` (Standard Webhooks 1.0)."""
    content = {"type": event.value, "timestamp": instant.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _letters(audience: Audience, news: News, case: Case) -> list[dict[str, Any]]:
    accounts: list[Account] = []
    if news.unit_id is not None:
        accounts = audience.of_unit(case, news.unit_id)
    elif news.state is not None and news.before is not news.state:
        accounts = audience.of_actor(case, ACT_NOW[news.state])
    elif news.event in CONCERNS:
        accounts = audience.of_actor(case, CONCERNS[news.event])
    return [
        {
            "id": new_id(),
            "account_id": account.id,
            "case_id": case.id,
            "origin": news.origin,
            "source_sequence": news.sequence,
            "event": news.event,
            "state": news.state,
            "due_on": news.due_on,
        }
        for account in accounts
        # Who did it knows.
        if account.id != news.actor_id
    ]
