"""Which scenes a tile has still to take in, and from where: new ones, and those that came late, changed or vanished.

The log of a tile's state holds the scenes in it, by day. What a run lists is held against it day by day:

- a day after the state's newest is new and simply taken in;
- a day of the log whose scenes, digests or order differ (a late scene, a second acquisition of the day, a corrected
  or withdrawn scene) is replayed: from the newest checkpoint before it, over all that is listed since. The result is
  what a run in order gives;
- a day that no checkpoint precedes is refused, and so is one of the history: a new baseline takes them in.

Checkpoints stand before the newest day, before the newest day's block of 30 days and before the block before that
one. Blocks are those of the days since 1970-01-01, so the checkpoints follow from the days alone, and a scene that is
30 days late or less can always be replayed. While there is no state so old, the oldest one stands in: the baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final

from app.foundation.time import day_number
from app.imagery.acquisitions import Acquisition, acquisitions
from app.imagery.refs import SceneRef
from app.monitoring.states import Checkpoint, LogEntry, StatePointer

BLOCK_DAYS: Final = 30
# Refused scenes that are kept by name.
REFUSALS_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class SceneDay:
    """All that was acquired on one day (UTC), in the order in which it is used."""

    day: date
    acquisitions: tuple[Acquisition, ...]
    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """What to do.

    Attributes:
        start: the checkpoint to go back to; None: go on from the newest state.
        days: to be taken in, ascending.
        replayed_from: first day that is computed anew.
        refused: `{"scene", "day", "reason"}`.
    """

    start: Checkpoint | None
    days: tuple[SceneDay, ...]
    replayed_from: date | None
    refused: list[dict[str, Any]]

    @property
    def idle(self) -> bool:
        """Nothing is to be done."""
        return self.start is None and not self.days


def scene_days(scenes: Iterable[SceneRef]) -> list[SceneDay]:
    """The days of some scenes, ascending; the same for the same scenes in any order."""
    return [
        SceneDay(day, tuple(group), tuple(_entry(scene, day) for one in group for scene in one.scenes))
        for day, group in ((day, list(found)) for day, found in groupby(acquisitions(scenes), lambda a: a.day))
    ]


def course(days: Sequence[SceneDay], pointer: StatePointer, since: date, until: date) -> Course:
    """What brings a state up to what is listed.

    Args:
        days: listed from `since` to `until`; nothing is said about other days.
    """
    listed = {day.day: day.entries for day in days}
    logged = {day: tuple(entries) for day, entries in groupby(pointer.log, lambda entry: entry.day)}
    differing = sorted(
        day
        for day in listed.keys() | logged.keys()
        if since <= day <= min(until, pointer.updated_until) and listed.get(day, ()) != logged.get(day, ())
    )
    refused: list[dict[str, Any]] = []
    start: Checkpoint | None = None
    replayed_from: date | None = None
    names = {str(s.id): s.external_id for day in days for one in day.acquisitions for s in one.scenes}
    for day in differing:
        before = [c for c in pointer.checkpoints if c.updated_until < day]
        reason = _refusal(day, pointer, until, reachable=bool(before))
        if reason:
            refused += _describe(listed.get(day, ()), logged.get(day, ()), names, reason)
        else:
            start, replayed_from = before[-1], day
            break
    after = start.updated_until if start else pointer.updated_until
    return Course(start, tuple(day for day in days if after < day.day <= until), replayed_from, refused)


def _refusal(day: date, pointer: StatePointer, until: date, *, reachable: bool) -> str | None:
    if day <= pointer.history_until:
        return f"it lies in the history (to {pointer.history_until}), which is fitted; make a new baseline to follow it"
    if until < pointer.updated_until:
        return f"the run ends before {pointer.updated_until}, which the tile has seen; run up to that day to follow it"
    if not reachable:
        return "it is older than the states kept for replay; make a new baseline to follow it"
    return None


def _describe(
    listed: Sequence[LogEntry], logged: Sequence[LogEntry], names: dict[str, str], reason: str
) -> list[dict[str, Any]]:
    """A refusal for each scene of a day that is not in the state as it is listed, or in it and not listed."""
    digests = {entry.scene_id: entry.digest for entry in logged}
    found = []
    for entry in listed:
        if digests.pop(entry.scene_id, None) != entry.digest:
            kind = "corrected" if entry.scene_id in {e.scene_id for e in logged} else "late"
            found.append((kind, entry))
    found += [("withdrawn or superseded", entry) for entry in logged if entry.scene_id in digests]
    return [
        {"scene": names.get(e.scene_id, e.scene_id), "day": e.day.isoformat(), "reason": f"{kind}: {reason}"}
        for kind, e in found
    ]


def brief(refused: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Refusals as they are kept: the first ten, and where there are more, `{"reason", "count"}` of all of them.

    A source that describes all its scenes anew has thousands refused for every tile, by every run.
    """
    if len(refused) <= REFUSALS_NAMED:
        return list(refused)
    counts = Counter(refusal["reason"] for refusal in refused)
    return [*refused[:REFUSALS_NAMED], *({"reason": reason, "count": count} for reason, count in counts.items())]


def checkpoints(earlier: Sequence[date], newest: date) -> list[date]:
    """Which of the earlier states to keep beside that of the newest day (see above), oldest first.

    Args:
        earlier: last days of the states before the newest, ascending; the baseline's first while it is kept.
    """
    if not earlier:
        return []
    kept = {earlier[-1]}
    block = day_number(newest) // BLOCK_DAYS
    for bound in (block, block - 1):
        older = [day for day in earlier if day_number(day) // BLOCK_DAYS < bound]
        kept.add(older[-1] if older else earlier[0])
    return sorted(kept)


def _entry(scene: SceneRef, day: date) -> LogEntry:
    # 64 bits tell two descriptions of one scene apart; the log is read and written with every pointer.
    return LogEntry(str(scene.id), scene.digest[:16], day)
