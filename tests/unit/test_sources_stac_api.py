"""A STAC API over real HTTP: a small server of its own, found through pystac-client, its pictures read by GDAL."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import rasterio
import uvicorn
from affine import Affine
from fastapi import FastAPI, HTTPException, Request
from fastapi.staticfiles import StaticFiles
from odc.geo.geobox import GeoBox

from app.imagery.found import FailedItem, FoundScene, SourceUnreadable
from app.imagery.models import MaskKind, SourceKind
from app.imagery.pixels import CLEAR, AssetRef, SceneReadError, SceneRef, read_scene
from app.imagery.schemas import SourceConfiguration
from app.imagery.sources import read_source

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
]
SQUARE = [[127, 42], [127.1, 42], [127.1, 42.1], [127, 42.1], [127, 42]]
PAGE = 4


def item(number: int, address: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number:02}",
        "collection": "s2",
        "geometry": {"type": "Polygon", "coordinates": [SQUARE]} if number != 7 else None,
        "bbox": [127, 42, 127.1, 42.1],
        "properties": {"datetime": f"2020-07-{number + 1:02}T02:30:00Z"},
        "assets": {
            "red": {"href": f"{address}/files/red.tif", "raster:bands": [{"scale": 0.001, "offset": -0.1}]},
            "scl": {"href": f"{address}/files/scl.tif"},
        },
        "links": [{"rel": "self", "href": f"{address}/collections/s2/items/item-{number:02}"}],
    }


class Server:
    """The API of ten items in pages of four; `requests` keeps the bodies of searches, `broken` fails page two."""

    def __init__(self, files: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.broken = False
        self.own: str | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.app = FastAPI()
        self.app.mount("/files", StaticFiles(directory=files))
        self.app.get("/")(self.landing)
        self.app.get("/conformance")(lambda: {"conformsTo": CONFORMS})
        self.app.post("/search")(self.search)

    def landing(self) -> dict[str, Any]:
        links = [
            {"rel": "self", "href": self.address},
            {"rel": "root", "href": self.address},
            {"rel": "conformance", "href": f"{self.address}/conformance"},
            {"rel": "data", "href": f"{self.address}/collections"},
            {"rel": "search", "href": f"{self.address}/search", "method": "POST", "type": "application/geo+json"},
        ]
        return {
            "type": "Catalog",
            "id": "api",
            "description": "-",
            "stac_version": "1.0.0",
            "conformsTo": CONFORMS,
            "links": links,
        }

    async def search(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        self.requests.append(body)
        first = body.get("token", 0)
        if self.broken and first:
            raise HTTPException(500)
        chosen = [item(number, self.address) for number in range(10)]
        if self.own:
            for entry in chosen:
                entry["links"][0]["href"] = self.own
                entry["assets"]["red"]["href"] = "./red.tif"
        links = []
        if first + PAGE < len(chosen):
            link = {"rel": "next", "href": f"{self.address}/search", "method": "POST"}
            links.append(link | {"body": body | {"token": first + PAGE}})
        return {"type": "FeatureCollection", "features": chosen[first : first + PAGE], "links": links}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for name, number in (("red", 600), ("scl", 5)):
        profile = {
            "driver": "GTiff",
            "count": 1,
            "height": 64,
            "width": 64,
            "dtype": "uint16",
            "crs": "EPSG:32652",
            "transform": Affine(10, 0, 371_000, 0, -10, 4_652_000),
        }
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as dataset:
            dataset.write(np.full((1, 64, 64), number, np.uint16))
    made = Server(tmp_path)
    port = int(made.address.rsplit(":", 1)[1])
    running = uvicorn.Server(uvicorn.Config(made.app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield made
    running.should_exit = True
    thread.join()


def read(server: Server, **options: Any) -> list[FoundScene | FailedItem]:
    return list(read_source(SourceKind.stac_api, server.address, SourceConfiguration(**options)))


def test_every_page_is_read(server: Server) -> None:
    found = read(server, collections=("s2",), bbox=(127, 42, 128, 43))
    assert [entry.external_id for entry in found if isinstance(entry, FoundScene)] == [
        f"item-{number:02}" for number in range(10) if number != 7
    ]
    assert [entry.item for entry in found if isinstance(entry, FailedItem)] == ["item-07"]
    assert len(server.requests) == 3
    assert server.requests[0]["collections"] == ["s2"]
    assert server.requests[0]["bbox"] == [127, 42, 128, 43]
    first = found[0]
    assert isinstance(first, FoundScene)
    assert first.assets["red"] == {
        "href": f"{server.address}/files/red.tif",
        "scale": 0.001,
        "offset": -0.1,
        "nodata": 0.0,
    }


def test_instants_go_to_the_server_and_the_end_is_left_out(server: Server) -> None:
    found = read(server, start="2020-07-03T02:30:00Z", end="2020-07-05T02:30:00Z")
    assert [entry.external_id for entry in found if isinstance(entry, FoundScene)] == ["item-02", "item-03"]
    assert server.requests[0]["datetime"] == "2020-07-03T02:30:00Z/2020-07-05T02:30:00Z"


def test_api_that_fails_on_the_way_is_said_so(server: Server) -> None:
    server.broken = True
    with pytest.raises(SourceUnreadable) as caught:
        read(server)
    assert server.address not in caught.value.detail


def test_address_without_an_api_is_said_so(server: Server) -> None:
    for location in (f"{server.address}/files", f"{server.address}/conformance", "/etc", "ftp://example.org"):
        with pytest.raises(SourceUnreadable):
            list(read_source(SourceKind.stac_api, location, SourceConfiguration()))


def test_pictures_are_read_over_http(server: Server) -> None:
    found = read(server)[0]
    assert isinstance(found, FoundScene)
    red, mask = AssetRef(**found.assets["red"]), AssetRef(found.assets["mask"]["href"])
    assets = {"red": red, "mask": mask}
    scene = SceneRef(UUID(int=1), found.external_id, datetime(2020, 7, 1, tzinfo=UTC), assets, MaskKind.scl)
    grid = GeoBox((32, 32), Affine(10, 0, 371_100, 0, -10, 4_651_900), "EPSG:32652")
    pixels = read_scene(scene, grid, ["red"])
    assert (pixels.quality == CLEAR).all()
    assert (pixels.data == 5000).all()
    lost = SceneRef(scene.id, "lost", scene.acquired_at, {"red": AssetRef(f"{server.address}/no.tif")}, MaskKind.none)
    with pytest.raises(SceneReadError) as caught:
        read_scene(lost, grid, ["red"])
    assert not caught.value.transient
    assert server.address not in str(caught.value)


def test_static_catalogue_over_http(server: Server, tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text(
        '{"type": "Catalog", "links": [{"rel": "item", "href": "./a.json"}, {"rel": "item", "href": "file:///b.json"}]}'
    )
    (tmp_path / "a.json").write_text(
        '{"type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}}'
    )
    # A remote catalogue has no say about files of this machine.
    found = list(read_source(SourceKind.stac_catalog, f"{server.address}/files/catalog.json", SourceConfiguration()))
    refused = FailedItem("b.json", "it names an address that is neither http(s) nor s3")
    assert found == [FailedItem("a", "it has no datetime"), refused]
    (tmp_path / "catalog.json").write_text(
        '{"type": "Catalog", "links": [{"rel": "item", "href": "./a.json"}, {"rel": "item", "href": "gone.json"}]}'
    )
    found = list(read_source(SourceKind.stac_catalog, f"{server.address}/files/catalog.json", SourceConfiguration()))
    assert found == [FailedItem("a", "it has no datetime"), FailedItem("gone.json", "its file is not there")]


@pytest.mark.parametrize("own", ["file:///etc/item.json", "/etc/item.json", "FILE:///etc/item.json"])
def test_an_item_that_says_it_is_a_local_file_names_none(server: Server, own: str) -> None:
    server.own = own
    found = read(server, start="2020-07-01T00:00:00Z", end="2020-07-02T00:00:00Z")
    # Hrefs without an address of their own are then seen from the API.
    assert [entry.assets["red"]["href"] for entry in found if isinstance(entry, FoundScene)] == [
        f"{server.address}/red.tif"
    ]
