"""A closed case whose ground changes again in the simulated area: run, timetable, signal, decision, all real."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from shapely.geometry import shape
from sqlalchemy import select

from app.access import service as access
from app.casework.ledger import verify
from app.casework.lifecycle import CaseState
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from app.foundation.time import utc_now
from app.foundation.timetable import run_due
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceRequest
from app.imagery.service import add_source
from app.monitoring import service as monitoring
from app.monitoring.execution import execute
from app.monitoring.models import Detection
from app.monitoring.schemas import PlanConfiguration, PlanIn
from app.sample import SampleInfo, build
from app.settings import REPOSITORY
from app.worker import all_jobs
from tests.casework_steps import Desk, today
from tests.conftest import COUNTY, World

SEED, SIZE, YEARS = 5, 240, 2


def test_a_closed_case_whose_ground_changes_again_is_signalled_and_reopened(world: World, tmp_path: Path) -> None:
    sample = build(
        tmp_path / "sample", seed=SEED, size_px=SIZE, years=YEARS, workers=1,
        divisions=REPOSITORY / "sample" / "jilin" / "divisions.geojson",
    )  # fmt: skip
    planted = changes(sample)
    assert len(planted) >= 2
    closed = [close_before(world, change) for change in planted]

    run(world, sample)
    done = run_due(world.database, all_jobs(world.database, world.settings), utc_now() + timedelta(minutes=5), "test")
    assert "rebound signals of closed cases" in done

    desk = Desk(world)
    raised = desk.get("province", "/rebounds", state="raised").json()["items"]
    signalled = {signal["case_id"]: signal for signal in raised}
    assert len(signalled) >= 2, f"{len(planted)} changes, {len(raised)} signals"
    assert set(signalled) <= set(closed)
    for signal in raised:
        assert signal["case_state"] == "closed"
        event = desk.get("province", f"/cases/{signal['case_id']}/events").json()["items"][-1]
        assert (event["kind"], event["payload"]["detection_id"]) == ("rebound_raised", signal["detection_id"])

    first, second = list(signalled.values())[:2]
    answer = desk.post("province", f"/rebounds/{first['id']}/affirm", {"reason": "影像显示复采"}, 1)
    assert (answer.status_code, answer.json()["case_state"]) == (200, "reopened"), answer.text
    answer = desk.post("province", f"/rebounds/{second['id']}/reject", {"reason": "现场为自然倒木"}, 1)
    assert (answer.status_code, answer.json()["case_state"]) == (200, "closed"), answer.text
    kept = desk.get("province", f"/rebounds/{second['id']}").json()
    assert (kept["state"], kept["reason"]) == ("rejected", "现场为自然倒木")
    total = desk.get("inspector", "/rebounds/summary").json()["total"]
    assert (total["affirmed"] >= 1, total["rejected"], total["total"]) == (True, 1, len(raised))
    again = run_due(world.database, all_jobs(world.database, world.settings), utc_now() + timedelta(minutes=10), "test")
    assert "rebound signals of closed cases" in again
    assert desk.get("inspector", "/rebounds/summary").json()["total"]["total"] == len(raised)
    with world.database.transaction(see_all=True) as session:
        assert verify(session).intact


def changes(sample: SampleInfo) -> list[dict[str, Any]]:
    content = json.loads((sample.path / "truth.geojson").read_text(encoding="utf-8"))
    return [feature for feature in content["features"] if feature["properties"]["planted"]]


def close_before(world: World, change: dict[str, Any]) -> str:
    """A case from before the service on the ground of a planted change, closed the day before it begins."""
    closed_on = date.fromisoformat(change["properties"]["starts"]) - timedelta(days=1)
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province-other"), state=CaseState.closed, lead_unit=COUNTY,
            geometry=shape(change["geometry"]), activity="quarry", occurred_on=closed_on, due_on=closed_on,
            supervision_source=SupervisionSource.green_shield, today=today(), simulated=True,
        )  # fmt: skip
        return str(case.id)


def run(world: World, sample: SampleInfo) -> None:
    area = json.loads((sample.path / "area.geojson").read_text(encoding="utf-8"))
    with world.database.transaction(see_all=True) as session:
        add_source(
            session,
            SourceRequest(
                name="simulated",
                title="模拟",
                kind=SourceKind.stac_catalog,
                location=str(sample.catalogue),
                simulated=True,
            ),
        )
        monitoring.add_plan(
            session,
            PlanIn(
                name="simulated",
                title="模拟区",
                source="simulated",
                area=area["features"][0]["geometry"] if "features" in area else area["geometry"],
                history_from=sample.first,
                history_until=sample.history_until,
                until=sample.until,
                configuration=PlanConfiguration(crs="EPSG:32652", tile_px=240),
            ),
        )
        requested = monitoring.request_run(session, monitoring.plan_by_name(session, "simulated"))
    execute(world.database, world.settings, requested.id)
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(Detection.id)).first(), "the run found nothing"
        assert access.system_caller(session)
