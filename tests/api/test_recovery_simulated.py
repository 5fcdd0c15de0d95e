"""Ground that the sample's renderer makes green again to a known share: scenes on disk, sync, visits, curve."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from shapely.geometry import shape

from app.casework import recovery
from app.casework.lifecycle import CaseState
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from app.foundation.geometry import to_database
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceRequest
from app.imagery.service import add_source, sync
from app.monitoring.models import Plan, PlanSource
from app.sample import SampleInfo, build
from app.settings import REPOSITORY
from tests.casework_steps import Desk, fields_of, today
from tests.conftest import COUNTY, World

SEED, SIZE, YEARS = 5, 240, 3.2
VERDICTS = {0.0: "not_recovered", 0.3: "recovering", 0.6: "recovering", 1.0: "recovered"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleInfo:
    divisions = REPOSITORY / "sample" / "jilin" / "divisions.geojson"
    folder = tmp_path_factory.mktemp("regrown") / "sample"
    return build(folder, seed=SEED, size_px=SIZE, years=YEARS, workers=1, divisions=divisions, recipe="regrown")


def test_the_share_recovered_is_the_share_that_was_planted(world: World, sample: SampleInfo) -> None:
    desk, planted = Desk(world), sites(sample)
    assert {site["properties"]["regrowth"]["share"] for site in planted} == set(VERDICTS)
    watch(world, sample)
    cases = {site["properties"]["regrowth"]["share"]: add_case(world, site) for site in planted}
    for share, case in cases.items():
        while recovery.visit(world.database, UUID(case)):
            pass
        found = desk.get("county", f"/cases/{case}/recovery").json()
        assert (found["verdict"], found["is_behind"], found["failures"]) == (VERDICTS[share], False, []), found
        assert found["ndvi"]["value"] == pytest.approx(share, abs=0.04), (share, found["ndvi"])
        assert found["ndvi"]["low"] <= share + 0.02 and found["ndvi"]["high"] >= share - 0.02
        # The share is one of NDVI; bare ground that is wetter or drier than it was moves the other index.
        assert found["ndmi"]["value"] == pytest.approx(share, abs=0.15), (share, found["ndmi"])


def sites(sample: SampleInfo) -> list[dict[str, Any]]:
    content = json.loads((sample.path / "truth.geojson").read_text(encoding="utf-8"))
    features: list[dict[str, Any]] = content["features"]
    return features


def watch(world: World, sample: SampleInfo) -> None:
    """A plan with the scenes' grid; nothing of its detector is needed."""
    west, _, _, north = sample.bounds
    area = shape(json.loads((sample.path / "area.geojson").read_text(encoding="utf-8"))["features"][0]["geometry"])
    with world.database.transaction(see_all=True) as session:
        source = add_source(
            session,
            SourceRequest(
                name="simulated", title="模拟", kind=SourceKind.stac_catalog, location=str(sample.catalogue),
                simulated=True,
            ),
        )  # fmt: skip
        assert sync(session, source).failed == 0
        plan = Plan(
            name="simulated", title="模拟区", area=to_database(area), history_from=sample.first,
            history_until=sample.history_until, configuration={},
            grid={"crs": "EPSG:32652", "transform": [10.0, 0.0, west, 0.0, -10.0, north], "shape": [SIZE, SIZE]},
        )  # fmt: skip
        session.add(plan)
        session.flush()
        session.add(PlanSource(plan_id=plan.id, source_id=source.id, position=0))


def add_case(world: World, site: dict[str, Any]) -> str:
    begun = date.fromisoformat(site["properties"]["starts"])
    stated = {"occurred_from": begun.isoformat(), "occurred_to": (begun + timedelta(days=12)).isoformat()}
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province-other"), state=CaseState.rectifying, lead_unit=COUNTY,
            geometry=shape(site["geometry"]), activity="mining", occurred_on=date(2024, 9, 1), due_on=today(),
            today=today(), notice_until=today(), facts=fields_of("confirm") | stated, simulated=True,
            supervision_source=SupervisionSource.green_shield,
        )  # fmt: skip
        return str(case.id)
