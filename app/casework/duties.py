"""Separation of duties: what accounts did in a case that bars them from judging it later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from app.casework.lifecycle import DEEDS, Deed

# Events whose accounts answer for a closure, and so do not judge later whether it holds.
CLOSED_IT = DEEDS[Deed.accepted] | {"close"}


def deeds_of(events: Sequence[Row[Any]]) -> dict[Deed, set[str]]:
    """Which accounts did what bars them: by the events of the case, and by those of the case that it was cut from."""
    done: dict[Deed, set[str]] = {deed: set() for deed in Deed}
    for event in events:
        for deed, kinds in DEEDS.items():
            if event.kind in kinds:
                done[deed].add(str(event.actor_id))
        for deed, accounts in (event.deeds or {}).items():
            done[Deed(deed)].update(accounts)
    return done
