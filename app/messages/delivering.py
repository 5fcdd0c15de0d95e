"""Deliveries: at least once, and in order for each case.

Of a webhook's messages of one case only the oldest that is pending may be sent; another case is not held up. A worker
takes a message by a lease, in a transaction of its own, sends it outside of any, and records what came of it in
another. Whoever dies in between leaves a lease that runs out, and the message is sent again under the same id. After
the last attempt a message is dead, and the case's later ones go on.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Select, Update, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.access.models import Account
from app.casework.models import Case
from app.foundation.database import Database
from app.foundation.time import utc_now
from app.messages import destinations, sending
from app.messages.audience import Audience
from app.messages.destinations import Network, Resolver, Unfit
from app.messages.models import Delivery, Webhook
from app.messages.sending import Outcome
from app.messages.vocabulary import DeliveryState

# Waits after each failed attempt, seconds: the schedule that Standard Webhooks recommends, about three days in all.
SCHEDULE: Final[tuple[float, ...]] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
# A wait is longer or shorter by up to this share, so that those who failed together do not come back together.
JITTER: Final = 0.2
# Longer than anything takes that may happen under a lease: looking up the name, connecting and sending.
LEASE: Final = timedelta(seconds=60)
# Sendings to one webhook at once, of all workers together: a slow receiver takes no more than these.
MOST_PER_HOOK: Final = 2
# Of the advisory lock under which one worker at a time takes messages, else two would count the same sendings.
_TURN: Final = 0x7265646C_7475726E
_GONE: Final = 410
_random = SystemRandom()


@dataclass(frozen=True)
class Task:
    """A message that this worker may send until its lease runs out."""

    id: UUID
    lease: UUID
    url: str
    keys: tuple[bytes, ...]
    body: str


def claim(database: Database, most: int) -> list[Task]:
    """Take up to `most` messages that are due, each for `LEASE`. One that its account may no longer see is withheld."""
    if most <= 0:
        return []
    with database.transaction(see_all=True) as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(_TURN))):
            return []
        audience = Audience(session)
        rows: Sequence[Any] = session.execute(_due().limit(most).with_for_update(of=Delivery, skip_locked=True)).all()
        now = session.scalars(select(func.clock_timestamp())).one()
        tasks = []
        taken: dict[UUID, int] = {}
        for delivery, hook, running in rows:
            if not _may_see(session, audience, delivery, hook):
                delivery.state, delivery.done_at = DeliveryState.withheld, now
                continue
            if taken.setdefault(hook.id, running) >= MOST_PER_HOOK:
                continue
            taken[hook.id] += 1
            delivery.lease, delivery.leased_until = uuid4(), now + LEASE
            tasks.append(Task(delivery.id, delivery.lease, hook.url, _keys(hook, now), delivery.body))
    return tasks


def _due() -> Select[Delivery, Webhook, int]:
    """Messages that may be sent now, with their webhook and how many are being sent to it."""
    older, running = aliased(Delivery), aliased(Delivery)
    now = func.clock_timestamp()
    before = select(older.id).where(
        older.webhook_id == Delivery.webhook_id,
        older.case_id == Delivery.case_id,
        older.state == DeliveryState.pending,
        older.position < Delivery.position,
    )
    at_it = (
        select(func.count())
        .where(
            running.webhook_id == Delivery.webhook_id,
            running.state == DeliveryState.pending,
            running.leased_until > now,
        )
        .scalar_subquery()
    )
    return (
        select(Delivery, Webhook, at_it)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .join(Account, Account.id == Webhook.account_id)
        .where(
            Delivery.state == DeliveryState.pending,
            Delivery.next_at <= now,
            or_(Delivery.leased_until.is_(None), Delivery.leased_until <= now),
            Webhook.is_active,
            Account.is_active,
            ~before.exists(),
            at_it < MOST_PER_HOOK,
        )
        .order_by(Delivery.next_at, Delivery.position)
    )


def _may_see(session: Session, audience: Audience, delivery: Delivery, hook: Webhook) -> bool:
    if delivery.case_id is None:
        return True
    units = session.scalars(select(Case.unit_ids).where(Case.id == delivery.case_id)).one()
    return audience.sees(hook.account_id, units)


def _keys(hook: Webhook, now: datetime) -> tuple[bytes, ...]:
    """The newest first; the one before it signs, too, while it is good."""
    if hook.old_secret is not None and hook.old_secret_until is not None and now < hook.old_secret_until:
        return hook.secret, hook.old_secret
    return (hook.secret,)


def deliver(
    task: Task, networks: Sequence[Network], resolver: Resolver, context: ssl.SSLContext | None = None
) -> Outcome:
    """Send a message, outside of any transaction; where its address leads is looked at anew."""
    try:
        destination = destinations.find(task.url, networks, resolver)
    except Unfit as fault:
        return Outcome(None, f"not sent: {fault}")
    headers = sending.headers_of(str(task.id), task.body, task.keys, utc_now())
    return sending.send(destination, headers, task.body.encode(), context)


def record(database: Database, task: Task, outcome: Outcome, schedule: Sequence[float] = SCHEDULE) -> None:
    """Write down what came of a sending, unless its lease ran out and another has it."""
    with database.transaction(see_all=True) as session:
        delivery = session.scalar(
            select(Delivery)
            .where(Delivery.id == task.id, Delivery.lease == task.lease, Delivery.state == DeliveryState.pending)
            .with_for_update()
        )
        if delivery is None:
            return
        now = session.scalars(select(func.clock_timestamp())).one()
        delivery.lease = delivery.leased_until = None
        delivery.attempts += 1
        delivery.last_status, delivery.last_error = outcome.status, outcome.error
        if outcome.is_success:
            delivery.state, delivery.done_at = DeliveryState.delivered, now
        elif outcome.status == _GONE:
            # It stays pending: whoever switches the webhook on again gets what it missed.
            delivery.next_at = now
            _switch_off(session, delivery.webhook_id, now)
        elif delivery.attempts > len(schedule):
            delivery.state, delivery.done_at = DeliveryState.dead, now
        else:
            delivery.next_at = now + wait(schedule[delivery.attempts - 1])


def wait(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * _random.uniform(1 - JITTER, 1 + JITTER))


def _switch_off(session: Session, webhook_id: UUID, now: datetime) -> None:
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.is_active)
        .values(is_active=False, gone_at=now, version=Webhook.version + 1)
    )


def replay(session: Session, webhook_id: UUID, since: datetime | None, states: Sequence[DeliveryState]) -> int:
    """Make messages of a webhook pending again, from their first attempt; how many."""
    conditions = [Delivery.webhook_id == webhook_id, Delivery.state.in_(states)]
    if since is not None:
        conditions.append(Delivery.made_at >= since)
    return len(session.execute(_again().where(*conditions).returning(Delivery.id)).all())


def replay_one(session: Session, delivery: Delivery) -> None:
    session.execute(_again().where(Delivery.id == delivery.id))
    session.refresh(delivery)


def _again() -> Update:
    return (
        update(Delivery)
        .values(
            state=DeliveryState.pending,
            attempts=0,
            next_at=func.now(),
            lease=None,
            leased_until=None,
            done_at=None,
        )
        .execution_options(synchronize_session=False)
    )
