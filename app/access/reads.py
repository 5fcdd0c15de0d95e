"""Who took what away: one row of `access_events` for every file of evidence and every export that is handed out.

The row stands in the transaction of the request, which is committed before the first byte leaves: a download that
breaks off is recorded, and one that is refused leaves nothing.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from sqlalchemy.orm import Session

from app.access.audit import By, record
from app.access.routes import address_of
from app.access.service import Caller
from app.access.vocabulary import AccessKind

# A filter may be a whole book (CQL2); its beginning says what was asked for.
_LONGEST = 500


def record_read(session: Session, request: Request, caller: Caller, kind: AccessKind, **details: Any) -> None:
    """Record that the caller was handed a file. Call it once what is handed out is found.

    Args:
        details: what it was (ids as text, SHA-256, count of rows), and no content.
    """
    record(session, kind, By(caller.account_id, address_of(request)), None, **details)


def record_export(session: Session, request: Request, caller: Caller, export: str, **details: Any) -> None:
    """Record that the caller took an export, with the request's query as its filters.

    Args:
        export: its name, which stays.
        details: as of `record_read`.
    """
    filters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        filters.setdefault(_printable(name), []).append(_printable(value))
    if filters:
        details["filters"] = {name: values if len(values) > 1 else values[0] for name, values in filters.items()}
    record_read(session, request, caller, AccessKind.export_taken, export=export, **details)


def _printable(text: str) -> str:
    """Text that a JSON column holds, cut."""
    return "".join(letter if letter.isprintable() else "�" for letter in text[:_LONGEST])
