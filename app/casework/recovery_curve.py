"""The recovery curve of a case as its readings tell it: now, when closure was applied for, and since closing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.casework.hash_chain import canonical
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case, CaseEvent
from app.casework.recovery_models import RecoveryReading, RecoverySite
from app.foundation.time import legal_day
from app.monitoring.recovery_estimate import Estimate, Reading, Share, Verdict, estimate

NOT_READ_YET: Final = "not_read_yet"
METHOD: Final = "recovery 1"


@dataclass(frozen=True)
class Curve:
    """What is known of a case's recovery; `estimate` is None where nothing could be read, for `reason`."""

    site: RecoverySite | None
    readings: Sequence[RecoveryReading]

    @cached_property
    def estimate(self) -> Estimate | None:
        """What all readings tell; computed when it is asked for, in some hundredths of a second."""
        return _estimate(self.site, self.readings, None)

    @property
    def verdict(self) -> Verdict:
        return self.estimate.verdict if self.estimate else Verdict.undetermined

    @property
    def reason(self) -> str | None:
        if self.estimate is not None:
            return self.estimate.reason.value if self.estimate.reason else None
        return (self.site.problem if self.site else None) or NOT_READ_YET

    def at(self, day: date) -> Estimate | None:
        """What the readings up to a day tell."""
        return _estimate(self.site, self.readings, day)

    @property
    def digest(self) -> str:
        """SHA-256 of the readings' canonical JSON (RFC 8785)."""
        return hashlib.sha256(canonical([reading_document(reading) for reading in self.readings])).hexdigest()


def curve_of(session: Session, case: Case) -> Curve:
    """The curve of a case in the caller's sight, by the site that was looked at last."""
    return curves_of(session, [case.id])[case.id]


def curves_of(session: Session, case_ids: Sequence[UUID]) -> dict[UUID, Curve]:
    """The curves of several cases, as `curve_of` reads one, in two statements."""
    newest = (RecoverySite.looked_at.desc().nulls_last(), RecoverySite.id.desc())
    looked = select(RecoverySite).where(RecoverySite.case_id == func.any(list(case_ids)))
    last = looked.ext(distinct_on(RecoverySite.case_id)).order_by(RecoverySite.case_id, *newest)
    sites = {site.case_id: site for site in session.scalars(last)}
    readings: dict[UUID, list[RecoveryReading]] = {site.id: [] for site in sites.values()}
    if readings:
        read = select(RecoveryReading).where(RecoveryReading.site_id == func.any(list(readings)))
        for row in session.scalars(read.order_by(RecoveryReading.acquired_on, RecoveryReading.mission)):
            readings[row.site_id].append(row)
    found = {case_id: Curve(None, ()) for case_id in case_ids}
    return found | {case_id: Curve(site, readings[site.id]) for case_id, site in sites.items()}


def _estimate(site: RecoverySite | None, readings: Sequence[RecoveryReading], until: date | None) -> Estimate | None:
    if site is None or site.problem is not None or site.last_clear_on is None or site.first_seen_on is None:
        return None
    if not readings:
        return None
    return estimate([_reading(row) for row in readings], site.last_clear_on, site.first_seen_on, until)


def _reading(row: RecoveryReading) -> Reading:
    return Reading(
        row.acquired_on,
        row.inside_ndvi,
        row.ring_ndvi,
        row.inside_ndmi,
        row.ring_ndmi,
        row.clear_inside,
        row.clear_ring,
    )


def reading_document(row: RecoveryReading) -> dict[str, Any]:
    """A reading as evidence holds it and its digest covers it."""
    return {
        "acquired_on": row.acquired_on.isoformat(),
        "mission": row.mission,
        "scene_ids": row.scene_ids,
        "inside_ndvi": row.inside_ndvi,
        "ring_ndvi": row.ring_ndvi,
        "inside_ndmi": row.inside_ndmi,
        "ring_ndmi": row.ring_ndmi,
        "clear_inside": row.clear_inside,
        "clear_ring": row.clear_ring,
    }


def share_document(share: Share | None) -> dict[str, Any] | None:
    """A share as answers, events and evidence state it."""
    if share is None:
        return None
    return {
        "reason": share.reason.value if share.reason else None,
        "value": share.value,
        "low": share.low,
        "high": share.high,
        "first_on": share.first_on.isoformat() if share.first_on else None,
        "last_on": share.last_on.isoformat() if share.last_on else None,
        "loss": share.loss,
        "before": share.before,
        "after": share.after,
    }


def summary(curve: Curve) -> dict[str, Any]:
    """The curve as it stands, in the few words that an event keeps."""
    found = curve.estimate
    return {
        "method": METHOD,
        "verdict": curve.verdict.value,
        "reason": curve.reason,
        "ndvi": share_document(found.ndvi) if found else None,
        "ndmi": share_document(found.ndmi) if found else None,
        "last_acquired_on": curve.readings[-1].acquired_on.isoformat() if curve.readings else None,
        "readings": len(curve.readings),
        "readings_sha256": curve.digest,
    }


@dataclass(frozen=True)
class Closure:
    """What was known when closure was applied for, and the day of closing; None: neither has happened (again)."""

    at_request: dict[str, Any] | None
    requested_on: date | None
    closed_on: date | None


def closure_of(session: Session, case: Case) -> Closure:
    """The last application for closure and, where it led there, the closing."""
    kinds = (Command.request_closure.value, Command.close.value, "imported")
    at_request: dict[str, Any] | None = None
    requested_on = closed_on = None
    events = select(CaseEvent).where(CaseEvent.case_id == case.id, CaseEvent.kind.in_(kinds))
    for event in session.scalars(events.order_by(CaseEvent.case_sequence)):
        if event.kind == Command.request_closure:
            at_request, closed_on = event.payload.get("recovery"), None
            requested_on = legal_day(event.recorded_at)
        elif event.state_after is CaseState.closed:
            # A case that was closed before the service was is closed on the day that its import states. One that is
            # reopened keeps the day of its last closing: what was lost since is why it was reopened.
            closed_on = event.occurred_on if event.kind == "imported" else legal_day(event.recorded_at)
    return Closure(at_request, requested_on, closed_on)


def has_dropped(then: Share | None, now: Share | None) -> bool | None:
    """Whether less is back than then, beyond both intervals; None where one of them cannot be told."""
    if then is None or now is None or then.low is None or now.high is None:
        return None
    return now.high < then.low
