"""What a plan has seen of its ground: shares, blind spots, and that nobody sees more of them than is theirs."""

from __future__ import annotations

from datetime import date

import pytest
import shapely
from shapely.geometry import mapping, shape

from app.foundation.geometry import geodesic_area_m2
from app.monitoring.models import RunStatus
from tests.api.test_runs import add_plan, run
from tests.conftest import World
from tests.series import Series, write_series

LAST, BEFORE = date(2024, 11, 22), date(2024, 10, 31)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_series(tmp_path_factory.mktemp("series") / "images", step=22)


def test_days_since_the_last_clear_look_and_the_blind_spots(world: World, series: Series) -> None:
    plan = add_plan(world, series, series.folder)
    path, county = f"/api/v1/plans/{plan['id']}/coverage", world.headers("county")
    before = world.client.get(path, headers=county).json()
    assert (before["unseen_share"], before["run_id"], before["tiles"]) == (0, None, [])
    assert run(world).status is RunStatus.succeeded

    # The last image hides the northern third; there, the one before it was the last clear look.
    seen = world.client.get(path, headers=county, params={"as_of": "2024-12-31"}).json()
    by_class = {item["up_to_days"]: item["share"] for item in seen["since_clear_look"]}
    assert sum(by_class.values()) + seen["unseen_share"] == pytest.approx(1)
    assert by_class[60] == pytest.approx(2 / 3, abs=0.06)
    assert by_class[90] == pytest.approx(1 / 3, abs=0.06)
    assert [(tile["row"], tile["col"], tile["status"]) for tile in reversed(seen["tiles"])] == [
        (row, col, "done") for row in (0, 1) for col in (0, 1)
    ]
    assert all(0.5 < tile["clear_share"] <= 1 and tile["last_acquired_at"] for tile in seen["tiles"])

    spots = world.client.get(
        f"{path}/cells", headers=county, params={"as_of": "2024-12-31", "older_than_days": 60}
    ).json()
    assert spots["type"] == "FeatureCollection"
    assert {f["properties"]["last_clear_on"] for f in spots["features"]} == {BEFORE.isoformat()}
    assert {f["properties"]["days_since"] for f in spots["features"]} == {61}
    hidden = shapely.union_all([shape(f["geometry"]) for f in spots["features"]])
    assert hidden.within(series.area.buffer(1e-6))
    # 42 rows of 128 lie under the cloud: three rows of cells.
    assert geodesic_area_m2(hidden) == pytest.approx(48 * 128 * 100, rel=0.02)
    assert (
        LAST.isoformat()
        in world.client.get(f"{path}/cells", headers=county, params={"as_of": "2024-12-31", "older_than_days": 0}).text
    )
    fresh = world.client.get(f"{path}/cells", headers=county, params={"as_of": "2024-12-31", "older_than_days": 61})
    assert fresh.json()["features"] == []


def test_blind_spots_are_paged_and_cut_to_a_box(world: World, series: Series) -> None:
    plan = add_plan(world, series, series.folder)
    assert run(world).status is RunStatus.succeeded
    path, county = f"/api/v1/plans/{plan['id']}/coverage/cells", world.headers("county")
    question = {"as_of": "2024-12-31", "older_than_days": 0}
    whole = world.client.get(path, headers=county, params=question).json()["features"]
    paged, answer = [], world.client.get(path, headers=county, params=question | {"limit": 1})
    while True:
        paged += answer.json()["features"]
        if "next" not in answer.links:
            break
        answer = world.client.get(answer.links["next"]["url"], headers=county)
    assert paged == whole
    assert len(whole) >= 4

    west, south, _, north = series.area.bounds
    half = (west, south, series.area.centroid.x, north)
    cut = world.client.get(path, headers=county, params=question | {"bbox": ",".join(map(str, half))}).json()
    ground = shapely.union_all([shape(f["geometry"]) for f in cut["features"]])
    assert ground.within(shapely.box(*half).buffer(1e-6))
    assert ground.area == pytest.approx(series.area.area / 2, rel=0.05)


def test_coverage_ends_at_the_border_of_ones_own_ground(world: World, series: Series) -> None:
    """A plan that reaches into a neighbour's county: each reads its own part, the province all."""
    reach = shapely.box(126.9, 41.6, 127.9, 42.6)
    plan = add_plan(
        world, series, series.folder, area=mapping(reach), configuration={"crs": "EPSG:32652", "resolution_m": 100}
    )
    assert run(world).status is RunStatus.succeeded  # most tiles have no image; nothing is known of them
    path = f"/api/v1/plans/{plan['id']}/coverage/cells"

    def unseen(username: str) -> shapely.Geometry:
        features = world.client.get(path, headers=world.headers(username)).json()["features"]
        assert all(f["properties"] == {"last_clear_on": None, "days_since": None} for f in features[:1])
        return shapely.union_all([shape(f["geometry"]) for f in features])

    everything, mine, theirs = unseen("province"), unseen("county"), unseen("county2")
    assert everything.area == pytest.approx(reach.area, rel=0.02)
    assert 0 < mine.area < everything.area
    assert 0 < theirs.area < everything.area
    assert mine.intersection(theirs).area < 1e-6
    assert world.client.get(path, headers=world.headers("prefecture-other")).status_code in (200, 404)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("coverage?as_of=2024-01-01", 422),
        ("coverage/cells?bbox=1,2", 422),
        ("coverage/cells?cursor=x", 400),
        ("coverage/cells?cursor=1.2.3", 400),
        ("coverage/cells?older_than_days=-1", 422),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(world: World, series: Series, path: str, status: int) -> None:
    plan = add_plan(world, series, series.folder)
    if "as_of" in path:
        run(world)
    answer = world.client.get(f"/api/v1/plans/{plan['id']}/{path}", headers=world.headers("county"))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
