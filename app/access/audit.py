"""What is kept of who came in, who changed whose account or token, and who took what away (`access_events`).

Rows are written once: the database refuses update and delete.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    kinds: Sequence[AccessKind],
    account_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    case_id: UUID | None = None,
) -> Select[AccessEvent]:
    """Events of these kinds (none: of all), by or to an account, of a case, recorded from `since`, before `until`."""
    statement = select(AccessEvent)
    if kinds:
        statement = statement.where(AccessEvent.kind.in_([kind.value for kind in kinds]))
    if account_id is not None:
        statement = statement.where((AccessEvent.account_id == account_id) | (AccessEvent.actor_id == account_id))
    if case_id is not None:
        statement = statement.where(AccessEvent.details["case_id"].astext == str(case_id))
    if since is not None:
        statement = statement.where(AccessEvent.recorded_at >= since)
    if until is not None:
        statement = statement.where(AccessEvent.recorded_at < until)
    return statement
