"""Boundary layers over HTTP: lists, items, jurisdiction, uploads."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from shapely import box
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select

from app.boundaries.importing import import_layer
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionStatus
from app.foundation.database import Database
from app.main import create_app

# Inside 220621 抚松县 of 220600; and inside 220681 临江市 of the same prefecture.
IN_COUNTY = box(127.50, 42.25, 127.52, 42.27)
IN_COUNTY2 = box(126.93, 41.85, 126.95, 41.87)


def collection(*features: tuple[dict[str, Any], BaseGeometry]) -> bytes:
    rows = [
        {"type": "Feature", "properties": properties, "geometry": mapping(geometry)}
        for properties, geometry in features
    ]
    return json.dumps({"type": "FeatureCollection", "features": rows}).encode()


def redline(code: str, ground: BaseGeometry) -> tuple[dict[str, Any], BaseGeometry]:
    return {"code": code, "name": "长白山红线", "main_function": "水源涵养"}, ground


REDLINES = collection(redline("HX-1", IN_COUNTY), redline("HX-2", IN_COUNTY2))


def upload(world: Any, username: str, content: bytes, layer: str = "redlines", **form: str) -> Response:
    answer: Response = world.client.post(
        f"/api/v1/{layer}/imports",
        headers=world.headers(username),
        files={"file": ("layer.geojson", content)},
        data={"valid_from": "2020-01-01", "source_document": "吉政函〔2018〕1号"} | form,
    )
    return answer


@pytest.fixture
def loaded(world: Any, tmp_path: Path) -> Any:
    path = tmp_path / "redlines.geojson"
    path.write_bytes(REDLINES)
    with world.database.transaction(see_all=True) as session:
        import_layer(
            session,
            layer=Layer.redlines,
            path=path,
            valid_from=date(2020, 1, 1),
            source_document="test",
            imported_by=None,
        )
    return world


def codes(world: Any, username: str, address: str) -> list[str]:
    answer = world.client.get(f"/api/v1/{address}", headers=world.headers(username))
    assert answer.status_code == 200, answer.text
    return sorted(item["properties"]["code"] for item in answer.json()["items"])


def test_each_sees_its_own(loaded: Any) -> None:
    assert codes(loaded, "county", "redlines") == ["HX-1"]
    assert codes(loaded, "county2", "redlines") == ["HX-2"]
    assert codes(loaded, "prefecture", "redlines") == ["HX-1", "HX-2"]
    assert codes(loaded, "prefecture-other", "redlines") == []
    assert codes(loaded, "inspector", "redlines") == ["HX-1", "HX-2"]
    assert codes(loaded, "county", "divisions") == ["220000", "220600", "220621"]

    everything = loaded.client.get("/api/v1/redlines", headers=loaded.headers("province")).json()["items"]
    ids = {item["properties"]["code"]: item["id"] for item in everything}
    county = loaded.headers("county")
    assert loaded.client.get(f"/api/v1/redlines/{ids['HX-1']}", headers=county).status_code == 200
    assert loaded.client.get(f"/api/v1/redlines/{ids['HX-2']}", headers=county).status_code == 404
    assert loaded.client.get(f"/api/v1/permits/{ids['HX-1']}", headers=county).status_code == 404
    assert loaded.client.get(f"/api/v1/redlines/{uuid4()}", headers=county).status_code == 404
    assert loaded.client.get(f"/api/v1/redlines/{ids['HX-1']}").status_code == 401
    assert loaded.client.get("/api/v1/redlines").status_code == 401


def test_an_item_is_a_geojson_feature(loaded: Any) -> None:
    (item,) = loaded.client.get("/api/v1/redlines", headers=loaded.headers("county")).json()["items"]
    assert item["type"] == "Feature"
    assert shape(item["geometry"]).equals(IN_COUNTY)
    properties = item["properties"]
    assert (properties["category"], properties["valid_from"]) == ("水源涵养", "2020-01-01")
    assert properties["area_m2"] == pytest.approx(3.66e6, rel=0.02)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("on=2019-12-31", []),
        ("on=2020-01-01", ["HX-1", "HX-2"]),
        ("code=HX-2", ["HX-2"]),
        ("bbox=127.4,42,128,43", ["HX-1"]),
        ("bbox=120,42,121,43", []),
    ],
)
def test_filters(loaded: Any, query: str, found: list[str]) -> None:
    assert codes(loaded, "inspector", f"redlines?{query}") == found


@pytest.mark.parametrize("query", ["bbox=1,2,3", "bbox=a,b,c,d", "bbox=128,42,127,43", "bbox=nan,1,2,3", "on=soon"])
def test_bad_filters(loaded: Any, query: str) -> None:
    answer = loaded.client.get(f"/api/v1/redlines?{query}", headers=loaded.headers("inspector"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_lists_page(world: Any) -> None:
    headers, seen = world.headers("inspector"), []
    address = "/api/v1/divisions?limit=30"
    while address:
        answer = world.client.get(address, headers=headers)
        seen += [item["properties"]["code"] for item in answer.json()["items"]]
        address = answer.links.get("next", {}).get("url", "")
    assert len(seen) == len(set(seen)) == 70


def test_upload_by_the_admin_alone(world: Any) -> None:
    assert upload(world, "province", REDLINES).status_code == 403
    answer = upload(world, "admin", REDLINES)
    assert answer.status_code == 201
    assert (answer.json()["number"], answer.json()["added"], answer.json()["layer"]) == (1, 2, "redlines")
    again = upload(world, "admin", REDLINES)
    assert again.status_code == 200
    assert again.json()["version_id"] == answer.json()["version_id"]
    with world.database.transaction(see_all=True) as session:
        version = session.scalars(select(LayerVersion).where(LayerVersion.layer == Layer.redlines)).one()
        assert version.imported_by == world.caller("admin").account_id
    assert codes(world, "county", "redlines") == ["HX-1"]


def count(database: Database) -> int:
    with database.transaction(see_all=True) as session:
        return session.scalar(select(func.count()).select_from(BoundaryFeature)) or 0


@pytest.mark.parametrize("layer", ["divisions", "redlines", "protected-areas", "permits"])
def test_a_refused_upload_changes_nothing(world: Any, layer: str) -> None:
    before = count(world.database)
    answer = upload(world, "admin", collection(({"code": "X-1"}, IN_COUNTY)), layer)
    assert answer.status_code == 422
    body = answer.json()
    assert body["type"] == "urn:redline:problem:invalid"
    assert "lacks the column" in body["detail"]
    assert count(world.database) == before


def test_an_upload_larger_than_allowed(world: Any) -> None:
    world.client.app.state.settings = world.settings.model_copy(update={"max_layer_bytes": 1000})
    answer = upload(world, "admin", REDLINES + b" " * 1000)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:redline:problem:too-large"


def test_a_layer_may_be_larger_than_other_requests(world: Any) -> None:
    small = world.settings.model_copy(update={"max_upload_bytes": 1000, "max_layer_bytes": 4 * 2**20})
    large = REDLINES + b" " * (2 * 2**20)
    with TestClient(create_app(small, database=world.database)) as client:
        headers = world.headers("admin")
        files = {"file": ("layer.geojson", large)}
        form = {"valid_from": "2020-01-01", "source_document": "test", "propose": "true", "accuracy_m": "5"}
        answer = client.post("/api/v1/redlines/imports", headers=headers, files=files, data=form)
        assert answer.status_code == 201, answer.text
        assert client.post("/api/v1/plans", headers=headers, content=large).status_code == 413
    assert codes(world, "county", "redlines") == []  # only proposed
    with world.database.transaction(see_all=True) as session:
        version = session.scalars(select(LayerVersion).where(LayerVersion.layer == Layer.redlines)).one()
        assert (version.status, version.accuracy_m) == (VersionStatus.proposed, 5.0)
    assert "no column mapping 'x'" in upload(world, "admin", REDLINES, mapping="x").json()["detail"]


def test_a_zone_uploaded_later_takes_over(loaded: Any) -> None:
    zone = {"code": "220699", "name": "长白山管理区", "level": "zone", "parent": "220000"}
    answer = upload(loaded, "admin", collection((zone, IN_COUNTY.buffer(0.01))), "divisions")
    assert answer.status_code == 201, answer.text
    assert (answer.json()["feature_count"], answer.json()["added"]) == (71, 1)
    assert codes(loaded, "county", "redlines") == []
    assert codes(loaded, "inspector", "redlines") == ["HX-1", "HX-2"]
