"""Keyset paging of cases by their numbers."""

from __future__ import annotations

import base64

from app.foundation.errors import BadRequest


def cursor_of(number: str) -> str:
    return base64.urlsafe_b64encode(number.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The number after which a page begins.

    Raises:
        BadRequest: it is no cursor.
    """
    try:
        number = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        number = ""
    if not number.startswith("RL-") or "\0" in number:
        raise BadRequest("The cursor is not one that this list gave out; start again without it.")
    return number
