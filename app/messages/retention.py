"""Messages are told, not kept: what happened stands in the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.foundation.timetable import Job
from app.messages.models import Delivery, InboxMessage, Mail
from app.messages.vocabulary import DeliveryState, MailState

# How long what was delivered, read or sent may still be looked up; dead ones may be replayed for longer.
KEPT: Final = timedelta(days=30)
KEPT_DEAD: Final = timedelta(days=90)
# Unread for so long, it is not going to be.
KEPT_UNREAD: Final = timedelta(days=365)


def sweep(session: Session, now: datetime) -> None:
    """Delete what is older than is kept. What is pending is never deleted."""
    done = Delivery.state.in_((DeliveryState.delivered, DeliveryState.withheld))
    session.execute(delete(Delivery).where(done, Delivery.done_at < now - KEPT))
    dead = Delivery.state == DeliveryState.dead
    session.execute(delete(Delivery).where(dead, Delivery.done_at < now - KEPT_DEAD))
    session.execute(delete(InboxMessage).where(InboxMessage.read_at < now - KEPT))
    session.execute(delete(InboxMessage).where(InboxMessage.made_at < now - KEPT_UNREAD))
    # Of digests the week's row says that it was sent; weeks are longer ago than this.
    session.execute(delete(Mail).where(Mail.state != MailState.pending, Mail.done_at < now - KEPT))


def timetable() -> list[Job]:
    """Once a night."""
    return [Job("old messages", "40 3 * * *", sweep)]
