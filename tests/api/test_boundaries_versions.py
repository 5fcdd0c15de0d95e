"""Versions of layers: a preview that the decision then does, decided once, and nothing overwritten."""

from __future__ import annotations

import csv
import io
import json
import threading
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from shapely import box
from shapely.geometry import shape
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from app.boundaries.comparison import compare
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionStatus
from app.boundaries.versions import confirm
from app.foundation.errors import Conflict
from app.foundation.geometry import geodesic_areas_m2
from tests.api.test_boundaries_http import collection, redline
from tests.version_steps import confirmed, feature, propose

# Inside 220621 抚松县 of 220600; and inside 220681 临江市 of the same prefecture.
IN_COUNTY = box(127.50, 42.25, 127.52, 42.27)
GROWN = box(127.50, 42.25, 127.53, 42.27)
IN_COUNTY2 = box(126.93, 41.85, 126.95, 41.87)
OUTSIDE = box(110.0, 30.0, 110.1, 30.1)


def ask(world: Any, username: str, method: str, address: str, **more: Any) -> Any:
    headers = world.headers(username) | more.pop("headers", {})
    return world.client.request(method, f"/api/v1/{address}", headers=headers, **more)


def upload(world: Any, rows: bytes, valid_from: str = "2022-01-01") -> dict[str, Any]:
    answer = ask(
        world, "admin", "POST", "redlines/imports",
        files={"file": ("layer.geojson", rows)},
        data={"valid_from": valid_from, "source_document": "吉政函", "propose": "true"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def codes(world: Any, username: str, address: str = "redlines") -> list[str]:
    answer = ask(world, username, "GET", address)
    return sorted(row["properties"]["code"] for row in answer.json()["items"]) if answer.is_success else []


@pytest.fixture
def adjusted(world: Any) -> tuple[Any, str]:
    """Version 1 in force, and version 2 proposed over HTTP: one grown, one renamed, one gone, one new."""
    with world.database.transaction(see_all=True) as session:
        gone = feature("HX-3", box(127.60, 42.25, 127.62, 42.27))
        confirmed(session, [feature("HX-1", IN_COUNTY), feature("HX-2", IN_COUNTY2), gone])
    second = collection(redline("HX-1", GROWN), redline("HX-2", IN_COUNTY2), redline("HX-9", OUTSIDE))
    return world, upload(world, second)["version_id"]


def test_the_preview_says_what_confirming_then_does(adjusted: tuple[Any, str]) -> None:
    world, version = adjusted
    preview = ask(world, "admin", "GET", f"redlines/versions/{version}/comparison")
    told = preview.json()
    assert told["base"]["number"] == 1
    assert {row["kind"]: [f["code"] for f in row["largest"]] for row in told["features"] if row["count"]} == {
        "added": ["HX-9"], "removed": ["HX-3"], "attributes": ["HX-2"], "grown": ["HX-1"],
    }  # fmt: skip
    assert codes(world, "county") == ["HX-1", "HX-3"]
    decided = ask(
        world, "admin", "POST", f"redlines/versions/{version}/confirm", headers={"If-Match": preview.headers["etag"]}
    )
    assert (decided.status_code, decided.json()["status"]) == (200, "confirmed")
    assert codes(world, "county") == ["HX-1"]
    county = next(row for row in told["counties"] if row["unit_code"] == "220621")
    in_force = ask(world, "county", "GET", "redlines").json()["items"]
    assert county["after_m2"] == pytest.approx(sum(row["properties"]["area_m2"] for row in in_force), rel=1e-7)
    assert county["gained_m2"] == pytest.approx(geodesic_areas_m2([GROWN.difference(IN_COUNTY)])[0])
    assert county["lost_m2"] == pytest.approx(geodesic_areas_m2([box(127.60, 42.25, 127.62, 42.27)])[0])
    assert [row["code"] for row in told["outside"]["largest"]] == ["HX-9"]
    assert told["outside"]["area_m2"] == pytest.approx(geodesic_areas_m2([OUTSIDE])[0])


def test_changed_ground_is_given_to_draw(adjusted: tuple[Any, str]) -> None:
    world, version = adjusted
    answer = ask(world, "inspector", "GET", f"redlines/versions/{version}/comparison.geojson").json()
    found = {(row["properties"]["unit_code"], row["properties"]["change"]): row for row in answer["features"]}
    assert sorted(found) == [("220621", "gained"), ("220621", "lost")]
    ground = shape(found["220621", "gained"]["geometry"])
    assert ground.symmetric_difference(GROWN.difference(IN_COUNTY)).area < 1e-9


def test_a_proposal_is_the_provinces_alone(adjusted: tuple[Any, str]) -> None:
    world, version = adjusted
    listed = ask(world, "admin", "GET", f"redlines?version={version}").json()["items"]
    assert [row["properties"]["code"] for row in listed] == ["HX-9", "HX-2", "HX-1"]
    mine = next(row["id"] for row in listed if row["properties"]["code"] == "HX-1")
    for address in (
        f"redlines?version={version}",
        f"redlines/{mine}",
        f"redlines/versions/{version}",
        f"redlines/versions/{version}/comparison",
    ):
        assert ask(world, "admin", "GET", address).status_code == 200
        assert ask(world, "county", "GET", address).status_code == 404, address
    assert [row["number"] for row in ask(world, "county", "GET", "redlines/versions").json()["items"]] == [1]
    assert ask(world, "inspector", "POST", f"redlines/versions/{version}/discard", headers={"If-Match": '"1"'}
               ).status_code == 403  # fmt: skip
    with world.database.transaction() as session:
        # The second wall by itself.
        from app.access.service import enter

        enter(session, world.caller("county"))
        assert session.get(BoundaryFeature, UUID(mine)) is None


def test_warnings_name_features_and_are_the_provinces(world: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        version = propose(session, [feature("HX-1", IN_COUNTY2)])
        version.warnings = ["Feature 1 (HX-1): heights were dropped"]
        session.flush()
        compare(session, version)
        confirm(session, version, None)
    for username, expected in (("admin", version.warnings), ("county", [])):
        (listed,) = ask(world, username, "GET", "redlines/versions").json()["items"]
        assert listed["warnings"] == expected
        assert ask(world, username, "GET", f"redlines/versions/{version.id}").json()["warnings"] == expected


def test_discarding_keeps_what_it_was(adjusted: tuple[Any, str]) -> None:
    world, version = adjusted
    shown = ask(world, "admin", "GET", f"redlines/versions/{version}")
    address = f"redlines/versions/{version}/discard"
    assert ask(world, "admin", "POST", address).status_code == 428
    assert ask(world, "admin", "POST", address, headers={"If-Match": '"1"'}).status_code == 412
    matching = {"If-Match": shown.headers["etag"]}
    assert ask(world, "admin", "POST", address, headers=matching).json()["status"] == "discarded"
    assert ask(world, "admin", "POST", address, headers=matching).status_code == 409
    assert ask(world, "admin", "GET", f"redlines?version={version}").json()["items"] == []
    comparison = ask(world, "admin", "GET", f"redlines/versions/{version}/comparison").json()
    assert ask(world, "admin", "GET", f"redlines/versions/{version}").json()["feature_count"] == 3
    assert comparison["features"][0]["count"] == 1
    assert ask(world, "admin", "GET", f"redlines/versions/{version}/comparison.geojson").status_code == 404
    assert codes(world, "county") == ["HX-1", "HX-3"]


def test_of_two_decisions_at_once_one_wins(world: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        version_id = propose_and_compare(session).id
    barrier, outcomes = threading.Barrier(2), []

    def decide() -> None:
        try:
            with world.database.transaction(see_all=True) as session:
                version = session.get_one(LayerVersion, version_id)
                barrier.wait(timeout=10)
                confirm(session, version, None)
            outcomes.append("confirmed")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=decide) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(outcomes) == ["confirmed", "conflict"]


def propose_and_compare(session: Any, **options: Any) -> LayerVersion:
    from app.boundaries.comparison import compare

    version = propose(session, [feature("HX-1", IN_COUNTY)], **options)
    compare(session, version)
    return version


def test_what_was_confirmed_in_between_must_be_looked_at(world: Any) -> None:
    with world.database.transaction(see_all=True) as session:
        first, second = propose_and_compare(session), propose_and_compare(session)
        third = propose_and_compare(session)
        uncompared = propose(session, [])
    with world.database.transaction(see_all=True) as session:
        with pytest.raises(Conflict, match="never compared"):
            confirm(session, session.get_one(LayerVersion, uncompared.id), None)
        confirm(session, session.get_one(LayerVersion, second.id), None)
        with pytest.raises(Conflict, match="propose its file again"):
            confirm(session, session.get_one(LayerVersion, first.id), None)
        with pytest.raises(Conflict, match="Compare it again"):
            confirm(session, session.get_one(LayerVersion, third.id), None)
    stale = ask(world, "admin", "GET", f"redlines/versions/{third.id}").headers["etag"]
    again = ask(world, "admin", "POST", f"redlines/versions/{third.id}/compare")
    assert again.json()["base"]["id"] == str(second.id)
    address = f"redlines/versions/{third.id}/confirm"
    assert ask(world, "admin", "POST", address, headers={"If-Match": stale}).status_code == 412
    assert ask(world, "admin", "POST", address, headers={"If-Match": again.headers["etag"]}).status_code == 200


def test_units_change_when_divisions_are_confirmed(world: Any) -> None:
    zone = {"code": "220699", "name": "长白山管理区", "level": "zone", "parent": "220000"}
    answer = ask(
        world, "admin", "POST", "divisions/imports",
        files={"file": ("layer.geojson", collection((zone, box(127.1, 42.1, 127.9, 42.5))))},
        data={"valid_from": "2021-01-01", "source_document": "吉政发", "propose": "true"},
    ).json()  # fmt: skip
    version = answer["version_id"]
    assert (answer["status"], answer["added"]) == ("proposed", 1)

    def grounds() -> dict[str, bool]:
        with world.database.transaction(see_all=True) as session:
            rows = session.execute(
                text(
                    "select f.code, f.ground is not null from boundary_features f join units u on u.code = f.code "
                    "where f.version_id = :version and f.code in ('220621', '220699', '220000')"
                ),
                {"version": version},
            )
            return {row[0]: row[1] for row in rows}

    with world.database.transaction(see_all=True) as session:
        confirmed(session, [feature("HX-1", IN_COUNTY)])
    assert "220699" not in grounds()
    assert codes(world, "county") == ["HX-1"]
    etag = ask(world, "admin", "GET", f"divisions/versions/{version}").headers["etag"]
    address = f"divisions/versions/{version}/confirm"
    assert ask(world, "admin", "POST", address, headers={"If-Match": etag}).status_code == 200
    assert grounds() == {"220621": True, "220699": True, "220000": False}
    # The ground is the zone's now.
    assert codes(world, "county") == []


CHANGES = {
    name: "null" if name in ("ground", "digest", "level", "category", "holder", "document", "valid_to",
                             "established_on") else name
    for name in (column.name for column in BoundaryFeature.__table__.columns)
    if name != "unit_ids"
}  # fmt: skip


@pytest.mark.parametrize("role", ["application", "owner"])
def test_nothing_that_was_decided_is_overwritten(world: Any, role: str) -> None:
    with world.database.transaction(see_all=True) as session:
        version = confirmed(session, [feature("HX-1", IN_COUNTY)])
        proposal = propose(session, [feature("HX-2", IN_COUNTY)])
    engine = create_engine(getattr(world.urls, role))

    def change(statement: str, version_id: UUID) -> int:
        with engine.begin() as connection:
            connection.execute(text("select set_config('redline.scope', 'all', true)"))
            return connection.execute(text(statement), {"id": version_id}).rowcount

    for name, value in CHANGES.items():
        statement = f'update boundary_features set "{name}" = {value} where version_id = :id'
        with pytest.raises(ProgrammingError, match="never changed"):
            change(statement, version.id)
    assert change("update boundary_features set unit_ids = '{}' where version_id = :id", version.id) == 1
    assert change("update boundary_features set name = 'x' where version_id = :id", proposal.id) == 1
    # Neither is a feature moved into it.
    with pytest.raises(ProgrammingError, match="never changed"):
        change(f"update boundary_features set version_id = '{version.id}' where version_id = :id", proposal.id)
    assert change("delete from boundary_features where version_id = :id", version.id) == 0
    # ... or put into it; into what is proposed, it is.
    copied = ", ".join(f'"{column.name}"' for column in BoundaryFeature.__table__.columns if column.name != "id")
    copy = f"insert into boundary_features (id, {copied}) select gen_random_uuid(), {copied} from boundary_features"
    with pytest.raises(ProgrammingError, match="row-level security"):
        change(f"{copy} where version_id = :id", version.id)
    assert change(f"{copy} where version_id = :id", proposal.id) == 1
    for column in ("status = 'proposed'", "valid_from = '2001-01-01'", "source_document = ''", "comparison = '{}'"):
        with pytest.raises(ProgrammingError, match="never changed"):
            change(f"update layer_versions set {column} where id = :id", version.id)
    engine.dispose()


def test_misfits_are_found(world: Any) -> None:
    """Two patches with a sliver of 11 m between them, closed at both ends; two zones that overlap; a hole by design."""
    left = box(127.50, 42.25, 127.52, 42.27)
    right = box(127.52, 42.25, 127.54, 42.27).difference(box(127.5199, 42.255, 127.5201, 42.258))
    enclave = box(127.60, 42.25, 127.62, 42.27).difference(box(127.6050, 42.2550, 127.6051, 42.2551))
    over = box(127.61, 42.26, 127.63, 42.28)
    with world.database.transaction(see_all=True) as session:
        rows = [feature("HX-1", left), feature("HX-2", right), feature("HX-3", enclave), feature("HX-4", over)]
        told = confirmed(session, rows).comparison
        zones = [feature("B-1", left, category="core_protection"), feature("B-1", over, category="general_control"),
                 feature("B-1", enclave, category="reserve_core")]  # fmt: skip
        areas = confirmed(session, zones, layer=Layer.protected_areas).comparison
    assert told and areas
    assert [(row["first"]["code"], row["second"]["code"]) for row in told["overlaps"]["largest"]] == [("HX-3", "HX-4")]
    common = geodesic_areas_m2([enclave.intersection(over)])[0]
    assert told["overlaps"]["largest"][0]["area_m2"] == pytest.approx(common)
    assert told["gaps"]["count"] == 1
    gap = told["gaps"]["largest"][0]
    assert gap["area_m2"] == pytest.approx(geodesic_areas_m2([box(127.52, 42.255, 127.5201, 42.258)])[0], rel=1e-6)
    assert 127.52 < gap["longitude"] < 127.5201
    assert areas["overlaps"]["largest"][0]["of_one_area"]


@pytest.fixture
def two_versions(world: Any) -> Any:
    with world.database.transaction(see_all=True) as session:
        confirmed(session, [feature("HX-1", GROWN), feature("HX-2", IN_COUNTY2)])
        confirmed(session, [feature("HX-1", IN_COUNTY), feature("HX-2", IN_COUNTY2)], valid_from=date(2022, 1, 1))
    return world


def test_the_area_report_by_county(two_versions: Any) -> None:
    whole = ask(two_versions, "inspector", "GET", "redlines/area-report").json()
    assert (whole["from_version"]["number"], whole["to_version"]["number"]) == (1, 2)
    assert (whole["reduced"], whole["counties_reduced"]) == (True, ["220621"])
    lost = geodesic_areas_m2([GROWN.difference(IN_COUNTY)])[0]
    assert whole["total"]["difference_m2"] == pytest.approx(-lost)
    mine = ask(two_versions, "county", "GET", "redlines/area-report").json()
    assert [row["unit_code"] for row in mine["counties"]] == ["220621"]
    row = next(row for row in whole["counties"] if row["unit_code"] == "220621")
    assert mine["counties"][0] == pytest.approx(row)
    other = ask(two_versions, "county2", "GET", "redlines/area-report").json()
    assert (other["reduced"], other["total"]["difference_m2"]) == (False, 0)
    first, second = whole["from_version"]["id"], whole["to_version"]["id"]
    swapped = ask(two_versions, "inspector", "GET",
                  f"redlines/area-report?from_version={second}&to_version={first}").json()  # fmt: skip
    assert swapped["total"]["gained_m2"] == pytest.approx(lost)
    assert not swapped["reduced"]


def test_the_area_report_as_csv(two_versions: Any) -> None:
    answer = ask(two_versions, "county", "GET", "redlines/area-report?format=csv&language=zh")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert rows[0][0] == "行政区划代码"
    assert [row[0] for row in rows[1:]] == ["220621", ""]
    assert rows[1][1] == "抚松县"
    assert (rows[-1][1], rows[-1][-1]) == ("合计", "是")
    assert float(rows[1][3]) == pytest.approx(geodesic_areas_m2([IN_COUNTY])[0], abs=0.01)


def test_a_report_without_versions_is_empty(world: Any) -> None:
    answer = ask(world, "county", "GET", "redlines/area-report").json()
    assert (answer["from_version"], answer["to_version"], answer["counties"]) == (None, None, [])
    unknown = ask(world, "county", "GET", f"redlines/area-report?to_version={UUID(int=1)}")
    assert unknown.status_code == 404


def test_additions_remove_nothing(world: Any) -> None:
    from app.boundaries.comparison import compare
    from app.boundaries.models import VersionKind

    with world.database.transaction(see_all=True) as session:
        confirmed(session, [feature("HX-1", IN_COUNTY)])
        addition = propose(session, [feature("HX-2", IN_COUNTY2)], kind=VersionKind.addition)
        told = compare(session, addition)
        confirm(session, addition, None)
        assert addition.status is VersionStatus.confirmed
    counts = {row["kind"]: row["count"] for row in told["features"] if row["count"]}
    assert counts == {"added": 1}
    county = next(row for row in told["counties"] if row["unit_code"] == "220621")
    assert county["after_m2"] == county["before_m2"] > 0
    assert json.dumps(told)
    assert codes(world, "inspector") == ["HX-1", "HX-2"]
