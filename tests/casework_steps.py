"""Steps of casework that several tests take: a detection, a photo, a command, a case in some state."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from shapely import box
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.access.service import unit_by_code
from app.boundaries.models import Verdict
from app.casework.models import Case
from app.casework.supervision_models import ReboundSignal
from app.foundation.geometry import geodesic_area_m2, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now
from app.imagery.models import Source, SourceKind
from app.monitoring.models import Confidence, Detection, Plan, PlanSource, Run, RunStatus
from tests.conftest import COUNTY, World

GROUND = box(127.30, 42.30, 127.302, 42.302)
API = "/api/v1"


def today() -> date:
    return legal_day(utc_now())


def add_detection(
    session: Session, *, lead: str | None = COUNTY, units: tuple[str, ...] | None = None, activity: str = "quarry"
) -> Detection:
    """A published detection on the ground of `lead`; None: outside the province."""
    plan = session.scalar(select(Plan).limit(1)) or _plan(session)
    run = Run(id=new_id(), plan_id=plan.id, status=RunStatus.succeeded, until=date(2024, 6, 1))
    session.add(run)
    session.flush()
    touched = [unit_by_code(session, code) for code in (units or ((lead,) if lead else ()))]
    detection = Detection(
        id=new_id(),
        plan_id=plan.id,
        run_id=run.id,
        geom=to_database(GROUND),
        area_m2=geodesic_area_m2(GROUND),
        activity=activity,
        activities=[{"code": activity, "probability": 0.8, "reasons": []}],
        confidence=Confidence.high,
        first_seen_on=date(2024, 5, 1),
        detector="test 1",
        lead_unit_id=unit_by_code(session, lead).id if lead else None,
        verdict=Verdict.prohibited,
        verdict_ground="test",
        unit_ids=[unit.id for unit in touched],
    )
    session.add(detection)
    session.flush()
    return detection


def add_signal(session: Session, case_id: str) -> str:
    """A rebound signal of a closed case, as the job raises it but for its event; its id."""
    case = session.get_one(Case, UUID(case_id))
    detection_id = case.detection_id or add_detection(session).id
    signal = ReboundSignal(
        case_id=case.id, detection_id=detection_id, geom=case.geom, area_m2=case.area_m2, first_seen_on=today()
    )
    session.add(signal)
    session.flush()
    return str(signal.id)


def _plan(session: Session) -> Plan:
    source = Source(id=new_id(), name="test", title="test", kind=SourceKind.folder, location="nowhere")
    session.add(source)
    session.flush()
    plan = Plan(
        id=new_id(),
        name="test",
        title="test",
        area=to_database(GROUND),
        history_from=date(2020, 1, 1),
        history_until=date(2022, 1, 1),
    )
    session.add(plan)
    session.flush()
    session.add(PlanSource(plan_id=plan.id, source_id=source.id, position=0))
    session.flush()
    return plan


def wait_for_a_lock(world: World) -> None:
    """Return when some transaction of this database waits for another's lock."""
    waiting = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with world.database.transaction() as session:
            if session.scalar(waiting):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


def photo(
    *,
    at: tuple[float, float] | None = (127.301, 42.301),
    seed: int | None = None,
    taken: str = "2024:06:18 10:30:00",
    offset: str | None = None,
) -> bytes:
    """A real JPEG, its pixels unlike any other's; `at` is longitude and latitude in its EXIF."""
    image = Image.new("RGB", (32, 24), "green")
    image.putdata([((uuid4().int if seed is None else seed + i) % 255, i % 255, 0) for i in range(32 * 24)])
    exif = Image.Exif()
    if at is not None:
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N" if at[1] >= 0 else "S", _dms(abs(at[1]))
        gps[3], gps[4] = "E" if at[0] >= 0 else "W", _dms(abs(at[0]))
        exif.get_ifd(0x8769)[36867] = taken
        if offset is not None:
            exif.get_ifd(0x8769)[36881] = offset
    target = io.BytesIO()
    image.save(target, "JPEG", exif=exif)
    return target.getvalue()


def _dms(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    whole = int(degrees)
    minutes = int((degrees - whole) * 60)
    seconds = (degrees - whole - minutes / 60) * 3600
    return IFDRational(whole), IFDRational(minutes), IFDRational(round(seconds * 10000), 10000)


def halves(ground: BaseGeometry) -> list[dict[str, Any]]:
    """The western and the eastern half of a ground, as the parts of a split."""
    west, south, east, north = ground.bounds
    middle = (west + east) / 2
    cuts = (box(west, south, middle, north), box(middle, south, east, north))
    return [{"geometry": mapping(ground.intersection(cut))} for cut in cuts]


def fields_of(command: str) -> dict[str, Any]:
    """Complete fields of a command; ids, of evidence, cases, objections, sources, signals, are the caller's to give."""
    due = today() + timedelta(days=60)
    reason = {"reason": "现场核查结果"}
    fields: dict[str, dict[str, Any]] = {
        "start_verification": {},
        "approve_plan": {},
        "close": {},
        "resume": {},
        "return": {"reason": "not_ours", "explanation": "属邻县"},
        "redispatch": {"lead_unit": COUNTY},
        "propose_permitted": {"legal_ground": "原有合法权益"},
        "confirm": {
            "problem": "露天采石",
            "occurred_from": "2024-04-01",
            "occurred_to": "2024-05-01",
            "area_m2": 30000.5,
            "party": "某石料有限公司",
            "responsible_government": "抚松县人民政府",
            "immediate_measure": "停工",
        },
        "submit_plan": {
            "measures": "覆土栽植",
            "responsible_unit": "林业局",
            "responsible_person": "王某",
            "milestones": [{"title": "清运", "due_on": (due - timedelta(days=30)).isoformat()}],
            "restoration_kind": "forest",
            "restoration_area_m2": 30000,
            "due_on": due.isoformat(),
        },
        "report_progress": {"progress": "已清运", "percent": 50},
        "request_closure": {"summary": "已恢复"},
        "accept": {"opinion": "合格"},
        "publicise": {"published_at": "县政府网站"},
        "reopen": {"basis": "rebound_signal", "reason": "复采"},
        "merge": {"reason": "同一地块"},
        "take_up_again": {"basis": "new_evidence", "reason": "新证据"},
        "record_objection": {"objector": "李某", "content": "弃渣未清运", "received_on": today().isoformat()},
        "dismiss_objection": {"answer": "现场复核，已清运"},
        "uphold_objection": {"reason": "弃渣仍在"},
        "transfer": {"lead_unit": COUNTY, "reason": "管辖调整"},
        "split": {"reason": "两个责任主体", "parts": halves(GROUND)},
        "supervise": {"level": "prefecture", "reason": "市督办〔2024〕1号"},
        "add_source": {"source": "media", "item_number": uuid4().hex},
        "make_primary": {"reason": "列入督察清单"},
    }
    return fields.get(command, reason)


@dataclass
class Desk:
    """Speaks to the service as one account or another, and remembers who is who."""

    world: World
    known: dict[str, dict[str, str]] = field(default_factory=dict)

    def headers(self, username: str) -> dict[str, str]:
        if username not in self.known:
            self.known[username] = self.world.headers(username)
        return self.known[username]

    def get(self, username: str, path: str, **params: Any) -> httpx2.Response:
        return self.world.client.get(API + path, headers=self.headers(username), params=params)

    def post(self, username: str, path: str, body: Any, version: int | None) -> httpx2.Response:
        headers = dict(self.headers(username))
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        return self.world.client.post(API + path, headers=headers, json=body)

    def dispatch(
        self, detection_id: UUID, username: str = "officer", *, version: int = 0, **body: Any
    ) -> dict[str, Any]:
        answer = self.post(username, f"/detections/{detection_id}/dispatch", body, version)
        assert answer.status_code == 201, answer.text
        case: dict[str, Any] = answer.json()
        return case

    def upload(
        self, username: str, case_id: str, *, data: bytes | None = None, kind: str = "photo", **form: Any
    ) -> httpx2.Response:
        return self.world.client.post(
            f"{API}/cases/{case_id}/evidence",
            headers=self.headers(username),
            files={"file": ("现场 照片.jpg", photo() if data is None else data, "application/octet-stream")},
            data={"kind": kind, **form},
        )

    def give(
        self, username: str, case: dict[str, Any], command: str, *, version: int | None = None, **extra: Any
    ) -> httpx2.Response:
        """Give a command with complete fields at the case's version; `extra` goes into the fields."""
        body = {"command": command, "fields": fields_of(command) | extra}
        path = f"/cases/{case['id']}/transitions"
        return self.post(username, path, body, case["version"] if version is None else version)

    def done(self, username: str, case: dict[str, Any], command: str, **extra: Any) -> dict[str, Any]:
        """Give a command that must succeed; the case as it is then."""
        answer = self.give(username, case, command, **extra)
        assert answer.status_code == 200, answer.text
        after: dict[str, Any] = answer.json()
        assert answer.headers["ETag"] == f'"{after["version"]}"'
        return after
