"""What is kept of who came in, and of who changed whose account or token (`access_events`, written once)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.access.models import AccessEvent
from app.access.vocabulary import AccessKind

# A name that somebody typed may be a password in the wrong field, or a book.
NAME_LENGTH = 64


@dataclass(frozen=True)
class By:
    """Who does something, and from where. Without an account: nobody signed in, or the operator's command."""

    account_id: UUID | None = None
    address: str | None = None


OPERATOR = By()


def record(session: Session, kind: AccessKind, by: By, account_id: UUID | None, **details: Any) -> None:
    """Keep what happened, in the transaction of the deed. `details` never hold a secret."""
    session.add(
        AccessEvent(kind=kind.value, actor_id=by.account_id, account_id=account_id, address=by.address, details=details)
    )


def shown_name(typed: str) -> str:
    """A name as somebody typed it, short and without what no column holds."""
    return "".join(letter if letter.isprintable() else "�" for letter in typed[:NAME_LENGTH])


def select_events(
    kind: AccessKind | None, account_id: UUID | None, since: datetime | None, until: datetime | None
) -> Select[AccessEvent]:
    """Events of a kind, by or to an account, recorded from `since` and before `until`."""
    statement = select(AccessEvent)
    if kind is not None:
        statement = statement.where(AccessEvent.kind == kind.value)
    if account_id is not None:
        statement = statement.where((AccessEvent.account_id == account_id) | (AccessEvent.actor_id == account_id))
    if since is not None:
        statement = statement.where(AccessEvent.recorded_at >= since)
    if until is not None:
        statement = statement.where(AccessEvent.recorded_at < until)
    return statement
