"""Stored column mappings over HTTP, and what the table of common field names proposes."""

from __future__ import annotations

from typing import Any

import pytest

from app.boundaries.mappings import Renaming, proposal, suggest
from app.boundaries.models import Layer
from app.foundation.errors import Invalid
from tests.api.test_boundaries_http import IN_COUNTY, collection, upload
from tests.conftest import World

PATH = "/api/v1/column-mappings"
BODY = {
    "layer": "redlines",
    "name": "吉林省2022版",
    "columns": {"HXBM": "code", "HXMC": "name", "ZDGN": "main_function"},
    "codes": {"main_function": {"01": "水源涵养"}},
}


def send(world: World, username: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    return world.client.request(method, path, json=body, headers=world.headers(username) | headers)


def test_an_administrator_stores_and_changes_a_mapping(world: World) -> None:
    made = send(world, "admin", "POST", PATH, BODY)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert send(world, "admin", "POST", PATH, BODY).status_code == 409
    item = f"{PATH}/redlines/吉林省2022版"
    shown = send(world, "county", "GET", item)
    assert shown.json() == made.json()
    assert {key: shown.json()[key] for key in BODY} == BODY

    content = {"columns": {"BM": "code"}, "codes": {}}
    assert send(world, "admin", "PUT", item, content).status_code == 428
    assert send(world, "province", "PUT", item, content, **{"If-Match": '"1"'}).status_code == 403
    changed = send(world, "admin", "PUT", item, content, **{"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["columns"] == {"BM": "code"}
    assert send(world, "admin", "PUT", item, content, **{"If-Match": '"1"'}).status_code == 412
    assert send(world, "county", "GET", item).json()["version"] == 2


def test_mappings_are_listed_by_layer(world: World) -> None:
    assert send(world, "county", "POST", PATH, BODY).status_code == 403
    for layer, columns in (("redlines", {"BM": "code"}), ("permits", {"XMBH": "code"})):
        body = {"layer": layer, "name": "n", "columns": columns}
        assert send(world, "admin", "POST", PATH, body).status_code == 201
    items = send(world, "county", "GET", f"{PATH}?layer=permits").json()["items"]
    assert [(item["layer"], item["columns"]) for item in items] == [("permits", {"XMBH": "code"})]
    assert len(send(world, "county", "GET", PATH).json()["items"]) == 2
    assert send(world, "county", "GET", f"{PATH}/redlines/other").status_code == 404
    assert send(world, "county", "GET", f"{PATH}/rivers/n").status_code == 404


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"columns": {"HXBM": "nothing"}}, "columns/HXBM"),
        ({"columns": {"A": "code", "B": "code"}}, "columns/A"),
        ({"columns": {}, "codes": {}}, "columns"),
        ({"codes": {"nothing": {"a": "b"}}}, "codes/nothing"),
        ({"layer": "protected-areas", "columns": {"A": "zone"}, "codes": {"zone": {"核": "core"}}}, "codes/zone/核"),
    ],
)
def test_a_mapping_that_no_import_could_use(world: World, changed: dict[str, Any], pointer: str) -> None:
    answer = send(world, "admin", "POST", PATH, BODY | changed)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("name", ["a/b", "", "x" * 81, "a\x00b"])
def test_names_that_no_path_can_hold(world: World, name: str) -> None:
    assert send(world, "admin", "POST", PATH, BODY | {"name": name}).status_code == 422


def test_common_field_names_are_proposed() -> None:
    proposed = proposal(Layer.redlines, ["OBJECTID", "HXBM", "HXMC", "ZDGN", "BZ"])
    assert proposed is not None
    assert proposed["columns"] == {"HXBM": "code", "HXMC": "name", "ZDGN": "main_function"}
    assert suggest(Layer.redlines, ["a", "b"]) is None
    # What bears our name already is left alone.
    suggested = suggest(Layer.redlines, ["code", "BM", "红线名称"])
    assert suggested is not None
    assert suggested.columns == {"红线名称": "name"}


def test_a_shapefile_cuts_names_to_ten_bytes() -> None:
    """生态功能类型: 18 bytes in UTF-8, of which 9 are whole characters; 12 in GB18030, of which 10 are."""
    for found in ("生态功", "生态功能类"):
        suggested = suggest(Layer.redlines, [found], 10)
        assert suggested is not None
        assert suggested.columns == {found: "main_function"}
        assert suggest(Layer.redlines, [found]) is None


def test_a_renaming_goes_before_our_own_names() -> None:
    renaming = Renaming({"红线编码": "code"}, {"level": {"省": "provincial"}})
    assert renaming.match(Layer.redlines, ["code", "红线编码", "NAME"], None) == {"NAME": "name", "红线编码": "code"}
    with pytest.raises(Invalid, match="红线编码, which the file lacks"):
        renaming.match(Layer.redlines, ["name"], None)


def test_an_import_by_a_stored_mapping(world: World) -> None:
    content = collection(({"HXBM": "HX-1", "HXMC": "红线", "ZDGN": "01"}, IN_COUNTY))
    problem = upload(world, "admin", content)
    assert problem.status_code == 422
    proposed = problem.json()["mapping"]
    assert send(world, "admin", "POST", PATH, proposed | {"codes": BODY["codes"]}).status_code == 201
    assert upload(world, "admin", content, mapping=proposed["name"]).status_code == 201
    (item,) = world.client.get("/api/v1/redlines", headers=world.headers("admin")).json()["items"]
    told = item["properties"]
    assert (told["code"], told["name"], told["category"], told["attributes"]) == ("HX-1", "红线", "水源涵养", {})
    for said in ({"mapping": "other"}, {"offset": "wgs84"}, {"axis_order": "up"}, {"layer_name": "layer"}):
        assert upload(world, "admin", content, **said).status_code == 422
