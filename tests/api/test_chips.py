"""Pictures of detections and cases through the service: which image for which moment, who sees it, what fails how."""

from __future__ import annotations

import io
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box
from sqlalchemy import select

from app.access.accounts import unit_by_code
from app.casework import chips as case_chips
from app.casework.models import Case
from app.foundation.geometry import from_database, geodesic_area_m2, to_database
from app.imagery import service
from app.imagery.models import Scene, SourceKind
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.monitoring.models import Detection, PlanSource
from app.settings import REPOSITORY
from tests.casework_steps import Desk, add_detection, today
from tests.chip_files import CLOUD, Picture, ground, write_scene
from tests.conftest import COUNTY2, World
from tests.look_back_steps import imported, ordered, report
from tests.series import PATTERN

SITE = ground(44, 44, 56, 56)
BARE_SITE = (slice(44, 56), slice(44, 56))
ROMANIA = REPOSITORY / "sample" / "s2-romania" / "catalog.json"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A change between 10 May and 20 May 2024, a cloudy day after it, and the same season a year before."""
    folder = tmp_path / "images"
    for day in (date(2023, 5, 15), date(2024, 2, 1), date(2024, 5, 10)):
        write_scene(folder, day, Picture())
    write_scene(folder, date(2024, 5, 20), Picture(bare=BARE_SITE, masked={CLOUD: BARE_SITE}))
    for day in (date(2024, 5, 25), date(2024, 8, 20), today()):
        write_scene(folder, day, Picture(bare=BARE_SITE))
    return folder


def add_images(world: World, folder: Path, *, name: str = "made", simulated: bool = False) -> UUID:
    with world.database.transaction(see_all=True) as session:
        request = SourceRequest(
            name=name,
            title=name,
            kind=SourceKind.folder,
            location=str(folder),
            simulated=simulated,
            configuration=SourceConfiguration(pattern=PATTERN),
        )
        source = service.add_source(session, request)
        found = service.sync(session, source)
        assert found.failed == 0 and found.added
        return source.id


def add_site(world: World, *source_ids: UUID, geometry: Any = SITE, **changed: Any) -> UUID:
    """A detection on made images: last clear on 10 May, first seen on 20 May 2024."""
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        known = select(PlanSource.source_id).where(PlanSource.plan_id == detection.plan_id)
        for source_id in set(source_ids) - set(session.scalars(known)):
            session.add(PlanSource(plan_id=detection.plan_id, source_id=source_id, position=1))
        detection.geom, detection.area_m2 = to_database(geometry), geodesic_area_m2(geometry)
        detection.last_clear_on, detection.first_seen_on = date(2024, 5, 10), date(2024, 5, 20)
        for field, value in changed.items():
            setattr(detection, field, value)
        return detection.id


def moments(desk: Desk, path: str, username: str = "county") -> dict[str, dict[str, Any]]:
    answer = desk.get(username, f"{path}/chips")
    assert answer.status_code == 200, answer.text
    return {item["moment"]: item for item in answer.json()["items"]}


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_before_and_after_of_a_detection(world: World, desk: Desk, folder: Path) -> None:
    detection_id = add_site(world, add_images(world, folder))
    listed = moments(desk, f"/detections/{detection_id}")
    assert list(listed) == ["before", "after"]
    assert [item["acquired_on"] for item in listed.values()] == ["2024-05-10", "2024-05-25"], "not the cloudy one"
    assert [item["clear_share"] for item in listed.values()] == [1.0, 1.0]
    assert listed["after"]["sources"] == ["made"] and listed["after"]["day"] == "2024-05-20"
    assert listed["after"]["styles"] == ["true_colour", "false_colour", "index"]
    with world.database.transaction(see_all=True) as session:
        scene = session.get_one(Scene, UUID(listed["after"]["scene_ids"][0]))
        assert scene.acquired_at.date() == date(2024, 5, 25)
    made = {}
    for name, item in listed.items():
        answer = world.client.get(item["href"], headers=desk.headers("county"), params={"size": 256})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "private, no-cache"
        made[name] = pixels(answer.content)
        assert made[name].shape == (256, 256, 3)
    assert (made["after"][128, 128] - made["before"][128, 128]).mean() > 50
    assert np.array_equal(made["after"][60:80, 40:200], made["before"][60:80, 40:200])


def test_before_is_of_the_season_of_the_image_after_not_of_the_day_it_was_seen(
    world: World, desk: Desk, tmp_path: Path
) -> None:
    for day in (date(2023, 9, 10), date(2024, 5, 5), date(2024, 9, 15)):
        write_scene(tmp_path / "images", day, Picture())
    detection_id = add_site(world, add_images(world, tmp_path / "images"))
    listed = moments(desk, f"/detections/{detection_id}")
    assert [item["acquired_on"] for item in listed.values()] == ["2023-09-10", "2024-09-15"]


def test_the_etag_covers_what_the_picture_depends_on(
    world: World, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection_id = add_site(world, add_images(world, folder))
    path = f"/api/v1/detections/{detection_id}/chips/after.png"

    def ask(tag: str | None = None, **params: Any) -> Any:
        headers = desk.headers("county") | ({"If-None-Match": tag} if tag else {})
        answer = world.client.get(path, headers=headers, params=params)
        assert answer.status_code in (200, 304), answer.text
        return answer

    first = ask()
    tags = {first.headers["etag"], ask(style="index").headers["etag"], ask(size=64).headers["etag"]}
    assert len(tags) == 3
    with monkeypatch.context() as context:
        context.setattr(case_chips, "render", None)
        again = ask(first.headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    with world.database.transaction(see_all=True) as session:
        session.get_one(Detection, detection_id).geom = to_database(ground(40, 44, 56, 56))
    grown = ask(first.headers["etag"])
    assert grown.status_code == 200 and grown.content != first.content


def test_no_connection_is_held_while_pixels_are_read(
    world: World, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection_id = add_site(world, add_images(world, folder))
    desk.headers("county")
    held: list[int] = []
    pool: Any = world.client.app.state.database.engine.pool

    def rendered(*_: Any) -> bytes:
        held.append(pool.checkedout())
        return b"png"

    monkeypatch.setattr(case_chips, "render", rendered)
    assert desk.get("county", f"/detections/{detection_id}/chips/after.png").content == b"png"
    assert held == [0]


def test_refusals_say_what_there_is(world: World, desk: Desk, folder: Path) -> None:
    detection_id = add_site(world, add_images(world, folder))
    path = f"/detections/{detection_id}/chips"
    unknown = desk.get("county", f"{path}/plan.png")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "There is no such picture; there are before, after.",
    )
    for params in ({"size": 63}, {"size": 2049}, {"size": "x"}, {"style": "thermal"}):
        assert desk.get("county", f"{path}/before.png", **params).status_code == 422
    assert world.client.get(f"/api/v1{path}/before.png").status_code == 401
    assert desk.get("county2", f"{path}/before.png").json() == desk.get("county2", f"{path}/plan.png").json()
    other = add_site(world, add_images(world, folder, name="other"), first_seen_on=date(2021, 1, 1))
    missing = desk.get("county", f"/detections/{other}/chips/after.png")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "There is no image of the site between 2021-01-01 and 2022-01-02."
    assert moments(desk, f"/detections/{other}")["after"]["reason"] == missing.json()["detail"]


def test_a_cloudy_site_is_no_picture_and_says_how_cloudy(world: World, desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_scene(folder, date(2024, 5, 21), Picture(masked={CLOUD: (slice(44, 53), slice(44, 56))}))
    detection_id = add_site(world, add_images(world, folder))
    answer = desk.get("county", f"/detections/{detection_id}/chips/after.png")
    assert answer.status_code == 404
    assert "the clearest of 1 shows 2" in answer.json()["detail"] and "2024-05-21" in answer.json()["detail"]


def test_an_unreadable_image_gives_way_to_the_next(world: World, desk: Desk, folder: Path) -> None:
    detection_id = add_site(world, add_images(world, folder))
    path = f"/detections/{detection_id}/chips"
    (folder / "20240525_green.tif").unlink()
    (folder / "20240510_scl.tif").write_bytes(b"no tiff")
    before = moments(desk, f"/detections/{detection_id}")["before"]
    assert before["acquired_on"] == "2023-05-15", "its mask is broken; the same season of the year before it"
    shown = desk.get("county", f"{path}/after.png")
    assert shown.status_code == 200
    assert Image.open(io.BytesIO(shown.content)).text["Acquired on"] == "2024-08-20"
    for file in folder.glob("*_green.tif"):
        file.unlink()
    fresh = f"/detections/{add_site(world, geometry=ground(44, 44, 58, 58))}/chips"
    gone = desk.get("county", f"{fresh}/after.png")
    assert gone.status_code == 503 and gone.json()["type"].endswith("images-unreadable")
    assert str(folder) not in gone.text and "asset green" in gone.json()["detail"]
    assert desk.get("county", f"{fresh}/after.png", style="index").status_code == 200
    for file in folder.glob("*.tif"):
        file.unlink()
    other = add_site(world, geometry=ground(20, 20, 70, 70))
    assert desk.get("county", f"/detections/{other}/chips/after.png").status_code == 503
    assert "cannot be read" in moments(desk, f"/detections/{other}")["after"]["reason"]


def test_bands_that_are_missing_are_named_by_the_styles_left(world: World, desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for day in (date(2024, 5, 10), date(2024, 5, 25)):
        write_scene(folder, day, Picture(bands=("red", "nir")))
    detection_id = add_site(world, add_images(world, folder))
    answer = desk.get("county", f"/detections/{detection_id}/chips/after.png")
    assert answer.status_code == 404 and "can be drawn: index." in answer.json()["detail"]
    assert moments(desk, f"/detections/{detection_id}")["after"]["styles"] == ["index"]


def test_simulated_and_real_images_are_not_mixed(world: World, desk: Desk, folder: Path, tmp_path: Path) -> None:
    write_scene(tmp_path / "real", date(2024, 5, 21), Picture(bare=BARE_SITE))
    made = add_images(world, folder, simulated=True)
    real = add_images(world, tmp_path / "real", name="real")
    simulated = add_site(world, real, made, simulated=True)
    listed = moments(desk, f"/detections/{simulated}")
    assert listed["after"]["acquired_on"] == "2024-05-25" and listed["after"]["simulated"]
    told = Image.open(io.BytesIO(desk.get("county", f"/detections/{simulated}/chips/after.png").content)).text
    assert told["Simulated"] == "yes" and told["Copyright"] == "" and told["Source"].endswith("/ made")
    other = add_site(world, real, made)
    listed = moments(desk, f"/detections/{other}")
    assert listed["after"]["acquired_on"] == "2024-05-21" and listed["before"]["reason"]


def test_the_moments_of_a_case(world: World, desk: Desk, folder: Path) -> None:
    detection_id = add_site(world, add_images(world, folder))
    case = desk.dispatch(detection_id)
    path = f"/cases/{case['id']}"
    listed = moments(desk, path)
    assert list(listed) == ["before", "after", "plan", "closure", "look_back"]
    assert [listed[name]["acquired_on"] for name in ("before", "after")] == ["2024-05-10", "2024-05-25"]
    assert listed["plan"]["reason"] == "No plan of this case is approved yet."
    assert desk.get("county", f"{path}/chips/closure.png").json()["detail"].startswith("Nobody has asked yet")
    case = desk.done("county", case, "start_verification")
    desk.upload("county", case["id"], kind="field_record")
    case = desk.done("county", case, "confirm")
    case = desk.done("prefecture", desk.done("county", case, "submit_plan"), "approve_plan")
    plan = moments(desk, path)["plan"]
    assert plan["acquired_on"] == plan["day"] == today().isoformat()
    answer = world.client.get(plan["href"], headers=desk.headers("county"), params={"style": "index"})
    assert answer.status_code == 200 and answer.content.startswith(b"\x89PNG")


def test_a_closed_case_without_a_detection(world: World, desk: Desk, folder: Path) -> None:
    (case,) = imported(world)
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Case, UUID(case["id"]))
        row.geom, row.reported_on = to_database(SITE), date(2024, 5, 21)
    add_images(world, folder)
    path = f"/cases/{case['id']}"
    look_back = ordered(desk, case)
    reported = desk.post("province", f"/look-backs/{look_back['id']}/report", report(), look_back["version"])
    assert reported.status_code in (200, 201), reported.text
    listed = moments(desk, path, "province")
    assert {name: item["acquired_on"] for name, item in listed.items()} == {
        "before": "2024-05-10",
        "after": "2024-05-25",
        "plan": None,
        "closure": "2024-08-20",
        "look_back": today().isoformat(),
    }
    assert desk.get("province", f"{path}/chips/closure.png", size=64).status_code == 200


def test_who_shares_a_case_sees_its_ground(world: World, desk: Desk, folder: Path) -> None:
    """Also a unit whose own ground no image touches; the images themselves stay hidden from it."""
    (case,) = imported(world)
    add_images(world, folder)
    path = f"/cases/{case['id']}"
    assert desk.get("county2", f"{path}/chips").status_code == 404
    assert desk.get("county2", f"{path}/chips/after.png").status_code == 404
    with world.database.transaction(see_all=True) as session:
        row = session.get_one(Case, UUID(case["id"]))
        row.geom, row.reported_on = to_database(SITE), date(2024, 5, 21)
        row.unit_ids = [*row.unit_ids, unit_by_code(session, COUNTY2).id]
    after = moments(desk, path, "county2")["after"]
    assert after["acquired_on"] == "2024-05-25"
    assert desk.get("county2", f"{path}/chips/after.png").status_code == 200
    assert desk.get("county2", f"/scenes/{after['scene_ids'][0]}").status_code == 404
    assert desk.get("county2", "/scenes").json()["items"] == []


def test_a_real_series(world: World, desk: Desk) -> None:
    """Forest in Romania, felled in summer 2019; warped, as its files are no UTM."""
    with world.database.transaction(see_all=True) as session:
        request = SourceRequest(
            name="romania", title="r", kind=SourceKind.stac_catalog, location=str(ROMANIA),
            configuration=SourceConfiguration(),
        )  # fmt: skip
        source = service.add_source(session, request)
        assert service.sync(session, source).added == 103
        west, south, east, north = from_database(session.scalars(select(Scene.footprint).limit(1)).one()).bounds
        source_id = source.id
    x, y = west + 0.4 * (east - west), south + 0.3 * (north - south)
    site = box(x, y, x + 0.1 * (east - west), y + 0.1 * (north - south))
    days = {"last_clear_on": date(2019, 5, 1), "first_seen_on": date(2019, 7, 20)}
    detection_id = add_site(world, source_id, geometry=site, **days)
    listed = moments(desk, f"/detections/{detection_id}")
    before, after = (date.fromisoformat(item["acquired_on"]) for item in listed.values())
    assert before <= date(2019, 5, 1) and date(2019, 7, 20) <= after <= date(2019, 9, 30)
    assert (before.replace(year=2019) - after) <= timedelta(days=60), "of the same season"
    made = {
        name: pixels(world.client.get(item["href"], headers=desk.headers("county"), params={"style": "index"}).content)
        for name, item in listed.items()
    }
    # Viridis: forest is yellow-green, where it was felled it is not.
    green = {name: ((image[..., 1] > 190) & (image[..., 2] < 60)).mean() for name, image in made.items()}
    assert green["before"] > 0.5
