"""One tile, one transaction: the pointer, changed pixels, coverage and what the tile saw, together or not at all."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.foundation.identity import new_id
from app.foundation.time import day_number, utc_now
from app.monitoring.generations import History, Standing, at_baseline, remember, standing
from app.monitoring.ground import carry_over
from app.monitoring.models import Run, RunTile, TileState, TileStatus
from app.monitoring.pools import Failure, Outcome, Unknown
from app.monitoring.scene_log import brief
from app.monitoring.tiles import TileJob, TileResult, changed_pixels, pack
from detectors.types import ChangedPixels

# What `standing_of` reads of a tile's state, without the log of scenes.
STANDING = (
    TileState.changed_pixels,
    TileState.past_pixels,
    TileState.history_from,
    TileState.state["history_until"].astext.label("history_until"),
)


class Displaced(Exception):
    """A tile's pointer is not where its job found it: another worker has moved it on."""


def commit_tile(session: Session, run: Run, job: TileJob, outcome: Outcome, tries: int) -> None:
    """Move the tile's state pointer and record what the tile saw.

    Args:
        run: locked by this transaction, and running.
        tries: how often the tile was computed in this attempt of the run.

    Raises:
        Displaced: nothing may be committed.
    """
    tile = session.scalars(
        select(RunTile).where(RunTile.run_id == run.id, RunTile.row == job.row, RunTile.col == job.col)
    ).one()
    if tile.status is TileStatus.done:
        raise Displaced(f"tile {job.row},{job.col} was done by another worker")
    tile.finished_at = utc_now()
    tile.attempts += tries
    if isinstance(outcome, Failure):
        tile.status = TileStatus.failed
        tile.failures = [{"reason": outcome.reason}]
        return
    tile.status = TileStatus.done
    run.tiles_done += 1
    run.idle_attempts = 0
    if isinstance(outcome, Unknown):
        tile.failures = [{"reason": outcome.reason}]
        return
    if job.previous != outcome.state:
        _move_pointer(session, run, job, outcome)
    tile.scenes_used, tile.valid_observations = outcome.scenes_used, outcome.valid_observations
    tile.clear_share, tile.snow_share = outcome.clear_share, outcome.snow_share
    tile.failures, tile.refused, tile.replayed_from = outcome.failures, brief(outcome.refused), outcome.replayed_from
    run.tiles_fitted += job.previous is None or job.rebaseline
    run.tiles_replayed += outcome.replayed_from is not None


def _move_pointer(session: Session, run: Run, job: TileJob, result: TileResult) -> None:
    values: dict[str, Any] = {
        "sequence": result.state.sequence,
        "state": result.state.to_json(),
        "detector": result.detector,
        "last_acquired_at": result.last_acquired_at,
        "changed_pixels": result.changed_pixels,
        "looks": result.looks or None,
    }
    fitted = {"baseline": run.baseline, "history_from": job.history_from, "ground": result.ground or None}
    if job.previous is None:
        row = insert(TileState).values(id=new_id(), plan_id=run.plan_id, row=job.row, col=job.col, **values, **fitted)
        moved = session.execute(row.on_conflict_do_nothing().returning(TileState.id))
    else:
        past = _past(session, run, job, result)
        values["past_pixels"] = pack(past.to_arrays()) if len(past) else None
        if job.rebaseline:
            values |= fitted | {"ground": _ground(session, run, job, result, past)}
        place = (TileState.plan_id == run.plan_id, TileState.row == job.row, TileState.col == job.col)
        compare = (*place, TileState.sequence == job.previous.sequence)
        moved = session.execute(update(TileState).where(*compare).values(**values).returning(TileState.id))
    if moved.first() is None:
        raise Displaced(f"tile {job.row},{job.col} was moved on by another worker")


def _ground(session: Session, run: Run, job: TileJob, result: TileResult, past: ChangedPixels) -> bytes:
    """The ground of a tile that was fitted anew."""
    place = (TileState.plan_id == run.plan_id, TileState.row == job.row, TileState.col == job.col)
    before = session.scalar(select(TileState.ground).where(*place))
    return carry_over(before, result.ground, past, job.row0, job.col0)


def _past(session: Session, run: Run, job: TileJob, result: TileResult) -> ChangedPixels:
    """The tile's past pixels once the result is committed."""
    row = session.execute(
        select(*STANDING).where(TileState.plan_id == run.plan_id, TileState.row == job.row, TileState.col == job.col)
    ).one()
    before = standing_of(row)
    if job.rebaseline:
        return at_baseline(before)
    current = changed_pixels(result.changed_pixels)
    return remember(before, past_of(row), current, replayed=result.replayed_from is not None)


def past_of(row: Row[Any]) -> ChangedPixels:
    return changed_pixels(row.past_pixels) if row.past_pixels else ChangedPixels.empty()


def standing_of(row: Row[Any]) -> Standing:
    """A tile's changes as they stand; `row` holds the columns of `STANDING`."""
    first = day_number(row.history_from) if row.history_from else 0
    last = day_number(date.fromisoformat(row.history_until))
    return standing(past_of(row), changed_pixels(row.changed_pixels), History(first, last))
