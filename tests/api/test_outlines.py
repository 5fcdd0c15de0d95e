"""The outline of a detection drawn anew, cut, merged: the imagery's stays, no ground is lost or counted twice."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import shapely
import shapely.ops
from hypothesis import given
from hypothesis import strategies as st
from shapely import box
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select

from app.access.service import unit_by_code
from app.boundaries.models import Severity, Verdict
from app.casework import outlines, pickup
from app.casework.ledger import verify
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.outlines import area_of, cut, digest
from app.casework.review_models import Review, ReviewEvent
from app.foundation.errors import Invalid
from app.foundation.geometry import from_database, to_database
from app.monitoring.models import Detection, DetectionChangeKind, Judgement
from app.settings import REPOSITORY
from tests.api.test_rebounds import look, say
from tests.casework_steps import GROUND, Desk, add_detection
from tests.conftest import COUNTY, COUNTY2, World

WEST, EAST = box(127.30, 42.30, 127.301, 42.302), box(127.301, 42.30, 127.302, 42.302)
SMALLER = box(127.30, 42.30, 127.3015, 42.302)


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def add(world: World, **fields: Any) -> UUID:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        for name, value in fields.items():
            setattr(detection, name, value)
        return detection.id


def put(desk: Desk, detection_id: UUID, ground: BaseGeometry, version: int = 0, username: str = "officer") -> Any:
    headers = desk.headers(username) | {"If-Match": f'"{version}"'}
    path = f"/api/v1/detections/{detection_id}/outline"
    return desk.world.client.put(path, headers=headers, json={"geometry": mapping(ground)})


def split(desk: Desk, detection_id: UUID, *parts: BaseGeometry, version: int = 0, **body: Any) -> Any:
    sent = {"parts": [mapping(part) for part in parts]} | body
    return desk.post("officer", f"/detections/{detection_id}/split", sent, version)


def merge(desk: Desk, detection_id: UUID, into_id: UUID, version: int = 0) -> Any:
    return desk.post("officer", f"/detections/{detection_id}/merge", {"into_id": str(into_id)}, version)


def events(world: World, detection_id: UUID) -> list[ReviewEvent]:
    with world.database.transaction(see_all=True) as session:
        statement = select(ReviewEvent).where(ReviewEvent.detection_id == detection_id)
        return list(session.scalars(statement.order_by(ReviewEvent.sequence)))


def test_a_drawn_outline_is_judged_and_the_case_has_it_while_the_imagerys_stays(world: World, desk: Desk) -> None:
    detection = add(world)
    answer = put(desk, detection, SMALLER)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shape(shown["geometry"]).equals(GROUND)
    assert shape(shown["review"]["outline"]["geometry"]).equals(SMALLER)
    assert shown["review"]["outline"]["area_m2"] == pytest.approx(area_of(SMALLER))
    assert shown["review"]["outline"]["overlay"]["unit_areas"][0]["code"] == COUNTY
    assert (shown["review"]["state"], answer.headers["ETag"]) == ("reviewing", '"1"')
    (event,) = events(world, detection)
    assert (event.kind, event.payload["outline_sha256"]) == ("draw_outline", digest(shapely.MultiPolygon([SMALLER])))
    assert event.payload["outline_sha256_before"] == digest(from_database(_geom(world, detection)))
    assert put(desk, detection, SMALLER, version=0).status_code == 412
    assert put(desk, detection, SMALLER, version=1, username="officer-prefecture").status_code == 409
    for username in ("county", "province", "inspector", "admin"):
        assert put(desk, detection, SMALLER, version=1, username=username).status_code == 403
    assert put(desk, detection, SMALLER, version=1, username="county2").status_code == 404

    case = desk.post("officer", f"/detections/{detection}/dispatch", {}, 1).json()
    assert case["area_m2"] == pytest.approx(area_of(SMALLER))
    assert shape(case["geometry"]).equals(SMALLER)
    assert shape(desk.get("officer", f"/detections/{detection}").json()["geometry"]).equals(GROUND)
    assert put(desk, detection, SMALLER, version=2).status_code == 409


def _geom(world: World, detection_id: UUID) -> Any:
    with world.database.transaction(see_all=True) as session:
        return session.get_one(Detection, detection_id).geom


def test_what_was_drawn_is_taken_back(world: World, desk: Desk) -> None:
    detection = add(world)
    path = f"/api/v1/detections/{detection}/outline"
    nothing = world.client.delete(path, headers=desk.headers("officer") | {"If-Match": '"0"'})
    assert nothing.status_code == 409
    put(desk, detection, SMALLER)
    back = world.client.delete(path, headers=desk.headers("officer") | {"If-Match": '"1"'})
    assert back.status_code == 200, back.text
    assert back.json()["review"]["outline"] is None
    assert [event.kind for event in events(world, detection)] == ["draw_outline", "restore_outline"]


@pytest.mark.parametrize(
    ("geometry", "detail"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "a GeoJSON Polygon"),
        ({"type": "Polygon", "coordinates": "x"}, "a GeoJSON Polygon"),
        ({"type": "Polygon", "coordinates": [[[10**400, 1], [2, 2], [3, 3], [10**400, 1]]]}, "a GeoJSON Polygon"),
        (mapping(shapely.Polygon([(127.3, 42.3), (127.302, 42.302), (127.302, 42.3), (127.3, 42.302)])), "not a valid"),
        (mapping(box(500, 42, 501, 43)), "degrees"),
        (mapping(box(127.310, 42.31, 127.312, 42.312)), "another site"),
        (mapping(box(127.30, 42.30, 127.30001, 42.30001)), "m² are possible"),
        (mapping(box(127.20, 42.20, 127.40, 42.40)), "m² are possible"),
    ],
)
def test_an_outline_that_is_none_is_refused_with_what_to_mend(
    world: World, desk: Desk, geometry: dict[str, Any], detail: str
) -> None:
    answer = desk.world.client.put(
        f"/api/v1/detections/{add(world)}/outline",
        headers=desk.headers("officer") | {"If-Match": '"0"'},
        json={"geometry": geometry},
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "geometry"
    assert detail in answer.json()["errors"][0]["detail"]


def test_parts_are_detections_of_their_own_with_the_dates_of_the_whole(world: World, desk: Desk) -> None:
    detection = add(world, last_clear_on=date(2024, 4, 20))
    answer = split(desk, detection, WEST, EAST, version=0)
    assert answer.status_code == 201, answer.text
    whole, parts = answer.json()["detection"], answer.json()["parts"]
    assert (whole["review"]["state"], len(parts)) == ("split", 2)
    assert sum(part["area_m2"] for part in parts) == pytest.approx(area_of(GROUND), rel=1e-6)
    for part in parts:
        assert part["split_from_id"] == str(detection)
        assert (part["first_seen_on"], part["last_clear_on"]) == (whole["first_seen_on"], "2024-04-20")
        assert (part["published_at"], part["evidence"]) == (whole["published_at"], whole["evidence"])
        assert (part["review"]["state"], part["lead_unit"]["code"]) == ("new", COUNTY)
    (event,) = events(world, detection)
    assert [one["detection_id"] for one in event.payload["parts"]] == [part["id"] for part in parts]
    assert [one.kind for one in events(world, UUID(parts[0]["id"]))] == ["split_off"]
    for command in ("dispatch", "start-review"):
        assert desk.post("officer", f"/detections/{detection}/{command}", {}, 1).status_code == 409
    assert desk.dispatch(UUID(parts[0]["id"]), version=1)["area_m2"] == pytest.approx(parts[0]["area_m2"])
    with world.database.transaction(see_all=True) as session:
        judged = select(Judgement).where(Judgement.detection_id == UUID(parts[1]["id"]))
        assert session.scalars(judged).one().because_of == f"split from {detection}"
        assert verify(session).intact


def test_a_split_loses_no_ground_without_a_reason(world: World, desk: Desk) -> None:
    detection = add(world)
    thirds = (box(127.30, 42.30, 127.3005, 42.302), EAST)
    answer = split(desk, detection, *thirds)
    assert answer.status_code == 422
    assert "uncovered" in answer.json()["errors"][0]["detail"]
    assert split(desk, detection, *thirds, discard_rest=True).json()["errors"][0]["pointer"] == "note"
    assert split(desk, detection, WEST, box(127.3005, 42.30, 127.302, 42.302)).status_code == 422
    assert split(desk, detection, GROUND, box(127.4, 42.4, 127.41, 42.41)).status_code == 422
    assert split(desk, detection, GROUND).status_code == 422
    done = split(desk, detection, *thirds, discard_rest=True, note="云影边缘")
    assert done.status_code == 201, done.text
    (event,) = events(world, detection)
    assert event.payload["discarded_m2"] == pytest.approx(area_of(GROUND) / 4, rel=1e-3)


@given(st.lists(st.floats(0.1, 0.9), min_size=1, max_size=5, unique=True), st.floats(-0.5, 0.5), st.integers(0, 6))
def test_the_areas_of_parts_add_up_to_that_of_the_whole(cuts: list[float], lean: float, digits: int) -> None:
    """Slanted cuts through an outline with a hole, drawn with coordinates that were rounded."""
    whole = shapely.MultiPolygon([GROUND.difference(box(127.3008, 42.3008, 127.3012, 42.3012))])
    edges = [-2.0, *sorted(cuts), 2.0]
    parts = []
    for low, high in itertools.pairwise(edges):
        ring = np.array([(low - lean, -1.0), (high - lean, -1.0), (high + lean, 2.0), (low + lean, 2.0)])
        drawn = shapely.Polygon(np.round(ring * 0.002 + (127.30, 42.30), 7 + digits))
        parts.append(drawn)
    try:
        done = cut(whole, parts)
    except Invalid:
        # A strip of less than a pixel.
        assert min(area_of(part.intersection(whole)) for part in parts) < 110
        return
    assert done.rest_m2 == 0
    assert sum(map(area_of, done.parts)) == pytest.approx(area_of(whole), rel=1e-6)
    assert area_of(shapely.union_all(done.parts)) == pytest.approx(area_of(whole), rel=1e-6)


def test_growth_of_the_whole_is_news_to_the_case_of_the_nearest_part(world: World, desk: Desk) -> None:
    detection = add(world)
    west, east = (UUID(part["id"]) for part in split(desk, detection, WEST, EAST).json()["parts"])
    cases = [desk.dispatch(west, version=1), desk.dispatch(east, version=1)]
    with world.database.transaction(see_all=True) as session:
        whole = session.get_one(Detection, detection)
        say(session, whole, DetectionChangeKind.new, GROUND)
        session.flush()
    look(world, pickup.pick_up)
    with world.database.transaction(see_all=True) as session:
        whole = session.get_one(Detection, detection)
        say(session, whole, DetectionChangeKind.grown, GROUND.union(box(127.302, 42.30, 127.304, 42.302)))
    assert [look(world, pickup.pick_up), look(world, pickup.pick_up)] == [1, 0]
    told = [
        [event["kind"] for event in desk.get("province", f"/cases/{case['id']}/events").json()["items"]]
        for case in cases
    ]
    assert told == [["dispatch"], ["dispatch", "detection_grown"]]


def test_a_duplicate_is_merged_and_its_growth_is_news_to_the_others_case(world: World, desk: Desk) -> None:
    one, other, far = add(world), add(world), add(world)
    with world.database.transaction(see_all=True) as session:
        session.get_one(Detection, far).geom = to_database(box(127.31, 42.31, 127.312, 42.312))
    for into, detail in ((one, "another detection"), (uuid4(), "another detection"), (far, "another site")):
        answer = merge(desk, one, into)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "into_id")
        assert detail in answer.json()["errors"][0]["detail"]
    answer = merge(desk, one, other)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["review"]["state"], answer.json()["review"]["merged_into_id"]) == ("merged", str(other))
    # No circle: what is merged stands for nothing.
    assert merge(desk, other, one).status_code == 422
    assert desk.post("officer", f"/detections/{one}/dispatch", {}, 1).status_code == 409
    case = desk.dispatch(other)
    with world.database.transaction(see_all=True) as session:
        say(session, session.get_one(Detection, one), DetectionChangeKind.grown, GROUND.union(EAST.buffer(0.0005)))
    assert [look(world, pickup.pick_up), look(world, pickup.pick_up)] == [1, 0]
    kinds = [event["kind"] for event in desk.get("province", f"/cases/{case['id']}/events").json()["items"]]
    assert kinds == ["dispatch", "detection_grown"]


def test_what_needs_a_second_account_is_not_merged_away(world: World, desk: Desk) -> None:
    grave, other = add(world, severity=Severity.high), add(world)
    assert merge(desk, grave, other).status_code == 409
    assert merge(desk, other, grave).status_code == 200


def test_a_grave_site_is_not_drawn_small_and_then_cut(world: World, desk: Desk) -> None:
    grave, plain = add(world, severity=Severity.high), add(world)
    west, east = (box(127.30, 42.30, 127.3007, 42.302), box(127.3007, 42.30, 127.3015, 42.302))
    for detection, status in ((grave, 409), (plain, 201)):
        assert put(desk, detection, SMALLER).status_code == 200
        answer = split(desk, detection, west, east, version=1)
        assert answer.status_code == status, answer.text
    headers = desk.headers("officer") | {"If-Match": '"1"'}
    assert world.client.delete(f"/api/v1/detections/{grave}/outline", headers=headers).status_code == 200
    assert split(desk, grave, WEST, EAST, version=2).status_code == 201


def test_a_grave_site_is_not_dispatched_as_the_little_that_is_left_of_it(world: World, desk: Desk) -> None:
    core = {"layer": "protected-areas", "ground": "core_protection", "share": 0.1}
    little, enough, out = add(world, severity=Severity.high), add(world, severity=Severity.high), add(world)
    with world.database.transaction(see_all=True) as session:
        session.get_one(Detection, out).overlaps = [core]
    for detection, drawn, status in (
        (little, box(127.30, 42.30, 127.3009, 42.302), 409),
        (enough, SMALLER, 201),
        # Most of it is left, and nothing of the core zone.
        (out, SMALLER, 409),
        (add(world), box(127.30, 42.30, 127.3009, 42.302), 201),
    ):
        assert put(desk, detection, drawn).status_code == 200
        answer = desk.post("officer", f"/detections/{detection}/dispatch", {}, 1)
        assert answer.status_code == status, answer.text


def test_parts_are_judged_by_today_as_well(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core zone that came after the change makes each part grave that lies in it."""
    judge = outlines.judge_many

    def later(session: Any, subjects: Any, *, on: date | None = None) -> Any:
        first, *rest = judge(session, subjects, on=on)
        return [replace(first, severity=Severity.high, verdict=Verdict.prohibited) if on else first, *rest]

    monkeypatch.setattr(outlines, "judge_many", later)
    west, east = split(desk, add(world), WEST, EAST).json()["parts"]
    assert (west["verdict_now"], east["verdict_now"]) == ("prohibited", None)
    rows = desk.get("officer", f"/detections/{west['id']}/judgements").json()["items"]
    assert (rows[0]["basis"], rows[0]["severity"]) == ("now", "high")
    for part, state in ((west, "dismissal_proposed"), (east, "dismissed")):
        answer = desk.post("officer", f"/detections/{part['id']}/dismiss", {"reason": "cloud"}, 1)
        assert answer.json()["review"]["state"] == state


def test_a_grave_site_is_merged_into_nothing_that_ended(world: World, desk: Desk) -> None:
    grave, allowed, known = (add(world, severity=Severity.high) for _ in range(3))
    case = desk.dispatch(known)
    proposed = desk.post("officer", f"/detections/{allowed}/authorise", {"legal_ground": "原有合法权益"}, 0)
    assert proposed.json()["review"]["state"] == "authorisation_proposed"
    assert merge(desk, grave, allowed).status_code == 422
    with world.database.transaction(see_all=True) as session:
        session.get_one(Case, UUID(case["id"])).state = CaseState.unfounded
    assert merge(desk, grave, known).status_code == 422
    with world.database.transaction(see_all=True) as session:
        session.get_one(Case, UUID(case["id"])).state = CaseState.verifying
    assert merge(desk, grave, known).status_code == 200


def test_nobody_draws_over_the_border_of_their_ground_or_merges_across_it(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        neighbour = unit_by_code(session, "222400")
        elsewhere = add_detection(session, lead=COUNTY2)
        elsewhere.unit_ids = [neighbour.id]
        hidden = elsewhere.id
    mine = add(world)
    answer = desk.post("officer-prefecture", f"/detections/{mine}/merge", {"into_id": str(hidden)}, 0)
    assert answer.status_code == 422
    unknown = desk.post("officer-prefecture", f"/detections/{mine}/merge", {"into_id": str(uuid4())}, 0)
    assert answer.text == unknown.text
    border = _border(world)
    crossing = add(world)
    with world.database.transaction(see_all=True) as session:
        session.get_one(Detection, crossing).geom = to_database(border[0])
    answer = put(desk, crossing, border[0].union(border[1]), username="officer-prefecture")
    assert answer.status_code == 422, answer.text
    assert "over the border" in answer.json()["errors"][0]["detail"]
    assert put(desk, crossing, border[0].union(border[1])).status_code == 200
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(Review).where(Review.detection_id == crossing)).one().geom is not None


def _border(world: World) -> tuple[BaseGeometry, BaseGeometry]:
    """Two squares side by side, one in the prefecture of Baishan and one in Yanbian."""
    content = json.loads((REPOSITORY / "sample" / "jilin" / "divisions.geojson").read_text(encoding="utf-8"))
    grounds = {f["properties"].get("code"): shape(f["geometry"]) for f in content["features"]}
    home, away = grounds["220600"], grounds["222400"]
    seam = home.buffer(0.01).intersection(away)
    point = seam.representative_point()
    near = shapely.ops.nearest_points(home, point)[0]
    both = box(near.x - 0.003, near.y - 0.003, near.x + 0.003, near.y + 0.003)
    return both.intersection(home), both.intersection(away)
