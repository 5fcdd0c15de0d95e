"""The demo's cases: two fresh ones, dispatched as the demo's officer would, and one closed before the service."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access import service as access
from app.boundaries.models import Verdict
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.opening import import_case
from app.casework.review import dispatch
from app.casework.schemas import DispatchRequest
from app.casework.vocabulary import Priority, RestorationKind, SupervisionSource
from app.demo.accounts import COUNTY, COUNTY2
from app.foundation.geometry import from_database
from app.foundation.time import legal_day, utc_now
from app.monitoring.models import Confidence, Detection

NOTE = "演示数据：由 `redline demo` 自动生成"


def ensure_cases(session: Session) -> int:
    """Open the demo's cases unless there are cases already; how many there are."""
    present = len(list(session.scalars(select(Case.id))))
    if present:
        return present
    officer = access.caller_of(session, access.account_by_name(session, "officer"))
    today = legal_day(utc_now())
    opened = 0
    for code in (COUNTY, COUNTY2):
        detection = _worst(session, code)
        if detection is not None:
            request = DispatchRequest(priority=Priority.high, note=NOTE)
            dispatch(session, officer, detection.id, 0, request, today)
            opened += 1
    return opened + _import_closed_case(session, today)


def _worst(session: Session, unit_code: str) -> Detection | None:
    """The largest confirmed detection that a unit leads and that no permit allows."""
    unit = access.unit_by_code(session, unit_code)
    return session.scalar(
        select(Detection)
        .where(
            Detection.lead_unit_id == unit.id,
            Detection.confidence == Confidence.high,
            Detection.verdict.in_((Verdict.prohibited, Verdict.needs_recognition)),
            Detection.withdrawn_at.is_(None),
        )
        .order_by(Detection.area_m2.desc(), Detection.id)
        .limit(1)
    )


def _import_closed_case(session: Session, today: date) -> int:
    """A case from the time before the service, so that the closure rate has something to count."""
    province = access.caller_of(session, access.account_by_name(session, "province"))
    unit = access.unit_by_code(session, COUNTY)
    detection = session.scalar(
        select(Detection).where(Detection.lead_unit_id == unit.id).order_by(Detection.area_m2, Detection.id).limit(1)
    )
    if detection is None:
        return 0
    ground = from_database(detection.geom).centroid.buffer(0.0005)
    closed_on = today - timedelta(days=200)
    import_case(
        session,
        province,
        state=CaseState.closed,
        lead_unit=COUNTY,
        geometry=ground,
        activity="clearing",
        supervision_source=SupervisionSource.green_shield,
        occurred_on=closed_on,
        today=today,
        facts={
            "problem": "历史毁林点位（演示）",
            "occurred_from": str(closed_on - timedelta(days=500)),
            "occurred_to": str(closed_on - timedelta(days=450)),
            "area_m2": 6000.0,
            "unknown_reason": "历史遗留，责任主体灭失",
            "responsible_government": "抚松县人民政府",
            "immediate_measure": "封禁现场",
        },
        plan={
            "measures": "补植红松",
            "responsible_unit": "抚松县林业局",
            "responsible_person": "演示",
            "milestones": [{"title": "完成补植", "due_on": str(closed_on - timedelta(days=60))}],
            "restoration_kind": RestorationKind.forest.value,
            "restoration_area_m2": 6000.0,
            "due_on": str(closed_on - timedelta(days=30)),
        },
        first_due_on=closed_on - timedelta(days=30),
        due_on=closed_on - timedelta(days=30),
        simulated=True,
        note=NOTE,
    )
    return 1
