"""Files of tile states that no pointer names: left by workers that died before they could commit, or delete."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.foundation.timetable import Job
from app.monitoring.models import Plan, TileState
from app.monitoring.states import sweep
from app.settings import Settings

log = logging.getLogger(__name__)


def sweep_plan(session: Session, settings: Settings, plan_id: UUID, *, now: datetime | None = None) -> list[str]:
    """Delete a plan's orphans that are older than the longest run; their keys.

    Raises:
        OSError: storage is out of reach.
    """
    older_than = (now or utc_now()) - timedelta(hours=settings.longest_run_hours)
    gone = sweep(Storage(settings.storage), str(plan_id), _live(session, plan_id), older_than)
    if gone:
        log.info("%d orphaned files of plan %s are deleted", len(gone), plan_id)
    return gone


def _live(session: Session, plan_id: UUID) -> Iterator[str]:
    """The keys that the plan's pointers need (`states.live_keys`), without reading the logs of scenes beside them."""
    state = TileState.state
    rows = session.execute(
        select(state["fixed_key"].astext, state["dynamic_key"].astext, state["checkpoints"])
        .where(TileState.plan_id == plan_id)
        .execution_options(yield_per=1000)
    )
    for fixed, dynamic, checkpoints in rows:
        yield fixed
        yield dynamic
        yield from (checkpoint["dynamic_key"] for checkpoint in checkpoints)


def timetable(settings: Settings) -> list[Job]:
    """The nightly sweep of all plans."""

    def work(session: Session, tick: datetime) -> None:
        for plan_id in session.scalars(select(Plan.id).order_by(Plan.id)):
            sweep_plan(session, settings, plan_id)

    return [Job("sweep tile states", "40 2 * * *", work)]
