"""Webhooks of an account: nobody else reads or changes them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.access.vocabulary import Scope
from app.casework.guards import invalid
from app.casework.transitions import check_version
from app.foundation.errors import Busy, Conflict, Forbidden, NotFound
from app.foundation.identity import new_id
from app.messages import destinations, sending
from app.messages.destinations import Network, Unfit
from app.messages.making import written
from app.messages.models import Delivery, Webhook
from app.messages.schemas import NewWebhook, WebhookAnswer, WebhookChange
from app.messages.vocabulary import DeliveryState, Event, Origin

MOST_WEBHOOKS: Final = 20
# A ping goes to where its account says, whenever it says so.
MOST_PINGS_WAITING: Final = 5
# A request holds its connection to the database while a name is looked up, and names whose servers are silent take
# seconds: so few at once in a process, and all the other requests have theirs.
_looking_up = threading.BoundedSemaphore(3)


def own(session: Session, caller: Caller, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """
    Raises:
        NotFound: there is none, or it is another account's.
    """
    statement = select(Webhook).where(Webhook.id == webhook_id, Webhook.account_id == caller.account_id)
    hook = session.scalar(statement.with_for_update() if lock else statement)
    if hook is None:
        raise NotFound()
    return hook


def _check_destination(url: str, networks: Sequence[Network]) -> None:
    """
    Raises:
        Invalid: nothing is sent to that address.
        Busy: several names are being looked up.
    """
    if not _looking_up.acquire(blocking=False):
        raise Busy("Several addresses are being looked up just now; try again.", headers={"Retry-After": "5"})
    try:
        destinations.find(url, networks)
    except Unfit as fault:
        raise invalid("url", str(fault)) from None
    finally:
        _looking_up.release()


def add(session: Session, caller: Caller, given: NewWebhook, networks: Sequence[Network]) -> Webhook:
    """Register one.

    Raises:
        Forbidden: the token may not read what would be sent.
        Conflict: the account has as many as it may.
        Invalid: nothing is sent to that address.
    """
    if Scope.read not in caller.scopes:
        raise Forbidden("A webhook tells what the account may read; this token lacks the scope `read`.")
    count = select(func.count()).select_from(Webhook).where(Webhook.account_id == caller.account_id)
    if session.scalars(count).one() >= MOST_WEBHOOKS:
        raise Conflict(f"An account has at most {MOST_WEBHOOKS} webhooks; delete one first.")
    _check_destination(given.url, networks)
    hook = Webhook(
        id=new_id(),
        account_id=caller.account_id,
        url=given.url,
        events=given.events,
        description=given.description,
        secret=sending.new_secret(),
        is_active=True,
        version=1,
    )
    session.add(hook)
    session.flush()
    return hook


def change(
    session: Session, caller: Caller, webhook_id: UUID, version: int, given: WebhookChange, networks: Sequence[Network]
) -> Webhook:
    """
    Raises:
        Invalid: nothing is sent to that address, or a field that cannot be empty is null.
    """
    own(session, caller, webhook_id)
    named = given.model_dump(exclude_unset=True)
    for field in ("url", "is_active"):
        if field in named and named[field] is None:
            raise invalid(field, "leave it out to keep it; it cannot be null")
    if "url" in named:
        # Looked up before the row is locked: a name may take seconds.
        _check_destination(named["url"], networks)
    hook = own(session, caller, webhook_id, lock=True)
    check_version(hook.version, version)
    for field, value in named.items():
        setattr(hook, field, value)
    if named.get("is_active"):
        hook.gone_at = None
    hook.version += 1
    session.flush()
    return hook


def remove(session: Session, caller: Caller, webhook_id: UUID, version: int) -> None:
    hook = own(session, caller, webhook_id, lock=True)
    check_version(hook.version, version)
    session.delete(hook)
    session.flush()


def rotate(session: Session, caller: Caller, webhook_id: UUID, version: int, overlap_hours: float) -> Webhook:
    """Give it another secret; the one before signs beside it for a while."""
    hook = own(session, caller, webhook_id, lock=True)
    check_version(hook.version, version)
    now = session.scalars(select(func.clock_timestamp())).one()
    hook.old_secret = hook.secret if overlap_hours else None
    hook.old_secret_until = now + timedelta(hours=overlap_hours) if overlap_hours else None
    hook.secret = sending.new_secret()
    hook.version += 1
    session.flush()
    return hook


def ping(session: Session, caller: Caller, webhook_id: UUID) -> Delivery:
    """Put a message that tells nothing on its way.

    Raises:
        Conflict: it is switched off, or enough of them wait.
    """
    hook = own(session, caller, webhook_id, lock=True)
    if not hook.is_active:
        raise Conflict("The webhook is switched off; switch it on first.")
    waiting = select(func.count()).where(
        Delivery.webhook_id == hook.id, Delivery.origin == Origin.ping, Delivery.state == DeliveryState.pending
    )
    if session.scalars(waiting).one() >= MOST_PINGS_WAITING:
        raise Conflict("Several tests are still on their way; look at the deliveries.")
    now = session.scalars(select(func.clock_timestamp())).one()
    delivery = Delivery(
        id=new_id(),
        webhook_id=hook.id,
        origin=Origin.ping,
        event=Event.ping,
        body=written(Event.ping, now, {"webhook_id": str(hook.id)}),
        state=DeliveryState.pending,
    )
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery


def answers(session: Session, hooks: Sequence[Webhook]) -> list[WebhookAnswer]:
    """Webhooks as their account sees them, with what waits."""
    states = (DeliveryState.pending, DeliveryState.dead)
    counted = session.execute(
        select(Delivery.webhook_id, Delivery.state, func.count().label("number"))
        .where(Delivery.webhook_id.in_([hook.id for hook in hooks]), Delivery.state.in_(states))
        .group_by(Delivery.webhook_id, Delivery.state)
    ).all()
    numbers = {(row.webhook_id, row.state): row.number for row in counted}
    return [
        WebhookAnswer(
            id=hook.id,
            version=hook.version,
            url=hook.url,
            events=None if hook.events is None else [Event(name) for name in hook.events],
            description=hook.description,
            is_active=hook.is_active,
            gone_at=hook.gone_at,
            old_secret_until=hook.old_secret_until,
            created_at=hook.created_at,
            pending=numbers.get((hook.id, DeliveryState.pending), 0),
            dead=numbers.get((hook.id, DeliveryState.dead), 0),
        )
        for hook in hooks
    ]
